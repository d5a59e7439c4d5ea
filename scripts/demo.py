"""`make demo`: scans this repository with a pool of local workers, and with the same tools one after another.

Prints the report, writes build/demo/report.sarif, and says what the pool gained. Exits 0 whatever the findings:
it shows the program, it does not judge the repository.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mahavishnu_operator.scan.listing import list_files
from mahavishnu_operator.scan.tools.registry import DEFAULT, TOOLS

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "build" / "demo" / "report.sarif"
WORKERS = max(2, os.cpu_count() or 2)
HEADLINE = {0: "passed", 1: "has findings", 3: "is incomplete"}


def main() -> int:
    """Run both ways; 0 unless the scan itself could not run."""
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    argv = [str(Path(sys.executable).with_name("mahavishnu")), "scan", str(ROOT)]
    argv += ["--workers", str(WORKERS), "--sarif", str(REPORT)]
    print(f"$ mahavishnu scan . --workers {WORKERS} --sarif {REPORT.relative_to(ROOT)}", flush=True)
    begun = time.perf_counter()
    code = subprocess.run(argv, check=False).returncode
    pooled = time.perf_counter() - begun
    if code not in HEADLINE:
        print(f"the scan itself failed with exit code {code}", file=sys.stderr)
        return code
    one_by_one = run_one_by_one()
    print(f"\nthe scan {HEADLINE[code]}; report: {REPORT.relative_to(ROOT)} ({REPORT.stat().st_size} bytes)")
    print(f"pool of {WORKERS} workers: {pooled:.2f} s wall, with starting and stopping it")
    print(f"the same tools one after another: {one_by_one:.2f} s wall")
    return 0


def run_one_by_one() -> float:
    """Seconds that the bare tools take on the same files, one process a tool, in turn."""
    files = [file.path for file in list_files(ROOT, include=(), exclude=()).files]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        for tool in (TOOLS[name] for name in DEFAULT):
            chosen = [path for path in files if tool.selects(path)]
            command = tool.command(chosen, scratch=Path(scratch), root=ROOT)
            subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
