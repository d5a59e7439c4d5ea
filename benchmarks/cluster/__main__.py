"""`make bench-cluster`: speed with Pods as workers, next to yardsticks in the same run, as JSON lines.

    python -m benchmarks.cluster [NAME...]    all by default

`warm` and `pertask` run real Pods on a real node (as root), `scale` simulated ones.
"""

from __future__ import annotations

from benchmarks.__main__ import run

NAMES = ("warm", "pertask", "scale")


if __name__ == "__main__":
    run("benchmarks.cluster", NAMES, doc=__doc__)
