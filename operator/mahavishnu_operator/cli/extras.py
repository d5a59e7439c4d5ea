"""Which libraries a command needs beyond those that every client has, and how to get them.

The pressure: one distribution has extras so that a worker stays small, and whoever installed too little would be told
so by a traceback. What must stay true: nothing is loaded by asking, and the table is that of pyproject.toml (a test
compares them).
"""

from __future__ import annotations

import importlib.util

from mahavishnu_operator.support.errors import InvalidInput

ENGINE = ("cel", "httptools", "starlette", "uvicorn", "uvloop")
# Modules by the extra that brings them.
MODULES = {"engine": ENGINE, "gateway": (*ENGINE, "fastmcp"), "operator": (*ENGINE, "kopf", "psycopg")}


def how_to_get(extra: str) -> str:
    """What to type."""
    return f"pip install 'mahavishnu-operator[{extra}]'"


def missing_modules(extra: str) -> list[str]:
    """Modules of the extra that are not installed."""
    return [name for name in MODULES[extra] if importlib.util.find_spec(name) is None]


def require(extra: str, *, what: str) -> None:
    """InvalidInput when a library is missing that `what` needs."""
    if missing := missing_modules(extra):
        raise InvalidInput(
            f"{what} needs what is not installed here: {', '.join(missing)}",
            hint=how_to_get(extra),
        )
