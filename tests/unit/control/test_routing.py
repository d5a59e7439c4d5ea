"""Which pools a job may be given to, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mahavishnu_operator.api.reasons import Reason
from mahavishnu_operator.api.scanjob import Routing, ScanJobSpec
from mahavishnu_operator.api.workerpool import WorkerPoolSpec
from mahavishnu_operator.control.acceptance import Policy
from mahavishnu_operator.control.routing import SeenPool, may_have, with_worker
from mahavishnu_operator.resources.protocol import Key

POLICY = Policy(local_process=True, path_roots=(Path("/src"),), known_tools=("ruff",))
JOB = Key("team", "job")


def seen(name: str, *, namespace: str = "team", deleting: bool = False, **spec: Any) -> SeenPool:
    parsed = WorkerPoolSpec.model_validate({"backend": "local-process"} | spec)
    return SeenPool(Key(namespace, name), parsed, deleting=deleting, serves=tuple(parsed.allowed_namespaces))


def job(*argvs: list[str], **routing: Any) -> ScanJobSpec:
    tasks = [{"id": f"t{n}", "command": argv} for n, argv in enumerate(argvs or (["true"],))]
    return ScanJobSpec.model_validate({"routing": routing, "tasks": tasks})


REFUSED = SeenPool(Key("team", "b"), None, refusal="spec.replicas: too many")


@pytest.mark.parametrize(
    ("spec", "other", "words"),
    [
        (job(), seen("b"), ""),
        (job(), seen("b", suspend=True), "team/b is suspended"),
        (job(), seen("b", deleting=True), "team/b is being deleted"),
        (job(), REFUSED, "team/b was refused itself (spec.replicas: too many)"),
        (job(workerClass="fast"), seen("b", workerClass="fast"), ""),
        (job(workerClass="fast"), seen("b", workerClass="slow"), "team/b has workerClass slow, not fast"),
        (job(workerClass="fast"), seen("b"), "team/b has workerClass unset, not fast"),
        (job(pools=["b", "c"]), seen("b"), ""),
        (job(pools=["c"]), seen("b"), "there is no WorkerPool c for namespace team"),
        (job(["rm", "x"], ["true"]), seen("b", allowedCommands=["true"]), "team/b does not allow 'rm'"),
        (job(), seen("b", namespace="other", allowedNamespaces=["team"]), ""),
        (job(), seen("b", namespace="other", allowedNamespaces=["x"]), "none serves namespace team"),
        (job(pools=["b"]), seen("b", namespace="other"), "there is no WorkerPool b for namespace team"),
    ],
)
def test_a_pool_is_passed_over_for_a_reason_that_is_named(spec: ScanJobSpec, other: SeenPool, words: str) -> None:
    found, refusal = may_have(JOB, spec, [other], POLICY)
    assert (found == [other]) is (words == "")
    if refusal is not None:
        assert (refusal.reason, refusal.final) == (Reason.NO_POOL_MATCHES, False)
        assert words in refusal.message
    assert (refusal is None) is (words == "")


def test_a_pool_that_may_not_have_the_job_does_not_keep_it_from_one_that_may() -> None:
    good = seen("c")
    found, refusal = may_have(JOB, job(), [seen("a", suspend=True), good, REFUSED], POLICY)
    assert (found, refusal) == ([good], None)


def test_a_message_names_a_few_pools_and_counts_the_rest() -> None:
    _, refusal = may_have(JOB, job(), [seen(f"p{n}", suspend=True) for n in range(8)], POLICY)
    assert refusal is not None
    assert "team/p4 is suspended; and 3 more" in refusal.message


def test_nothing_is_told_of_pools_of_others() -> None:
    _, refusal = may_have(JOB, job(), [seen("secret", namespace="other", suspend=True)], POLICY)
    assert refusal is not None
    assert "secret" not in refusal.message


MINE, THEIRS = seen("a"), seen("a", namespace="other", allowedNamespaces=["team"])


@pytest.mark.parametrize(
    ("has", "expected"), [([MINE.key], [MINE]), ([THEIRS.key], [THEIRS]), ([], [MINE]), ([MINE.key, THEIRS.key], None)]
)
def test_a_named_worker_decides_between_pools_of_one_name(has: list[Key], expected: list[SeenPool] | None) -> None:
    routing = Routing.model_validate({"pools": ["a"], "workerName": "a-1"})
    assert list(with_worker(JOB, routing, [MINE, THEIRS], has)) == (expected or [MINE, THEIRS])


def test_without_a_named_worker_all_stay() -> None:
    assert list(with_worker(JOB, Routing(), [MINE, THEIRS], [])) == [MINE, THEIRS]
