"""Names the Python files of a list that cannot be read, decoded or parsed: run as `python -m`, in a process of its own.

The pressure: mypy names one such file a run, and parsing hostile source can take all memory or kill a process,
so it is done under the same limits as a tool. Run only when a tool has stopped at such a file. Input: a file
of NUL-ended relative paths; output: path and reason, each NUL-ended, as they are found.
"""

from __future__ import annotations

import ast
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from mahavishnu_operator.scan.tools.common import MAX_SOURCE_BYTES, read_regular


def main() -> None:
    """Look at the files that the list in argv[1] names, below the working directory."""
    warnings.simplefilter("ignore")  # what the source is warned of is not our news
    for name in Path(sys.argv[1]).read_bytes().split(b"\0"):
        why = why_unreadable(Path(os.fsdecode(name))) if name else ""
        if why:
            sys.stdout.buffer.write(name + b"\0" + why.encode("utf-8", "replace").replace(b"\0", b" ") + b"\0")
            sys.stdout.buffer.flush()


def why_unreadable(path: Path) -> str:
    """The reason; '' for a file that this Python parses."""
    try:
        ast.parse(read_regular(path, MAX_SOURCE_BYTES))
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}" if error.lineno else error.msg
    except OSError as error:
        return error.strerror or str(error)
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error) or "it is nested too deep"
    return ""


def decode(output: bytes, files: Sequence[str]) -> dict[str, str]:
    """The reasons by path, for those of the files that the process came to name."""
    fields = output.split(b"\0")
    found = {
        os.fsdecode(name): why.decode("utf-8", "replace") for name, why in zip(fields[::2], fields[1::2], strict=False)
    }
    known = frozenset(files)
    return {path: why for path, why in found.items() if path in known}


if __name__ == "__main__":
    main()
