"""Jobs that name no pool, through the whole engine."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from mahavishnu_operator.control.embedded import EmbeddedEngine
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, Key, Obj

from .engine_tools import DEADLINE, condition, ended, engine, manifest, poll, until, until_job

NOOP = ["builtin:noop"]


def pool(name: str, *, namespace: str = "default", **spec: Any) -> Obj:
    return manifest(
        "WorkerPool", Key(namespace, name), {"backend": "local-process", "drain": {"graceSeconds": 0}} | spec
    )


def routed(name: str, *argvs: list[str], routing: dict[str, Any] | None = None, **spec: Any) -> Obj:
    tasks = [{"id": f"t{number}", "command": argv} for number, argv in enumerate(argvs or (NOOP,))]
    return manifest("ScanJob", Key("default", name), {"routing": routing or {}, "tasks": tasks} | spec)


def accepted(status: dict[str, Any]) -> str:
    return next((c["message"] for c in status.get("conditions", []) if c["type"] == "Accepted"), "")


async def given_to(made: EmbeddedEngine, name: str) -> str:
    """The pool that a job's row in the store names, once it has one."""
    obj = await until_job(made, lambda status: "chosen by" in accepted(status), Key("default", name))
    [row] = [job for job in await made.store.open_jobs() if job.uid == obj["metadata"]["uid"]]
    assert accepted(obj["status"]).startswith(f"WorkerPool {row.pool} does the work")
    return row.pool


async def ready(made: EmbeddedEngine, *names: str) -> None:
    for name in names:
        await until(made, WORKER_POOL, Key("default", name), lambda obj: (obj.get("status") or {}).get("ready", 0) > 0)


async def test_routed_jobs_run_and_their_status_names_pool_and_strategy(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, pool("a", workerClass="slow"))
        await made.resources.create(WORKER_POOL, pool("b", workerClass="fast"))
        await made.resources.create(SCAN_JOB, routed("job", routing={"workerClass": "fast"}))
        status = await ended(made)
    assert status["phase"] == "Succeeded"
    assert accepted(status) == "WorkerPool default/b does the work, chosen by strategy least_loaded"


async def test_jobs_that_come_at_once_are_dealt_out_in_turn(tmp_path: Path) -> None:
    names = [f"job{n}" for n in range(9)]
    async with engine(tmp_path) as made:
        for name in "abc":
            await made.resources.create(WORKER_POOL, pool(name, replicas=0))
        jobs = [routed(name, routing={"strategy": "round_robin"}) for name in names]
        await asyncio.gather(*(made.resources.create(SCAN_JOB, job) for job in jobs))
        homes = Counter([await given_to(made, name) for name in names])
    assert homes == {"default/a": 3, "default/b": 3, "default/c": 3}


