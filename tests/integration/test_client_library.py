"""The client library, the same against `mahavishnu up` and against an operator on a real API server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from fastmcp import Client as McpClient
from fastmcp.client.transports import StdioTransport

from mahavishnu_operator.api.reasons import API_VERSION
from mahavishnu_operator.client import Client, Happened, Job, command_spec, scan_spec
from mahavishnu_operator.client.door import Way
from mahavishnu_operator.client.pools import PoolRefused
from mahavishnu_operator.control.embedded import EmbeddedEngine
from mahavishnu_operator.control.engine import EngineOptions
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, Key, Kind
from mahavishnu_operator.support.errors import Conflict, InvalidInput, NotFound

from .cli_tools import MAHAVISHNU, Up, environment, kill_workers, running_up
from .cli_tools import run as command
from .operator_tools import OperatorProcess, Site


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running_up(tmp_path_factory.mktemp("up") / "data", "--no-mcp") as running:
        yield running


@pytest.fixture
async def client(up: Up) -> AsyncIterator[Client]:
    async with Client.connect(up.url, created_by="alice") as connected:
        yield connected


async def run(client: Client, *argv: str, pool: Key) -> Job:
    job = await client.jobs.submit(command_spec(argv, pool=pool, timeout=30))
    return await client.jobs.wait(job, timeout=30)


async def work_through(client: Client, root: Path) -> None:
    """What a program does: a pool, a command, a scan, their results, and the end of the pool."""
    pool = await client.pools.spawn("scanners", min_workers=1, max_workers=2, backend="local-process", timeout=60)
    assert (pool.settled, pool.ready, pool.created_by) == (True, 1, "alice")
    assert [each.key for each in await client.pools.list(mine=True)] == [pool.key]

    ended = await run(client, "echo", "hello", pool=pool.key)
    assert (ended.phase.value, ended.pool) == ("Succeeded", str(pool.key))
    answer = await client.jobs.task(ended, "run")
    assert (answer.stdout, answer.exit_code, answer.status) == ("hello\n", 0, "succeeded")
    assert answer.worker.startswith(f"{pool.key}/")
    assert [row.id for row in await client.jobs.tasks(ended)] == ["run"]
    assert await client.jobs.output(ended, "run", offset=1, limit=3) == b"ell"
    with pytest.raises(NotFound):
        await client.jobs.task(ended, "other")

    job = await client.jobs.submit(scan_spec(["ruff"], path=str(root), pool=pool.key))
    scanned = await client.jobs.wait(job, timeout=60)
    assert (scanned.verdict, (scanned.findings or {})["total"]) == ("Failed", 1)
    report = await client.jobs.report(scanned)
    assert [finding.rule for each in report.reports for finding in each.findings] == ["F401"]
    assert b'"2.1.0"' in await client.jobs.sarif(scanned)

    assert (await client.pools.scale(pool.key, 2)).ready == 2
    await client.pools.close(pool.key)
    with pytest.raises(NotFound):
        await client.pools.get(pool.key)

    for value in ({"n": 1}, {"n": 2}):
        await client.notes.store("mine", "k", value, seconds=60)
    assert [(note.namespace, note.key, note.value) for note in await client.notes.all()] == [("mine", "k", {"n": 2})]
    await keep_what_is_declared(client)


async def keep_what_is_declared(client: Client) -> None:
    """A pool of this caller's label that a GitOps tool applies stays when all are closed."""
    key = Key(client.namespace, "declared")
    metadata = {"name": key.name, "namespace": key.namespace, "labels": client.maker.labels}
    spec = {"backend": "local-process", "minWorkers": 0, "maxWorkers": 0}
    pool = {"apiVersion": API_VERSION, "kind": WORKER_POOL.kind, "metadata": metadata, "spec": spec}
    await client.resources.apply(WORKER_POOL, pool, field_manager="kustomize-controller")
    assert await client.pools.close_all() == ([], {})
    with pytest.raises(Conflict, match=r"declared elsewhere \(Flux\)"):
        await client.pools.close(key)
    await client.pools.close(key, force=True)


def a_tree(root: Path) -> Path:
    root.mkdir(exist_ok=True)
    (root / "dirty.py").write_text("import os\n")
    return root


async def test_pools_jobs_and_results_beside_up(client: Client, tmp_path: Path) -> None:
    await work_through(client, a_tree(tmp_path / "tree"))


