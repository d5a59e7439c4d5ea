"""`make bench-gateway`: speed of an agent's calls next to yardsticks in the same run, as JSON lines.

    python -m benchmarks.gateway [NAME...]    all by default

`embedded`: beside `mahavishnu up`, next to a bare FastMCP tool. `apiserver`: on a real API server with the operator,
next to ScanJobs that are created without a gateway. `fleet`: ten pools of ten workers.
"""

from __future__ import annotations

from benchmarks.__main__ import run

NAMES = ("embedded", "apiserver", "fleet")


if __name__ == "__main__":
    run("benchmarks.gateway", NAMES, doc=__doc__)
