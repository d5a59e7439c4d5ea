from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mahavishnu_operator.api.reasons import Reason
from mahavishnu_operator.control.acceptance import Policy, parse_job, parse_pool, refuse_by_pool, resolve_path
from mahavishnu_operator.resources.protocol import Key

POLICY = Policy(local_process=True, path_roots=(Path("/src"),), known_tools=("bandit", "codespell", "ruff"))
POOL = {"backend": "local-process"}
SCAN: dict[str, Any] = {"poolRef": {"name": "p"}, "source": {"path": "/src"}, "scan": {"tools": ["ruff"]}}


def tasks(*argvs: list[str], **fields: Any) -> dict[str, Any]:
    return {"poolRef": {"name": "p"}, "tasks": [{"id": f"t{n}", "command": a} for n, a in enumerate(argvs)]} | fields


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        (POOL, None, ""),
        ({"backend": "session-buddy"}, Reason.NOT_IMPLEMENTED, "backend"),
        ({"backend": "kubernetes"}, Reason.BACKEND_DISABLED, "--worker-image"),
        ({"backend": "local-process", "minWorkers": 5, "maxWorkers": 1}, Reason.INVALID, "spec.minWorkers is 5"),
        ({"backend": "local-process", "replicas": "3"}, Reason.INVALID, "spec.replicas"),
        ({"backend": "local-process", "colour": "red"}, Reason.INVALID, "colour"),
        ({}, Reason.INVALID, "backend"),
    ],
)
def test_pools(spec: dict[str, Any], reason: Reason | None, words: str) -> None:
    _, refusal = parse_pool(spec, POLICY)
    assert (refusal.reason if refusal else None) == reason
    assert refusal is None or words in refusal.message


def test_a_spec_that_is_too_large_for_status_and_store_is_refused() -> None:
    _, refusal = parse_job(tasks(*[["echo", "x" * 1000]] * 300), POLICY)
    assert refusal is not None
    assert "at most 262144" in refusal.message


def test_local_workers_can_be_switched_off() -> None:
    _, refusal = parse_pool(POOL, Policy())
    assert refusal is not None
    assert refusal.reason is Reason.BACKEND_DISABLED
    assert "--enable-local-process --path-root" in refusal.message


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        (SCAN, None, ""),
        (tasks(["true"]), None, ""),
        (tasks(["true"]) | {"poolRef": None, "routing": {}}, None, ""),
        (SCAN | {"routing": {"strategy": "random"}}, Reason.INVALID, "exactly one of spec.poolRef and spec.routing"),
        ({"scan": SCAN["scan"], "source": SCAN["source"]}, Reason.INVALID, "spec.poolRef and spec.routing"),
        ({"poolRef": {"name": "p"}}, Reason.INVALID, "spec.scan and spec.tasks"),
        (SCAN | {"source": None}, Reason.INVALID, "spec.source is missing"),
        (SCAN | {"scan": {"tools": ["ruff", "nose"]}}, Reason.INVALID, "names nose, which nobody here knows"),
        (tasks(["true"]) | {"tasks": [{"id": "a", "command": ["true"]}] * 2}, Reason.INVALID, "more than once"),
    ],
)
def test_jobs(spec: dict[str, Any], reason: Reason | None, words: str) -> None:
    _, refusal = parse_job(spec, POLICY)
    assert (refusal.reason if refusal else None) == reason
    assert refusal is None or words in refusal.message


@pytest.mark.parametrize(
    ("pool", "namespace", "reason", "final"),
    [
        (POOL, "a", None, True),
        (None, "a", Reason.POOL_NOT_FOUND, False),
        ({"backend": "local-process", "minWorkers": 5, "maxWorkers": 1}, "a", Reason.POOL_NOT_ACCEPTED, False),
        (POOL, "b", Reason.NAMESPACE_NOT_ALLOWED, True),
        (POOL | {"allowedNamespaces": ["b"]}, "b", None, True),
    ],
)
def test_what_the_pool_says(pool: dict[str, Any] | None, namespace: str, reason: Reason | None, final: bool) -> None:
    spec, _ = parse_job(SCAN | {"poolRef": {"name": "p", "namespace": "a"}}, POLICY)
    assert spec is not None
    refusal = refuse_by_pool(Key(namespace, "job"), spec, Key("a", "p"), pool, POLICY)
    assert (refusal.reason if refusal else None) == reason
    assert refusal is None or refusal.final is final


def test_a_job_for_a_switched_off_backend_does_not_wait() -> None:
    spec, _ = parse_job(SCAN, POLICY)
    assert spec is not None
    refusal = refuse_by_pool(Key("a", "job"), spec, Key("a", "p"), POOL, Policy(known_tools=("ruff",)))
    assert refusal is not None
    assert (refusal.reason, refusal.final) == (Reason.BACKEND_DISABLED, True)


@pytest.mark.parametrize(
    ("argv", "allowed", "refused"),
    [
        (["true"], [], False),
        (["ruff", "check"], [], False),
        (["rm", "-rf", "/"], [], True),
        (["/bin/true"], [], True),
        (["./true"], ["true"], True),
        (["true"], ["echo"], True),
        (["/bin/rm"], ["any"], False),
        (["builtin:noop"], ["echo"], False),
        (["builtin:noop", "x"], ["any"], True),
        (["builtin:other"], ["any"], True),
    ],
)
def test_commands(argv: list[str], allowed: list[str], refused: bool) -> None:
    spec, _ = parse_job(tasks(["true"] if "true" in allowed or not allowed else ["builtin:noop"], argv), POLICY)
    assert spec is not None
    refusal = refuse_by_pool(Key("a", "job"), spec, Key("a", "p"), POOL | {"allowedCommands": allowed}, POLICY)
    assert (refusal is not None) is refused
    if refusal is not None:
        assert refusal.reason is Reason.COMMAND_NOT_ALLOWED
        assert repr(argv[0]) in refusal.message


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("{root}", True),
        ("{root}/inside", True),
        ("{root}/not/there/yet", True),
        ("{root}/link", False),
        ("{root}/../outside", False),
        ("{root}-beside", False),
        ("/etc", False),
    ],
)
def test_paths_are_followed_before_they_are_judged(tmp_path: Path, path: str, allowed: bool) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "inside").mkdir(parents=True)
    outside.mkdir()
    (root / "link").symlink_to(outside)
    _, refusal = resolve_path(path.format(root=root), Policy(path_roots=(root,)))
    assert (refusal is None) is allowed
    assert refusal is None or refusal.reason is Reason.PATH_NOT_ALLOWED


def test_a_root_may_itself_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    real, refusal = resolve_path(str(tmp_path / "root"), Policy(path_roots=(tmp_path / "root",)))
    assert (real, refusal) == (str(tmp_path / "real"), None)


def test_without_roots_any_folder_may_be_read() -> None:
    assert resolve_path("/etc", Policy(path_roots=None))[1] is None


def test_with_no_root_named_none_may() -> None:
    assert resolve_path("/etc", Policy(path_roots=()))[1] is not None


def test_what_no_file_system_can_name_is_refused_for_good() -> None:
    for path in ("/srv/\0", "/srv/\ud800"):
        _, refusal = resolve_path(path, Policy(path_roots=None))
        assert refusal is not None
        assert (refusal.reason, refusal.final) == (Reason.INVALID, True)
        assert refusal.message.isprintable()
