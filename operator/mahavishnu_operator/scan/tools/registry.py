"""The tools this version knows, and how a person gets one that is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from mahavishnu_operator.support.errors import InvalidInput

from .bandit import Bandit
from .codespell import Codespell
from .complexipy import Complexipy
from .mypy import Mypy
from .protocol import Tool
from .ruff import Ruff
from .vulture import Vulture

_ALL: tuple[Tool, ...] = (Bandit(), Codespell(), Complexipy(), Mypy(), Ruff(), Vulture())
TOOLS: Mapping[str, Tool] = MappingProxyType({tool.name: tool for tool in _ALL})
DEFAULT = tuple(tool.name for tool in _ALL if tool.default)


def find_tools(names: Iterable[str]) -> tuple[Tool, ...]:
    """The tools by name. InvalidInput naming those that nobody knows."""
    wanted = tuple(dict.fromkeys(names))
    if unknown := [name for name in wanted if name not in TOOLS]:
        raise InvalidInput(f"no such tool: {', '.join(unknown)}", hint=f"known: {', '.join(sorted(TOOLS))}")
    return tuple(TOOLS[name] for name in wanted)


def install_hint(name: str) -> str:
    """What to type when the tool is not there."""
    return f"install it where the worker runs: pip install {name} (or mahavishnu-operator[scanners] for all tools)"
