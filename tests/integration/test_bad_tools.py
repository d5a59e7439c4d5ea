"""Scanners that crash, flood, hang, run away or talk nonsense, under the real `mahavishnu scan`.

Each time: exit code 3 and why in words, never a clean scan; no process and no file is left.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from .faked_tools import FakedTools, make_environment

FINDING = {
    "filename": "a.py",
    "code": "F821",
    "message": "undefined name",
    "severity": "error",
    "location": {"row": 1, "column": 1},
    "end_location": {"row": 1, "column": 2},
}


@pytest.fixture(scope="module")
def faked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakedTools]:
    tools = FakedTools(tmp_path_factory.mktemp("faked"), *WITHOUT_AN_ANSWER)
    yield tools
    tools.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    return folder


def incomplete(done: subprocess.CompletedProcess[str], folder: Path) -> str:
    """What was said of a scan whose tool gave no answer."""
    assert done.returncode == 3, (done.stdout[-2000:], done.stderr[-2000:])
    assert "Traceback" not in done.stderr
    assert list((folder / "tmp").iterdir()) == []
    return done.stdout + done.stderr


# What each of the faked tools does, and what the scan says of it: all in one scan, so that one spares the others.
WITHOUT_AN_ANSWER = {
    "ruff": ("print('[')", "printed no list of findings"),
    "bandit": ("sys.stderr.write('\\x1b[2J' + chr(0) * 3); sys.exit(77)", "exit code 77"),
    "vulture": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
    "mypy": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    "complexipy": ("pass", "wrote no report"),
}


@pytest.fixture(scope="module")
def said_of_all(faked: FakedTools, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a scan says whose five tools give no answer, each in its own way."""
    folder = tmp_path_factory.mktemp("all")
    (folder / "tree").mkdir()
    (folder / "tree" / "a.py").write_text("x = 1\n")
    codes = {tool: code for tool, (code, _) in WITHOUT_AN_ANSWER.items()}
    options = [word for tool in codes for word in ("--tool", tool)]
    return incomplete(faked.scan(folder, folder / "tree", *options, **codes), folder)


@pytest.mark.parametrize(("tool", "words"), [(tool, words) for tool, (_, words) in WITHOUT_AN_ANSWER.items()])
def test_a_tool_without_an_answer_has_not_looked(said_of_all: str, tool: str, words: str) -> None:
    assert re.search(rf"{tool}.*{words}", said_of_all), said_of_all


def test_what_a_broken_tool_wrote_moves_no_cursor(said_of_all: str) -> None:
    assert "\x1b" not in said_of_all


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("pass", id="nothing"),
        pytest.param(
            f"print({json.dumps([{**FINDING, 'filename': chr(0xD800)}])!r}); sys.exit(1)", id="half a character"
        ),
    ],
)
def test_what_is_no_list_of_findings_is_no_answer(faked: FakedTools, tmp_path: Path, tree: Path, code: str) -> None:
    said = incomplete(faked.scan(tmp_path, tree, "--tool", "ruff", ruff=code), tmp_path)
    assert "printed no list of findings" in said


def test_a_tool_that_finds_in_files_of_its_own_invention_is_reported_and_opens_nothing(
    faked: FakedTools, tmp_path: Path, tree: Path
) -> None:
    odd = [{**FINDING, "filename": name} for name in ("/etc/passwd", "../../x", "a\0b", "")]
    done = faked.scan(tmp_path, tree, "--tool", "ruff", "--json", ruff=f"print({json.dumps(odd)!r})\nsys.exit(1)")
    assert done.returncode == 1, done.stderr
    assert len(json.loads(done.stdout)["sarif"]["runs"][0]["results"]) == len(odd)


@pytest.mark.parametrize("stream", [1, 2])
def test_a_tool_that_writes_a_gigabyte_is_stopped(faked: FakedTools, tmp_path: Path, tree: Path, stream: int) -> None:
    flood = f"import os\npiece = b'x' * 65536\nfor _ in range(16384): os.write({stream}, piece)"
    assert "wrote more than its output limit" in incomplete(
        faked.scan(tmp_path, tree, "--tool", "ruff", ruff=flood), tmp_path
    )


