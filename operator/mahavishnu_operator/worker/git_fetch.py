"""Fetching one commit of a public repository with git, in the runner.

The pressure: the server, the repository and the names are hostile, and git can be made to run programs in a dozen
ways: hooks, filters, transports, credential helpers, configuration. What must stay true: git reads no configuration but
what is here; it talks https to the server that was named, without credentials, and asks nobody for any; exactly one
commit is fetched, without its history, submodules or large files kept elsewhere; time and size are limited.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mahavishnu_operator.scan.git_hardening import ENVIRONMENT, SETTINGS
from mahavishnu_operator.scan.git_names import is_commit
from mahavishnu_operator.scan.unpacking import MAX_NAME_BYTES, MAX_SEGMENT_BYTES

from .git_words import Failed, explain
from .supervising import Ended, Limits, supervise
from .surroundings import clean_environment, find_program

MIB = 1024 * 1024
MOST_FETCHED_BYTES = 1024 * MIB  # packed, as git keeps it
MOST_TREE_BYTES = 1024 * MIB
MOST_FILES = 200_000
OUTPUT_BYTES = 64 * MIB
LOOK_SECONDS = 0.2  # how often the size of what was fetched is looked at


@dataclass(frozen=True)
class Frame:
    """What one fetch has: scratch space, certificates (a file; empty: the machine's), time, and who may cancel it."""

    scratch: Path
    certificates: str
    left: Callable[[], float]
    cancel: asyncio.Future[None]


class Fetch:
    """One repository in one new folder."""

    def __init__(self, folder: Path, url: str, frame: Frame) -> None:
        self._folder, self._url, self._frame = folder, url, frame

    async def commit_of(self, revision: str) -> str:
        """Fetch a revision; its commit in full. Failed."""
        if not (self._folder / ".git").exists():
            self._folder.mkdir(mode=0o700, parents=True)
            await self._git("init", "--quiet", "--template=", what="make a repository")
        await self._git(
            *("fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--end-of-options"),
            *(self._url, revision),
            what=f"fetch {revision} of {self._url}",
            watched=True,
        )
        ended = await self._git(
            "rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}", what=f"find the commit of {revision}"
        )
        commit = ended.stdout.decode("ascii", "replace").strip()
        if not is_commit(commit) or (is_commit(revision) and commit != revision):
            raise Failed("refused", "RevisionNotFound", f"{revision} of {self._url} is no commit, nor a tag of one")
        return commit

    async def check_out(self, commit: str) -> None:
        """Write its files, if they are not too many or too large. Failed."""
        listed = await self._git("ls-tree", "-r", "-l", "-z", "--full-tree", commit, what=f"list {commit}")
        check_size(listed.stdout, what=f"{commit} of {self._url}")
        await self._git(
            *("checkout", "--quiet", "--force", "--detach", "--no-recurse-submodules", commit),
            what=f"write the files of {commit}",
        )

    async def _git(self, *arguments: str, what: str, watched: bool = False) -> Ended:
        program = find_program("git")
        if program is None:
            raise Failed("refused", "GitNotInstalled", "git is not installed on the worker; use an image that has it")
        settings = [part for setting in SETTINGS for part in ("-c", setting)]
        frame = self._frame
        environment = clean_environment(frame.scratch) | dict(ENVIRONMENT) | {"GIT_ALLOW_PROTOCOL": "https"}
        if frame.certificates:
            environment["GIT_SSL_CAINFO"] = frame.certificates
        over: list[str] = []
        stop = asyncio.get_running_loop().create_future()
        watching = asyncio.create_task(self._watch(stop, over if watched else None))
        try:
            ended = await supervise(
                (program, *settings, *arguments),
                cwd=str(self._folder),
                environment=environment,
                limits=Limits(frame.left(), OUTPUT_BYTES),
                cancel=stop,
            )
        finally:
            watching.cancel()
        if over:
            raise Failed("refused", "SourceTooLarge", f"{self._url} is too large: {over[0]}; use source.archive")
        if ended.stopped_by or ended.exit_code != 0:
            raise explain(ended, what=what, url=self._url)
        return ended

    async def _watch(self, stop: asyncio.Future[None], over: list[str] | None) -> None:
        """Stop git when the task is cancelled, or when it has fetched too much."""
        while not self._frame.cancel.done():
            if over is not None and _fetched_bytes(self._folder) > MOST_FETCHED_BYTES:
                over.append(f"more than {MOST_FETCHED_BYTES // MIB} MiB are fetched for this one commit")
                break
            await asyncio.wait({self._frame.cancel}, timeout=LOOK_SECONDS)
        if not stop.done():
            stop.set_result(None)


def check_size(listed: bytes, *, what: str) -> None:
    """Refuse a commit by `ls-tree -r -l -z`: too many files or bytes, or a name that is too long. Failed."""
    total = count = 0
    for line in listed.split(b"\0"):
        head, _, name = line.partition(b"\t")
        count += 1
        size = head.rpartition(b" ")[2]
        total += int(size) if size.isdigit() else 0
        if len(name) > MAX_NAME_BYTES or max(map(len, name.split(b"/"))) > MAX_SEGMENT_BYTES:
            shown = os.fsdecode(name[:80])
            raise Failed("refused", "SourceUnreadable", f"{what} has the name {shown!r}..., which is too long to write")
    if total > MOST_TREE_BYTES or count > MOST_FILES:
        words = f"{what} has {count} files of {total // MIB} MiB; at most {MOST_FILES} of {MOST_TREE_BYTES // MIB} MiB"
        raise Failed("refused", "SourceTooLarge", words)


def check_certificates(pem: str) -> None:
    """Refuse certificates that git could not read; it would say only that it cannot. Failed."""
    try:
        ssl.create_default_context(cadata=pem)
    except ssl.SSLError as error:
        words = f"the certificates of MAHAVISHNU_GIT_CA cannot be used: {error}"
        raise Failed("refused", "CertificatesUnreadable", words) from None


def _fetched_bytes(folder: Path) -> int:
    size = 0
    with suppress(FileNotFoundError), os.scandir(folder / ".git/objects/pack") as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                size += entry.stat(follow_symlinks=False).st_size
    return size
