"""Writing generated files, or checking that those in the tree are what would be written.

What must stay true: `--check` changes nothing, names every file that drifted and says how to mend it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path


def main(module: str, files: Iterable[tuple[str, str]], argv: list[str] | None = None) -> int:
    """Write or check (name, text) pairs in the folder given on the command line. Exit code 1: something drifted."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", metavar="DIR", type=Path, help="write the generated files into DIR")
    what.add_argument("--check", metavar="DIR", type=Path, help="exit 1 naming the files in DIR that drifted")
    options = parser.parse_args(argv)
    if options.write is not None:
        options.write.mkdir(parents=True, exist_ok=True)
        for name, text in files:
            (options.write / name).write_text(text)
        return 0
    drifted = [options.check / name for name, text in files if not _is(options.check / name, text)]
    for path in drifted:
        print(f"{path} is not what the models say: run `make crds` (python -m {module} --write {options.check})")
    return 1 if drifted else 0


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text
