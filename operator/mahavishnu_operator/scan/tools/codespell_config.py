"""The three settings of codespell that matter when files are named one by one.

The pressure: bare `codespell` walks the tree and prunes folders (`skip`, hidden ones) on the way; a file
that is named goes past that pruning. And a project may configure `write-changes`, which a scan must not do.
What must stay true: the files and their order are codespell's own (pyproject.toml, setup.cfg, .codespellrc;
later ones win); a file that cannot be read settles nothing here: codespell itself will say what is wrong.
"""

from __future__ import annotations

import configparser
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

MAX_CONFIG_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """`writes`: the configuration would make codespell change files."""

    skip: tuple[str, ...] = ()
    check_hidden: bool = False
    writes: bool = False

    def leaves_out(self, path: str) -> bool:
        """Whether bare codespell in the root would not have come to this relative path."""
        *folders, name = path.split("/")
        if self._matches(".") or self._hidden_or_skipped(name) or self._matches(f"./{path}"):
            return True
        return any(
            self._hidden_or_skipped(folder) or self._matches("./" + "/".join(folders[: depth + 1]))
            for depth, folder in enumerate(folders)
        )

    def _hidden_or_skipped(self, name: str) -> bool:
        return (name.startswith(".") and not self.check_hidden) or self._matches(name)

    def _matches(self, name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in self.skip)


def read_settings(root: Path) -> Settings:
    """What codespell will read when it is started in `root`."""
    options = {
        **_from_toml(root / "pyproject.toml"),
        **_from_ini(root / "setup.cfg"),
        **_from_ini(root / ".codespellrc"),
    }
    return Settings(
        skip=tuple(part.strip() for part in options.get("skip", "").split(",") if part),
        check_hidden="check-hidden" in options,
        # argparse takes `--w` for --write-changes, and a value that starts with a dash for an option
        writes=any(key.startswith("w") or value.lstrip().startswith("-") for key, value in options.items()),
    )


def _read(path: Path) -> str:
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(MAX_CONFIG_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _from_toml(path: Path) -> dict[str, str]:
    try:
        table = tomllib.loads(_read(path)).get("tool", {}).get("codespell", {})
        options = table.items()
    except (tomllib.TOMLDecodeError, AttributeError, RecursionError):
        return {}
    return {str(key).lower(): _text(value) for key, value in options if value is not False}


def _text(value: object) -> str:
    if value is True:
        return ""
    return ",".join(str(each) for each in value) if isinstance(value, list) else str(value)


def _from_ini(path: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_read(path))
        return dict(parser["codespell"]) if parser.has_section("codespell") else {}
    except configparser.Error:
        return {}
