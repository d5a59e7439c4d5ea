"""docs/dependencies.md says of each library why it is here; one that was added without a word is noticed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_dependency_has_a_row() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
    names = {re.split(r"[^\w.-]", each, maxsplit=1)[0] for each in asked} - {"mahavishnu-operator"}
    rows = [line.split("|")[1] for line in (ROOT / "docs/dependencies.md").read_text().splitlines() if "|" in line]
    named = {name for row in rows for name in re.findall(r"[\w.-]+", row)}
    assert sorted(names - named) == []
