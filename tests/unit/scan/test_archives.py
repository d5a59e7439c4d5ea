"""Archives of a folder: made, and unpacked again."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mahavishnu_operator.scan.archives import MadeArchive, link_problem, make_archive
from mahavishnu_operator.scan.listing import list_files
from mahavishnu_operator.scan.unpacking import unpack
from mahavishnu_operator.support.errors import InvalidInput

from .trees import repository, write


def made(root: Path) -> tuple[MadeArchive, bytes]:
    out = io.BytesIO()
    return make_archive(root, out), out.getvalue()


def unpacked(data: bytes, into: Path) -> Path:
    into.mkdir()
    unpack(io.BytesIO(data), into)
    return into


def test_the_files_that_a_scan_looks_at_come_back(tmp_path: Path) -> None:
    root = repository(tmp_path / "root", "a.py", "pkg/b.py")
    write(root, ".gitignore", content=b"*.log\n")
    write(root, "new.py", "noise.log")
    archive, data = made(root)
    tree = unpacked(data, tmp_path / "out")
    assert [file.path for file in list_files(tree, unpacked=True).files] == [".gitignore", "a.py", "new.py", "pkg/b.py"]
    assert (archive.files, archive.size, archive.sha256) == (4, len(data), hashlib.sha256(data).hexdigest())


def test_the_same_files_give_the_same_bytes_whenever_and_whoever(tmp_path: Path) -> None:
    write(tmp_path / "one", "b.py", "a/c.py")
    write(tmp_path / "two", "a/c.py", "b.py")
    os.utime(tmp_path / "two/b.py", (1, 1))
    (tmp_path / "two/b.py").chmod(0o600)
    assert made(tmp_path / "one")[1] == made(tmp_path / "two")[1]


def test_a_program_stays_one_and_nothing_can_be_written(tmp_path: Path) -> None:
    write(tmp_path / "root", "run", "pkg/data")
    (tmp_path / "root/run").chmod(0o4755)
    tree = unpacked(made(tmp_path / "root")[1], tmp_path / "out")
    modes = {name: stat.S_IMODE((tree / name).stat().st_mode) for name in ("run", "pkg/data", "pkg", "")}
    assert modes == {"run": 0o555, "pkg/data": 0o444, "pkg": 0o555, "": 0o555}


def test_links_within_the_tree_come_back_and_others_are_named(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root, "pkg/a.py", "sub/b.py")
    (root / "sub/up.py").symlink_to("../pkg/a.py")
    (root / "folder").symlink_to("pkg")
    (root / "odd").symlink_to("folder/../pkg")
    (root / "away").symlink_to("/etc/passwd")
    archive, data = made(root)
    tree = unpacked(data, tmp_path / "out")
    assert set(os.listdir(tree)) == {"pkg", "sub", "folder"}
    assert os.readlink(tree / "sub/up.py") == "../pkg/a.py"
    assert [each.path for each in archive.skipped] == ["away", "odd"]


@pytest.mark.parametrize(
    ("name", "target", "fits"),
    [
        ("a", "b", True),
        ("x/a", "../b/./c", True),
        ("x/a", "..", True),
        ("a", "..", False),
        ("x/a", "../../b", False),
        ("a", "/etc", False),
        ("a", "b/../c", False),
        ("a", "", False),
        ("a", "b" * 1025, False),
    ],
)
def test_a_link_is_taken_when_it_surely_stays_in_the_tree(name: str, target: str, fits: bool) -> None:
    assert (link_problem(name, target) == "") is fits


def test_an_archive_over_the_limit_is_refused_with_the_limit(tmp_path: Path) -> None:
    write(tmp_path, "noise", content=os.urandom(3 * 1024 * 1024))
    with pytest.raises(InvalidInput, match=r"larger than 2 MiB .*--exclude"):
        make_archive(tmp_path, io.BytesIO(), limit=2 * 1024 * 1024)


def test_all_of_an_archive_is_looked_at_and_globs_hold(tmp_path: Path) -> None:
    write(tmp_path, "node_modules/x.py", "env/pyvenv.cfg", "env/y.py", "a.txt")
    listing = list_files(tmp_path, unpacked=True, include=["*.py"])
    assert (listing.listed_by, [file.path for file in listing.files]) == ("archive", ["env/y.py", "node_modules/x.py"])


SEGMENT = (
    st.binary(min_size=1, max_size=40)
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda raw: raw not in (b".", b"..") and raw.lower() != b".git")
)


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.lists(SEGMENT, min_size=1, max_size=4).map(tuple), st.binary(max_size=2000), max_size=8))
def test_any_names_and_contents_come_back(files: dict[tuple[bytes, ...], bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, out = os.fsencode(folder) + b"/root", Path(folder) / "out"
        os.mkdir(root)
        for steps, content in files.items():
            try:
                os.makedirs(os.path.join(root, *steps[:-1]), exist_ok=True)
                with open(os.path.join(root, *steps), "xb") as file:
                    file.write(content)
            except OSError:  # a name that is a file and a folder at once
                continue
        tree = unpacked(made(Path(os.fsdecode(root)))[1], out)
        wanted = {
            file.path: Path(os.fsdecode(root), file.path).read_bytes()
            for file in list_files(Path(os.fsdecode(root))).files
        }
        assert {file.path: (tree / file.path).read_bytes() for file in list_files(tree, unpacked=True).files} == wanted
