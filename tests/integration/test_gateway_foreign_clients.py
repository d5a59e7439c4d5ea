"""Clients from npm and the oldest official one, on a gateway with a token: list, call, progress, cancel, refusal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastmcp import Client as FastClient
from fastmcp.client.transports import StreamableHttpTransport
from mcp import Client as OfficialClient
from mcp.client.streamable_http import streamable_http_client

from mahavishnu_operator.client import Client
from mahavishnu_operator.client.jobs import Job
from tests.clients.installing import HERE, node, node_packages, oldest_python

from .cli_tools import Up
from .gateway_tools import job_of, serving_agents
from .test_mcp_start import TOKEN, gateway_process

pytestmark = pytest.mark.timeout(900)  # the first run on a machine installs the clients
SECONDS = 60.0
TOOLS = {"pool_spawn", "pool_execute", "scan_submit", "worker_spawn", "get_readiness"}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with serving_agents(tmp_path_factory.mktemp("up")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(up: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `mahavishnu mcp start` before that server, which asks for the token."""
    folder = tmp_path_factory.mktemp("guarded")
    file = folder / "token"
    file.touch(mode=0o600)
    file.write_text(TOKEN)
    with gateway_process(up, folder, "--token-file", str(file)) as (url, _):
        yield f"{url}/mcp"


def run(*command: str | Path, code: int = 0, cwd: Path | None = None, home: Path | None = None) -> str:
    """What a client printed that ended with this code."""
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=quiet(home), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done.stdout if code == 0 else done.stdout + done.stderr


def quiet(home: Path | None = None) -> dict[str, str]:
    """Variables for a client that keeps things in that folder: no proxy, no settings of whoever runs the tests."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(home or "/nonexistent")}


async def the_job(up: Up, *command: str) -> Job:
    """The job of that command, ended."""
    async with Client.connect(up.url) as client:
        return await client.jobs.wait(await job_of(client, *command), timeout=30)


async def test_the_typescript_sdk_lists_calls_hears_progress_cancels_and_is_refused(up: Up, guarded: str) -> None:
    saw = json.loads(run(node(), HERE / "sdk_client.mjs", node_packages(), guarded, TOKEN, "typescript"))
    assert saw["server"]["name"] == "mahavishnu"
    assert set(saw["tools"]) >= TOOLS
    assert "mahavishnu://pools" in saw["resources"]
    assert "mahavishnu://jobs/{namespace}/{name}/report.sarif" in saw["templates"]
    assert saw["prompts"] == ["scan_and_explain", "explain_report"]
    assert (saw["spawned"]["pool_id"], saw["spawned"]["status"]) == ("default/typescript", "created")
    assert_rising([number for number, _ in saw["progress"]])
    assert (saw["ran"]["success"], saw["ran"]["output"], saw["ran"]["exit_code"]) == (True, "hi\n", 0)
    assert json.loads(saw["read"][0]["text"])["pool_id"] == "default/typescript"
    assert saw["wrong"]["isError"]
    assert "prompt: is missing" in saw["wrong"]["structuredContent"]["error"]
    assert "discover_tools" in saw["unknown"]["content"][0]["text"]
    assert "no longer wanted" in saw["cancelled"]
    assert saw["ended"]["status"] == "cancelled"
    assert saw["ended"]["job_id"] == str((await the_job(up, "sleep", "60")).key)
    for refused in (saw["without_token"], saw["wrong_token"]):
        assert refused["code"] == 401


def assert_rising(numbers: list[float]) -> None:
    """There are some, each greater than the one before, as the protocol wants it."""
    assert numbers
    assert numbers == sorted(set(numbers))


async def test_the_oldest_official_client_lists_calls_hears_progress_cancels_and_is_refused(
    up: Up, guarded: str
) -> None:
    saw = json.loads(run(oldest_python(), HERE / "oldest_client.py", guarded, TOKEN, "oldest"))
    assert (saw["client"], saw["version"]) == ("1.8.0", "2024-11-05")
    assert set(saw["tools"]) >= TOOLS
    assert saw["prompts"] == ["scan_and_explain", "explain_report"]
    assert "mahavishnu://jobs" in saw["resources"]
    assert saw["spawned"]["status"] == "created"
    assert_rising([number for _, number, _ in saw["progress"]])
    assert (saw["ran"]["success"], saw["ran"]["output"], saw["ran"]["exit_code"]) == (True, "hi\n", 0)
    assert saw["wrong"]["isError"]
    assert "prompt: is missing" in saw["wrong"]["error"]
    assert (await the_job(up, "sleep", "62")).phase.value == "Cancelled"
    for refused in (saw["without_token"], saw["wrong_token"]):
        assert "401 Unauthorized" in refused


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_the_newest_official_client_and_fastmcps_are_let_in_by_the_token_alone(guarded: str, mode: str) -> None:
    for token in (TOKEN, None, "not-the-token-of-this-gateway"):
        answered: list[int] = []
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with noting(answered, headers=headers) as http:
            official = streamable_http_client(guarded, http_client=http)
            await list_tools(OfficialClient(official, mode=mode), let_in=token == TOKEN)
        fast = StreamableHttpTransport(guarded, headers, httpx_client_factory=partial(noting, answered))
        await list_tools(FastClient(fast, mode=mode), let_in=token == TOKEN)
        assert (401 in answered, 200 in answered) == (token != TOKEN, token == TOKEN)


def noting(answered: list[int], **options: Any) -> httpx2.AsyncClient:
    """Connections for a client, which note the status of each answer: what clients say of a refusal is theirs."""

    async def note(response: httpx2.Response) -> None:
        answered.append(response.status_code)

    return httpx2.AsyncClient(event_hooks={"response": [note]}, **options)


async def list_tools(client: Any, *, let_in: bool) -> None:
    """It lists the tools, or cannot."""
    with nullcontext() if let_in else pytest.raises(Exception):
        async with client:
            assert "pool_execute" in str(await client.list_tools())


def inspection(url: str, method: str, *arguments: str, token: str | None = TOKEN) -> list[str]:
    """The Inspector's command line for one request."""
    launcher = node_packages() / "@modelcontextprotocol/inspector/clients/launcher/build/index.js"
    options = ["--stored-auth-only", "--transport", "http", "--server-url", url, "--method", method, "--format", "json"]
    given = ["--header", f"Authorization: Bearer {token}"] if token else []
    return [str(node()), str(launcher), "--cli", *options, *given, *arguments]


