"""Rules of the tree that no linter knows: module length, and locks without addresses.

Prints every breach with its file and exits 1 when there is one.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_LINES = 400  # a module past this holds two ideas
ADDRESS = re.compile(r"https?://")
LOCKS = re.compile(r"(\.lock|package-lock\.json)$")
ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Check every tracked file; the exit code."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    breaches = [b for name in listed.split("\0") if name for b in check_file(ROOT / name, name)]
    print("\n".join(breaches) or f"tree: {listed.count(chr(0))} files follow the rules")
    return 1 if breaches else 0


def check_file(path: Path, name: str) -> Iterator[str]:
    """Every breach in one file, as a sentence."""
    if not path.is_file():
        return
    if name.endswith(".py"):
        lines = path.read_bytes().count(b"\n")
        if lines > MAX_LINES:
            yield f"{name}: {lines} lines; at most {MAX_LINES}: split it by idea"
    if LOCKS.search(name):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if ADDRESS.search(line):
                yield f"{name}:{number}: a lock carries pins and hashes, no address"


if __name__ == "__main__":
    sys.exit(main())
