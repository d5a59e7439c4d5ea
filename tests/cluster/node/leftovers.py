"""Wait until a node has ended, then remove what no namespace takes down with it: its cgroups and its data.

This is a process of its own, which outlives the test run by the moment that it needs: after `kill -9` nobody else is
left to clean up, and a node's images take gigabytes.

Usage: python -I -S leftovers.py PID PATH... with the pid of the node's first process; a PATH below a cgroup file system
is removed with the cgroups in it, any other with all it holds. A first process ends after all others of its namespace.
It prints a line when it holds on to the first process, whatever that pid comes to mean later.
"""

import os
import select
import shutil
import sys
from pathlib import Path


def main() -> None:
    pid, *paths = sys.argv[1:]
    first_process = os.pidfd_open(int(pid))
    print("waiting", flush=True)
    select.select([first_process], [], [])
    for path in map(Path, paths):
        if (path / "cgroup.procs").exists():
            remove_cgroups(path)
        else:
            shutil.rmtree(path)


def remove_cgroups(folder: Path) -> None:
    """Remove the cgroup and those in it, which hold no process any more."""
    for parent, _, _ in os.walk(folder, topdown=False):
        os.rmdir(parent)


if __name__ == "__main__":
    main()
