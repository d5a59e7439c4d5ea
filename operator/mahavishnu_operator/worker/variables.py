"""The variables that the owner of a pool gives its tools: taken from the container, handed to runners, by name.

What must stay true: nothing else of the container passes with them; what is not handed on is named, never dropped in
silence.
"""

from __future__ import annotations

from collections.abc import Mapping

from mahavishnu_operator.api.variables import POD_PREFIX, may_be_handed_on


def take_variables(environment: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """What tools are given of an environment, and the names that were meant for them and may not be."""
    meant = {name.removeprefix(POD_PREFIX): value for name, value in environment.items() if name.startswith(POD_PREFIX)}
    refused = tuple(sorted(name for name in meant if not may_be_handed_on(name)))
    return {name: value for name, value in meant.items() if name not in refused}, refused


def wrap_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """The same as a runner is told of them: no program reads those names."""
    return {f"{POD_PREFIX}{name}": value for name, value in variables.items()}
