"""Structured logs: one line an event, on stderr, for people on a terminal and as JSON elsewhere.

The pressure: tool output, file names and prompts end up in log fields, and a terminal obeys what it is
sent. What must stay true: stdout is never used (it belongs to reports and pipes); control characters in
values are escaped; a secret is never a field: keys that look like one are replaced before rendering.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from .text import printable

LEVELS = ("debug", "info", "warning", "error")
_SECRET_WORDS = ("token", "password", "secret", "authorization", "session")
HIDDEN = "[hidden]"


def hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace the value of every field whose name says that it is a secret."""
    for name in event:
        if name != "event" and any(word in name.lower() for word in _SECRET_WORDS):
            event[name] = HIDDEN
    return event


def escape_controls(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    r"""Write control characters as \xNN, so that a logged file name cannot move the cursor or forge a line."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = printable(value)
    return event


def wants_colour(stream: TextIO) -> bool:
    """True on a terminal, unless NO_COLOR (https://no-color.org) is set to anything."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def audit_logger() -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines are written at every level that configure_logging may be given."""
    lines = logging.getLogger("mahavishnu.audit")
    lines.setLevel(logging.INFO)
    bound: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        lines, wrapper_class=structlog.make_filtering_bound_logger(logging.INFO)
    )
    return bound


def configure_logging(*, level: str = "info", json: bool | None = None) -> None:
    """Send our logs and those of libraries to stderr. `json` None: JSON unless stderr is a terminal.

    ValueError for a level that is not in LEVELS.
    """
    if level not in LEVELS:
        raise ValueError(f"log level {level!r} is not one of {', '.join(LEVELS)}")
    number = logging.getLevelNamesMapping()[level.upper()]
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_secrets,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=wants_colour(sys.stderr),
            exception_formatter=structlog.dev.plain_traceback,  # the default prints local variables: tokens are such
        )
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *([structlog.processors.format_exc_info] if as_json else [escape_controls]),
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