def inspect(url: str, method: str, *arguments: str, home: Path, **options: Any) -> Any:
    """What the Inspector answers."""
    return json.loads(run(*inspection(url, method, *arguments, **options), home=home))["result"]


def tool(name: str, /, *, era: str, **arguments: Any) -> list[str]:
    """Arguments of the Inspector for the call of a tool."""
    return ["--protocol-era", era, "--tool-name", name, "--tool-args-json", json.dumps(arguments)]


def test_the_inspector_lists_tools_without_an_error_in_their_schemas_resources_and_prompts(
    guarded: str, tmp_path: Path
) -> None:
    listed = inspect(guarded, "tools/list", "--strict", home=tmp_path)
    assert {each["name"] for each in listed["tools"]} >= TOOLS
    listed = inspect(guarded, "resources/list", home=tmp_path)
    assert [each["uri"] for each in listed["resources"]] == ["mahavishnu://pools", "mahavishnu://jobs"]
    prompt = ("--prompt-name", "scan_and_explain", "--prompt-args", "path=src")
    got = inspect(guarded, "prompts/get", *prompt, home=tmp_path)
    assert '{"path": "src"}' in got["messages"][0]["content"]["text"]


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_the_inspector_calls_is_told_what_was_wrong_and_cancels_when_it_is_interrupted(
    up: Up, guarded: str, tmp_path: Path, era: str
) -> None:
    pool = f"inspector-{era}"
    spawn = tool("pool_spawn", era=era, name=pool, worker_type="command", max_workers=1)
    assert inspect(guarded, "tools/call", *spawn, home=tmp_path)["structuredContent"]["status"] == "created"
    call = tool("pool_execute", era=era, pool_id=pool, prompt="echo hi")
    assert inspect(guarded, "tools/call", *call, home=tmp_path)["structuredContent"]["output"] == "hi\n"
    wrong = inspection(guarded, "tools/call", *tool("pool_execute", era=era, pool_id=pool))
    assert "prompt: is missing" in run(*wrong, code=5, home=tmp_path)
    sleep = "70" if era == "legacy" else "71"
    leaving = inspection(guarded, "tools/call", *tool("pool_execute", era=era, pool_id=pool, prompt=f"sleep {sleep}"))
    async with Client.connect(up.url) as client:
        with subprocess.Popen(leaving, env=quiet(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as it:
            job = await job_of(client, "sleep", sleep)
            it.send_signal(signal.SIGINT)
            await asyncio.to_thread(it.wait, SECONDS)
        assert (await client.jobs.wait(job, timeout=30)).phase.value == "Cancelled"


@pytest.mark.parametrize("token", [None, "not-the-token-of-this-gateway"], ids=["none", "wrong"])
def test_the_inspector_is_refused(guarded: str, tmp_path: Path, token: str | None) -> None:
    said = run(*inspection(guarded, "tools/list", token=token), code=3, home=tmp_path)
    assert '"auth_required"' in said
    assert "the token of this gateway" in said


def test_the_conformance_suite_passes_but_for_what_it_asks_of_a_server_of_its_own(up: Up, tmp_path: Path) -> None:
    suite = [str(node()), str(node_packages() / "@modelcontextprotocol/conformance/dist/index.js"), "server"]
    expected = ["--expected-failures", str(HERE / "conformance-baseline.yml")]
    said = run(*suite, "--url", f"{up.url}/mcp", "--suite", "all", *expected, cwd=tmp_path, home=tmp_path)
    passed = {line.split(":")[0][2:] for line in said.splitlines() if line.startswith("✓ ")}
    assert passed >= {
        "server-initialize",
        "ping",
        "logging-set-level",
        "tools-list",
        "tools-call-error",
        "resources-list",
        "prompts-list",
        "dns-rebinding-protection",
        "server-sse-multiple-streams",
    }
    assert "Total: 12 passed, 22 failed" in said
