"""Specs of ScanJobs as the client makes them, in the words of the YAML; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mahavishnu_operator.api.reasons import Level
from mahavishnu_operator.resources.protocol import Key, Obj

COMMAND_TASK = "run"
KEPT_SECONDS = 300  # a job after its end, unless told otherwise
ROUNDING_SECONDS = 2  # times of creation are whole seconds: a command's own limit shall be the first to be met
LONGEST_SECONDS = 7 * 24 * 3600


def command_spec(
    argv: Sequence[str],
    *,
    pool: Key | None = None,
    routing: Obj | None = None,
    path: str | None = None,
    timeout: float = 300.0,
    kept_seconds: int = KEPT_SECONDS,
) -> Obj:
    """One command, run once. It is stopped after `timeout` seconds; waiting for a worker may take no longer either."""
    seconds = whole_seconds(timeout)
    return {
        **_where(pool, routing),
        **({"source": {"path": path}} if path is not None else {}),
        "tasks": [{"id": COMMAND_TASK, "command": list(argv)}],
        "timeoutSeconds": whole_seconds(seconds + ROUNDING_SECONDS),
        "taskTimeoutSeconds": seconds,
        "maxAttempts": 1,
        "ttlSecondsAfterFinished": kept_seconds,
    }


def scan_spec(
    tools: Sequence[str],
    *,
    path: str | None = None,
    git: Obj | None = None,
    pool: Key | None = None,
    routing: Obj | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    fail_on: Level = Level.ERROR,
    timeout: float = 3600.0,
    kept_seconds: int = 24 * 3600,
) -> Obj:
    """Tools over a folder that the workers can read, or over a git repository."""
    scan: dict[str, Any] = {"tools": list(tools), "failOn": fail_on.value}
    if include:
        scan["include"] = list(include)
    if exclude:
        scan["exclude"] = list(exclude)
    seconds = whole_seconds(timeout)
    source: Obj = {"git": git} if git is not None else {"path": path}
    return {
        **_where(pool, routing),
        "source": source,
        "scan": scan,
        "timeoutSeconds": seconds,
        "taskTimeoutSeconds": min(seconds, 600),
        "ttlSecondsAfterFinished": kept_seconds,
    }


def whole_seconds(seconds: float) -> int:
    """Seconds as the kinds have them."""
    return max(1, min(LONGEST_SECONDS, math.ceil(seconds)))


def _where(pool: Key | None, routing: Obj | None) -> Obj:
    if pool is None:
        return {"routing": routing or {}}
    return {"poolRef": {"name": pool.name, "namespace": pool.namespace}}
