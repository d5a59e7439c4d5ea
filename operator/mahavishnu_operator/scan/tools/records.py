"""Lines of a tool that prints text, when the names in them may hold anything.

The pressure: `path:line: message` cannot be cut at colons or line ends alone, since a file may be named
`a:1: x` or hold a line break. What must stay true: a record is only one when it begins with a file that the
tool was given.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from .common import Names

_POSITION = re.compile(r":([0-9]{1,9}): ")


class Records:
    """For each line what it may be the end of, the line alone first: lines before it may belong to its name."""

    def __init__(self, output: bytes, files: Sequence[str]) -> None:
        self._lines = os.fsdecode(output).split("\n")
        self._back = max((path.count("\n") for path in files), default=0)
        self.longest_name = max((len(path) for path in files), default=0) + len("./")

    def __iter__(self) -> Iterator[list[str]]:
        for index in range(len(self._lines)):
            first = max(0, index - self._back)
            yield ["\n".join(self._lines[start : index + 1]) for start in range(index, first - 1, -1)]


def at_line(record: str, names: Names) -> tuple[str, int, str] | None:
    """`name:line: rest` as (path, line, rest), when the name is one of the files and the rest is on one line."""
    for position in _POSITION.finditer(record):
        path, rest = names.find(record[: position.start()]), record[position.end() :]
        if path is not None and "\n" not in rest:
            return path, int(position[1]), rest
    return None
