"""Give each pin with extras its twin without: when pip checks hashes, neither is a pin of the other.

A package that asks for `x[y]` is refused where only `x` is pinned, and one that asks for `x` where only `x[y]` is.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def with_twins(lock: str) -> str:
    """The lock's text, with the twins behind their pins; twice does no more than once."""
    blocks = re.split(r"\n(?=[A-Za-z0-9])", lock)
    bare = {block.partition("==")[0] for block in blocks}
    made = []
    for block in blocks:
        made.append(block)
        name = re.match(r"([A-Za-z0-9._-]+)\[[^]]+\]==", block)
        if name and name[1] not in bare:
            made.append(name[1] + block[block.index("==") :].rstrip("\n"))
    return "\n".join(made).rstrip("\n") + "\n"


if __name__ == "__main__":
    for file in map(Path, sys.argv[1:]):
        file.write_text(with_twins(file.read_text()))
