"""Whoever installed too little is told what to install, before anything else happens."""

from __future__ import annotations

import sys
from importlib import metadata

import pytest
from typer.testing import CliRunner

from mahavishnu_operator.cli.doctor import missing_libraries
from mahavishnu_operator.cli.extras import MODULES
from mahavishnu_operator.cli.main import app
from mahavishnu_operator.support.errors import InvalidInput

COMMANDS = [
    ("uvicorn", ["scan", "."], "engine"),
    ("uvicorn", ["up"], "engine"),
    ("kopf", ["operator"], "operator"),
    ("starlette", ["operator"], "operator"),
    ("psycopg", ["store", "migrate", "--to", "postgresql://me@127.0.0.1/empty"], "operator"),
    ("fastmcp", ["mcp", "start"], "gateway"),
    ("fastmcp", ["up", "--mcp"], "gateway"),
]


@pytest.mark.parametrize(("module", "command", "extra"), COMMANDS, ids=[" ".join(row[1][:2]) for row in COMMANDS])
def test_a_command_that_lacks_a_library_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, module: str, command: list[str], extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # Python's own way to say that there is none
    error = CliRunner().invoke(app, command).exception
    assert isinstance(error, InvalidInput)
    assert module in error.message
    assert error.hint == f"pip install 'mahavishnu-operator[{extra}]'"


def test_the_table_is_that_of_the_distribution() -> None:
    requirements = metadata.requires("mahavishnu-operator") or []
    brought_by = metadata.packages_distributions()  # fastmcp's modules are those of fastmcp-slim, which it brings
    for extra, modules in MODULES.items():
        asked = set(missing_libraries(extra, requirements, {}))
        found = {module: {name for name in asked if brought_by[module][0].startswith(name)} for module in modules}
        assert [module for module, names in found.items() if not names] == []
        assert set().union(*found.values()) == asked
