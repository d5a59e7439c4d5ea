"""What no agent should send: each is answered in words, with a shape, and the gateway goes on."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from .cli_tools import Up
from .gateway_tools import Agent, agent_of, serving_agents


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with serving_agents(tmp_path_factory.mktemp("up")) as running:
        yield running


@pytest.fixture
async def agent(up: Up) -> AsyncIterator[Agent]:
    async with agent_of(up.url) as connected:
        yield connected


IDS = ["", "/", "a/b/c", "../p", "default/..", "DEFAULT/P", "p q", "ä", "p\n", "p%2f..", "x" * 200, "x" * 100_000, "-"]
TOOLS_WITH_POOL_ID = ["pool_execute", "pool_monitor", "pool_scale", "pool_close", "pool_health"]


@pytest.mark.parametrize("pool_id", IDS, ids=lambda text: repr(text[:12]))
async def test_an_id_that_is_none_is_refused_by_every_tool(agent: Agent, pool_id: str) -> None:
    more: dict[str, dict[str, Any]] = {"pool_execute": {"prompt": "true"}, "pool_scale": {"target_workers": 1}}
    for tool in TOOLS_WITH_POOL_ID:
        shape = await agent.refused(tool, {"pool_id": pool_id, **more.get(tool, {})})
        assert shape["status"] in ("failed", "not_found", "unhealthy"), (tool, shape)
        assert shape["success"] is False
        assert 0 < len(shape["error"]) <= 1000
    for tool in ("scan_status", "scan_wait", "scan_report", "scan_cancel"):
        assert (await agent.refused(tool, {"job_id": pool_id}))["success"] is False


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("pool_execute", {}, "pool_id: is missing"),
        ("pool_execute", {"pool_id": "p"}, "prompt: is missing"),
        ("pool_execute", {"pool_id": "p", "prompt": "true", "shell": True}, "shell: is no argument"),
        ("pool_execute", {"pool_id": "p", "prompt": ["true"]}, "prompt"),
        ("pool_execute", {"pool_id": {"$ne": ""}, "prompt": "true"}, "pool_id"),
        ("pool_execute", {"pool_id": "p", "prompt": None}, "prompt"),
        ("pool_execute", {"pool_id": "p", "prompt": "true", "timeout": -1}, "timeout"),
        ("pool_execute", {"pool_id": "p", "prompt": "true", "timeout": 0}, "timeout"),
        ("pool_execute", {"pool_id": "p", "prompt": "true", "timeout": 1e12}, "timeout"),
        ("pool_execute", {"pool_id": "p", "prompt": "true", "timeout": "soon"}, "timeout"),
        ("pool_execute", {"pool_id": "p", "prompt": "true", "caller_kind": "x" * 2000}, "caller_kind"),
        ("pool_spawn", {"min_workers": -1}, "min_workers"),
        ("pool_spawn", {"max_workers": 100_000}, "max_workers"),
        ("pool_spawn", {"name": 7}, "name"),
        ("pool_spawn", {"labels": ["a"]}, "labels"),
        ("pool_spawn", {"labels": {"a": {}}}, "labels.a"),
        ("pool_scale", {"pool_id": "p", "target_workers": 1.5}, "target_workers"),
        ("pool_monitor", {"pool_ids": "p"}, "pool_ids"),
        ("pool_monitor", {"pool_ids": ["p"] * 1000}, "pool_ids"),
        ("pool_route_execute", {"prompt": "true", "auto_spawn": "perhaps"}, "auto_spawn"),
        ("scan_report", {"job_id": "x", "format": "pdf"}, "format"),
        ("scan_list", {"limit": 0}, "limit"),
        ("task_output", {"task_id": "x", "offset": -1}, "offset"),
        ("workflow_result", {"workflow_id": ""}, "workflow_id"),
        ("pool_list", {"namespace": "x"}, "namespace: is no argument"),
        ("no_such_tool", {"a": 1}, "there is no tool"),
    ],
)
async def test_arguments_that_cannot_be_used_are_named_and_not_repeated(
    agent: Agent, tool: str, arguments: dict[str, Any], words: str
) -> None:
    answer = await agent.client.call_tool(tool, arguments, raise_on_error=False)
    shape = answer.structured_content
    assert answer.is_error
    assert shape is not None
    assert (shape["status"], shape["success"]) == ("failed", False)
    assert words in shape["error"]
    assert "Traceback" not in shape["error"]
    assert "pydantic" not in shape["error"]
    assert len(shape["error"]) < 500


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("pool_spawn", {"name": "a/b", "worker_type": "command"}, "can be no name"),
        ("pool_spawn", {"name": "x" * 64, "worker_type": "command"}, "can be no name"),
        ("pool_spawn", {"name": "p", "namespace": "../x", "worker_type": "command"}, "namespace"),
        ("pool_spawn", {"name": "p", "labels": {"a b": "c"}, "worker_type": "command"}, "label"),
        ("pool_spawn", {"name": "p", "labels": {"a": "x" * 100}, "worker_type": "command"}, "label"),
        ("dispatch_to_pool", {"prompt": "x" * 1_000_000}, "1000000 characters"),
        ("pool_route_execute", {"prompt": "x" * 1_000_000}, "1000000 characters"),
        ("dispatch_to_pool", {"prompt": "echo \u0000"}, "no argument can hold"),
        ("dispatch_to_pool", {"prompt": "echo 'open"}, "cannot be read"),
        ("scan_submit", {"path": "x" * 5000}, "path"),
        ("scan_submit", {"git_url": "file:///etc", "tools": ["ruff"]}, "url"),
        ("scan_submit", {"path": ".", "tools": []}, "tools"),
        ("scan_submit", {"path": ".", "name": "../x"}, "can be no name"),
        ("task_output", {"task_id": "default/gone"}, "gone"),
        ("health_check_service", {"service_name": "x\n\x1b[31m"}, "is not known"),
    ],
)
async def test_what_can_never_work_is_refused_in_a_sentence(
    agent: Agent, tool: str, arguments: dict[str, Any], words: str
) -> None:
    shape = await agent.refused(tool, arguments)
    assert (shape["status"], shape["success"]) == ("failed", False)
    assert words in shape["error"], shape
    assert shape["error"].isprintable()


async def test_what_was_deleted_is_not_found_by_any_tool(agent: Agent, up: Up) -> None:
    assert (await agent.call("pool_spawn", name="deleted", worker_type="command", min_workers=0, max_workers=0))[
        "success"
    ]
    job = (await agent.call("scan_submit", path=".", tools=["ruff"], pool_id="deleted", name="deleted"))["job_id"]
    assert (await agent.call("scan_cancel", job_id=job))["success"]
    assert up.run("delete", "sj", "deleted").returncode == 0
    assert (await agent.call("pool_close", pool_id="deleted"))["success"]
    of_pools: list[tuple[str, dict[str, Any]]] = [
        ("pool_execute", {"prompt": "true"}),
        ("pool_monitor", {}),
        ("pool_scale", {"target_workers": 0}),
        ("pool_close", {"force": True}),
        ("pool_health", {}),
        ("scan_submit", {"path": "."}),
    ]
    for tool, more in of_pools:
        assert "deleted" in (await agent.refused(tool, {"pool_id": "deleted", **more}))["error"], tool
    for tool in ("scan_status", "scan_wait", "scan_report", "scan_cancel"):
        assert "deleted" in (await agent.refused(tool, {"job_id": job}))["error"], tool
    assert "deleted" in (await agent.refused("task_output", {"task_id": job}))["error"]


async def test_what_was_given_is_in_no_line_of_the_log_no_event_and_no_refusal(agent: Agent, up: Up) -> None:
    secret = "hunter2-hunter2"
    assert (await agent.call("pool_spawn", name="discreet", worker_type="command", max_workers=1))["success"]
    ran = await agent.call("pool_execute", pool_id="discreet", prompt=f"echo --token={secret}")
    assert secret in ran["output"]  # which is the caller's own
    refused: list[tuple[str, dict[str, Any]]] = [
        ("pool_execute", {"pool_id": "discreet", "prompt": f"curl --token={secret}"}),
        ("pool_execute", {"pool_id": "discreet", "prompt": f"sleep {secret}"}),
        ("pool_execute", {"pool_id": "discreet", "prompt": "true", "timeout": secret}),
        ("scan_submit", {"git_url": f"https://me:{secret}@host.example/r", "tools": ["ruff"], "pool_id": "discreet"}),
        ("pool_store_memory", {"key": "k", "value": secret * 2000}),
    ]
    for tool, arguments in refused:
        shape = await agent.refused(tool, arguments)
        assert shape["success"] is False
        if "sleep" not in str(arguments):  # whose own words on stderr are the caller's
            assert secret not in json.dumps(shape), tool
    assert (await agent.call("pool_close", pool_id="discreet"))["success"]
    log = up.data.with_suffix(".log").read_text()
    assert '"tool call"' in log
    assert secret not in log
    events = await asyncio.to_thread(events_of, up)
    assert "involvedObject" in events
    assert secret not in events


def events_of(up: Up) -> str:
    with urllib.request.urlopen(f"{up.url}/api/v1/events", timeout=20) as answer:
        text: str = answer.read().decode()
        return text


async def test_clients_that_call_and_never_read_keep_nobody_else_waiting(agent: Agent, up: Up) -> None:
    parts = urlsplit(up.url)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}})
    head = f"POST /mcp HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    head += f"Accept: application/json, text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(3):
            deaf = stack.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.settimeout(20)
            deaf.connect((str(parts.hostname), parts.port))
            deaf.sendall((head + body).encode() * 120)  # 7 MB of answers, more than the kernel keeps for a connection
        for _ in range(3):
            assert (await asyncio.wait_for(agent.call("get_readiness"), 20))["ready"] is True
    assert (await agent.call("get_readiness"))["ready"] is True


def post(up: Up, body: bytes, **headers: str) -> tuple[int, bytes]:
    """One request to /mcp, whatever it is."""
    parts = urlsplit(up.url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)
    try:
        usual = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        connection.request("POST", "/mcp", body, {**usual, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"jsonrpc":"2.0"}', b"\xff" * 100, b"[" * 100_000, b'{"jsonrpc":"2.0","id":NaN}'],
    ids=["empty", "half", "list", "null", "no method", "bytes", "deep", "nan"],
)
def test_a_body_that_is_no_call_is_refused_and_told_no_secrets(up: Up, body: bytes) -> None:
    status, answer = post(up, body)
    assert 400 <= status < 500
    assert b"Traceback" not in answer


def test_a_timeout_that_is_no_number_is_refused(up: Up) -> None:
    arguments = '{"pool_id":"p","prompt":"true","timeout":NaN}'
    call = (
        f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"pool_execute","arguments":{arguments}}}}}'
    )
    status, answer = post(up, call.encode(), **{"MCP-Protocol-Version": "2025-06-18"})
    assert b'"success":true' not in answer.replace(b" ", b"").replace(b"\\", b"")
    assert status < 500
    assert b"Traceback" not in answer


def test_a_body_past_the_limit_is_refused(up: Up) -> None:
    status, _ = post(up, json.dumps({"a": "x" * 5_000_000}).encode())
    assert status == 413


@pytest.mark.parametrize(
    ("headers", "words"),
    [({"Host": "evil.example"}, b"evil.example"), ({"Origin": "http://evil.example"}, b"evil.example")],
    ids=["DNS rebinding", "a web page"],
)
def test_requests_of_web_pages_are_refused(up: Up, headers: dict[str, str], words: bytes) -> None:
    status, answer = post(up, b"{}", **headers)
    assert status == 403
    assert words in answer


async def test_after_all_that_it_still_works(agent: Agent) -> None:
    assert (await agent.call("get_readiness"))["ready"] is True
