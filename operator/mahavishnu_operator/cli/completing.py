"""`kubectl_complete-mahavishnu`: what kubectl runs when a person presses Tab behind `kubectl mahavishnu`.

The pressure: the shell asks kubectl, and kubectl asks a plugin by a program of that name, with the words typed so far,
the unfinished one last. It wants a line for each word that fits, then a colon and a number: 4 for "nothing else fits",
0 for "file names do" (the directives of the library that kubectl's own commands are made with). What must stay true: it
offers what `mahavishnu --install-completion` offers, since it asks the same code.
"""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress

FILES, NOTHING_ELSE = 0, 4


def complete(words: Sequence[str]) -> tuple[str, ...]:
    """What fits the last of these words, as the command line's own completion for bash says it; empty: file names."""
    from .main import app

    os.environ |= {
        "_MAHAVISHNU_COMPLETE": "complete_bash",
        "COMP_WORDS": shlex.join(["mahavishnu", *words[:-1]]) + " " + words[-1],
        "COMP_CWORD": str(len(words)),
    }
    with redirect_stdout(io.StringIO()) as said, suppress(SystemExit):
        app(prog_name="mahavishnu")
    return tuple(said.getvalue().split())


def main() -> None:
    """The entry point."""
    found = complete(sys.argv[1:] or [""])
    print(*found, f":{NOTHING_ELSE if found else FILES}", sep="\n")
