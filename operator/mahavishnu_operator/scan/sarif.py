"""Our reports as a SARIF 2.1.0 log: plain dicts, one run a tool, the same bytes for the same scan.

The pressure: six scanners write SARIF of their own with absolute paths, no levels, no stable fingerprints
and no word on files they could not read (docs/adr/0007). What must stay true: URIs are relative to
SRCROOT and carry the bytes of the name percent-encoded; a tool that did not look says so in its
invocation; the log validates against the published schema; a log that is cut says so itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from mahavishnu_operator.api.reasons import Level

from .bounding import worst_first
from .fingerprints import SCHEME
from .model import Finding, ToolReport, Unread
from .report import count_findings, merge_reports
from .tools.registry import TOOLS

SCHEMA_URI = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
VERSION = "2.1.0"
SOURCE_ROOT = "SRCROOT"
PLANNER = "mahavishnu"  # the run that tells of files which no tool was given
_NOTIFICATION_LEVELS = {"cancelled": "warning"}

Json = dict[str, Any]


def make_log(
    reports: Iterable[ToolReport], *, tools: Sequence[str] = (), skipped: Sequence[Unread] = (), run_id: str = ""
) -> Json:
    """The log of these reports (merged here, in order of the tools' names).

    `tools`: all that were asked for; `skipped`: files the plan left out; `run_id`: what tells this scan from
    others of its kind, the last part of automationDetails.id.
    """
    runs = [_run(report, run_id) for report in merge_reports(reports, tools=tools)]
    if skipped:
        runs.append(_planner_run(skipped, run_id))
    return {"$schema": SCHEMA_URI, "version": VERSION, "runs": runs}


def encode_log(log: Json, *, max_bytes: int | None = None) -> tuple[bytes, bool]:
    """The log as ASCII JSON, and whether results had to be left out to stay under `max_bytes`.

    The worst results are kept, an equal share of each run; each run that lost some says how many.
    """
    data = _dump(log)
    share = 1.0
    while max_bytes is not None and len(data) > max_bytes and share > 0:
        share = share * max_bytes / len(data) * 0.95 if share > 0.001 else 0.0
        data = _dump({**log, "runs": [_cut(run, share) for run in log["runs"]]})
    return data, share < 1.0


def _dump(log: Json) -> bytes:
    return json.dumps(log, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def _run(report: ToolReport, run_id: str) -> Json:
    rules = {finding.rule: "" for finding in report.findings}
    for finding in report.findings:
        rules[finding.rule] = rules[finding.rule] or finding.help_uri
    order = {rule: index for index, rule in enumerate(sorted(rules))}
    driver: Json = {"name": report.tool, "rules": [_rule(rule, rules[rule]) for rule in order]}
    if report.version:
        driver["version"] = report.version
    if report.tool in TOOLS:
        driver["informationUri"] = TOOLS[report.tool].information_uri
    return {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"mahavishnu/{report.tool}/{run_id}"},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {SOURCE_ROOT: {"description": {"text": "The scanned folder."}}},
        "invocations": [_invocation(report)],
        "results": [_result(finding, order) for finding in worst_first(report.findings)],
    }


def _planner_run(skipped: Sequence[Unread], run_id: str) -> Json:
    return {
        "tool": {"driver": {"name": PLANNER, "rules": []}},
        "automationDetails": {"id": f"mahavishnu/plan/{run_id}"},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {SOURCE_ROOT: {"description": {"text": "The scanned folder."}}},
        "invocations": [
            {
                "executionSuccessful": True,
                "toolExecutionNotifications": [_notification("skipped-file", "note", *_told(each)) for each in skipped],
            }
        ],
        "results": [],
    }


def _rule(rule: str, help_uri: str) -> Json:
    out: Json = {"id": _clean(rule)}
    if help_uri.startswith(("https://", "http://")) and help_uri.isascii() and not any(c.isspace() for c in help_uri):
        out["helpUri"] = help_uri
    return out


def _invocation(report: ToolReport) -> Json:
    out: Json = {"executionSuccessful": report.outcome == "ok"}
    if report.exit_code is not None and report.exit_code >= 0:
        out["exitCode"] = report.exit_code
    elif report.exit_code is not None:
        out["exitSignalNumber"] = -report.exit_code
    notifications = [_notification("unread-file", "warning", *_told(each)) for each in report.unread]
    if report.left_out:
        lost, total = sum(report.left_out.values()), count_findings(report)
        words = f"{lost} of {total} results, of the least levels, are counted and not listed: they are too many"
        notifications.insert(0, _notification("report-truncated", "warning", words))
    if report.outcome != "ok":
        words = report.message or f"{report.tool}: {report.outcome}"
        level = _NOTIFICATION_LEVELS.get(report.outcome, "error")
        notifications.insert(0, _notification(report.outcome, level, words))
    if notifications:
        out["toolExecutionNotifications"] = notifications
    return out


def _told(unread: Unread) -> tuple[str, str]:
    return unread.reason or "it could not be read", unread.path


def _notification(identifier: str, level: str, words: str, path: str = "") -> Json:
    out: Json = {"descriptor": {"id": identifier}, "level": level, "message": {"text": _clean(words)}}
    if path:
        out["locations"] = [{"physicalLocation": {"artifactLocation": _artifact(path)}}]
    return out


def _result(finding: Finding, order: dict[str, int]) -> Json:
    location: Json = {"artifactLocation": _artifact(finding.path)}
    if region := _region(finding):
        location["region"] = region
    out: Json = {
        "ruleId": _clean(finding.rule),
        "ruleIndex": order[finding.rule],
        "level": finding.level.value,
        "message": {"text": _clean(finding.message) or _clean(finding.rule)},
        "locations": [{"physicalLocation": location}],
    }
    if finding.level is Level.NONE:
        out["kind"] = "informational"
    if finding.fingerprint:
        out["partialFingerprints"] = {SCHEME: finding.fingerprint}
    return out


def _region(finding: Finding) -> Json:
    """What is known of where: nothing without a line, no end before its beginning."""
    if finding.line < 1:
        return {}
    out = {"startLine": finding.line}
    if finding.column > 0:
        out["startColumn"] = finding.column
    if finding.end_line >= finding.line:
        out["endLine"] = finding.end_line
        same_line = finding.end_line == finding.line
        if finding.end_column > 0 and not (same_line and finding.end_column < max(1, finding.column)):
            out["endColumn"] = finding.end_column
    return out


def _artifact(path: str) -> Json:
    return {"uri": relative_uri(path), "uriBaseId": SOURCE_ROOT}


def relative_uri(path: str) -> str:
    """The name's bytes percent-encoded; a colon too, or the first segment could be read as a scheme."""
    return quote(os.fsencode(_encodable(path)), safe="/!$&'()*+,;=@~-._")


def _encodable(path: str) -> str:
    """A name as a tool made it up may hold what no file name can."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return path.encode("utf-8", "replace").decode("utf-8")
    return path


def _clean(text: str) -> str:
    """Undecodable bytes as escapes: a lone surrogate is no valid text for other readers of JSON."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _cut(run: Json, share: float) -> Json:
    """The run with that share of its results (worst first already)."""
    kept = run["results"][: int(len(run["results"]) * share)]
    lost = len(run["results"]) - len(kept)
    if not lost:
        return run
    words = f"{lost} of {len(run['results'])} results were left out: the report would be too large"
    invocation = dict(run["invocations"][0])
    invocation["toolExecutionNotifications"] = [
        _notification("report-truncated", "warning", words),
        *invocation.get("toolExecutionNotifications", []),
    ]
    return {**run, "results": kept, "invocations": [invocation]}
