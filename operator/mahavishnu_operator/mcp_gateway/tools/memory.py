"""Memory: search what was answered before, and keep notes under a key."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import mcp_types as mt
from fastmcp import FastMCP
from fastmcp.tools.base import ToolResult
from pydantic import Field

from mahavishnu_operator.mcp_gateway.answering import READS, SETS, add
from mahavishnu_operator.mcp_gateway.answers import FileKnown, MemoryRow, Stored
from mahavishnu_operator.mcp_gateway.arguments import PoolId, Words
from mahavishnu_operator.mcp_gateway.gateway import Gateway
from mahavishnu_operator.mcp_gateway.remembering import search_files, search_text
from mahavishnu_operator.mcp_gateway.schemas import answer_of, rows_or_mapping
from mahavishnu_operator.mcp_gateway.shapes import Shape
from mahavishnu_operator.support.errors import InvalidInput

MAX_FILES = 10_000
KEPT_SECONDS = 7 * 24 * 3600.0  # a note, unless told otherwise
MOST_SECONDS = 90 * 24 * 3600
Limit = Annotated[int, Field(ge=1, le=200, description="Rows at most, newest first.")]


def register(server: FastMCP, gateway: Gateway) -> None:
    """Put the tools on a server."""
    tools = MemoryTools(gateway)
    add(server, tools.pool_search_memory, READS, rows_or_mapping(MemoryRow, FileKnown))
    add(server, tools.pool_store_memory, SETS, answer_of(Stored))


class MemoryTools:
    """The tools, by the names that clients call."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def pool_search_memory(
        self,
        query: Annotated[
            Words | dict[str, Any],
            Field(description='Words that an answer must have; or {"tool": "ruff", "files": ["a.py"]}.'),
        ],
        limit: Limit = 100,
        max_results: Annotated[Limit | None, Field(description="Another name for limit.")] = None,
        pool_id: Annotated[PoolId | None, Field(description="Answers of this pool alone.")] = None,
        namespace: Annotated[
            Words | None, Field(description="Notes of this pool_store_memory namespace alone.")
        ] = None,
    ) -> ToolResult:
        """Search notes and what your commands and scans answered, as long as it is kept (commands: five minutes).

        With words: rows with `content` and where it comes from. With a tool and files: for each file that the tool was
        given by name, whether it passed, and when; a file that has changed since must be scanned again.
        """
        pool = self._gateway.key(pool_id, what="pool_id") if pool_id is not None else None
        if isinstance(query, str):
            rows = await search_text(self._gateway, query, limit=max_results or limit, pool=pool, namespace=namespace)
            return _result(rows, {"result": rows})
        tool, files = query.get("tool"), query.get("files")
        if not isinstance(tool, str) or not isinstance(files, list) or not all(isinstance(each, str) for each in files):
            raise InvalidInput("query is neither text nor a tool and files", hint='{"tool": "ruff", "files": ["a.py"]}')
        if len(files) > MAX_FILES:
            raise InvalidInput(f"query has {len(files)} files; at most {MAX_FILES}")
        known = await search_files(self._gateway, tool, files, pool=pool)
        return _result(known, known)

    async def pool_store_memory(
        self,
        key: Annotated[Words, Field(min_length=1, description="What to find it by; the same key again replaces it.")],
        value: Annotated[Any, Field(description="Text or JSON, at most 16 KiB. No secrets: others can read it.")],
        namespace: Annotated[Words, Field(description="What it belongs to, in your own words.")] = "default",
        ttl: Annotated[
            float | None, Field(gt=0, le=MOST_SECONDS, allow_inf_nan=False, description="Seconds it is kept.")
        ] = None,
    ) -> Shape:
        """Keep a short note that pool_search_memory finds, also after a restart; a week unless `ttl` says otherwise.

        All notes together have room for 192 KiB: the oldest go first, and `forgotten` names them.
        """
        note, gone = await self._gateway.client.notes.store(namespace, key, value, seconds=ttl or KEPT_SECONDS)
        return {
            "namespace": note.namespace,
            "key": note.key,
            "status": "stored",
            "success": True,
            "expires_at": datetime.fromtimestamp(note.until, UTC).isoformat(),
            "forgotten": [f"{each.namespace}/{each.key}"[:200] for each in gone[:20]],
        }


def _result(shape: Any, structured: Shape) -> ToolResult:
    return ToolResult(content=[mt.TextContent(type="text", text=json.dumps(shape))], structured_content=structured)
