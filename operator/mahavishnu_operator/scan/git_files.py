"""Asking git for the files of a hostile repository without letting the repository run anything.

The pressure: `git ls-files` reads the repository's own config, and that can name programs (core.fsmonitor,
hooks), another work tree, or remotes to fetch missing objects from, by commands of its choice. What must
stay true: the repository is found by us and named to git, so that its config cannot move it; every key that
starts a program is overridden; no transport is allowed; nothing of our environment reaches git but PATH and
the person's own configuration.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_SECONDS = 120.0
_OVERRIDES = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.untrackedCache=false",
    "core.pager=cat",
    "core.quotePath=false",
    "safe.directory=*",
    "submodule.recurse=false",
)
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",  # never writes the index of the tree that it reads
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "false",
    "GIT_PAGER": "cat",
    "GIT_NO_LAZY_FETCH": "1",  # known from git 2.44 on; the next line holds on older ones
    "GIT_ALLOW_PROTOCOL": "none",  # no such transport: a missing object cannot be fetched, over file: either
    "LC_ALL": "C",
}
_KEPT = ("PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR")


class GitUnusable(Exception):
    """git is missing, refused, or did not answer; the message says which."""


@dataclass(frozen=True, slots=True)
class Repository:
    """The work tree's top folder and its `.git` (a folder, or a file that names one)."""

    top: Path
    git: Path


@dataclass(frozen=True, slots=True)
class GitFiles:
    """Relative POSIX paths; a repository inside the repository ends in `/` when it is untracked."""

    tracked: tuple[str, ...]
    untracked: tuple[str, ...]


def find_repository(root: Path) -> Repository | None:
    """The repository whose work tree `root` is or lies in."""
    start = root.resolve()
    for folder in (start, *start.parents):
        if os.path.lexists(folder / ".git"):
            return Repository(top=folder, git=folder / ".git")
    return None


def list_git_files(root: Path, repository: Repository) -> GitFiles | None:
    """Tracked and untracked-but-not-ignored files under root; None when root itself is ignored. GitUnusable."""
    folder = root.resolve()
    if folder != repository.top and _is_ignored(folder, repository):
        return None
    return GitFiles(
        tracked=_names(_git(repository, "ls-files", "-z", "--cached", cwd=folder)),
        untracked=_names(_git(repository, "ls-files", "-z", "--others", "--exclude-standard", cwd=folder)),
    )


def _is_ignored(folder: Path, repository: Repository) -> bool:
    relative = os.path.relpath(folder, repository.top)
    return bool(_git(repository, "check-ignore", "--", f"./{relative}", cwd=repository.top, accept=(0, 1)))


def _names(output: bytes) -> tuple[str, ...]:
    return tuple(os.fsdecode(name) for name in output.split(b"\0") if name)


def _git(repository: Repository, *arguments: str, cwd: Path, accept: tuple[int, ...] = (0,)) -> bytes:
    where = (f"--git-dir={repository.git}", f"--work-tree={repository.top}")
    overrides = [part for setting in _OVERRIDES for part in ("-c", setting)]
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | _ENVIRONMENT
    try:
        ran = subprocess.run(
            ("git", "--no-pager", *where, *overrides, *arguments),
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
    except FileNotFoundError:
        raise GitUnusable("git is not installed") from None
    except subprocess.TimeoutExpired:
        raise GitUnusable(f"git did not answer within {TIMEOUT_SECONDS:.0f} s") from None
    if ran.returncode not in accept:
        words = ran.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {ran.returncode}"]
        raise GitUnusable(f"git could not list the files ({words[-1][:300]})")
    return ran.stdout
