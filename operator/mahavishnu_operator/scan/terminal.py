"""The report for a person at a terminal: findings by file, worst first, and a line a tool.

The pressure: a first scan of an old tree has thousands of findings, and every name and message in them
comes from scanned code, while a terminal obeys what it is sent. What must stay true: the worst is on top
and what is not shown is counted; the tools' lines come last, where they are seen, and a tool that did not
look stands out; no control character and no markup of scanned code reaches the terminal.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mahavishnu_operator.api.reasons import Level
from mahavishnu_operator.support.text import counted, printable

from .bounding import worst_first
from .model import Finding, ToolReport, Unread
from .report import Summary, ToolSummary, merge_reports, summarize
from .tools.registry import install_hint

MAX_FINDINGS = 60
MAX_FINDINGS_A_FILE = 10
MAX_UNREAD = 5
PAGE_COLUMNS = 140
_STYLES = {Level.ERROR: "bold red", Level.WARNING: "yellow", Level.NOTE: "cyan", Level.NONE: "dim"}
_WORDS = {"crashed": "crashed", "timed-out": "timed out", "not-installed": "not installed", "cancelled": "cancelled"}


def print_report(reports: Iterable[ToolReport], *, seconds: float, stream: TextIO) -> None:
    """Print the report of one scan; `seconds` of wall clock for all of it."""
    _print(make_console(stream), reports, seconds=seconds)


def report_page(reports: Iterable[ToolReport], *, seconds: float) -> str:
    """The same as an HTML page that loads nothing and runs nothing: every word of scanned code is text in it."""
    console = Console(
        file=StringIO(),
        record=True,
        width=PAGE_COLUMNS,
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
        markup=False,
        emoji=False,
    )
    _print(console, reports, seconds=seconds)
    return console.export_html(inline_styles=True)


def _print(console: Console, reports: Iterable[ToolReport], *, seconds: float) -> None:
    merged = merge_reports(reports)
    summary = summarize(merged)
    _print_findings(console, [finding for report in merged for finding in report.findings])
    for report in merged:
        if lost := sum(report.left_out.values()):
            _line(
                console,
                Text(f"and {counted(lost, 'more finding')} of {report.tool} that are only counted", style="dim"),
            )
    _print_unread(console, [(report.tool, each) for report in merged for each in report.unread])
    _print_tools(console, summary)
    _line(console, Text(headline(summary, seconds), style="bold"))


def make_console(stream: TextIO) -> Console:
    """No escape sequences unless the stream is a terminal and NO_COLOR (https://no-color.org) is not set."""
    terminal = stream.isatty()
    colour = terminal and not os.environ.get("NO_COLOR")
    return Console(
        file=stream,
        force_terminal=terminal,
        color_system="auto" if colour else None,
        highlight=False,
        markup=False,
        emoji=False,
    )


def headline(summary: Summary, seconds: float) -> str:
    """The last line: how many findings of which level, or that there are none, and whether all tools looked."""
    levels = [(level, summary.by_level.get(level.value, 0)) for level in reversed(Level)]
    by_level = ", ".join(counted(number, level.value) for level, number in levels if number)
    found = f"{counted(summary.total, 'finding')} ({by_level})" if summary.total else "no findings"
    blind = [tool.tool for tool in summary.tools if not tool.looked]
    missing = f"; {', '.join(blind)} did not look everywhere" if blind else ""
    if not any(tool.files or tool.outcome != "ok" for tool in summary.tools):
        missing = "; no file was looked at"
    return f"{found} in {seconds:.1f} s{missing}"


def tool_line(tool: ToolSummary) -> str:
    """`12 findings in 80 files, 0.3 s`, or what kept it from looking."""
    if tool.outcome != "ok":
        hint = install_hint(tool.tool) if tool.outcome == "not-installed" and not tool.message else ""
        said = tool.message or hint
        own_words = said.startswith(f"{tool.tool} ")  # "ruff was killed by ..." needs no "crashed" in front
        words = said if own_words else ": ".join(part for part in (_WORDS[tool.outcome], said) if part)
        known = f" ({counted(tool.findings, 'finding')} in {counted(tool.files, 'file')} that it did look at)"
        return words + (known if tool.findings else "")
    if not tool.files:
        return "no files to look at"
    if not tool.looked:
        return tool.message
    found = counted(tool.findings, "finding") if tool.findings else "clean"
    unread = f", {counted(tool.unread, 'file')} not read" if tool.unread else ""
    return f"{found} in {counted(tool.files, 'file')}, {tool.seconds:.1f} s{unread}"


def _print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """The worst of all, grouped by file; a file stands where its worst finding does."""
    shown: dict[str, list[Finding]] = {}
    room = MAX_FINDINGS
    for finding in worst_first(findings):
        if room and len(shown.get(finding.path, ())) < MAX_FINDINGS_A_FILE:
            shown.setdefault(finding.path, []).append(finding)
            room -= 1
    totals = Counter(finding.path for finding in findings)
    for path, rows in shown.items():
        _line(console, Text(printable(path), style="bold"))
        _print_rows(console, rows)
        if more := totals[path] - len(rows):
            _line(console, Text(f"  and {more} more in this file", style="dim"))
    if unseen := totals.keys() - shown.keys():
        more = sum(totals[path] for path in unseen)
        _line(console, Text(f"and {counted(more, 'more finding')} in {counted(len(unseen), 'more file')}", style="dim"))
    if findings:
        _line(console, Text())


def _print_rows(console: Console, findings: Sequence[Finding]) -> None:
    rows = [
        (
            "" if not each.line else f"{each.line}:{each.column}" if each.column else str(each.line),
            Text(each.level.value, style=_STYLES[each.level]),
            printable(each.rule),
            each.tool,
            printable(each.message),
        )
        for each in findings
    ]
    _columns(console, rows, right_aligned=1)


def _print_unread(console: Console, unread: Sequence[tuple[str, Unread]]) -> None:
    for tool, each in unread[:MAX_UNREAD]:
        words = f"not read by {tool}: {printable(each.path)}: {printable(each.reason)}"
        _line(console, Text(words, style="yellow"))
    if len(unread) > MAX_UNREAD:
        _line(console, Text(f"and {len(unread) - MAX_UNREAD} more not read", style="dim"))
    if unread:
        _line(console, Text())


def _print_tools(console: Console, summary: Summary) -> None:
    rows = [
        (
            Text(f"{tool.tool} {printable(tool.version)}".rstrip(), style="bold"),
            Text(printable(tool_line(tool)), style="" if tool.looked else "bold red"),
        )
        for tool in summary.tools
    ]
    _columns(console, rows)


def _columns(console: Console, rows: Sequence[tuple[str | Text, ...]], *, right_aligned: int = 0) -> None:
    """Columns two apart; the last one wraps on a terminal and runs on in a pipe."""
    if not rows:
        return
    if console.is_terminal:
        table = Table.grid(padding=(0, 0, 0, 2), pad_edge=True)
        for index in range(len(rows[0])):
            last = index == len(rows[0]) - 1
            justify = "right" if index < right_aligned else "left"
            table.add_column(justify=justify, no_wrap=not last, overflow="fold")  # type: ignore[arg-type]
        for row in rows:
            table.add_row(*row)
        console.print(table)
        return
    cells = [[cell.plain if isinstance(cell, Text) else cell for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in cells) for index in range(len(cells[0]))]
    for texts in cells:
        padded = [
            cell.rjust(width) if index < right_aligned else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(texts, widths, strict=True))
        ]
        _line(console, Text("  " + "  ".join(padded).rstrip()))


def _line(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=True)
