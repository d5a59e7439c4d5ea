"""Which Python files cannot be read, decoded or parsed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mahavishnu_operator.scan import readable

from .trees import write


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"x = 1\n", ""),
        (b"", ""),
        (b"# -*- coding: latin-1 -*-\nx = '\xe9'\n", ""),
        (b"def broken(:\n", "line 1: invalid syntax"),
        (b"x = '\xe9'\n", "can't decode byte 0xe9"),
        (b"# coding: nosuch\n", "unknown encoding: nosuch"),
        (b"x = '\0'\n", "null bytes"),
        (b"x = " + b"-" * 100_000 + b"1\n", ""),
    ],
)
def test_a_file_that_does_not_parse_is_told_with_the_reason(tmp_path: Path, content: bytes, why: str) -> None:
    write(tmp_path, "a.py", content=content)
    told = readable.why_unreadable(tmp_path / "a.py")
    assert why in told
    assert bool(told) == (bool(why) or len(content) > 10_000)


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "link.py").symlink_to("/etc/passwd")
    assert readable.why_unreadable(tmp_path / "pipe.py") == "not a regular file"
    assert readable.why_unreadable(tmp_path / "link.py")
    assert readable.why_unreadable(tmp_path / "gone.py") == "No such file or directory"


def test_the_process_names_them_whatever_their_names(tmp_path: Path) -> None:
    root = tmp_path / "root"
    bad = ["-x\n.py", os.fsdecode(b"caf\xe9.py"), "ü.py"]
    write(root, *bad, content=b"def broken(:\n")
    write(root, "good.py")
    files = [*bad, "good.py"]
    (tmp_path / "list").write_bytes(b"".join(os.fsencode(name) + b"\0" for name in files))
    command = (sys.executable, "-P", "-m", "mahavishnu_operator.scan.readable", str(tmp_path / "list"))
    ran = subprocess.run(command, cwd=root, capture_output=True, check=True, timeout=60)
    assert readable.decode(ran.stdout, files) == dict.fromkeys(bad, "line 1: invalid syntax")
    assert readable.decode(ran.stdout, ["ü.py"]) == {"ü.py": "line 1: invalid syntax"}


def test_output_that_ends_in_the_middle_names_what_it_came_to() -> None:
    assert readable.decode(b"a.py\0why\0b.p", ["a.py", "b.py"]) == {"a.py": "why"}
