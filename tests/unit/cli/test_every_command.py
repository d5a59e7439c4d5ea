"""What is true of each command that answers something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from mahavishnu_operator.cli.main import app
from mahavishnu_operator.cli.output import OutputFormat

SERVE = {"up", "operator", "worker", "mcp start"}  # these answer nothing: they run until they are ended


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path}{name} ")
        elif not command.hidden:
            yield f"{path}{name}", command


def test_each_prints_for_people_or_as_json_or_yaml() -> None:
    found = dict(commands(typer.main.get_command(app)))
    assert len(found) > 30
    forms = {
        name: parameter.default
        for name, command in found.items()
        for parameter in command.params
        if "--output" in parameter.opts
    }
    assert set(found) - set(forms) == SERVE
    assert set(forms.values()) == {OutputFormat.TABLE}
