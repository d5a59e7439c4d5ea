from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("kopf", "kubernetes", "pydantic", "starlette", "uvicorn", "typer", "cel")


@pytest.mark.parametrize("module", ["mahavishnu_operator.worker.agent", "mahavishnu_operator.worker.runner"])
def test_the_worker_imports_no_part_of_the_control_plane(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == ""


def test_an_agent_starts_without_what_draws_tracebacks_in_colour() -> None:
    code = "import sys, mahavishnu_operator.worker.__main__ as it; it.main(); print(sys.modules.get('rich'))"
    done = subprocess.run([sys.executable, "-c", code], input=b"{}\n", capture_output=True, check=True)
    assert done.stdout == b"None\n"
    assert b"error: " in done.stderr
