"""No field can be forgotten: it is acted on, or it is refused by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from mahavishnu_operator.api.implemented import ACTED_ON, NOT_YET, unsupported_fields
from mahavishnu_operator.api.schema import MODELS, kind_schema
from mahavishnu_operator.api.validation import admit
from tests.manifest_cases import Manifest, job, pool, scan, task


def leaves(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The paths of all fields that have no fields of their own."""
    if schema.get("type") == "array" and "properties" in schema["items"]:
        schema, path = schema["items"], f"{path}[]"
    if "properties" not in schema:
        yield path
        return
    for name, child in schema["properties"].items():
        yield from leaves(child, f"{path}.{name}" if path else name)


def covers(declared: str, path: str) -> bool:
    return path == declared or path.startswith((f"{declared}.", f"{declared}[]"))


@pytest.mark.parametrize("kind", MODELS)
def test_every_field_is_either_acted_on_or_refused_by_name(kind: str) -> None:
    declared = [*ACTED_ON[kind], *NOT_YET[kind]]
    fields = list(leaves(kind_schema(kind)["properties"]["spec"]))
    assert len(fields) > 20
    assert {
        path: [d for d in declared if covers(d, path)] for path in fields if sum(covers(d, path) for d in declared) != 1
    } == {}
    assert [d for d in declared if not any(covers(d, path) for path in fields)] == []


SSH = {"git": {"url": "ssh://git@h/r", "credentialsSecretRef": {"name": "s"}}}
PRIVATE = {"git": {"url": "https://h/r", "credentialsSecretRef": {"name": "s"}}}
VOLUME = {"persistentVolumeClaim": {"claimName": "c"}}
WORKTREE = [{"id": "a", "command": ["true"]}, {"id": "b", "command": ["true"], "workspace": "Worktree"}]


@pytest.mark.parametrize(
    ("manifest", "fields"),
    [
        (pool(workerType="terminal-claude"), ["spec.workerType"]),
        (pool(memory={"enabled": True, "readFrom": ["a"]}), ["spec.memory.enabled", "spec.memory.readFrom"]),
        (scan(changedSince="main"), ["spec.scan.changedSince"]),
        (scan(incremental={"enabled": True}), ["spec.scan.incremental.enabled"]),
        (task(prompt="x", files=["a"]), ["spec.tasks[0].prompt", "spec.tasks[0].files"]),
        (task(inputRef={"sha256": "0" * 64}), ["spec.tasks[0].inputRef"]),
        (job(tasks=WORKTREE, source={"path": "/srv"}), ["spec.tasks[1].workspace"]),
    ],
)
def test_a_field_of_a_later_version_is_named(manifest: Manifest, fields: list[str]) -> None:
    admitted, _ = admit(manifest["kind"], manifest)
    assert unsupported_fields(manifest["kind"], admitted["spec"]) == fields


@pytest.mark.parametrize(
    "manifest",
    [
        pool(recycle={"maxTasks": 3, "maxAgeSeconds": 60}, retireWorkers=["a"]),
        pool(workerClass="fast", replicas=3, drain={"graceSeconds": 5}, localProcess={"memoryLimitMiB": 64}),
        pool(autoscaling={"mode": "Internal"}, allowedCommands=["any"], allowedNamespaces=["team"], memory={}),
        scan(exclude=["*.md"], chunking={"mode": "Fixed"}, incremental={}, failOn="note"),
        job(
            poolRef=..., routing={"strategy": "affinity", "affinityKey": "repo", "workerClass": "fast", "pools": ["a"]}
        ),
        scan(SSH),
        scan(PRIVATE),
        scan(VOLUME),
        job(priority=3, parallelism=1, ttlSecondsAfterFinished=0, queueTimeoutSeconds=5, suspend=True),
    ],
)
def test_what_is_acted_on_and_every_default_are_not_named(manifest: Manifest) -> None:
    admitted, _ = admit(manifest["kind"], manifest)
    assert unsupported_fields(manifest["kind"], admitted["spec"]) == []
    assert unsupported_fields(manifest["kind"], manifest["spec"]) == []
