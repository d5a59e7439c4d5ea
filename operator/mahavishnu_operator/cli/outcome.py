"""What a person is shown when a scan has ended, wherever it ran: the report, what was left out, and the exit code.

The pressure: a CI job must not have to know whether a scan ran here or in a cluster. What must stay true: the report
is shown before it is written, so that a full disk costs no answer; no finding in a file that nobody opened is no good
news, so such files are named.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mahavishnu_operator.api.reasons import Verdict
from mahavishnu_operator.support.errors import InvalidInput
from mahavishnu_operator.support.text import counted, printable

from .exits import ExitCode
from .output import OutputFormat, dump, say

if TYPE_CHECKING:
    from mahavishnu_operator.scan.model import ToolReport, Unread

MAX_LEFT_OUT = 5  # named one by one after the report


@dataclass(frozen=True)
class Shown:
    """A report: what each tool said, the SARIF log (empty where nobody wants it), and what no tool was given."""

    reports: Sequence[ToolReport]
    sarif: bytes
    left_out: Sequence[Unread] = ()


def listen_for_signals() -> asyncio.Queue[signal.Signals]:
    """The signals that end a scan, from now on."""
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, number)
    return signals


def exit_code_of_signal(number: signal.Signals) -> ExitCode:
    """128 and the signal's number, as shells count."""
    return ExitCode.INTERRUPTED if number is signal.SIGINT else ExitCode.TERMINATED


def show_outcome(
    status: dict[str, Any],
    shown: Shown | None,
    *,
    form: OutputFormat,
    sarif: Path | None,
    interrupt: signal.Signals | None,
    seconds: float,
) -> ExitCode:
    """Print what there is and say how it went. `shown` None: there is no report. InvalidInput: the job was refused."""
    from mahavishnu_operator.scan.terminal import print_report

    if interrupt is None:  # else the person knows why it ended
        _refuse_unaccepted(status)
    if form is not OutputFormat.TABLE:
        value = {"verdict": status.get("verdict"), "seconds": round(seconds, 3), **_as_json(shown, status)}
        print(json.dumps(value) if form is OutputFormat.JSON else dump(value, form))
    elif shown is not None:
        print_report(shown.reports, seconds=seconds, stream=sys.stdout)
    if shown is not None and sarif is not None:  # after it was shown: a full disk must not cost the whole answer
        sys.stdout.flush()
        _write(sarif, shown.sarif)
    if shown is not None:
        _say_what_was_left_out(shown.left_out)
    elif sarif is not None:
        say(f"there is no report: {printable(str(sarif))} is as it was before")
    if interrupt is not None:
        tasks = status.get("tasks") or {}
        done = f"{tasks.get('succeeded', 0)} of {counted(tasks.get('total', 0), 'task')} done"
        say(f"interrupted: {done if tasks.get('total') else 'no task had begun'}")
        return exit_code_of_signal(interrupt)
    for condition in status.get("conditions", []):
        if condition["type"] == "Failed" and condition["status"] == "True":
            say(f"incomplete: {printable(condition['message'])}")
    return exit_code(Verdict(status.get("verdict", "Pending")))


def _refuse_unaccepted(status: dict[str, Any]) -> None:
    for condition in status.get("conditions", []):
        if condition["type"] == "Accepted" and condition["status"] == "False":
            raise InvalidInput(condition["message"])


def exit_code(verdict: Verdict) -> ExitCode:
    """Findings over the limit outrank tools that did not look: both fail a gate, the former says more."""
    match verdict:
        case Verdict.PASSED:
            return ExitCode.OK
        case Verdict.FAILED:
            return ExitCode.FINDINGS
        case _:
            return ExitCode.INCOMPLETE


def _say_what_was_left_out(left_out: Sequence[Unread]) -> None:
    for each in left_out[:MAX_LEFT_OUT]:
        say(f"left out: {printable(each.path)}: {printable(each.reason)}")
    if len(left_out) > MAX_LEFT_OUT:
        say(f"and {len(left_out) - MAX_LEFT_OUT} more left out; the SARIF report names all")


def _as_json(shown: Shown | None, status: dict[str, Any]) -> dict[str, Any]:
    return {
        "tasks": status.get("tasks"),
        "findings": status.get("findings"),
        "sarif": json.loads(shown.sarif) if shown else None,
    }


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InvalidInput(f"cannot write the report to {path}: {error.strerror}") from None
