"""What hostile code in a worker Pod finds, reaches and leaves behind; fixtures/hostile.py is that code.

NetworkPolicies are objects here that nothing enforces: what its network reaches is tested by what answers it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mahavishnu_operator.worker import confining
from tests.integration.operator_tools import OperatorProcess, counts

from .operating import PodSite, python_task
from .telling import PodWitness

HOSTILE = (Path(__file__).parent / "fixtures" / "hostile.py").read_text()
# mypy as somebody's command runs it, with the configuration and the plugin of the repository.
PLUGGED = f"""\
import os, subprocess, sys
for name, text in {{"plugged.py": {HOSTILE!r}, "mypy.ini": "[mypy]\\nplugins = plugged.py\\n", "a.py": ""}}.items():
    open(name, "w").write(text)
where = os.environ | {{"WHERE": " ".join(sys.argv[1:])}}
ended = subprocess.run(["mypy", "a.py"], env=where, capture_output=True, text=True)
print(open(os.environ["TMPDIR"] + "/looked").read()) if ended.returncode == 0 else sys.exit(ended.stdout + ended.stderr)
"""
confined = pytest.mark.skipif(confining.missing() != "", reason=confining.missing())
LISTENS = "00010000"  # a flag in /proc/net/unix
CLEAN = {"PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "LANG", "LC_ALL", "PYTHONDONTWRITEBYTECODE", "NO_COLOR", "TERM"}


async def run(site: PodSite, operator: OperatorProcess, name: str, *words: str, script: str = HOSTILE) -> Any:
    """What the hostile code said, as the only task of a job."""
    job = await site.commands(name, python_task(script, *words), maxAttempts=1)
    status = await site.ended(name)
    assert status["phase"] == "Succeeded", (status, operator.output(job))
    return json.loads(operator.output(job))


@pytest.fixture
async def seen(site: PodSite, operator: OperatorProcess) -> Any:
    """What it sees from inside a Pod of a pool with one worker."""
    await site.pool()
    await site.ready(1)
    return await run(site, operator, "look", "look", operator.dispatcher, site.cluster.server)


def refused(answer: Any) -> bool:
    return str(answer).startswith("refused")


async def test_it_finds_no_token_and_no_way_to_the_agent(seen: Any, site: PodSite, operator: OperatorProcess) -> None:
    assert seen["tokens"] == []
    assert set(seen["environment"]) <= CLEAN | {"LC_CTYPE"}
    assert seen["sockets"] in ([], "done")
    assert [line for line in seen["unix"] if line.split()[3] == LISTENS] == []
    words = [process["words"] for process in seen["processes"].values()]
    assert not any("pod-agent" in each for each in words), words
    for process in seen["processes"].values():
        for what in ("environ", "memory", "open files", "root"):
            assert refused(process[what]), (what, process)


async def test_it_writes_outside_of_its_folders_nowhere_and_stays_who_it_is(seen: Any) -> None:
    assert seen["written"] == []
    assert seen["user"][:2] == [65532, 65532]
    assert refused(seen["user"][2])


async def test_it_reaches_dispatcher_and_api_server_only_to_be_refused(seen: Any) -> None:
    assert seen["network"] == {"session": 401, "blob": 401, "api": 403}


async def test_its_signals_do_not_end_the_worker(seen: Any, site: PodSite, operator: OperatorProcess) -> None:
    (pod,) = await site.pods.pods(1)
    assert set(seen["signals"]) == {"SIGKILL", "SIGTERM", "SIGSTOP", "SIGABRT"}
    assert await run(site, operator, "next", "find") is not None
    assert [each["metadata"]["uid"] for each in await site.pods.pods(1)] == [pod["metadata"]["uid"]]


@confined
async def test_what_it_leaves_behind_is_gone_before_the_next_task(site: PodSite, operator: OperatorProcess) -> None:
    await site.pool()
    await site.ready(1)
    assert await run(site, operator, "plant", "plant") == []  # no file; and it left a process
    assert await run(site, operator, "find", "find") == []
    after = await run(site, operator, "look", "look")
    assert len(after["processes"]) == 2  # the runner host and the runner


async def test_it_cannot_make_the_next_tasks_fail(site: PodSite, operator: OperatorProcess) -> None:
    await site.pool()
    await site.ready(1)
    await run(site, operator, "plant", "plant")
    await run(site, operator, "lock", "lock")
    await site.commands("next", *[["true"]] * 3, maxAttempts=1)
    assert counts(await site.ended("next")) == {"total": 3, "succeeded": 3}


@confined
async def test_a_mypy_plugin_that_a_command_loads_finds_and_reaches_no_more(
    site: PodSite, operator: OperatorProcess
) -> None:
    """A scan loads none: test_sources.py."""
    await site.pool()
    await site.ready(1)
    await run(site, operator, "plant", "plant")
    seen = await run(site, operator, "plugged", operator.dispatcher, site.cluster.server, script=PLUGGED)
    assert (seen["tokens"], seen["written"], seen["of others"]) == ([], [], [])
    assert seen["network"] == {"session": 401, "blob": 401, "api": 403}


@confined
async def test_it_cannot_see_what_a_task_beside_it_has(
    site: PodSite, operator: OperatorProcess, witness: PodWitness
) -> None:
    await site.pool(slotsPerWorker=2)
    await site.ready(1)
    await site.commands("victim", witness.gated("t0"))
    await witness.until_began("t0")
    found = await run(site, operator, "find", "find")
    witness.open("t0")
    assert counts(await site.ended("victim")) == {"total": 1, "succeeded": 1}
    assert found == []