@pytest.mark.cluster
async def test_pools_jobs_and_results_in_the_engines_own_process(tmp_path: Path) -> None:
    options = EngineOptions(data_dir=tmp_path / "data", dispatch_port=0, enable_local_process=True, path_roots=None)
    nowhere = Way(Connection.from_url("http://127.0.0.1:9"), embedded=True)
    async with (
        EmbeddedEngine(options) as engine,
        Client(engine.resources, nowhere, created_by="alice", results=engine.results) as client,
    ):
        await work_through(client, a_tree(tmp_path / "tree"))


async def test_pools_jobs_and_results_on_a_cluster(operator: OperatorProcess, site: Site, root: Path) -> None:
    way = Way(site.resources.connection, url=operator.dispatcher)
    async with Client.over(way, namespace=site.namespace, created_by="alice") as client:
        await work_through(client, a_tree(root / "tree"))


@pytest.mark.cluster
async def test_the_command_line_does_the_same_on_a_cluster(operator: OperatorProcess, site: Site, root: Path) -> None:
    place = (
        "--kubeconfig",
        str(site.cluster.kubeconfig),
        "-n",
        site.namespace,
        "--dispatcher-url",
        operator.dispatcher,
    )
    async with Client.over(Way(site.resources.connection), namespace=site.namespace) as client:
        await client.pools.spawn("shell", max_workers=1, backend="local-process", timeout=60)
    done = command("pool", "execute", "shell", "-p", "echo there", *place, cwd=root)
    assert (done.returncode, done.stdout) == (0, "there\n"), done.stderr
    (row,) = json.loads(command("jobs", "list", "-o", "json", *place).stdout)
    assert (row["status"], row["pool_id"]) == ("succeeded", f"{site.namespace}/shell")
    assert command("jobs", "logs", row["job_id"], *place).stdout == "there\n"
    gateway = StdioTransport(
        MAHAVISHNU, ["mcp", "start", "--transport", "stdio", "--workspace", str(root), *place], env=environment()
    )
    async with McpClient(gateway) as agent:
        page = (await agent.call_tool("task_output", {"task_id": row["job_id"]})).structured_content or {}
        assert page["output"] == "there\n"
        ran = await agent.call_tool("pool_execute", {"pool_id": "shell", "prompt": "echo by stdio"})
        assert (ran.structured_content or {})["output"] == "by stdio\n"
    assert command("pool", "close", "shell", *place).returncode == 0


async def test_another_client_reads_what_it_did_not_make(client: Client, up: Up) -> None:
    pool = await client.pools.spawn("read", max_workers=1)
    ended = await run(client, "echo", "mine", pool=pool.key)
    async with Client.connect(up.url, created_by="bob") as other:
        for reader in (other, client, other):
            assert (await reader.jobs.task(ended, "run")).stdout == "mine\n"


async def test_a_pool_is_spawned_once_and_its_settings_follow(client: Client, up: Up) -> None:
    first = await client.pools.spawn("again", max_workers=1)
    second = await client.pools.spawn("again", max_workers=3, labels={"team": "red"})
    assert (second.uid, second.max_workers) == (first.uid, 3)
    async with Client.connect(up.url, created_by="bob") as other:
        with pytest.raises(Conflict, match="made by alice"):
            await other.pools.spawn("again")
        with pytest.raises(Conflict, match="not made by this caller"):
            await other.pools.close(first.key)
        assert await other.pools.close_all() == ([], {})
        await other.pools.close(first.key, force=True)


async def test_a_pool_that_can_never_have_workers_is_refused_and_not_left_behind(client: Client) -> None:
    with pytest.raises(PoolRefused, match="backend kubernetes"):
        await client.pools.spawn("pods", backend="kubernetes")
    with pytest.raises(NotFound):
        await client.pools.get(Key("default", "pods"))


async def test_a_pool_with_the_work_of_others_is_closed_by_force_alone(client: Client, up: Up) -> None:
    pool = await client.pools.spawn("shared", max_workers=1)
    async with Client.connect(up.url, created_by="bob") as other:
        job = await other.jobs.submit(command_spec(["sleep", "60"], pool=pool.key))
        with pytest.raises(Conflict, match="work of others: default/job-"):
            await client.pools.close(pool.key)
        assert (await other.jobs.get(job.key)).ended is False
        await other.jobs.cancel(job.key)
        assert (await other.jobs.wait(job, timeout=30)).phase.value == "Cancelled"
    await client.pools.close(pool.key)


