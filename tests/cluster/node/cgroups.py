"""The cgroup below which kubelet puts the Pods of one node, in every hierarchy that the machine has mounted.

cgroups are the one thing of a node that no namespace takes down with it; `leftovers.py` removes them.
"""

from __future__ import annotations

from pathlib import Path

CONTROLLERS = "cpu", "cpuset", "hugetlb", "io", "memory", "pids"  # what kubelet demands of a unified hierarchy
# A new cgroup of the first version may use no processor and no memory until told which.
CPUSET_FILES = "cpuset.cpus", "cpuset.mems"


def hierarchies(mounts: str) -> tuple[Path, ...]:
    """Where cgroups are mounted, from the text of /proc/mounts."""
    fields = [line.split() for line in mounts.splitlines()]
    return tuple(Path(field[1]) for field in fields if field[2] in {"cgroup", "cgroup2"})


def make_cgroups(name: str) -> tuple[Path, ...]:
    """Make the cgroup `name` (no slash) in every hierarchy; those there are, and those that now exist, by path."""
    made = []
    for root in hierarchies(Path("/proc/mounts").read_text()):
        folder = root / name
        folder.mkdir(exist_ok=True)
        made.append(folder)
        for file in CPUSET_FILES:
            if (folder / file).exists() and not (folder / file).read_text().strip():
                (folder / file).write_text((root / file).read_text())
        available = root / "cgroup.controllers"
        if available.exists():
            wanted = [each for each in CONTROLLERS if each in available.read_text().split()]
            for parent in (root, folder):
                (parent / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in wanted))
    return tuple(made)
