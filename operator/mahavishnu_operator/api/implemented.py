"""What this version acts on. Everything else in the schema is refused by name, never passed over in silence.

The pressure: the schema has the fields of versions to come, so that manifests need not be rewritten; a field that
is accepted and ignored would be a lie about what runs. What must stay true: every leaf of both specs is in exactly
one of the two tables below (a test walks the models), and a field left at its default never counts: the API
server fills defaults in, so a default cannot be told from a wish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Asks = Callable[[Any], bool]


def _other_than(*values: Any) -> Asks:
    return lambda value: value not in values


def _anything(value: Any) -> bool:
    return value not in (None, [], {}, False)


# Paths under spec; `[]` for the items of a list; a path covers everything below it.
ACTED_ON: Mapping[str, tuple[str, ...]] = {
    "WorkerPool": (
        "workerClass",
        "minWorkers",
        "maxWorkers",
        "replicas",
        "slotsPerWorker",
        "isolation",
        "autoscaling",
        "drain.graceSeconds",
        "recycle",
        "retireWorkers",
        "allowedCommands",
        "allowedNamespaces",
        "localProcess.memoryLimitMiB",
        "localProcess.outputLimitBytes",
        "kubernetes.image",
        "kubernetes.resources",
        "kubernetes.env",
        "kubernetes.envFrom",
        "kubernetes.nodeSelector",
        "kubernetes.tolerations",
        "kubernetes.affinity",
        "kubernetes.priorityClassName",
        "kubernetes.imagePullSecrets",
        "kubernetes.runtimeClassName",
        "kubernetes.networkPolicy",
        "memory.knownGoodSeconds",  # without effect while memory.enabled is false, which alone is accepted
        "suspend",
    ),
    "ScanJob": (
        "poolRef",
        "routing",
        "source",
        "scan.tools",
        "scan.include",
        "scan.exclude",
        "scan.incremental.fullScanIntervalDays",  # without effect while incremental.enabled is false
        "scan.incremental.fallbackToFull",
        "scan.incremental.wholeProgramTools",
        "scan.chunking",
        "scan.failOn",
        "tasks[].id",
        "tasks[].command",
        "tasks[].priority",
        "timeoutSeconds",
        "taskTimeoutSeconds",
        "queueTimeoutSeconds",
        "maxAttempts",
        "priority",
        "parallelism",
        "suspend",
        "cancel",
        "ttlSecondsAfterFinished",
    ),
}

# Paths under spec -> which values ask for what is not done yet.
NOT_YET: Mapping[str, Mapping[str, Asks]] = {
    "WorkerPool": {
        "backend": _other_than("local-process", "kubernetes"),
        "workerType": _other_than("command"),
        "sessionBuddy": _other_than(None),
        "memory.enabled": _anything,
        "memory.readFrom": _anything,
    },
    "ScanJob": {
        "scan.changedSince": _anything,
        "scan.incremental.enabled": _anything,
        "tasks[].prompt": _anything,
        "tasks[].inputRef": _other_than(None),
        "tasks[].files": _anything,
        "tasks[].workspace": _other_than("Shared"),
    },
}


def unsupported_fields(kind: str, spec: Mapping[str, Any]) -> list[str]:
    """The paths that are set, and that this version does not act on: `spec.tasks[3].prompt`. Empty: all is acted on."""
    return [
        path
        for pattern, asks in NOT_YET[kind].items()
        for path, value in _values(spec, pattern.replace("[]", ".[]").split("."), "spec")
        if value is not None and asks(value)
    ]


def _values(value: Any, steps: list[str], path: str) -> Iterator[tuple[str, Any]]:
    """Every place that the steps lead to, with its path and value."""
    if not steps:
        yield path, value
    elif steps[0] == "[]":
        for index, item in enumerate(value if isinstance(value, list) else ()):
            yield from _values(item, steps[1:], f"{path}[{index}]")
    elif isinstance(value, Mapping) and steps[0] in value:
        yield from _values(value[steps[0]], steps[1:], f"{path}.{steps[0]}")
