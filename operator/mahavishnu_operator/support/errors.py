"""The root of every error that a person may read.

A message that only says what failed sends its reader to the source code. So each error carries four
parts: what happened, to which object, why, and what to do. What must stay true: everything we raise
on purpose is a MahavishnuError; anything else is a defect of ours and is logged with its traceback.
"""

from __future__ import annotations


class MahavishnuError(Exception):
    """What happened, to which object, why, and what to do about it.

    `reason` is a CamelCase word for machines (a condition reason, an HTTP error body);
    `hint` is the next step for a person and may be empty.
    """

    reason = "InternalError"

    def __init__(self, message: str, *, hint: str = "", reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if reason is not None:
            self.reason = reason

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InvalidInput(MahavishnuError):
    """The caller gave something that can never work as it is."""

    reason = "Invalid"


class NotFound(MahavishnuError):
    """The named object does not exist (any more)."""

    reason = "NotFound"


class Conflict(MahavishnuError):
    """The object changed, or exists already, since the caller looked."""

    reason = "Conflict"
