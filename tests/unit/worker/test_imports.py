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
