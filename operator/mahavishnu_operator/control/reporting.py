"""The report of a scan from what its tasks said: pure, and slow enough to be run in a thread.

What must stay true: verdict, counts and SARIF log are made from the same merged reports; the same answers give the
same bytes, so making the report again after a crash changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mahavishnu_operator.api.reasons import Verdict
from mahavishnu_operator.api.scanjob import Scan
from mahavishnu_operator.scan.model import Plan, ToolReport
from mahavishnu_operator.scan.report import decide_verdict, merge_reports, problems_of, summarize
from mahavishnu_operator.scan.sarif import encode_log, make_log

from .conditions import shorten
from .results import SHORT

MAX_REPORT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class BuiltReport:
    """A report before it is stored; `findings` as status shows them, `summary` for readers of the store."""

    sarif: bytes
    truncated: bool
    verdict: Verdict
    findings: dict[str, Any]
    problems: tuple[str, ...]
    summary: dict[str, Any]


def build_report(reports: Sequence[ToolReport], plan: Plan | None, *, job: str, scan: Scan) -> BuiltReport:
    """Merge, count, judge and write down. `plan` None: it is not known any more which files were left out."""
    merged = merge_reports(reports, tools=scan.tools)
    summary = summarize(merged, files=plan.file_count if plan is not None else None)
    skipped = plan.skipped if plan is not None else ()
    sarif, truncated = encode_log(
        make_log(merged, tools=scan.tools, skipped=skipped, run_id=job), max_bytes=MAX_REPORT_BYTES
    )
    verdict = decide_verdict(summary, scan.fail_on)
    findings = {
        "total": summary.total,
        "bySeverity": dict(summary.by_level),
        "byTool": dict(summary.by_tool),
    }
    return BuiltReport(
        sarif=sarif,
        truncated=truncated,
        verdict=verdict,
        findings=findings,
        problems=tuple(shorten(problem, SHORT) for problem in problems_of(summary)),
        summary=summary.to_json() | {"verdict": verdict.value},
    )
