"""One line for each call: who called which tool on which objects, and what came of it.

What must stay true: a line is written whatever came of the call, at every level of logging; it names objects and
nothing else that was given: prompts, values and paths may hold secrets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mahavishnu_operator.support.logs import audit_logger
from mahavishnu_operator.support.text import printable

MOST_OBJECTS, MOST_CHARACTERS = 8, 128
_ONE = ("pool_id", "worker_id", "job_id", "workflow_id", "task_id")
_MANY = ("pool_ids", "worker_ids", "caller_pool_allowlist")

log = audit_logger()


def write_audit(*, caller: str, tool: str, objects: str, outcome: str, status: str, seconds: float) -> None:
    """Write the line."""
    log.info(
        "tool call",
        caller=caller,
        tool=tool,
        object=objects,
        outcome=outcome,
        status=status,
        seconds=round(seconds, 3),
    )


def objects_of(given: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    """The ids in a call's answer and arguments, in that order."""
    names = dict.fromkeys(_short(each) for each in (*_ids(answer), *_ids(given)))
    more = len(names) - MOST_OBJECTS
    return " ".join([*list(names)[:MOST_OBJECTS], *([f"and {more} more"] if more > 0 else [])])


def _ids(shape: Mapping[str, Any]) -> Iterator[str]:
    for name in _ONE:
        if isinstance(value := shape.get(name), str) and value:
            yield value
    for name in _MANY:
        if isinstance(values := shape.get(name), list):
            yield from (value for value in values if isinstance(value, str))


def _short(text: str) -> str:
    return printable(text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}...")
