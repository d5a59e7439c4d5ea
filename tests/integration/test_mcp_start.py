"""`mahavishnu mcp start`: who is let in, and that any replica answers any call."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from fastmcp import Client as FastClient
from fastmcp.client.auth import BearerAuth
from fastmcp.client.transports import StreamableHttpTransport

from mahavishnu_operator.client import Client

from .cli_tools import Up, environment, find_said, run, running_gateway, running_up
from .forked_command import RunningCommand
from .gateway_tools import Agent, agent_of, job_of

TOKEN = "a-token-of-more-than-16-characters"


@contextmanager
def gateway_process(up: Up, folder: Path, *options: str) -> Iterator[tuple[str, RunningCommand]]:
    """`mahavishnu mcp start` on a free port."""
    log = folder / f"gateway-{time.monotonic_ns()}.log"
    told = ("--server", up.url, "--workspace", str(folder), *options)
    with running_gateway(*told, log=log) as serving:
        yield serving


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running_up(tmp_path_factory.mktemp("up") / "data", "--no-mcp") as running:
        yield running


def fetch(url: str, **headers: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


async def test_any_replica_answers_any_call_and_one_that_is_killed_takes_nothing_with_it(
    up: Up, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        first, dying = stack.enter_context(gateway_process(up, tmp_path))
        second, _ = stack.enter_context(gateway_process(up, tmp_path))
        async with agent_of(first) as one, agent_of(second) as two:
            assert (await one.call("pool_spawn", name="p", worker_type="command", max_workers=1))["success"]
            ran = await two.call("pool_execute", pool_id="p", prompt="echo seen")
            assert ran["output"] == "seen\n"
            assert (await one.call("task_output", task_id=ran["task_id"]))["output"] == "seen\n"
            (worker,) = (await one.call("worker_spawn", worker_type="command"))["worker_ids"]
            for mode in ("2026-07-28", "legacy"):
                async with in_turn(first, second, mode=mode) as both:
                    ran = await both.call("pool_execute", pool_id="p", prompt=f"echo {mode}")
                    pages = [await both.call("task_output", task_id=ran["task_id"]) for _ in range(2)]
                    assert [page["output"] for page in pages] == [f"{mode}\n"] * 2
                    rows = [await both.call(tool) for tool in ("pool_list", "worker_list") for _ in range(2)]
                    assert (rows[0], rows[2]) == (rows[1], rows[3])
            await one.call("dispatch_to_pool", prompt="sleep 1", workflow_id="w")
            dying.kill()
            dying.wait()
            assert (await two.call("worker_execute", worker_id=worker, prompt="echo still"))["output"] == "still\n"
            assert (await two.call("worker_close_all"))["closed_count"] == 1
            job = next(row for row in await two.call("scan_list") if "/workflow-" in row["job_id"])
            assert (await two.call("scan_wait", job_id=job["job_id"], timeout=30))["status"] == "succeeded"
            assert (await two.call("workflow_result", workflow_id="w"))["status"] == "completed"
            assert (await two.call("pool_spawn", name="p", worker_type="command", max_workers=2))["max_workers"] == 2


async def test_a_replica_that_is_rolled_cancels_nothing(up: Up, tmp_path: Path) -> None:
    async with Client.connect(up.url) as client:
        with gateway_process(up, tmp_path) as (url, rolled):
            await client.pools.spawn("rolled", max_workers=1)
            with suppress(httpx2.HTTPError):  # which a client says of its connections when it is closed, too
                async with agent_of(url) as agent:
                    call = asyncio.create_task(agent.call("pool_execute", pool_id="rolled", prompt="sleep 1.5"))
                    job = await job_of(client, "sleep", "1.5")
                    rolled.terminate()
                    await asyncio.gather(call, return_exceptions=True)
                    assert await asyncio.to_thread(rolled.wait, 30) == 0
        assert (await client.jobs.wait(job, timeout=30)).phase.value == "Succeeded"


class InTurn(httpx2.AsyncHTTPTransport):
    """Each request to the next of some ports, as a Service without affinity sends connections."""

    def __init__(self, ports: Iterable[int]) -> None:
        super().__init__()
        self._ports = itertools.cycle(ports)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.url = request.url.copy_with(port=next(self._ports))
        return await super().handle_async_request(request)


@asynccontextmanager
async def in_turn(*urls: str, mode: str) -> AsyncIterator[Agent]:
    """One agent whose requests go to these gateways in turn."""
    transport = InTurn([int(urlsplit(url).port or 0) for url in urls])

    connections = partial(httpx2.AsyncClient, transport=transport)
    http = StreamableHttpTransport(f"{urls[0]}/mcp", httpx_client_factory=connections)
    async with FastClient(http, mode=mode) as client:
        yield Agent(client)


async def test_with_a_token_nobody_else_is_let_in(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(f"{TOKEN}\n")
    with gateway_process(up, tmp_path, "--token-file", str(file)) as (url, _):
        for headers in ({}, {"Authorization": "Bearer nothing"}, {"Authorization": TOKEN}):
            assert fetch(f"{url}/mcp", **headers)[0] == 401
        assert fetch(f"{url}/metrics")[0] == 401
        async with agent_of(url, auth=BearerAuth(TOKEN)) as agent:
            assert (await agent.call("get_readiness"))["ready"] is True
        assert json.loads(fetch(f"{url}/healthz")[1]) == {"status": "ok"}
        health = json.loads(fetch(f"{url}/health")[1])
        assert (health["status"], health["service"]) == ("ok", "mahavishnu")
        assert fetch(f"{url}/readyz")[0] == 200
        _, metrics = fetch(f"{url}/metrics", Authorization=f"Bearer {TOKEN}")
        assert b'mahavishnu_gateway_calls_total{outcome="answered",tool="get_readiness"} 1.0' in metrics
        for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
            assert fetch(f"{url}/health", **headers)[0] == 403


async def test_up_lets_in_by_its_token_alone_too(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(f"{TOKEN}\n")
    with running_up(tmp_path / "data", "--token-file", str(file)) as up:
        for path in ("mcp", "metrics", "apis/mahavishnu.dev/v1alpha1/workerpools", "results/v1/jobs/x/tasks"):
            assert fetch(f"{up.url}/{path}")[0] == 401
        assert fetch(f"{up.url}/healthz")[0] == 200
        refused, pools = up.run("pool", "list"), run("pool", "list", MAHAVISHNU_URL=up.url, MAHAVISHNU_TOKEN=TOKEN)
        assert (refused.returncode, "a bearer token is needed" in refused.stderr) == (1, True)
        assert (pools.returncode, "no pools" in pools.stderr) == (0, True)
        async with agent_of(up.url, auth=BearerAuth(TOKEN)) as agent:
            assert (await agent.call("pool_spawn", name="p", worker_type="command", max_workers=1))["success"]
            assert (await agent.call("pool_execute", pool_id="p", prompt="echo let in"))["output"] == "let in\n"
        through = ("pool", "execute", "p", "-p", "echo in")
        assert run(*through, MAHAVISHNU_URL=up.url, MAHAVISHNU_TOKEN=TOKEN).stdout == "in\n"
    file.chmod(0o644)
    done = run("up", "--data", tmp_path / "data", "--token-file", file)
    assert (done.returncode, "others can read" in done.stderr) == (2, True)


async def test_a_gateway_serves_its_own_namespace_alone(up: Up, tmp_path: Path) -> None:
    with gateway_process(up, tmp_path, "--namespace", "team") as (url, _):
        async with agent_of(url) as agent:
            assert (await agent.call("pool_spawn", name="p", worker_type="command"))["pool_id"] == "team/p"
            assert [row["pool_id"] for row in await agent.call("pool_list")] == ["team/p"]
            for tool, arguments in (("pool_close", {"pool_id": "default/p"}), ("pool_spawn", {"namespace": "default"})):
                refused = await agent.refused(tool, arguments)
                assert "serves namespace team alone" in refused["error"]


async def test_without_a_server_a_gateway_says_so_to_whoever_asks(tmp_path: Path) -> None:
    gone = Up(subprocess.Popen(["true"], text=True), "http://127.0.0.1:9", tmp_path)
    with gateway_process(gone, tmp_path) as (url, _):
        assert fetch(f"{url}/healthz")[0] == 200
        assert fetch(f"{url}/readyz")[0] == 503
        async with agent_of(url) as agent:
            answer = await agent.client.call_tool("pool_list", {}, raise_on_error=False)
            assert answer.is_error
            assert "cannot be reached" in (answer.structured_content or {})["error"]
            health = await agent.call("pool_health")
            assert (health["status"], "cannot be reached" in health["error"]) == ("unhealthy", True)
    gone.process.wait()


@pytest.mark.parametrize("host", ["0.0.0.0", "gateway.example", "192.0.2.1"])
def test_off_loopback_it_does_not_start_without_a_token(host: str) -> None:
    done = run("mcp", "start", "--host", host)
    assert done.returncode == 2
    assert "whoever reaches it runs commands" in done.stderr
    assert "--token-file" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--server", "http://127.0.0.1:9"), "needs a cluster"),
        (("--transport", "stdio"), "you are who your kubeconfig says"),
        (("--host", "0.0.0.0"), "--tls-cert"),
    ],
)
def test_where_no_token_can_be_reviewed_it_does_not_start(options: tuple[str, ...], words: str) -> None:
    done = run("mcp", "start", "--auth", "token-review", *options)
    assert done.returncode == 2
    assert words in done.stderr


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [("short", 0o600, "has 5 characters"), (TOKEN, 0o644, "others can read"), ("\n", 0o600, "there is no token")],
)
def test_a_token_that_protects_nothing_is_refused(tmp_path: Path, text: str, mode: int, words: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(mode)
    done = run("mcp", "start", "--token-file", file)
    assert done.returncode == 2
    assert words in done.stderr
    assert TOKEN not in done.stderr


def test_a_workspace_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = run("mcp", "start", "--workspace", tmp_path / "gone")
    assert (done.returncode, "is not a folder" in done.stderr) == (2, True)


WITHOUT = """#!{python}
import sys
sys.modules["fastmcp"] = None  # as where it is not installed
from mahavishnu_operator.cli.entry import main
main()
"""


def test_where_the_library_is_not_installed_up_serves_all_else_and_says_so(tmp_path: Path) -> None:
    program = tmp_path / "mahavishnu"
    program.write_text(WITHOUT.format(python=sys.executable))
    program.chmod(0o755)
    for arguments in (["mcp", "start"], ["up", "--mcp", "--data", str(tmp_path / "data")]):
        done = subprocess.run(
            [str(program), *arguments], env=environment(), capture_output=True, text=True, check=False
        )
        assert (done.returncode, "mahavishnu-operator[gateway]" in done.stderr) == (2, True)
    with running_up(tmp_path / "data", program=str(program)) as up:
        find_said(up.process, tmp_path / "data.log", r"(agents are not served)")
        assert fetch(f"{up.url}/mcp")[0] == 404
        assert fetch(f"{up.url}/healthz")[0] == 200
