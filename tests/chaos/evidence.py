"""What a storm showed, as one JSON object: kept in build/chaos/, and added up at the end of a run of the tests.

A pytest plugin (named in tests/conftest.py): with xdist the storms run in other processes than the one that prints.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "build" / "chaos"
PROPERTY = "storm"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One storm. `attempts` by how they ended; `executions`: how often tools really were started."""

    system: str
    seed: int
    faults: Mapping[str, int]
    tasks: int
    succeeded: int
    failed: int
    attempts: Mapping[str, int]
    executions: int
    restarts: int
    seconds: float
    breaches: Sequence[str]


def keep(evidence: Evidence, request: pytest.FixtureRequest) -> None:
    """Write it down, and hand it to the end of the run."""
    text = json.dumps(asdict(evidence), indent=1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{evidence.system}-{evidence.seed}.json").write_text(text + "\n")
    request.node.user_properties.append((PROPERTY, text))


def repeat(request: pytest.FixtureRequest) -> str:
    """The command that runs this very storm again."""
    return f"repeat it with: .venv/bin/python -m pytest '{request.node.nodeid}'"


def add_up(storms: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """One summary of many storms."""
    faults: Counter[str] = Counter()
    attempts: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    for storm in storms:
        for name, into in (("faults", faults), ("attempts", attempts)):
            found = storm[name]
            if isinstance(found, Mapping):
                into.update(found)
        for name in ("tasks", "succeeded", "failed", "executions", "restarts"):
            sums[name] += int(str(storm[name]))
    return {
        "storms": len(storms),
        "faults": sum(faults.values()),
        **sums,
        "seconds": round(sum(float(str(storm["seconds"])) for storm in storms), 1),
        "attempts": dict(sorted(attempts.items())),
        "by fault": dict(sorted(faults.items())),
    }


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what all storms of this run showed together."""
    storms = [
        json.loads(text)
        for reports in (terminalreporter.stats.get("passed", []), terminalreporter.stats.get("failed", []))
        for report in reports
        for name, text in getattr(report, "user_properties", ())
        if name == PROPERTY and report.when == "call"
    ]
    if storms:
        terminalreporter.section("storms")
        terminalreporter.line(json.dumps(add_up(storms)))
