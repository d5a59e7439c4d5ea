"""Findings through the whole pipeline (plan, bins, workers, parsers, report) are those of one run of the bare tool.

The tree is the standard library, as a package below the root: mypy takes no tree whose top folder holds `types.py`.
It has files that no tool can read: those that are wrong on purpose for the library's own tests.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sysconfig
import warnings
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from .bare_tools import BARE, Row
from .cli_tools import MAHAVISHNU, environment

LIBRARY = Path(sysconfig.get_path("stdlib"))
PART = ("importlib", "json", "lib2to3/tests/data", "wsgiref")
NOT_OURS = shutil.ignore_patterns("__pycache__", "site-packages", "config-*", "lib-dynload", "*.so")


def copy_library(root: Path, *, whole: bool) -> None:
    """The library as the package `library` in root."""
    target = root / "library"
    if whole:
        shutil.copytree(LIBRARY, target, ignore=NOT_OURS)
    else:
        for name in PART:
            shutil.copytree(LIBRARY / name, target / name, ignore=NOT_OURS)
        for path in (*LIBRARY.glob("[ab]*.py"), *LIBRARY.glob("test/tokenizedata/*")):
            if path.is_file():
                (target / path.relative_to(LIBRARY)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target / path.relative_to(LIBRARY))
    (target / "__init__.py").touch()


def scan(tool: str, root: Path) -> dict[str, Any]:
    """The tool's run in the report of `mahavishnu scan`."""
    command = [MAHAVISHNU, "scan", str(root), "--tool", tool, "--workers", "2", "--fail-on", "none", "--json"]
    done = subprocess.run(command, env=environment(), capture_output=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    runs: dict[str, dict[str, Any]] = {
        run["tool"]["driver"]["name"]: run for run in json.loads(done.stdout)["sarif"]["runs"]
    }
    return runs[tool]


def findings(run: dict[str, Any]) -> Counter[Row]:
    """All results; of mypy's the errors alone, without their hints, since its text has notes in lines of their own."""
    mypy = run["tool"]["driver"]["name"] == "mypy"
    found: Counter[Row] = Counter()
    for result in run["results"]:
        place = result["locations"][0]["physicalLocation"]
        region, words = place.get("region", {}), result["message"]["text"]
        if not (mypy and result["level"] == "note"):
            path, words = unquote(place["artifactLocation"]["uri"]), words.split("\n")[0] if mypy else words
            found[result["ruleId"], path, region.get("startLine", 0), region.get("startColumn", 0), words] += 1
    return found


def unread(run: dict[str, Any]) -> set[str]:
    """The files that the tool did not understand."""
    notes = run["invocations"][0].get("toolExecutionNotifications", [])
    return {unquote(each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]) for each in notes}


def unparsable(root: Path) -> set[str]:
    """Files that are not this version's Python."""
    broken = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in root.rglob("*.py"):
            try:
                ast.parse(path.read_bytes())
            except (SyntaxError, ValueError):
                broken.add(str(path.relative_to(root)))
    return broken


def compare(tool: str, root: Path, scratch: Path) -> None:
    """Run both ways; the same findings as often, and the same files not understood."""
    ours = scan(tool, root)
    bare = BARE[tool](root, scratch, unparsable(root))
    found = findings(ours)
    assert found
    assert found - bare.found == Counter()
    assert bare.found - found == Counter()
    assert unread(ours) == bare.unread
    fingerprints = [result["partialFingerprints"]["mahavishnu/v1"] for result in ours["results"]]
    assert len(set(fingerprints)) == len(fingerprints)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.mark.timeout(300)
@pytest.mark.parametrize("tool", sorted(BARE))
def test_a_part_of_the_standard_library_has_the_findings_of_the_bare_tool(
    tool: str, tmp_path: Path, scratch: Path
) -> None:
    copy_library(tmp_path / "root", whole=False)
    compare(tool, tmp_path / "root", scratch)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("tool", sorted(BARE))
def test_the_standard_library_has_the_findings_of_the_bare_tool(tool: str, tmp_path: Path, scratch: Path) -> None:
    copy_library(tmp_path / "root", whole=True)
    compare(tool, tmp_path / "root", scratch)
