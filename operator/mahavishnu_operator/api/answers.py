"""What readers are told of a task: a row among all of a job, or one with the ends of what it wrote.

On the way from the dispatcher to the command line, the client library and the gateway. What must stay true: a field is
added with a default, so that a reader of another version understands the answer.
"""

from __future__ import annotations

import msgspec


class TaskRow(msgspec.Struct, frozen=True, rename="camel"):
    """One task as readers see it; fields of its result only once it has one.

    `worker`: who was given it last, `namespace/pool/worker`; empty: nobody yet.
    """

    id: str
    state: str
    attempts: int = 0
    status: str = ""
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    duration_seconds: float = 0.0
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    worker: str = ""


class TaskAnswer(TaskRow, frozen=True, rename="camel"):
    """One task with the ends of what it wrote; `*_bytes` say how long both streams really are."""

    stdout: str = ""
    stderr: str = ""
