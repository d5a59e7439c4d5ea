"""Which variables of a container reach its tools."""

from __future__ import annotations

import pytest

from mahavishnu_operator.worker.variables import take_variables, wrap_variables


def test_what_was_meant_for_tools_is_taken_and_nothing_else() -> None:
    container = {"MAHAVISHNU_TOOL_GREETING": "hello", "GREETING": "other", "KUBERNETES_PORT": "443", "PATH": "/bin"}
    assert take_variables(container) == ({"GREETING": "hello"}, ())


@pytest.mark.parametrize("name", ["PATH", "HOME", "LD_PRELOAD", "PYTHONPATH", "MAHAVISHNU_URL", "a.b", "1ST", ""])
def test_a_name_that_is_the_workers_or_none_is_refused_by_name(name: str) -> None:
    container = {f"MAHAVISHNU_TOOL_{name}": "x", "MAHAVISHNU_TOOL_A": "y"}
    assert take_variables(container) == ({"A": "y"}, (name,))


def test_a_runner_takes_what_its_parent_wrapped() -> None:
    variables = {"A": "1", "B": ""}
    assert take_variables(wrap_variables(variables)) == (variables, ())
