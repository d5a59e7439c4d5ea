"""Tools of one worker that are kept to their own folders by the kernel: what they cannot do to each other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from mahavishnu_operator.api.wire import TaskResult
from mahavishnu_operator.worker import confining

from .runner_tools import python
from .worker_tools import Bench, running_bench

pytestmark = pytest.mark.skipif(confining.missing() != "", reason=confining.missing())

WAIT = """
import os, sys, time
open("mine", "w").write("mine")
while not os.path.exists(sys.argv[1]): time.sleep(0.01)
print(open("mine").read())
"""
TRY = """
import json, os, signal, sys
def attempt(what):
    try: return str(what())
    except OSError as error: return type(error).__name__
print(json.dumps([attempt(lambda: eval(each)) for each in sys.argv[1:]]))
"""


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_bench(tmp_path) as running:
        yield running


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder that tools share beside the worker's own."""
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "there").write_text("there")
    return folder


async def attempts(bench: Bench, *what: str, job: str = "u1") -> list[str]:
    """What came of each expression, evaluated by a tool: its value, or the name of the error."""
    await bench.submit(python(TRY, *what), job=job)
    (result,) = await bench.results(job)
    answer: list[str] = json.loads(result.stdout)
    return answer


async def folder_with(work: Path, name: str) -> Path:
    """The folder of the task that has written a file of that name."""
    found: list[Path] = []
    while not found:
        found = [each.parent for each in work.glob(f"scratch/*/*/{name}") if each.read_text()]
        await asyncio.sleep(0.01)
    return found[0]


async def only_result(bench: Bench, job: str = "u1") -> TaskResult:
    (result,) = await bench.results(job)
    return result


async def test_a_tool_writes_to_its_own_folder_and_to_nothing_that_is_shared(bench: Bench, shared: Path) -> None:
    await bench.agent_with_host(confine=[shared])
    done = await attempts(
        bench,
        "open('own', 'w').write('x')",
        "os.mkdir('folder')",
        f"open('{shared}/planted', 'w')",
        f"os.unlink('{shared}/there')",
        f"open('{shared}/there').read()",
        f"os.listdir('{shared}')",
        "os.mkdir('../next')",
        "os.listdir('..')",
        "os.rename(os.getcwd(), '../elsewhere')",
        "open('/dev/null', 'w').close()",
        "open('/usr/lib/hostile', 'w')",
    )
    assert done == ["1", "None", *["PermissionError"] * 7, "None", "PermissionError"]


async def test_a_tool_cannot_touch_the_one_beside_it(bench: Bench, tmp_path: Path, shared: Path) -> None:
    await bench.agent_with_host(confine=[shared], slots=2)
    await bench.submit(python(WAIT, str(tmp_path / "go")))
    other = await folder_with(tmp_path / "w1" / "work", "mine")
    (pid,) = [
        each.pid for each in psutil.process_iter(["cmdline"]) if (each.info["cmdline"] or [])[-1:] == [f"{tmp_path}/go"]
    ]
    done = await attempts(
        bench,
        f"open('{other}/mine').read()",
        f"open('{other}/mine', 'w')",
        f"os.kill({pid}, signal.SIGKILL)",
        f"open('/proc/{pid}/mem', 'rb')",
        "os.kill(os.getppid(), signal.SIGKILL)",
        job="u2",
    )
    assert done == ["PermissionError"] * 5
    (tmp_path / "go").touch()
    result = await only_result(bench)
    assert (result.status, result.stdout) == ("succeeded", "mine\n")


async def test_a_tool_ends_its_own_children(bench: Bench, shared: Path) -> None:
    await bench.agent_with_host(confine=[shared])
    code = "import subprocess; c = subprocess.Popen(['sleep', '60']); c.kill(); print(c.wait())"
    await bench.submit(python(code))
    assert (await only_result(bench)).stdout == "-9\n"


async def test_a_tool_cannot_make_the_next_task_fail(bench: Bench, shared: Path) -> None:
    await bench.agent_with_host(confine=[shared])
    done = await attempts(bench, "os.chmod('../..', 0)", "os.chmod('..', 0)")
    assert done[0] == "None"
    await bench.submit(python("print('next')"), job="u2")
    assert (await only_result(bench, "u2")).stdout == "next\n"


async def test_what_an_unconfined_tool_does_to_the_folders_above_it_is_undone(bench: Bench, tmp_path: Path) -> None:
    await bench.agent_with_host()
    done = await attempts(
        bench, "os.rename(os.path.dirname(os.getcwd()), '../../moved')", "os.symlink('/nowhere', '..')"
    )
    assert done[0] == "None"
    await bench.submit(python("print('next')"), job="u2")
    assert (await only_result(bench, "u2")).stdout == "next\n"
