"""`mahavishnu up` whose workers are lease loops, and which notes how long it takes to choose each job's pool.

python -m benchmarks.gateway.fleet_server FILE up ...    FILE: seconds of each choice, as JSON, in the end
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from mahavishnu_operator.backends import local_process
from mahavishnu_operator.cli.main import run
from mahavishnu_operator.control.routing import Router


def main() -> None:
    """Be `mahavishnu` with these arguments."""
    file, sys.argv = Path(sys.argv[1]), ["mahavishnu", *sys.argv[2:]]
    seconds: list[float] = []
    choose = Router.choose

    def timed(self: Router, *arguments: Any) -> Any:
        begun = time.perf_counter()
        try:
            return choose(self, *arguments)
        finally:
            seconds.append(time.perf_counter() - begun)

    lease_loop = str(Path(__file__).with_name("lease_loop.py"))  # as a file: workers start in folders of their own
    local_process.AGENT = (sys.executable, lease_loop)  # type: ignore[assignment]
    Router.choose = timed  # type: ignore[method-assign,assignment]
    try:
        run()
    finally:
        file.write_text(json.dumps(seconds))


if __name__ == "__main__":
    main()
