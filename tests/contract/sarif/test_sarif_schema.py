"""Our SARIF logs validate against the published schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mahavishnu_operator.api.reasons import Level
from mahavishnu_operator.scan.model import Finding, ToolReport, Unread
from mahavishnu_operator.scan.sarif import encode_log, make_log
from mahavishnu_operator.scan.tools.registry import TOOLS
from tests.integration.scan_tools import run

from .schema import SchemaMissing, load_schema

Validate = Callable[[bytes], dict[str, Any]]
SOURCES = {
    "a.py": b"import os\nassert os, exec('')\ndef f(a): return " + b"(1 if a else " * 6 + b"0" + b")" * 6 + b"\n",
    "broken.py": b"def broken(:\n",
    "sp ace\n#.py": b"# teh\n",
    "caf\udce9.py": b"import sys\n",
}


@pytest.fixture(scope="session")
def validate() -> Validate:
    """Answers the log as read back, or fails with every place that breaks the schema."""
    validator = jsonschema.Draft4Validator(load_schema())

    def check(data: bytes) -> dict[str, Any]:
        log: dict[str, Any] = json.loads(data)
        errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(log)]
        assert errors == []
        return log

    return check


texts = st.text(st.characters(codec=None), max_size=12)  # lone surrogates too
numbers = st.integers(0, 10**9)
findings = st.builds(
    Finding,
    tool=st.sampled_from(["ruff", "x"]),
    rule=texts,
    level=st.sampled_from(list(Level)),
    message=texts,
    path=texts,
    line=numbers,
    column=numbers,
    end_line=numbers,
    end_column=numbers,
    help_uri=st.sampled_from(["", "https://example.org/a", "javascript:x", "no address"]),
    fingerprint=st.sampled_from(["", "f" * 32]),
)
unread = st.builds(Unread, path=texts, reason=texts)
reports = st.builds(
    ToolReport,
    tool=st.sampled_from(["ruff", "x"]),
    version=texts,
    outcome=st.sampled_from(["ok", "crashed", "timed-out", "not-installed", "cancelled"]),
    findings=st.lists(findings, max_size=3).map(tuple),
    unread=st.lists(unread, max_size=2).map(tuple),
    message=texts,
    exit_code=st.none() | st.integers(-64, 255),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(found=st.lists(reports, max_size=3), skipped=st.lists(unread, max_size=2))
def test_any_reports_make_a_valid_log(validate: Validate, found: list[ToolReport], skipped: list[Unread]) -> None:
    data, _ = encode_log(make_log(found, tools=["bandit"], skipped=skipped, run_id="default/scan"))
    validate(data)


def test_a_log_of_the_real_tools_is_valid(validate: Validate, tmp_path: Path) -> None:
    root, scratch = tmp_path / "root", tmp_path / "scratch"
    root.mkdir()
    scratch.mkdir()
    for name, content in SOURCES.items():
        (root / name).write_bytes(content)
    found = [run(tool, root, scratch=scratch) for tool in TOOLS.values()]
    log = validate(encode_log(make_log(found))[0])
    results = {run["tool"]["driver"]["name"]: run["results"] for run in log["runs"]}
    assert {name for name, entries in results.items() if entries} == {*TOOLS}
    uris = {
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in results.values() for result in r
    }
    assert {"a.py", "sp%20ace%0A%23.py", "caf%E9.py"} <= uris


def test_a_log_that_was_cut_is_valid(validate: Validate) -> None:
    many = [Finding("ruff", "R", Level.NOTE, "m", f"{n}.py", line=1) for n in range(300)]
    data, truncated = encode_log(make_log([ToolReport("ruff", "1", "ok", tuple(many))]), max_bytes=9_000)
    assert truncated
    validate(data)


def test_the_schema_does_refuse_what_is_wrong(validate: Validate) -> None:
    log = make_log([ToolReport("ruff", "1", "ok", (Finding("ruff", "R", Level.NOTE, "m", "a.py", line=1),))])
    log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"] = 0
    with pytest.raises(AssertionError, match="startLine"):
        validate(encode_log(log)[0])


def test_a_missing_npm_is_said_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MAHAVISHNU_CACHE", str(tmp_path))
    with pytest.raises(SchemaMissing, match=r"no `no-such-npm` on PATH: install npm"):
        load_schema(npm="no-such-npm")


def test_every_pin_has_an_integrity_and_no_address() -> None:
    lock = json.loads((Path(__file__).parent / "package-lock.json").read_bytes())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    assert all(entry["integrity"].startswith("sha512-") and "resolved" not in entry for entry in packages.values())