async def test_closing_by_force_cancels_ones_own_work(client: Client) -> None:
    pool = await client.pools.spawn("forced", max_workers=1)
    job = await client.jobs.submit(command_spec(["sleep", "60"], pool=pool.key))
    with pytest.raises(Conflict, match="still has work"):
        await client.pools.close(pool.key, timeout=0.2)
    await client.pools.close(pool.key, force=True)
    assert (await client.jobs.wait(job, timeout=30)).phase.value == "Cancelled"


async def test_waiting_ends_when_the_time_is_up_or_the_job_is_deleted(client: Client) -> None:
    job = await client.jobs.submit(command_spec(["true"], pool=Key("default", "nowhere")))
    waited = await client.jobs.wait(job, timeout=0.2)
    assert (waited.ended, waited.reason) == (False, "PoolNotFound")
    waiting = asyncio.create_task(client.jobs.wait(job, timeout=30))
    await asyncio.sleep(0)
    await client.resources.delete(*_of(job))
    with pytest.raises(NotFound):
        await waiting


async def test_scaling_stays_within_the_range(client: Client) -> None:
    pool = await client.pools.spawn("ranged", max_workers=2)
    with pytest.raises(InvalidInput, match="1 to 2 workers, not 3"):
        await client.pools.scale(pool.key, 3)


async def test_what_happens_is_told_in_order(client: Client) -> None:
    told: list[Happened] = []
    listening = asyncio.Event()

    async def listen() -> None:
        async with aclosing(client.events()) as events:
            async for event in events:
                if event.key.name == "heard-first":
                    listening.set()
                if event.key.name in ("heard", "heard-job"):
                    told.append(event.what)
                if event.what is Happened.POOL_CLOSED and event.key.name == "heard":
                    return

    hearing = asyncio.create_task(listen())
    async with asyncio.timeout(60):
        await until_heard(client, "heard-first", listening)
        pool = await client.pools.spawn("heard", max_workers=1)
        job = await client.jobs.submit(command_spec(["true"], pool=pool.key), name="heard-job")
        await client.jobs.wait(job, timeout=30)
        await client.pools.close(pool.key)
        await hearing
    assert told[0] is Happened.POOL_SPAWNED
    assert told[-1] is Happened.POOL_CLOSED
    for first, second in (
        (Happened.JOB_SUBMITTED, Happened.TASK_COMPLETED),
        (Happened.TASK_COMPLETED, Happened.JOB_COMPLETED),
        (Happened.POOL_SCALED, Happened.POOL_CLOSED),
    ):
        assert told.index(first) < told.index(second)


async def until_heard(client: Client, name: str, listening: asyncio.Event) -> None:
    """Make jobs of that name until somebody who listens has heard of one: what was before that is not told."""
    while not listening.is_set():
        await client.jobs.submit(command_spec(["true"], pool=Key("default", "none")), name=name)
        await asyncio.wait({asyncio.create_task(listening.wait())}, timeout=0.5)
        await client.jobs.cancel(Key("default", name))
        await client.resources.delete(*_of(await client.jobs.get(Key("default", name))))


async def test_a_worker_that_dies_and_tasks_that_are_given_out_are_told(client: Client, up: Up) -> None:
    heard = {
        each: asyncio.Event() for each in (Happened.JOB_SUBMITTED, Happened.TASK_DELEGATED, Happened.WORKER_FAILED)
    }

    async def listen() -> None:
        async with aclosing(client.events()) as events:
            async for event in events:
                if event.key.name in ("mortal-first", "mortal", "mortal-job") and event.what in heard:
                    heard[event.what].set()

    pool = await client.pools.spawn("mortal", max_workers=1)
    hearing = asyncio.create_task(listen())
    async with asyncio.timeout(60):
        await until_heard(client, "mortal-first", heard[Happened.JOB_SUBMITTED])
        job = await client.jobs.submit(command_spec(["sleep", "60"], pool=pool.key), name="mortal-job")
        await heard[Happened.TASK_DELEGATED].wait()
        assert not heard[Happened.WORKER_FAILED].is_set()
        await asyncio.to_thread(kill_workers, up, "mortal-")
        await heard[Happened.WORKER_FAILED].wait()
    hearing.cancel()
    await asyncio.wait({hearing})
    await client.jobs.cancel(job.key)
    await client.pools.close(pool.key, force=True)


def _of(job: Job) -> tuple[Kind, Key]:
    return SCAN_JOB, job.key
