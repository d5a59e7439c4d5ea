from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("aiohttp", "pydantic", "starlette", "uvicorn", "kopf", "cel", "psutil", "sqlite3", "structlog")


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys, mahavishnu_operator.cli.main; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == ""


LIGHT = """
import importlib, sys, mahavishnu_operator.cli.entry
for name in sys.argv[1].split(): importlib.import_module(f"mahavishnu_operator.{name}")
print(*(name for name in sys.argv[2].split() if name in sys.modules))
"""


@pytest.mark.parametrize(
    ("modules", "without"),
    [
        ("worker.pods worker.agent", "typer pydantic yaml"),
        ("worker.pods worker.runner_host", "typer pydantic yaml aiohttp"),
        ("worker.runner", "structlog rich aiohttp pydantic"),
        ("cli.local_scan", "aiohttp mahavishnu_operator.resources.kubernetes"),
        (
            "cli.main mcp_gateway.on_workers mcp_gateway.remembering mcp_gateway.routing mcp_gateway.spawning",
            "fastmcp mcp_types starlette uvicorn kopf",
        ),
    ],
)
def test_a_program_loads_what_it_needs_alone(modules: str, without: str) -> None:
    asked = [sys.executable, "-c", LIGHT, modules, without]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip() == ""


@pytest.mark.parametrize("module", ["mahavishnu_operator.cli.local_scan", "mahavishnu_operator.worker.agent"])
def test_neither_a_scan_nor_a_worker_loads_what_agents_talk_to(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in ('fastmcp', 'mcp', 'mcp_types') if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == ""
