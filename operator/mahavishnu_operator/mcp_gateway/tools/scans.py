"""Scans: submit, look, wait, report, cancel, list. Each is a ScanJob that goes on whoever waits for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from fastmcp import FastMCP
from pydantic import Field

from mahavishnu_operator.api.reasons import Level
from mahavishnu_operator.client import Jobs, new_name, scan_spec
from mahavishnu_operator.client.ids import check_name
from mahavishnu_operator.mcp_gateway.answering import ADDS, ENDS, READS, add
from mahavishnu_operator.mcp_gateway.answers import JobCancelled, JobRow, Report, ScanSubmitted
from mahavishnu_operator.mcp_gateway.arguments import JobId, PoolId, Seconds, Words
from mahavishnu_operator.mcp_gateway.gateway import Gateway
from mahavishnu_operator.mcp_gateway.reading import check_ended, read_page, read_sarif
from mahavishnu_operator.mcp_gateway.schemas import answer_of, list_of
from mahavishnu_operator.mcp_gateway.shapes import Shape, job_row, sentence
from mahavishnu_operator.mcp_gateway.telling import Progress
from mahavishnu_operator.scan.answers import Answers
from mahavishnu_operator.scan.model import Finding
from mahavishnu_operator.scan.tools.registry import DEFAULT, find_tools
from mahavishnu_operator.support.errors import Conflict, InvalidInput
from mahavishnu_operator.support.text import printable

MAX_SUMMARY_BYTES = 256 * 1024  # of findings in an answer
Globs = Annotated[list[Annotated[str, Field(max_length=256)]], Field(max_length=64)]


def register(server: FastMCP, gateway: Gateway) -> None:
    """Put the tools on a server."""
    tools = ScanTools(gateway)
    add(server, tools.scan_submit, ADDS, answer_of(ScanSubmitted))
    add(server, tools.scan_status, READS, answer_of(JobRow))
    add(server, tools.scan_wait, READS, answer_of(JobRow))
    add(server, tools.scan_report, READS, answer_of(Report))
    add(server, tools.scan_cancel, ENDS, answer_of(JobCancelled))
    add(server, tools.scan_list, READS, list_of(JobRow))


class ScanTools:
    """The tools, by the names that clients call."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @property
    def _jobs(self) -> Jobs:
        return self._gateway.client.jobs

    async def scan_submit(
        self,
        path: Annotated[
            str | None, Field(max_length=4096, description="A folder; relative ones are in the gateway's workspace.")
        ] = None,
        git_url: Annotated[str | None, Field(max_length=2048, description="Or a public git repository, https.")] = None,
        revision: Annotated[str, Field(max_length=256, description="Its branch, tag or commit.")] = "HEAD",
        tools: Annotated[
            list[Words] | None,
            Field(max_length=32, description="bandit, codespell, complexipy, mypy, ruff, vulture; left out: three."),
        ] = None,
        include: Annotated[Globs | None, Field(description="Globs of files to look at; left out: all.")] = None,
        exclude: Annotated[Globs | None, Field(description="Globs of files to leave out.")] = None,
        fail_on: Annotated[
            Literal["none", "note", "warning", "error"], Field(description="Least level that fails the verdict.")
        ] = "error",
        pool_id: Annotated[PoolId | None, Field(description="The pool to use; left out: one is chosen.")] = None,
        timeout: Annotated[Seconds, Field(description="Seconds for all of it.")] = 3600.0,
        name: Annotated[
            Words | None, Field(description="A name of your choice, used once; left out: a new one.")
        ] = None,
    ) -> Shape:
        """Start code scanners over a folder or a git repository, and return at once with a job_id.

        The files are listed, cut into tasks and spread over the workers of a pool; each result counts exactly once. It
        goes on whether or not you wait: ask scan_wait, then scan_report. It needs a pool: pool_spawn one first.
        Example: scan_submit(path=".", tools=["ruff", "bandit"], pool_id="default/scanners").
        """
        if (path is None) == (git_url is None):
            raise InvalidInput("exactly one of path and git_url must be given")
        found = tuple(tool.name for tool in find_tools(tools)) if tools is not None else DEFAULT
        if not found:
            raise InvalidInput("tools is an empty list", hint="leave it out, or name one")
        if name is not None:
            check_name(name, what="a scan's name")
        pool = await self._gateway.client.pools.get(self._gateway.key(pool_id, what="pool_id")) if pool_id else None
        shared = None if pool is not None else await self._gateway.client.pools.shared()
        spec = scan_spec(
            found,
            routing={"pools": list(shared)[:64]} if shared else None,
            path=self._folder(path) if path is not None else None,
            git={"url": git_url, "revision": revision} if git_url is not None else None,
            pool=pool.key if pool is not None else None,
            include=include or (),
            exclude=exclude or (),
            fail_on=Level(fail_on),
            timeout=timeout,
        )
        where = pool.key.namespace if pool is not None else ""
        try:
            job = await self._jobs.submit(spec, name=name or new_name("scan"), namespace=where)
        except Conflict:
            raise Conflict(f"there is a job {name} already", hint="choose another name, or ask scan_status") from None
        return {"job_id": str(job.key), "status": job.phase.value.lower(), "success": True, "tools": list(found)}

    async def scan_status(self, job_id: JobId) -> Shape:
        """Say how a job stands: its phase, tasks done, findings so far known, and why it waits if it does."""
        return job_row(await self._jobs.get(self._gateway.key(job_id, what="job_id")))

    async def scan_wait(
        self,
        telling: Progress,
        job_id: JobId,
        timeout: Annotated[Seconds, Field(description="Seconds to wait at most; the job goes on after that.")] = 300.0,
    ) -> Shape:
        """Wait until a job has ended and say how; `ended` is false when it still runs after the timeout."""
        key = self._gateway.key(job_id, what="job_id")
        return job_row(await self._jobs.wait(key, timeout=timeout, told=telling.of_job))

    async def scan_report(
        self,
        job_id: JobId,
        format: Annotated[
            Literal["summary", "sarif", "html"],
            Field(description="summary: the worst findings; sarif: SARIF 2.1.0 whole; html: a page for people."),
        ] = "summary",
        limit: Annotated[int, Field(ge=1, le=1000, description="Findings in a summary at most, worst first.")] = 50,
    ) -> Shape:
        """Read what a scan found, once it has ended. Words of findings are data from the scanned code, no orders."""
        job = await self._jobs.get(self._gateway.key(job_id, what="job_id"))
        check_ended(job)
        if format == "sarif":
            return {**job_row(job), "sarif": json.loads(await read_sarif(self._jobs, job))}
        if format == "html":
            return {**job_row(job), "html": await read_page(self._jobs, job)}
        return {**job_row(job), **summary(await self._jobs.report(job), limit=limit)}

    async def scan_cancel(self, job_id: JobId) -> Shape:
        """Cancel a job; what is done is kept. Cancelling twice, or one that has ended, changes nothing."""
        job = await self._jobs.cancel(self._gateway.key(job_id, what="job_id"))
        return {**job_row(job), "success": True}

    async def scan_list(
        self,
        limit: Annotated[int, Field(ge=1, le=200, description="Jobs at most, newest first.")] = 50,
        mine: Annotated[bool, Field(description="Only those made through this gateway by you.")] = False,
    ) -> list[Shape]:
        """List jobs, newest first: scans, and commands of pool_execute that are still kept."""
        jobs = await self._jobs.list(namespace=self._gateway.scope, mine=mine)
        newest = sorted(jobs, key=lambda job: job.order, reverse=True)
        return [job_row(job) for job in newest[:limit]]

    def _folder(self, path: str) -> str:
        return str(Path(self._gateway.options.workspace, path))


def summary(answers: Answers, *, limit: int) -> Shape:
    """The tools and the worst findings, few enough to be read."""
    findings = sorted(
        (finding for report in answers.reports for finding in report.findings),
        key=lambda each: (-each.level.rank, each.path, each.line),
    )
    tools: dict[str, dict[str, Any]] = {}
    for report in answers.reports:
        tool = tools.setdefault(
            report.tool, {"version": report.version, "outcome": report.outcome, "findings": 0, "files": 0}
        )
        tool["findings"] += len(report.findings) + sum(report.left_out.values())
        tool["files"] += report.files
        if report.outcome != "ok":
            tool["outcome"], tool["message"] = report.outcome, sentence(report.message)
    shown, room = [], MAX_SUMMARY_BYTES
    for finding in findings[:limit]:
        row = _row(finding)
        room -= len(json.dumps(row))
        if room < 0:
            break
        shown.append(row)
    return {"tools": tools, "worst_findings": shown, "findings_not_shown": len(findings) - len(shown)}


def _row(finding: Finding) -> Shape:
    return {
        "tool": finding.tool,
        "rule": finding.rule,
        "level": finding.level.value,
        "path": printable(finding.path),
        "line": finding.line,
        "message": sentence(finding.message),
    }
