from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("aiohttp", "pydantic", "starlette", "uvicorn", "kopf", "cel", "psutil", "sqlite3", "structlog")


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys, mahavishnu_operator.cli.main; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == ""


@pytest.mark.parametrize("module", ["mahavishnu_operator.cli.local_scan", "mahavishnu_operator.worker.agent"])
def test_neither_a_scan_nor_a_worker_loads_what_agents_talk_to(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in ('fastmcp', 'mcp', 'mcp_types') if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == ""