async def test_the_least_loaded_pool_is_given_the_next_job(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        for name in "ab":
            await made.resources.create(WORKER_POOL, pool(name, replicas=0))
        await made.resources.create(SCAN_JOB, routed("large", *[NOOP] * 5))
        await given_to(made, "large")
        for name in ("x", "y", "z"):
            await made.resources.create(SCAN_JOB, routed(name, NOOP))
        assert [await given_to(made, name) for name in ("large", "x", "y", "z")] == ["default/a", *["default/b"] * 3]


async def test_one_affinity_key_is_one_pool_and_a_restart_changes_no_choice(tmp_path: Path) -> None:
    jobs = {f"job{n}": {"strategy": "affinity", "affinityKey": f"repository-{n % 4}"} for n in range(8)}
    jobs |= {f"chance{n}": {"strategy": "random"} for n in range(4)}
    async with engine(tmp_path) as made:
        for name in "abc":
            await made.resources.create(WORKER_POOL, pool(name, replicas=0))
        for name, routing in jobs.items():
            await made.resources.create(SCAN_JOB, routed(name, routing=routing))
        homes = {name: await given_to(made, name) for name in jobs}
    assert all(homes[f"job{n}"] == homes[f"job{n + 4}"] for n in range(4))
    async with engine(tmp_path) as made:
        for name in "abc":  # one that would be chosen now, and one that would not
            change = {"suspend": True} if name == "a" else {"replicas": 1}
            await made.resources.merge(WORKER_POOL, Key("default", name), {"spec": change})
        for name in "defgh":
            await made.resources.create(WORKER_POOL, pool(name))
        rows = {job.name: job.pool for job in await made.store.open_jobs()}
        assert rows.items() <= homes.items()
        for name, home in homes.items():
            if home != "default/a":
                status = await ended(made, Key("default", name))
                assert accepted(status).startswith(f"WorkerPool {home} does the work")


async def test_a_job_that_no_pool_may_have_says_why_and_runs_once_one_may(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, pool("a", suspend=True))
        await made.resources.create(WORKER_POOL, pool("secret", namespace="other"))
        await made.resources.create(SCAN_JOB, routed("job"))
        obj = await until_job(made, lambda status: condition(status, "Accepted")[0] == "False")
        assert condition(obj["status"], "Accepted") == ("False", "NoPoolMatches")
        assert accepted(obj["status"]) == "no WorkerPool passes spec.routing: default/a is suspended; the job waits"
        allowed = {"spec": {"allowedNamespaces": ["default"]}}
        await made.resources.merge(WORKER_POOL, Key("other", "secret"), allowed)
        status = await ended(made)
    assert accepted(status) == "WorkerPool other/secret does the work, chosen by strategy least_loaded"


async def test_a_job_that_no_pool_may_have_times_out_in_the_queue(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(SCAN_JOB, routed("job", routing={"pools": ["a"]}, queueTimeoutSeconds=1))
        status = await ended(made)
    assert condition(status, "Failed") == ("True", "QueueTimedOut")
    message = next(c["message"] for c in status["conditions"] if c["type"] == "Failed")
    assert "there is no WorkerPool a for namespace default" in message


async def test_a_job_for_one_worker_is_run_by_it_alone(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, pool("a", replicas=2))
        await poll(lambda: len(made.dispatch.load("default/a").workers) == 2)
        mine, other = (worker.name for worker in made.dispatch.load("default/a").workers)
        job = routed("job", *[["true"]] * 6, routing={"pools": ["a"], "workerName": mine})
        await made.resources.create(SCAN_JOB, job)
        status = await ended(made)
        done = {worker.name: worker.tasks_done for worker in made.dispatch.load("default/a").workers}
    assert (status["phase"], done) == ("Succeeded", {mine: 6, other: 0})
    assert accepted(status).startswith(f"worker {mine} of WorkerPool default/a does the work")


async def test_a_job_for_a_worker_that_goes_says_so_until_it_times_out(tmp_path: Path) -> None:
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, pool("a", replicas=1))
        await ready(made, "a")
        [worker] = made.dispatch.load("default/a").workers
        routing = {"pools": ["a"], "workerName": worker.name}
        job = routed("job", ["true"], routing=routing, suspend=True, queueTimeoutSeconds=20)
        await made.resources.create(SCAN_JOB, job)
        await made.resources.merge(WORKER_POOL, Key("default", "a"), {"spec": {"replicas": 0}})
        await poll(lambda: not made.dispatch.load("default/a").workers)
        await made.resources.merge(SCAN_JOB, Key("default", "job"), {"spec": {"suspend": False}})
        await until_job(made, lambda status: condition(status, "Ready") == ("False", "WorkerNotFound"))
        async with asyncio.timeout(DEADLINE):
            status = await ended(made)
    assert condition(status, "Failed") == ("True", "QueueTimedOut")
    assert worker.name in next(c["message"] for c in status["conditions"] if c["type"] == "Failed")


async def test_namespaces_share_a_pool_before_their_jobs_do(tmp_path: Path) -> None:
    """One slot: the single job of one namespace is done while most of the many jobs of the other still wait."""
    many = [Key("default", f"job{n}") for n in range(12)]
    one = Key("other", "single")
    async with engine(tmp_path) as made:
        await made.resources.create(WORKER_POOL, pool("a", replicas=0, allowedNamespaces=["other"]))
        for key in [*many, one]:
            tasks = [{"id": f"t{n}", "command": ["true"]} for n in range(2)]
            spec = {"poolRef": {"name": "a", "namespace": "default"}, "tasks": tasks}
            await made.resources.create(SCAN_JOB, manifest("ScanJob", key, spec))
        await poll(lambda: made.dispatch.load("default/a").queued == 26)
        order: list[str] = []

        def ended_one(uid: str) -> None:
            progress = made.dispatch.progress(uid)
            if uid not in order and progress is not None and progress.done:
                order.append(uid)

        made.dispatch.on_job_changed(ended_one)
        await made.resources.merge(WORKER_POOL, Key("default", "a"), {"spec": {"replicas": 1}})
        for key in [*many, one]:
            await ended(made, key)
        single = (await made.resources.get(SCAN_JOB, one))["metadata"]["uid"]
    assert len(order) == 13
    assert order.index(single) <= 1  # two of its tasks, and as many of the twelve others
