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
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import mcp_types as mt
import structlog
from fastmcp import FastMCP
from fastmcp.exceptions import FastMCPError, NotFoundError, ResourceError, ToolError, ValidationError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools.base import ToolResult
from prometheus_client import CollectorRegistry
from pydantic import ValidationError as PydanticError

from mahavishnu_operator.support.errors import MahavishnuError
from mahavishnu_operator.support.metrics import Metric, counter, histogram
from mahavishnu_operator.support.text import printable

from .auditing import MOST_CHARACTERS, objects_of, write_audit
from .gateway import Gateway
from .limiting import Limiter
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
    """A failure that is the caller's business: no line in our log unless it is asked for. `also`: in its shape."""

    def __init__(self, words: str, also: Mapping[str, Any]) -> None:
        super().__init__(words, log_level=logging.DEBUG)
        self.also = also


def add(
    server: FastMCP, tool: Tool, hints: dict[str, bool], answer: Schema, *, failed: Mapping[str, Any] | None = None
) -> None:
    """Register a tool under its function's name, with its docstring as description and the schema of its answers.

    `failed`: what a failure of it has besides, where the call does not say.
    """

    @functools.wraps(tool)
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return await tool(*args, **kwargs)
        except MahavishnuError as error:
            raise Failed(str(error), failed or {}) from error

    server.tool(annotations=hints, output_schema=answer, title=tool.__name__.replace("_", " "))(call)


class Answering(Middleware):
    """Turns what a call raises into its answer, keeps callers within their rate, and writes the audit line."""

    def __init__(self, gateway: Gateway, registry: CollectorRegistry) -> None:
        self._gateway, self._limiter = gateway, Limiter(gateway.options.rate)
        self._calls = counter(registry, Metric.GATEWAY_CALLS)
        self._seconds = histogram(registry, Metric.GATEWAY_SECONDS)

    async def on_call_tool(
        self, context: MiddlewareContext[mt.CallToolRequestParams], call_next: CallNext[Any, ToolResult]
    ) -> ToolResult:
        """Answer one call."""
        begun, outcome, tool = time.monotonic(), "abandoned", context.message.name
        answer: dict[str, Any] = {}
        try:
            outcome, result = await self._answer(context, call_next)
            answer = result.structured_content or {}
        finally:
            known, seconds = outcome != "unknown", time.monotonic() - begun
            self._calls.labels(tool if known else "unknown", outcome if known else "refused").inc()
            if known:
                self._seconds.labels(tool).observe(seconds)
            objects = objects_of(context.message.arguments or {}, answer)
            self._audit(tool[:MOST_CHARACTERS], objects, outcome, seconds, status=str(answer.get("status") or ""))
        return result

    async def on_read_resource(
        self, context: MiddlewareContext[mt.ReadResourceRequestParams], call_next: CallNext[Any, Any]
    ) -> Any:
        """Pass on the reading of one resource."""
        begun, outcome = time.monotonic(), "abandoned"
        try:
            if wait := self._limiter.wait_for(self._gateway.caller, now=begun):
                outcome = "rate_limited"
                raise ResourceError(_too_many(wait))
            try:
                read = await call_next(context)
            except (NotFoundError, FastMCPError):
                outcome = "failed"
                raise
            outcome = "answered"
        finally:
            where = printable(str(context.message.uri)[:MOST_CHARACTERS])
            self._audit("resources/read", where, outcome, time.monotonic() - begun)
        return read

    def _audit(self, tool: str, objects: str, outcome: str, seconds: float, *, status: str = "") -> None:
        write_audit(
            caller=self._gateway.caller, tool=tool, objects=objects, outcome=outcome, status=status, seconds=seconds
        )

    async def _answer(
        self, context: MiddlewareContext[mt.CallToolRequestParams], call_next: CallNext[Any, ToolResult]
    ) -> tuple[str, ToolResult]:
        name, given = context.message.name, context.message.arguments or {}
        if wait := self._limiter.wait_for(self._gateway.caller, now=time.monotonic()):
            shape = failure(_too_many(wait), status="rate_limited", given=given, retry_after_seconds=wait)
            return "rate_limited", _result(shape, is_error=await self._lists(context, name))
        if not _is_text(given):
            words = (
                f"the arguments of {name[:100]!r} have a character that is half of a pair: no answer could repeat it"
            )
            return "refused", _result(failure(words), is_error=True)
        try:
            return "answered", await call_next(context)
        except Failed as error:
            lists = await self._lists(context, name)
            return "failed", _result(failure(str(error), given={**error.also, **given}), is_error=lists)
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


def _is_text(given: dict[str, Any]) -> bool:
    """Whether all of it can be written as UTF-8."""
    try:
        json.dumps(given, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_many(wait: float) -> str:
    return f"too many calls at once: call again in {wait:g} s"


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
