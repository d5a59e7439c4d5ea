from __future__ import annotations

import subprocess
import sys

HEAVY = ("aiohttp", "pydantic", "starlette", "uvicorn", "kopf", "cel", "psutil", "sqlite3", "structlog")


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys, mahavishnu_operator.cli.main; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == ""
