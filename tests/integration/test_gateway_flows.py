"""Several calls in a row, as an agent makes them, at a real `mahavishnu up` with real workers."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import AsyncIterator, Iterator

import pytest

from mahavishnu_operator import __version__

from .cli_tools import Up
from .gateway_tools import Agent, agent_of, serving_agents


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with serving_agents(tmp_path_factory.mktemp("up"), allow=("python3",)) as running:
        yield running


@pytest.fixture
async def agent(up: Up) -> AsyncIterator[Agent]:
    async with agent_of(up.url) as connected:
        spawned = await connected.call("pool_spawn", name="p", min_workers=0, max_workers=3, worker_type="command")
        assert spawned["success"]
        yield connected


async def test_a_shape_is_also_one_block_of_text(agent: Agent) -> None:
    for tool, arguments in (("pool_list", {}), ("pool_monitor", {"pool_id": "p"}), ("pool_scale", {"pool_id": "p"})):
        answer = await agent.client.call_tool(tool, arguments, raise_on_error=False)
        texts = [json.loads(block.text) for block in answer.content if block.type == "text"]
        whole = answer.structured_content
        assert texts == [whole["result"] if tool == "pool_list" else whole]  # type: ignore[index]


async def test_long_output_comes_whole_up_to_a_limit_and_the_rest_by_pages(agent: Agent) -> None:
    prompt = 'python3 -c \'print("x" * 99, end="\\n"); [print("y" * 99) for _ in range(2999)]\''
    answer = await agent.call("pool_execute", pool_id="p", prompt=prompt)
    assert answer["output"].startswith("x" * 99)
    assert (len(answer["output"]), answer["output_bytes_left_out"]) == (262_144, 300_000 - 262_144)
    rest = await agent.call("task_output", task_id=answer["task_id"], offset=262_144, limit=65_536)
    assert (len(rest["output"]), rest["next_offset"]) == (300_000 - 262_144, 300_000)
    assert (await agent.call("task_output", task_id=answer["task_id"], offset=300_000))["output"] == ""


async def test_a_dispatched_workflow_starts_once_and_is_asked_for_by_its_id(agent: Agent) -> None:
    first = await agent.call(
        "dispatch_to_pool", prompt="Execute: echo later", workflow_id="night/1", async_callback="x"
    )
    again = await agent.call("dispatch_to_pool", prompt="Execute: echo later", workflow_id="night/1")
    assert first["status"] == again["status"] == "queued"
    job = next(row for row in await agent.call("scan_list") if "/workflow-" in row["job_id"])
    await agent.call("scan_wait", job_id=job["job_id"], timeout=30)
    result = await agent.call("workflow_result", workflow_id="night/1")
    assert (result["status"], result["result"]["output"]) == ("completed", "later\n")


async def test_a_scan_is_submitted_waited_for_and_read(agent: Agent) -> None:
    submitted = await agent.call("scan_submit", path=".", tools=["ruff", "codespell"], pool_id="p")
    assert submitted["success"]
    steps: list[str | None] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append(message)

    waited = await agent.client.call_tool("scan_wait", {"job_id": submitted["job_id"]}, progress_handler=note)
    assert waited.structured_content is not None
    assert (waited.structured_content["ended"], waited.structured_content["verdict"]) == (True, "failed")
    assert steps
    report = await agent.call("scan_report", job_id=submitted["job_id"])
    assert [(row["rule"], row["path"]) for row in report["worst_findings"]] == [("F401", "dirty.py")]
    assert report["tools"]["codespell"]["outcome"] == "ok"
    sarif = await agent.call("scan_report", job_id=submitted["job_id"], format="sarif")
    assert sarif["sarif"]["version"] == "2.1.0"
    assert submitted["job_id"] in [row["job_id"] for row in await agent.call("scan_list", mine=True)]


async def test_a_job_is_cancelled_once_and_then_stays_so(agent: Agent) -> None:
    await agent.call("dispatch_to_pool", prompt="sleep 60", workflow_id="long")
    job = next(row for row in await agent.call("scan_list") if row["status"] in ("pending", "running"))
    for _ in range(2):
        assert (await agent.call("scan_cancel", job_id=job["job_id"]))["success"]
    assert (await agent.call("scan_wait", job_id=job["job_id"], timeout=30))["status"] == "cancelled"
    assert (await agent.call("workflow_result", workflow_id="long"))["status"] == "failed"


async def test_closing_all_leaves_the_pools_of_others(agent: Agent, up: Up) -> None:
    manifest = up.data.parent / "pool.json"
    spec = {"backend": "local-process", "minWorkers": 0, "replicas": 0}
    metadata = {"name": "of-gitops"}
    manifest.write_text(
        json.dumps({"apiVersion": "mahavishnu.dev/v1alpha1", "kind": "WorkerPool", "metadata": metadata, "spec": spec})
    )
    assert up.run("apply", "-f", manifest).returncode == 0
    taken = await agent.call("pool_spawn", name="of-gitops", worker_type="command")
    assert "kubectl or GitOps" in taken["error"]
    assert "force" in (await agent.call("pool_close", pool_id="of-gitops"))["error"]
    closed = await agent.call("pool_close_all")
    assert (closed["status"], closed["success"]) == ("all_closed", True)
    assert closed["pools_closed"] >= 1
    assert [row["name"] for row in await agent.call("pool_list")] == ["of-gitops"]
    forced = await agent.call("pool_close", pool_id="of-gitops", force=True)
    assert forced == {"pool_id": "default/of-gitops", "status": "closed", "success": True}


async def test_every_tool_says_what_it_does_and_whether_it_changes_anything(agent: Agent) -> None:
    tools = await agent.client.list_tools()
    assert len(tools) == 32
    for tool in tools:
        assert len(tool.description or "") > 20, tool.name
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is not None
        assert tool.output_schema is not None
        assert "ctx" not in tool.input_schema["properties"]


def test_probes_answer_as_monitors_read_them(up: Up) -> None:
    for path, expected in (("healthz", "ok"), ("readyz", "ok"), ("livez", "ok"), ("health", "ok")):
        with urllib.request.urlopen(f"{up.url}/{path}", timeout=20) as answer:
            told = json.loads(answer.read())
        assert told["status"] == expected
    assert (told["service"], told["version"]) == ("mahavishnu", __version__)
    with urllib.request.urlopen(f"{up.url}/metrics", timeout=20) as answer:
        assert b"mahavishnu_gateway_calls_total" in answer.read()
