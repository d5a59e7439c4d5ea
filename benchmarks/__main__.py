"""`make bench`: speed next to a yardstick in the same run, as JSON lines, and in the end a table of what was asked for.

    python -m benchmarks [NAME...]    all by default

Load goes to loopback only and is bounded in count; what counts are the ratios, because machines differ and are shared.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from importlib import import_module

from mahavishnu_operator.support.logs import configure_logging

from .figures import PRINTED, print_line
from .goals import table

NAMES = ("noop", "commands", "scanjobs", "stdlib", "queued", "idle")


def run(package: str, known: Sequence[str], *, doc: str) -> None:
    """Run the benchmarks of a package that were named, one after another."""
    parser = argparse.ArgumentParser(prog=f"python -m {package}", description=doc.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; all by default")
    names = parser.parse_args().names
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; known: {', '.join(known)}")
    configure_logging(level="warning")
    print_line("machine", cores=os.cpu_count() or 0)
    for name in names or known:
        begun = time.monotonic()
        import_module(f"{package}.{name}").main()
        print_line("took", of=name, seconds=time.monotonic() - begun)
    if summary := table(PRINTED):
        print(f"\n{summary}")


if __name__ == "__main__":
    run("benchmarks", NAMES, doc=__doc__)
