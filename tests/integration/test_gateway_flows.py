"""Several calls in a row, as an agent makes them, at a real `mahavishnu up` with real workers."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import TextResourceContents

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
    prompt = 'python3 -c \'print("x" * 99, end="\\n"); [print("y" * 99) for _ in range(999)]\''
    answer = await agent.call("pool_execute", pool_id="p", prompt=prompt)
    assert answer["output"].startswith("x" * 99)
    assert (len(answer["output"]), answer["output_bytes_left_out"]) == (65_536, 100_000 - 65_536)
    rest = await agent.call("task_output", task_id=answer["task_id"], offset=65_536)
    assert (len(rest["output"]), rest["next_offset"]) == (100_000 - 65_536, 100_000)
    assert (await agent.call("task_output", task_id=answer["task_id"], offset=100_000))["output"] == ""


@pytest.mark.parametrize(("characters", "end"), [("ä", 65_535), ("\0", 16_384)], ids=["two bytes", "NUL"])
async def test_what_is_left_out_of_either_stream_is_read_on_between_characters(
    agent: Agent, characters: str, end: int
) -> None:
    number = 100_000
    prompt = f"python3 -c 'import sys; sys.stderr.write(chr(97) + chr({ord(characters)}) * {number}); sys.exit(1)'"
    answer = await agent.call("pool_execute", pool_id="p", prompt=prompt)
    length = 1 + number * len(characters.encode())
    assert (answer["output_bytes_left_out"], answer["stderr_bytes_left_out"]) == (0, length - end)
    assert answer["rest"] == f"task_output(task_id='{answer['task_id']}', stream='stderr', offset={end})"
    rest = await agent.call("task_output", task_id=answer["task_id"], stream="stderr", offset=end)
    assert ("a" + characters * number).startswith(answer["stderr"] + rest["output"])
    assert rest["next_offset"] == end + len(rest["output"].encode())


async def test_no_notice_comes_between_the_end_of_a_command_and_its_answer(agent: Agent) -> None:
    heard: list[str] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message or "")

    command = {"pool_id": "p", "prompt": "Execute: echo done"}
    answer = await agent.client.call_tool("pool_execute", command, progress_handler=note)
    assert (answer.structured_content or {})["output"] == "done\n"
    assert [words for words in heard if words.startswith(("succeeded", "failed"))] == []


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
    await check_resources(agent, submitted["job_id"])


async def test_what_was_answered_before_is_found_by_words_and_by_files(agent: Agent) -> None:
    for file in ("clean.py", "dirty.py"):
        await agent.call("pool_execute", pool_id="p", prompt=f"Execute: ruff check --isolated {file}")
    await agent.call("pool_store_memory", namespace="me", key="why", value="an UNUSED import is meant")
    await agent.call("pool_store_memory", namespace="other", key="what", value={"unused": "import"})
    rows = await agent.call("pool_search_memory", query="unused import", limit=3)
    assert [row["metadata"].get("key") for row in rows] == ["what", "why", None]
    assert rows[2]["content"].startswith("$ ruff check --isolated dirty.py\nF401")
    assert (rows[2]["metadata"]["pool_id"], rows[2]["metadata"]["pool_type"]) == ("default/p", "mahavishnu")
    assert rows[2]["metadata"]["worker_id"].startswith("default/p-")
    assert [row["content"] for row in await agent.call("pool_search_memory", query="", namespace="me")] == [
        "why: an UNUSED import is meant"
    ]
    assert "why" not in str(await agent.call("pool_search_memory", query="unused", pool_id="p"))
    query = {"tool": "ruff", "files": ["clean.py", "./dirty.py", "never.py"]}
    files = await agent.call("pool_search_memory", query=query)
    assert {file: (row["status"], row["findings"]) for file, row in files.items()} == {
        "clean.py": ("passed", 0),
        "./dirty.py": ("failed", None),
    }
    assert abs(files["clean.py"]["timestamp"] - time.time()) < 60
    assert (await agent.call("pool_monitor", pool_id="p"))["memory_count"] >= 2
    scanned = await agent.call("scan_submit", path=".", tools=["ruff"], pool_id="p")
    await agent.call("scan_wait", job_id=scanned["job_id"])
    files = await agent.call("pool_search_memory", query=query)
    assert (files["./dirty.py"]["status"], files["./dirty.py"]["findings"]) == ("failed", 1)


async def check_resources(agent: Agent, job: str) -> None:
    """The same scan and its pool, as resources."""
    rows = {uri: json.loads(await read(agent, uri)) for uri in (f"jobs/{job}", "jobs", "pools/default/p", "pools")}
    assert rows[f"jobs/{job}"]["verdict"] == "failed"
    assert job in [row["job_id"] for row in rows["jobs"]]
    assert (rows["pools/default/p"]["pool_id"], rows["pools/default/p"]["status"]) == ("default/p", "running")
    assert "default/p" in [row["pool_id"] for row in rows["pools"]]
    text = await read(agent, f"jobs/{job}/report.txt", "text/plain")
    assert re.search(r"dirty.py\n.*error .*F401 +ruff", text)
    page = await read(agent, f"jobs/{job}/report.html", "text/html")
    assert (await agent.call("scan_report", job_id=job, format="html"))["html"] == page
    assert "F401" in page
    sarif = json.loads(await read(agent, f"jobs/{job}/report.sarif", "application/sarif+json"))
    assert sarif["version"] == "2.1.0"


async def read(agent: Agent, path: str, kind: str = "application/json") -> str:
    """One resource as text."""
    (part,) = await agent.client.read_resource(f"mahavishnu://{path}")
    assert part.mime_type == kind
    assert isinstance(part, TextResourceContents)
    return part.text


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("jobs/default/gone", "gone"),
        ("jobs/default/gone/report.txt", "gone"),
        ("pools/default/Gone", "can be no name"),
        ("pools/..%2f..%2fetc/passwd", "not found"),
        ("nothing", "not found"),
    ],
)
async def test_a_resource_that_is_not_there_is_refused_in_words(agent: Agent, path: str, words: str) -> None:
    with pytest.raises(MCPError, match=words) as caught:
        await agent.client.read_resource(f"mahavishnu://{path}")
    assert "Traceback" not in str(caught.value)


async def test_prompts_are_there_for_people_to_pick(agent: Agent) -> None:
    prompts = {prompt.name: prompt.description for prompt in await agent.client.list_prompts()}
    assert prompts["scan_and_explain"] == "Scan this repository and explain the worst findings."
    got = await agent.client.get_prompt("scan_and_explain", {"path": "src"})
    assert '{"path": "src"}' in got.messages[0].content.text  # type: ignore[union-attr]


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
    assert len(tools) == 36
    for tool in tools:
        assert len(tool.description or "") > 20, tool.name
        assert tool.annotations is not None
        hints = tool.annotations
        assert None not in (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint)
        assert tool.output_schema is not None
        assert "ctx" not in tool.input_schema["properties"]
    told = {tool.name: tool.annotations for tool in tools}
    reads = {name for name, hints in told.items() if hints and hints.read_only_hint}
    destroys = {name for name, hints in told.items() if hints and hints.destructive_hint}
    ends = {"pool_close", "pool_close_all", "worker_close", "worker_close_all", "scan_cancel"}
    runs = {"pool_execute", "pool_route_execute", "dispatch_to_pool", "worker_execute", "worker_execute_batch"}
    assert destroys == ends | runs | {"swarm_autofix"}
    assert set(told) - reads - destroys == {
        "pool_spawn",
        "pool_scale",
        "pool_store_memory",
        "scan_submit",
        "worker_spawn",
    }
    assert not any(hints.idempotent_hint for name, hints in told.items() if hints and name in runs)


def test_probes_answer_as_monitors_read_them(up: Up) -> None:
    for path, expected in (("healthz", "ok"), ("readyz", "ok"), ("livez", "ok"), ("health", "ok")):
        with urllib.request.urlopen(f"{up.url}/{path}", timeout=20) as answer:
            told = json.loads(answer.read())
        assert told["status"] == expected
    assert (told["service"], told["version"]) == ("mahavishnu", __version__)
    with urllib.request.urlopen(f"{up.url}/metrics", timeout=20) as answer:
        assert b"mahavishnu_gateway_calls_total" in answer.read()
