"""Reports and output as they are read: the same for tools and resources.

What must stay true: output that is cut says how many bytes are left out and how to read on, and no character is lost
between two pages; a report that is too large is refused with a way to have it, not cut.
"""

from __future__ import annotations

import asyncio
import codecs
import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

from mahavishnu_operator.api.answers import TaskAnswer
from mahavishnu_operator.client import Job
from mahavishnu_operator.client.jobs import Jobs
from mahavishnu_operator.client.specs import COMMAND_TASK
from mahavishnu_operator.resources.protocol import Key
from mahavishnu_operator.scan.model import ToolReport
from mahavishnu_operator.scan.terminal import print_report, report_page
from mahavishnu_operator.support.errors import Conflict, InvalidInput

from .shapes import sentence

# The official clients take messages of 1 MiB, and an answer is in a message twice: as a shape and as text.
MAX_SARIF_BYTES = 384 * 1024
INLINE_BYTES = 64 * 1024  # of each stream of a command in an answer
LEAST_INLINE_BYTES = 128  # the same, where one answer has the streams of many
PAGE_BYTES = 65_536


@dataclass(frozen=True)
class Part:
    """Some of a stream: its text, where that begins and ends, and how long the whole is, in bytes."""

    stream: str
    text: str
    end: int
    length: int

    @property
    def left_out(self) -> int:
        """Bytes after it."""
        return max(0, self.length - self.end)

    def how_to_read(self, task: Key) -> str:
        """The call that reads on."""
        return f"task_output(task_id={str(task)!r}, stream={self.stream!r}, offset={self.end})"


def inline_of_many(number: int) -> int:
    """The inline limit of each where one answer has the streams of so many commands."""
    return max(LEAST_INLINE_BYTES, min(INLINE_BYTES, INLINE_BYTES // max(1, number)))


async def read_stream(jobs: Jobs, job: Job, answer: TaskAnswer, stream: str, *, since: int, inline: int) -> Part:
    """What an ended command wrote, from a byte on and no longer than `inline` bytes."""
    tail, length = (answer.stdout, answer.stdout_bytes) if stream == "stdout" else (answer.stderr, answer.stderr_bytes)
    if since == 0 and length <= min(inline, len(tail.encode("utf-8", "surrogatepass"))) and fits(tail, inline):
        return Part(stream, tail, length, length)
    return await read_part(jobs, job, stream, since=since, inline=inline, length=length)


async def read_part(jobs: Jobs, job: Job, stream: str, *, since: int, inline: int, length: int = 0) -> Part:
    """What a command wrote until now; `length`: of the whole, once it is known."""
    data = b""
    while len(data) < inline:
        limit = min(PAGE_BYTES, inline - len(data))
        page = await jobs.output(job, COMMAND_TASK, stream=stream, offset=since + len(data), limit=limit)
        if not page:
            break
        data += page
    text, read = whole_characters(data)
    while not fits(text, inline):
        text, read = whole_characters(data[: read // 2])
    return Part(stream, text, since + read, length)


def fits(text: str, inline: int) -> bool:
    """Whether it is not much longer as JSON, where a control character is six."""
    return len(json.dumps(text, ensure_ascii=False)) <= 2 * max(inline, LEAST_INLINE_BYTES)


def check_ended(job: Job) -> None:
    """Conflict: there is no report yet."""
    if not job.ended:
        raise Conflict(f"job {job.key} has not ended: {sentence(job.message)}", hint="scan_wait first")


async def read_sarif(jobs: Jobs, job: Job) -> bytes:
    """The whole report as SARIF. Conflict: not yet. InvalidInput: it fits no answer."""
    check_ended(job)
    data = await jobs.sarif(job)
    if len(data) > MAX_SARIF_BYTES:
        raise InvalidInput(
            f"the report has {len(data)} bytes; at most {MAX_SARIF_BYTES} fit an answer",
            hint=f"ask for a summary; on the command line: mahavishnu report {job.key.name} --sarif FILE",
        )
    return data


async def read_text(jobs: Jobs, job: Job) -> str:
    """The report as `mahavishnu scan` prints it. Conflict: not yet."""
    check_ended(job)
    answers = await jobs.report(job)
    return await asyncio.to_thread(_printed, answers.reports, job.seconds)


async def read_page(jobs: Jobs, job: Job) -> str:
    """The same as an HTML page. Conflict: not yet."""
    check_ended(job)
    answers = await jobs.report(job)
    return await asyncio.to_thread(report_page, answers.reports, seconds=job.seconds)


def _printed(reports: Sequence[ToolReport], seconds: float) -> str:
    page = StringIO()
    print_report(reports, seconds=seconds, stream=page)
    return page.getvalue()


def whole_characters(data: bytes) -> tuple[str, int]:
    """The text in a page of bytes and how many of them it is: a character cut by the page's end is left for the next.

    What is no UTF-8 at all is replaced, so the next page always begins further on.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data)
    kept = len(data) - len(decoder.getstate()[0])
    return (text, kept) if kept or not data else (data.decode("utf-8", "replace"), len(data))
