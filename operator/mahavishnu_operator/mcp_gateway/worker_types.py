"""What a caller means by a worker type and a pool type; pure.

The pressure: published clients ask for AI workers and send them `Execute: <argv>` all the same. What must stay true: a
pool that was asked for as AI workers runs commands that say so themselves, and nothing else: a prompt for a model is
refused in words, never run as a command.
"""

from __future__ import annotations

from mahavishnu_operator.api.reasons import Label
from mahavishnu_operator.client.ids import shown
from mahavishnu_operator.resources.protocol import Obj
from mahavishnu_operator.support.errors import InvalidInput

COMMAND_TYPES = ("command", "shell", "terminal", "terminal-shell")
AI_TYPES = ("terminal-claude", "terminal-qwen", "claude", "qwen", "container-executor", "cognitive-worker")
NO_AI = "this version has no AI workers: the pool runs commands alone, written as `Execute: <program> <arguments>`"


def check_worker_type(worker_type: str) -> str:
    """The same in one spelling. InvalidInput: nobody knows it."""
    name = worker_type.strip().lower().replace("_", "-")
    if name not in COMMAND_TYPES + AI_TYPES:
        raise InvalidInput(
            f"worker_type {shown(worker_type)} is not known", hint=f"use one of {', '.join(COMMAND_TYPES)}"
        )
    return name


def note_on(worker_type: str) -> str:
    """What a caller who asked for it should know; empty: nothing."""
    return NO_AI if worker_type in AI_TYPES else ""


def asked_type(pool: Obj) -> str:
    """The worker type that a pool was asked for as."""
    annotations = pool["metadata"].get("annotations") or {}
    return str(annotations.get(Label.ASKED_WORKER_TYPE) or "command")


def backend_of(pool_type: str, *, default: str) -> str:
    """The backend of a pool type. InvalidInput: nobody knows it."""
    name = pool_type.strip().lower().replace("_", "-")
    if name in ("mahavishnu", "local-process"):
        return default
    if name in ("kubernetes", "session-buddy"):
        return name
    raise InvalidInput(
        f"pool_type {shown(pool_type)} is not known", hint="use mahavishnu (this installation's own) or kubernetes"
    )
