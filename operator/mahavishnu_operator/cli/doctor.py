"""doctor: what is there on this machine, what is missing, what that is for, and how to get it.

The pressure: a person who starts has one question, and a stack of extras, tools and servers between them and a first
scan. What must stay true: nothing is installed, started or changed by asking; what a scan needs and what is merely
useful are told apart, and only the former is an exit code.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

from mahavishnu_operator.support.errors import MahavishnuError

from .exits import ExitCode
from .output import OutputFormat, as_table, say, show
from .placing import OutputOption

DISTRIBUTION = "mahavishnu-operator"
EXTRAS = {"engine": "scan, up", "gateway": "agents (MCP)", "operator": "operator"}
PROGRAMS = {
    "git": ("scans of repositories by address", "apt-get install git, or your system's package"),
    "kubectl": ("clusters, kubectl mahavishnu", "https://kubernetes.io/docs/tasks/tools"),
    "helm": ("installing on a cluster", "https://helm.sh/docs/intro/install; kubectl apply -k deploy/ does without"),
}
SECONDS = 20.0  # for a tool to say its version
LEAST_BYTES = 256 * 1024 * 1024


class State(StrEnum):
    """How it stands."""

    OK = "ok"
    MISSING = "missing"  # a scan needs it
    ABSENT = "absent"  # something else does


@dataclass(frozen=True)
class Check:
    """One thing that was looked for."""

    what: str
    state: State
    found: str
    used_by: str
    how: str = ""


def doctor(output: OutputOption = OutputFormat.TABLE) -> None:
    """Say what is missing on this machine and how to get it; nothing is changed.

    Exit codes: 0 a scan with the usual tools runs here; 3 something that it needs is missing.
    """
    checks = [*_libraries(), *_scanners(), *_programs(), _confinement(), *_places(), *_servers()]
    lines = [[each.what, each.state.value, each.found, each.used_by] for each in checks]
    show([asdict(each) for each in checks], output, as_table(["WHAT", "STATE", "FOUND", "FOR"], lines))
    for each in checks:
        if each.how and each.state is not State.OK:
            say(f"{each.what}: {each.how}")
    sys.exit(ExitCode.INCOMPLETE if any(each.state is State.MISSING for each in checks) else ExitCode.OK)


def missing_libraries(extra: str, requirements: Sequence[str], installed: Mapping[str, str]) -> list[str]:
    """Which libraries of an extra are not installed, by the distribution's own list; pure."""
    ours = (each for each in requirements if each.replace('"', "'").endswith(f"extra == '{extra}'"))
    names = [re.split(r"[^A-Za-z0-9._-]", each, maxsplit=1)[0] for each in ours]
    return [name for name in dict.fromkeys(names) if _same(name) not in installed]


def _libraries() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", State.OK, f"{version} ({sys.executable})", "everything")
    requirements = metadata.requires(DISTRIBUTION) or []
    installed = {_same(each.name): each.version for each in metadata.distributions()}
    for extra, use in EXTRAS.items():
        lacking = missing_libraries(extra, requirements, installed)
        bad = State.MISSING if extra == "engine" else State.ABSENT
        yield Check(
            f"libraries of {extra}",
            bad if lacking else State.OK,
            f"without {', '.join(lacking)}" if lacking else "all",
            use,
            f"pip install '{DISTRIBUTION}[{extra}]'",
        )


def _scanners() -> Iterator[Check]:
    from mahavishnu_operator.scan.tools.registry import TOOLS, install_hint
    from mahavishnu_operator.worker.surroundings import find_program

    for name, tool in sorted(TOOLS.items()):
        command = tool.version_command()
        program = find_program(command[0])
        said = _output_of([program, *command[1:]]) if program is not None else b""
        version = tool.parse_version(said)
        state = State.OK if version else State.MISSING if tool.default else State.ABSENT
        found = f"{version} ({program})" if version else f"{program} says no version" if program else "not on the PATH"
        use = "scan, unless told otherwise" if tool.default else f"scan --tool {name}"
        yield Check(name, state, found, use, install_hint(name))


def _programs() -> Iterator[Check]:
    for name, (use, how) in PROGRAMS.items():
        found = shutil.which(name)
        yield Check(name, State.OK if found else State.ABSENT, found or "not on the PATH", use, how)


def _confinement() -> Check:
    from mahavishnu_operator.worker.confining import missing

    why = missing()
    how = "a Linux kernel of 6.12 or newer with Landlock; until then tools of one worker are open to each other"
    return Check(
        "confinement", State.ABSENT if why else State.OK, why or "Landlock", "tools apart from each other", how
    )


def _places() -> Iterator[Check]:
    from .settings import config_file, load_settings

    try:
        settings = load_settings()
    except MahavishnuError as error:
        yield Check("settings", State.MISSING, error.message, "everything", error.hint)
        return
    file = config_file()
    yield Check("settings", State.OK, str(file) if file.exists() else "defaults and environment", "everything")
    folder = Path(settings.data_dir)
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(there).free
    good = os.access(there, os.W_OK) and free >= LEAST_BYTES
    found = f"{folder}: {free // 2**20} MiB free" if os.access(there, os.W_OK) else f"{there} is not writable"
    yield Check("state", State.OK if good else State.ABSENT, found, "up", "name another with MAHAVISHNU_DATA_DIR")


def _servers() -> Iterator[Check]:
    from mahavishnu_operator.resources.connection import Connection
    from mahavishnu_operator.resources.protocol import Unreachable

    from .probing import ask
    from .settings import load_settings

    try:
        url = load_settings().url
    except MahavishnuError:
        return  # said above
    try:
        ask(url, "/readyz")
        yield Check("server", State.OK, url, "pool, workers, jobs, get")
    except Unreachable:
        yield Check("server", State.ABSENT, f"nobody answers at {url}", "pool, workers, jobs, get", "mahavishnu up &")
    except MahavishnuError as error:
        yield Check("server", State.ABSENT, f"{url}: {error.message}", "pool, workers, jobs, get", "see its log")
    try:
        yield Check("kubeconfig", State.OK, Connection.from_kubeconfig().server, "--cluster, kubectl mahavishnu")
    except MahavishnuError as error:
        yield Check("kubeconfig", State.ABSENT, error.message, "--cluster, kubectl mahavishnu", error.hint)


def _output_of(command: Sequence[str]) -> bytes:
    """What a tool prints of itself; nothing where it cannot be run, which is then said as such."""
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout


def _same(name: str) -> str:
    """A distribution's name as they are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()
