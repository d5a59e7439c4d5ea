"""Workers one by one, as members of a reserved pool, at a real `mahavishnu up`."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from mahavishnu_operator.client.pools import RESERVED

from .cli_tools import Up, kill_workers
from .gateway_tools import Agent, agent_of, serving_agents


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with serving_agents(tmp_path_factory.mktemp("up")) as running:
        yield running


@pytest.fixture
async def agent(up: Up) -> AsyncIterator[Agent]:
    async with agent_of(up.url) as connected:
        yield connected
        await connected.call("worker_close_all")


async def spawn(agent: Agent, count: int = 1, worker_type: str = "command") -> list[str]:
    spawned = await agent.call("worker_spawn", worker_type=worker_type, count=count)
    ids: list[str] = spawned["worker_ids"]
    assert len(set(ids)) == count, spawned
    return ids


def set_patience(up: Up, seconds: int) -> None:
    """Let workers go after so long without work, instead of an hour."""
    body = json.dumps({"spec": {"autoscaling": {"scaleDownIdleSeconds": seconds}}}).encode()
    url = f"{up.url}/apis/mahavishnu.dev/v1alpha1/namespaces/default/workerpools/{RESERVED}"
    headers = {"Content-Type": "application/merge-patch+json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers, method="PATCH"), timeout=20) as answer:
        assert answer.status == 200


async def until(agent: Agent, worker: str, status: str) -> None:
    """Ask until the worker has that status."""
    for _ in range(600):
        if (await agent.call("worker_monitor"))[worker] == status:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{worker} is not {status}")


async def test_a_worker_runs_what_it_is_given_and_is_let_go(agent: Agent) -> None:
    (worker,) = await spawn(agent)
    assert await agent.call("worker_list") == [{"worker_id": worker, "worker_type": "command", "status": "pending"}]
    row = await agent.call("worker_execute", worker_id=worker, prompt="Execute: echo hello")
    assert (row["worker_id"], row["status"], row["success"], row["output"]) == (worker, "completed", True, "hello\n")
    assert (row["exit_code"], row["error"], row["has_output"]) == (0, None, True)
    assert row["duration"] == row["duration_seconds"] > 0
    ended = datetime.fromisoformat(row["timestamp"])
    assert (ended.utcoffset(), abs(datetime.now(UTC) - ended) < timedelta(minutes=1)) == (timedelta(0), True)
    failed = await agent.call("worker_execute", worker_id=worker, prompt="false")
    assert (failed["status"], failed["success"], failed["exit_code"]) == ("failed", False, 1)
    assert await agent.call("worker_monitor") == {worker: "failed"}
    assert (await agent.call("worker_close", worker_id=worker))["success"]
    assert await agent.call("worker_list") == []
    again = await agent.call("worker_close", worker_id=worker)
    assert (again["success"], again["worker_id"]) == (False, worker)
    assert "gateway-workers" not in [pool["name"] for pool in await agent.call("pool_list")]


async def test_two_callers_at_once_are_given_different_workers(agent: Agent, up: Up) -> None:
    async with agent_of(up.url) as other:
        mine, theirs = await asyncio.gather(spawn(agent, 2), spawn(other, 1))
    assert len({*mine, *theirs}) == 3
    health = await agent.call("worker_health")
    assert (health["status"], health["workers_active"], len(health["workers"])) == ("healthy", 3, 3)
    assert await agent.call("worker_close_all") == {"closed_count": 3, "success": True}


async def test_a_batch_is_spread_and_told_by_number(agent: Agent) -> None:
    workers = await spawn(agent, 2)
    prompts = ["echo 0", "false", "echo 2", "", "echo 4"]
    batch = await agent.call("worker_execute_batch", worker_ids=workers, prompts=prompts)
    assert [batch[str(number)]["success"] for number in range(5)] == [True, False, True, False, True]
    assert [row["output"] for row in batch["result"] if row["success"]] == ["0\n", "2\n", "4\n"]
    assert (batch["0"]["errors"], batch["0"]["files_modified"], batch["0"]["fixes_applied"]) == ([], [], 0)
    assert "empty" in batch["3"]["errors"][0]
    assert {batch[str(number)]["worker_id"] for number in range(5)} == set(workers)


async def test_the_output_of_many_is_cut_so_that_one_answer_holds_it(agent: Agent) -> None:
    text = "".join(str(number % 10) for number in range(1000))
    batch = await agent.call("worker_execute_batch", worker_ids=await spawn(agent), prompts=[f"echo {text}"] * 40)
    row = batch["39"]
    assert (row["output"], row["metadata"]["output_bytes_left_out"]) == (text[:819], 1001 - 819)
    assert row["metadata"]["rest"].endswith("offset=819)")
    rest = await agent.call("task_output", task_id=row["metadata"]["task_id"], offset=819)
    assert row["output"] + rest["output"] == f"{text}\n"


async def test_results_are_collected_while_they_come_and_after(agent: Agent) -> None:
    (worker,) = await spawn(agent)
    assert (await agent.call("worker_collect_results", worker_ids=[worker]))[worker]["status"] == "pending"
    await agent.call("worker_execute", worker_id=worker, prompt="echo abcdef")
    collected = await agent.call("worker_collect_results", since_offset=3)
    assert (collected[worker]["status"], collected[worker]["output"]) == ("completed", "def\n")
    running = asyncio.create_task(agent.call("worker_execute", worker_id=worker, prompt="sleep 60"))
    await until(agent, worker, "running")
    assert "has work" in (await agent.call("worker_close", worker_id=worker))["error"]
    assert (await agent.call("worker_close", worker_id=worker, force=True))["success"]
    ended = await running
    assert (ended["status"], ended["success"]) == ("cancelled", False)


async def test_a_worker_that_dies_is_said_to_have_failed_until_it_is_closed(agent: Agent, up: Up) -> None:
    (worker,) = await spawn(agent)
    kill_workers(up, worker.partition("/")[2])
    await until(agent, worker, "failed")
    assert "is gone: it has died" in (await agent.call("worker_execute", worker_id=worker, prompt="true"))["error"]
    assert (await agent.call("worker_close", worker_id=worker))["success"]


async def test_a_worker_without_work_is_let_go_and_those_of_others_stay(agent: Agent, up: Up) -> None:
    idle, busy = await spawn(agent, 2)
    running = asyncio.create_task(agent.call("worker_execute", worker_id=busy, prompt="sleep 600"))
    await until(agent, busy, "running")
    await asyncio.to_thread(set_patience, up, 1)
    await until(agent, idle, "failed")
    assert (await agent.call("worker_close", worker_id=idle))["success"]
    assert (await agent.call("worker_monitor")) == {busy: "running"}
    assert (await agent.call("worker_close", worker_id=busy, force=True))["success"]
    assert (await running)["status"] == "cancelled"


async def test_held_workers_are_given_no_work_of_others(agent: Agent) -> None:
    await spawn(agent)
    routed = await agent.call("pool_route_execute", prompt="true")
    assert "no pool to choose from" in routed["error"]
    assert (await agent.call("pool_close_all"))["pools_closed"] == 0
    spawned = await agent.call("pool_route_execute", prompt="echo own", auto_spawn=True)
    assert (spawned["pool_id"], spawned["output"]) == ("default/default", "own\n")


async def test_ai_workers_run_what_says_that_it_is_a_command(agent: Agent) -> None:
    (worker,) = await spawn(agent, worker_type="terminal-qwen")
    assert "no AI workers" in (await agent.call("worker_execute", worker_id=worker, prompt="fix it"))["error"]
    assert (await agent.call("worker_execute", worker_id=worker, prompt="Execute: true"))["success"]


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("worker_spawn", {"count": 0}, "count"),
        ("worker_spawn", {"count": 51}, "count"),
        ("worker_spawn", {"worker_type": "x"}, "'x'"),
        ("worker_execute", {"worker_id": "gone", "prompt": "true"}, "there is no worker default/gone"),
        ("worker_execute", {"worker_id": "../x", "prompt": "true"}, "is not namespace/name"),
        ("worker_execute", {"worker_id": "x", "prompt": "true", "timeout": 3601}, "timeout"),
        ("worker_execute_batch", {"worker_ids": [], "prompts": ["true"]}, "worker_ids is empty"),
        ("worker_close", {"worker_id": "gone"}, "there is no worker"),
        ("worker_monitor", {"worker_ids": ["gone"]}, "there is no worker"),
        ("worker_monitor", {"interval": 0}, "interval"),
    ],
)
async def test_what_cannot_be_is_refused_in_words(
    agent: Agent, tool: str, arguments: dict[str, object], words: str
) -> None:
    shape = await agent.refused(tool, arguments)
    assert shape["success"] is False
    assert words in shape["error"]