def test_a_flood_of_findings_is_counted_and_the_worst_of_it_kept(faked: FakedTools, tmp_path: Path, tree: Path) -> None:
    note, error = json.dumps({**FINDING, "severity": "info"}), json.dumps(FINDING)
    flood = f"sys.stdout.write('[' + ({note!r} + ',') * 60_000 + {error!r} + ']')\nsys.exit(1)"
    done = faked.scan(tmp_path, tree, "--tool", "ruff", "--json", ruff=flood)
    assert done.returncode == 1, done.stderr
    answer = json.loads(done.stdout)
    (run,) = answer["sarif"]["runs"]
    assert (answer["findings"]["total"], len(run["results"]), run["results"][0]["level"]) == (60_001, 50_000, "error")
    assert "10001 of 60001 results" in json.dumps(run["invocations"])


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import time; time.sleep(600)", id="sleeps"),
        pytest.param(
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)", id="ignores SIGTERM"
        ),
        pytest.param(
            "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork(): os._exit(0)\ntime.sleep(600)",
            id="forks into a session of its own",
        ),
    ],
)
def test_a_tool_that_hangs_is_ended_with_all_it_started(
    faked: FakedTools, tmp_path: Path, tree: Path, code: str
) -> None:
    incomplete(faked.scan(tmp_path, tree, "--tool", "ruff", "--timeout", "10", ruff=code), tmp_path)
    program = str(faked.programs / "ruff")
    assert not [each.pid for each in psutil.process_iter(["cmdline"]) if program in (each.info["cmdline"] or ())]


def test_a_tool_that_left_a_child_behind_has_answered_and_the_child_is_gone(
    faked: FakedTools, tmp_path: Path, tree: Path
) -> None:
    code = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(600)\nprint('[]')"
    done = faked.scan(tmp_path, tree, "--tool", "ruff", ruff=code)
    assert done.returncode == 0, done.stderr
    program = str(faked.programs / "ruff")
    assert not [each.pid for each in psutil.process_iter(["cmdline"]) if program in (each.info["cmdline"] or ())]


def test_one_tool_that_fails_spares_the_others(faked: FakedTools, tmp_path: Path, tree: Path) -> None:
    (tree / "a.py").write_text("# teh end\n")
    done = faked.scan(tmp_path, tree, "--tool", "ruff", "--tool", "codespell", ruff="sys.exit(9)")
    assert "teh ==> the" in done.stdout
    assert "exit code 9" in incomplete(done, tmp_path)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        pytest.param("os.symlink('/etc/passwd', report)", "wrote no report", id="a link for a report"),
        pytest.param("os.mkfifo(report)", "wrote no report", id="a pipe for a report"),
        pytest.param("os.mkdir(report)", "wrote no report", id="a folder for a report"),
        pytest.param("open(report, 'w').write('{')", "wrote no report", id="half a report"),
        pytest.param("open(report, 'w').truncate(200 << 20)", "output limit", id="a report of 200 MB"),
        pytest.param("os.chmod(os.path.dirname(report), 0)", "wrote no report", id="a locked folder"),
    ],
)
def test_a_report_file_that_is_none_is_no_answer(
    faked: FakedTools, tmp_path: Path, tree: Path, code: str, words: str
) -> None:
    told = "import os\nreport = sys.argv[sys.argv.index('--output') + 1]\n"
    done = faked.scan(tmp_path, tree, "--tool", "complexipy", complexipy=f"{told}{code}")
    assert words in incomplete(done, tmp_path)


def test_a_version_without_an_end_is_no_version(tmp_path: Path, tree: Path) -> None:
    python = make_environment(tmp_path / "environment", ruff="")
    python.with_name("ruff").write_text("#!/bin/sh\nyes\n")
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        [str(python), "-m", "mahavishnu_operator.cli", "scan", str(tree), "--tool", "ruff"],
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert "ruff does not tell its version" in incomplete(done, tmp_path)


def test_a_tool_that_fills_the_disk_is_stopped_and_the_disk_is_free_again(tmp_path: Path, tree: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=96m none "$0" && exec "$@"', str(small)]
    if subprocess.run([*mount, "true"], check=False, capture_output=True).returncode:
        pytest.skip("a disk of its own can be mounted by root alone")
    fill = "import os, time\n"
    fill += "with open(os.environ['TMPDIR'] + '/fill', 'wb') as f:\n    f.write(bytes(64 << 20))\ntime.sleep(600)"
    python = make_environment(tmp_path / "environment", ruff=fill)
    command = [str(python), "-m", "mahavishnu_operator.cli", "scan", str(tree), "--tool", "ruff"]
    done = subprocess.run(
        [*mount, "sh", "-c", '"$@"; code=$?; ls -A "$0"; exit $code', str(small), *command],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": str(small), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 3, done.stderr
    assert "it filled the disk of the worker's scratch folder" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("no findings")  # and no file after it
