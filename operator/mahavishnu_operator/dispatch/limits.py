"""Bounds of what workers send, checked before anything is done with it.

The pressure: results end up in memory, in the store and in reports; one worker must not be able to fill
them. What must stay true: a refusal names the field, its size and the bound. Reasons and messages are cut
rather than refused: they are for people, and a result must not be lost for their sake.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from mahavishnu_operator.api.wire import (
    INLINE_PAYLOAD_BYTES,
    STREAM_TAIL_BYTES,
    RegisterRequest,
    ResultsRequest,
    TaskResult,
)
from mahavishnu_operator.store.records import TaskKey

from .errors import CallRefused, TooLarge

MAX_RESULTS = 1024  # in one request
MAX_SLOTS = 1024
MAX_NAME = 253
MAX_REASON = 64
MAX_MESSAGE = 4096
MAX_EXIT_CODE = 2**32  # Windows has 32 bits of them; a status holds no number beyond 64
MAX_SECONDS = 366 * 24 * 3600.0
MAX_STREAM_BYTES = 2**53
SHA256 = re.compile(r"[0-9a-f]{64}")


def task_key(text: str) -> TaskKey:
    """The key in `<job>/<task>`."""
    try:
        return TaskKey.parse(text)
    except ValueError:
        raise CallRefused(f"task {text[:80]!r} is not of the form JOB/TASK") from None


def check_register(request: RegisterRequest) -> None:
    """Names and slots within bounds."""
    for name, value in (("pool", request.pool), ("worker", request.worker), ("incarnation", request.incarnation)):
        if not 0 < len(value) <= 2 * MAX_NAME + 1:
            raise CallRefused(f"{name} has {len(value)} characters; it must have 1 to {2 * MAX_NAME + 1}")
    if not 1 <= request.slots <= MAX_SLOTS:
        raise CallRefused(f"slots is {request.slots}; it must be 1 to {MAX_SLOTS}")


def checked_results(request: ResultsRequest) -> Sequence[tuple[TaskKey, TaskResult]]:
    """The results with their keys, words cut to their bounds."""
    if len(request.results) > MAX_RESULTS:
        raise TooLarge(f"{len(request.results)} results in one request; at most {MAX_RESULTS}")
    return [(task_key(result.task), _checked(result)) for result in request.results]


def _checked(result: TaskResult) -> TaskResult:
    _fits(result, "payload", len(result.payload.encode()), INLINE_PAYLOAD_BYTES, "send it as a blob and name that")
    _fits(result, "stdout", len(result.stdout), STREAM_TAIL_BYTES, "send its end only")
    _fits(result, "stderr", len(result.stderr), STREAM_TAIL_BYTES, "send its end only")
    _within(result, "exit_code", result.exit_code or 0, -MAX_EXIT_CODE, MAX_EXIT_CODE)
    _within(result, "duration_seconds", result.duration_seconds, 0, MAX_SECONDS)
    _within(result, "stdout_bytes", result.stdout_bytes, 0, MAX_STREAM_BYTES)
    _within(result, "stderr_bytes", result.stderr_bytes, 0, MAX_STREAM_BYTES)
    if result.payload_sha256 and not SHA256.fullmatch(result.payload_sha256):
        raise CallRefused(f"payload_sha256 of {result.task} is no SHA-256 in lower-case hexadecimal")
    reason, message = words(result.reason, MAX_REASON), words(result.message, MAX_MESSAGE)
    if reason is not result.reason or message is not result.message:
        return msgspec.structs.replace(result, reason=reason, message=message)
    return result


def words(text: str, limit: int) -> str:
    """Text cut to `limit` characters, without NUL: not every store takes it."""
    if len(text) > limit or "\0" in text:
        return text[:limit].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text


def _fits(result: TaskResult, name: str, size: int, limit: int, hint: str) -> None:
    if size > limit:
        raise TooLarge(f"{name} of {result.task} is {size} long; at most {limit}", hint=hint)


def _within(result: TaskResult, name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise CallRefused(f"{name} of {result.task} is {value:g}; it must be {least:g} to {most:g}")
