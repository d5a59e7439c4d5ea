"""How tools are registered, and how what they raise is answered: a shape and a sentence.

What must stay true: whoever calls never sees a stack trace, nor the value of an argument that was refused; what is our
own defect is logged with its trace and answered without it; a tool that lists answers a failure as an error, because an
empty list would hide it.
"""

from __future__ import annotations

import functools
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import mcp_types as mt
import structlog
from fastmcp import FastMCP
from fastmcp.exceptions import NotFoundError, ToolError, ValidationError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools.base import ToolResult
from prometheus_client import CollectorRegistry
from pydantic import ValidationError as PydanticError

from mahavishnu_operator.support.errors import MahavishnuError
from mahavishnu_operator.support.metrics import Metric, counter, histogram

from .schemas import Schema
from .shapes import failure

log = structlog.get_logger(__name__)

Tool = Callable[..., Awaitable[Any]]
READS = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}
ADDS = {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": False, "openWorldHint": False}
SETS = {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}
ENDS = {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": True, "openWorldHint": False}
RUNS = {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": False, "openWorldHint": True}


class Failed(ToolError):
    """A failure that is the caller's business: no line in our log unless it is asked for."""


def add(server: FastMCP, tool: Tool, hints: dict[str, bool], answer: Schema) -> None:
    """Register a tool under its function's name, with its docstring as description and the schema of its answers."""

    @functools.wraps(tool)
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return await tool(*args, **kwargs)
        except MahavishnuError as error:
            raise Failed(str(error), log_level=logging.DEBUG) from error

    server.tool(annotations=hints, output_schema=answer, title=tool.__name__.replace("_", " "))(call)


class Answering(Middleware):
    """Turns what a call raises into its answer, and counts it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = counter(registry, Metric.GATEWAY_CALLS)
        self._seconds = histogram(registry, Metric.GATEWAY_SECONDS)

    async def on_call_tool(
        self, context: MiddlewareContext[mt.CallToolRequestParams], call_next: CallNext[Any, ToolResult]
    ) -> ToolResult:
        """Answer one call."""
        begun, outcome, tool = time.monotonic(), "abandoned", context.message.name
        try:
            outcome, result = await self._answer(context, call_next)
        finally:
            known = outcome != "unknown"
            self._calls.labels(tool if known else "unknown", outcome if known else "refused").inc()
            if known:
                self._seconds.labels(tool).observe(time.monotonic() - begun)
        return result

    async def _answer(
        self, context: MiddlewareContext[mt.CallToolRequestParams], call_next: CallNext[Any, ToolResult]
    ) -> tuple[str, ToolResult]:
        name, given = context.message.name, context.message.arguments or {}
        try:
            return "answered", await call_next(context)
        except Failed as error:
            lists = await self._lists(context, name)
            return "failed", _result(failure(str(error), given=given), is_error=lists)
        except ValidationError as error:
            return "refused", _result(failure(_problems(name, error.__cause__), given=given), is_error=True)
        except NotFoundError:
            words = f"there is no tool {name[:100]!r}; discover_tools lists them"
            return "unknown", _result(failure(words), is_error=True)
        except ToolError as error:
            log.error("a tool call failed", tool=name, error=repr(error.__cause__ or error))
            words = "the gateway failed to answer; its log has the details"
            return "defect", _result(failure(words, given=given), is_error=True)

    async def _lists(self, context: MiddlewareContext[Any], name: str) -> bool:
        """Whether the tool answers a list, which a failure's shape is none of."""
        server = context.fastmcp_context.fastmcp if context.fastmcp_context is not None else None
        tool = await server.get_tool(name) if server is not None else None
        return bool(tool is not None and (tool.output_schema or {}).get("x-fastmcp-wrap-result"))


def _result(shape: dict[str, Any], *, is_error: bool) -> ToolResult:
    return ToolResult(
        content=[mt.TextContent(type="text", text=json.dumps(shape))], structured_content=shape, is_error=is_error
    )


def _problems(tool: str, cause: BaseException | None) -> str:
    """What is wrong with the arguments, without repeating them."""
    if not isinstance(cause, PydanticError):
        return f"the arguments of {tool} cannot be used"
    problems = []
    for error in cause.errors(include_url=False, include_input=False, include_context=False)[:5]:
        where = ".".join(map(str, error["loc"]))[:100] or "arguments"
        problems.append(f"{where}: {_WORDS.get(error['type'], error['msg'])}")
    return f"{tool}: {'; '.join(problems)}"


_WORDS = {
    "missing": "is missing",
    "missing_argument": "is missing",
    "unexpected_keyword_argument": "is no argument of this tool",
    "extra_forbidden": "is no argument of this tool",
}
