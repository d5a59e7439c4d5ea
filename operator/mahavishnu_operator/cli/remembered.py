"""pool search-memory: what was answered before, and notes, as the tool of that name finds them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from mahavishnu_operator.support.errors import InvalidInput
from mahavishnu_operator.support.text import printable

from .output import OutputFormat, as_table, say, show
from .placing import OutputOption, Where, command


def register(app: typer.Typer) -> None:
    """Put `search-memory` on the group of pools."""
    command(app, "search-memory")(search_memory)


async def search_memory(
    where: Where,
    query: Annotated[str | None, typer.Option("--query", "-q", help="Words that an answer must have.")] = None,
    tool: Annotated[str | None, typer.Option("--tool", "-t", help="With --file: what this scanner last said.")] = None,
    file: Annotated[list[str] | None, typer.Option("--file", "-f", help="A file (repeat).")] = None,
    pool: Annotated[str | None, typer.Option("--pool", metavar="POOL", help="Answers of this pool alone.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1, max=200, help="Rows at most, newest first.")] = 100,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Search notes of agents and what your commands and scans answered, as long as it is kept."""
    from mahavishnu_operator.mcp_gateway.remembering import search_files, search_text

    if (query is None) == (tool is None) or bool(file) != (tool is not None):
        raise InvalidInput("say what to search", hint="either --query WORDS, or --tool NAME and --file FILE")
    async with where.gateway() as gateway:
        key = gateway.key(pool, what="pool") if pool is not None else None
        if tool is not None:
            known = await search_files(gateway, tool, file or (), pool=key)
            show(known, output, _files_table(known))
            missing = [each for each in file or () if each not in known]
        else:
            rows = await search_text(gateway, query or "", limit=limit, pool=key, namespace=None)
            show(rows, output, "\n\n".join(map(_page, rows)))
            missing = [] if rows else [f"notes and answers with {query}"]
    for each in missing:
        say(f"nothing is known of {each}")


def _files_table(known: dict[str, dict[str, Any]]) -> str:
    lines = [
        [file, row["status"], "-" if row["findings"] is None else str(row["findings"]), _when(row["timestamp"])]
        for file, row in known.items()
    ]
    return as_table(["FILE", "STATUS", "FINDINGS", "WHEN"], lines)


def _page(row: dict[str, Any]) -> str:
    source = row["metadata"]
    whose = source.get("key") or f"{source['task_id']} in {source['pool_id']}"
    content = "\n".join(printable(line) for line in row["content"].splitlines())
    return f"==> {printable(str(whose))}, {source['timestamp']} <==\n{content}"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
