"""A scan of the standard library, less its tests, with all six tools, next to `xargs -P` over the same command lines.

The yardstick gets what we cost ourselves for nothing: the list of files, the plan, and no finding read. The tree is the
library as a package below the root (mypy refuses a tree whose top has `types.py`), without the few files at which
mypy or vulture would stop: those tools are then run again, which xargs would not do.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from mahavishnu_operator.control.tasks import BINS_PER_SLOT
from mahavishnu_operator.scan.listing import list_files
from mahavishnu_operator.scan.model import Unread
from mahavishnu_operator.scan.planner import make_plan
from mahavishnu_operator.scan.tools import going_on
from mahavishnu_operator.scan.tools.protocol import StopsAtOneFile, Tool
from mahavishnu_operator.scan.tools.registry import TOOLS
from tests.integration.cli_tools import MAHAVISHNU, environment
from tests.integration.scan_tools import selected, start

from .figures import print_line

ROUNDS = 3
WORKERS = max(2, os.cpu_count() or 1)
LIMIT_SECONDS = 900.0
NOT_PYTHON = shutil.ignore_patterns("test", "tests", "__pycache__", "site-packages", "config-*", "lib-dynload", "*.so")
FINDERS = Path(sys.executable).parent  # where the tools are


def make_tree(root: Path, scratch: Path) -> None:
    """The library below root, less the files that a tool stops at."""
    shutil.copytree(sysconfig.get_path("stdlib"), root / "library", ignore=NOT_PYTHON)
    (root / "library" / "__init__.py").touch()
    for tool in TOOLS.values():
        while isinstance(tool, StopsAtOneFile) and (blockers := find_blockers(tool, root, scratch)):
            for each in blockers:
                (root / each.path).unlink()


def find_blockers(tool: Tool, root: Path, scratch: Path) -> set[Unread]:
    """The files at which the tool stops."""
    run = going_on.Run(tuple(selected(tool, root)))
    command = tool.command(run.files, scratch=scratch, root=root)
    output = start(command, root=root, scratch=scratch, deadline=LIMIT_SECONDS)
    return {each for each in going_on.blockers(tool, run, output, root=root) if (root / each.path).exists()}


def commands(root: Path, scratch: Path) -> list[Path]:
    """A shell script for each shard of the plan, in the plan's order: the tool's own command line in the root."""
    lists: dict[str, bytes] = {}

    def put(data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        lists[digest] = data
        return digest

    plan = make_plan(list_files(root), list(TOOLS.values()), bins=BINS_PER_SLOT * WORKERS, chunk_size=0, put=put)
    scripts = []
    for shard in plan.shards:
        own = scratch / shard.id
        own.mkdir()
        files = [os.fsdecode(name) for name in lists[shard.files_sha256].split(b"\0")[:-1]]
        scripts.append(own / "run.sh")
        scripts[-1].write_text(script(TOOLS[shard.tool], files, root=root, scratch=own))
    return scripts


def script(tool: Tool, files: Sequence[str], *, root: Path, scratch: Path) -> str:
    """`cd ROOT && exec TOOL ... >out 2>err`, in the environment that a worker gives it."""
    path = f"{FINDERS}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    variables = {"PATH": path, "HOME": scratch, "TMPDIR": scratch, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    exports = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in variables.items())
    argv = shlex.join(tool.command(files, scratch=scratch, root=root))
    ends = f">{shlex.quote(str(scratch / 'out'))} 2>{shlex.quote(str(scratch / 'err'))}"
    return f"cd {shlex.quote(str(root))} && export {exports} && {{ {argv} {ends}; true; }}\n"


def run_xargs(scripts: Sequence[Path]) -> float:
    """Seconds that `xargs -P` takes for all scripts."""
    names = b"\0".join(os.fsencode(path) for path in scripts)
    begun = time.perf_counter()
    subprocess.run(["xargs", "-0", "-n", "1", "-P", str(WORKERS), "sh"], input=names, check=True)
    return time.perf_counter() - begun


def run_scan(root: Path, report: Path) -> float:
    """Seconds of the whole `mahavishnu scan` process, with its report."""
    command = [MAHAVISHNU, "scan", str(root), "--tool", "all", "--workers", str(WORKERS), "--fail-on", "none"]
    begun = time.perf_counter()
    subprocess.run(
        [*command, "--sarif", str(report)],
        env=environment(),
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=LIMIT_SECONDS,
    )
    return time.perf_counter() - begun


def main() -> None:
    """Rounds of both in turn, and the ratio of each round."""
    with tempfile.TemporaryDirectory(prefix="mahavishnu-bench-", ignore_cleanup_errors=True) as name:
        root, scratch = Path(name) / "root", Path(name) / "scratch"
        scratch.mkdir()
        make_tree(root, scratch)
        ours, bare, tasks = [], [], 0
        for number in range(ROUNDS):
            place = scratch / str(number)
            place.mkdir()
            scripts = commands(root, place)
            tasks = len(scripts)
            bare.append(run_xargs(scripts))
            ours.append(run_scan(root, place / "report.sarif"))
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    print_line("scan of the standard library", contender="xargs", tasks=tasks, seconds=median(bare))
    print_line("scan of the standard library", contender="mahavishnu", tasks=tasks, seconds=median(ours))
    print_line(
        "scan of the standard library, ratio to xargs", ratio=median(ratios), least=min(ratios), most=max(ratios)
    )
