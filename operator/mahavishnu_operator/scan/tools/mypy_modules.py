"""Which module mypy takes a file for: enough of its rules to name all files that stand in each other's way.

The pressure: mypy stops at the first two files of one module name, at the first package whose name is no name,
at the first module that hides one of its own; a repository with forty `conftest.py` would need forty runs. What
must stay true: this is asked only after mypy itself said what is wrong; of files with one name, one is kept.
The rule: a folder with `__init__.py` is a package, and so is one without it below a package; the folder
above the topmost package is where its modules are searched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from mahavishnu_operator.scan.model import Unread

_INITS = ("__init__.pyi", "__init__.py")
_PREFERENCE = (".pyi", "/__init__.py", ".py")  # a stub before its module, a package before a module


class Misplaced(Exception):
    """A package whose folder's name cannot be a module's."""


class Modules:
    """Module names of the files under `root`; looks at which folders are packages."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._package_of = cache(self._find_package)

    def locate(self, path: str) -> tuple[str, str]:
        """Module name, and the absolute folder in which it is searched. Misplaced."""
        folder, _, name = os.path.join(self._root, path).rpartition("/")
        package, base = self._package_of(folder) or ("", folder)
        stem = name.removesuffix("i").removesuffix(".py")
        return (package if stem == "__init__" else f"{package}.{stem}".lstrip(".")), base

    def duplicates(self, files: Sequence[str]) -> Iterator[Unread]:
        """All files but one of each module name."""
        kept: dict[str, str] = {}
        for path in sorted(files, key=_preference):
            try:
                module = self.locate(path)[0]
            except Misplaced:
                continue
            if kept.setdefault(module, path) != path:
                why = f"mypy checks one file a module name, and {module} is {kept[module]} already"
                yield Unread(path, why)

    def misplaced(self, files: Sequence[str]) -> Iterator[Unread]:
        """All files in or below a package whose name is none."""
        for path in files:
            try:
                self.locate(path)
            except Misplaced as error:
                yield Unread(path, str(error))

    def beside_shadow(self, files: Sequence[str], *, shadow: str, module: str, why: str) -> Sequence[Unread]:
        """All files for which mypy searches the folder of a module that hides one of its own.

        None for the root itself, which it searches always.
        """
        parts = module.count(".") + (2 if os.path.basename(shadow) in _INITS else 1)
        base = os.path.join(self._root, shadow)
        for _ in range(parts):
            base = os.path.dirname(base)
        if base == self._root:
            return ()
        return [Unread(path, why) for path in files if self._base(path) == base]

    def _base(self, path: str) -> str:
        try:
            return self.locate(path)[1]
        except Misplaced:
            return ""

    def _find_package(self, folder: str) -> tuple[str, str] | None:
        """The package that a folder is, and where that is searched; None for a folder outside of all packages."""
        parent, _, folder_name = folder.rpartition("/")
        name = folder_name.removesuffix("-stubs")
        if any(os.path.isfile(os.path.join(folder, init)) for init in _INITS):
            if not name.isidentifier():
                raise Misplaced(f"{folder_name} is a package, but no name for one")
            above, base = self._package_of(parent) or ("", parent)
            return f"{above}.{name}".lstrip("."), base
        if not parent or not name.isidentifier():
            return None
        found = self._package_of(parent)
        return None if found is None else (f"{found[0]}.{name}", found[1])


def _preference(path: str) -> tuple[int, bytes]:
    rank = next((index for index, ending in enumerate(_PREFERENCE) if path.endswith(ending)), len(_PREFERENCE))
    return rank, os.fsencode(path)
