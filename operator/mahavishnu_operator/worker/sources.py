"""The files of a task that come from elsewhere: unpacked or fetched by the runner, once for a job's tasks here.

What must stay true: whatever goes wrong is a word about the source, never about the tools; a folder that could not be
made whole is removed; a tree that was made before is used only if nothing in it has changed.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from mahavishnu_operator.api.wire import MAX_BLOB_BYTES, ArchiveSource, GitSource, PlanTask, ScanTask
from mahavishnu_operator.scan.git_names import is_commit, revision_problem, url_problem
from mahavishnu_operator.scan.model import Origin
from mahavishnu_operator.scan.unpacking import unpack
from mahavishnu_operator.support.errors import InvalidInput

from .bounded import OutOfTime, in_thread
from .commands import stopped
from .git_fetch import Fetch, Frame, check_certificates
from .git_words import Failed
from .messages import Piece, Prepared, Start
from .scratch import remove_scratch, unlock_parents
from .seals import lock_tree, seal

T = TypeVar("T")
NextPiece = Callable[[], Awaitable[Piece]]
Tell = Callable[[Prepared], None]


@dataclass(frozen=True)
class Files:
    """Where a task's files are. `unpacked`: from an archive, of which all is looked at."""

    root: str
    origin: Origin | None
    unpacked: bool = False


class Preparing:
    """Gets the files of one task. `next_piece` asks the agent for more of the archive; `tell` says: they are there."""

    def __init__(self, start: Start, *, cancel: asyncio.Future[None], next_piece: NextPiece, tell: Tell) -> None:
        if start.place is None:
            raise ValueError("a task with a source has no place for it")
        self._start, self._place, self._cancel = start, start.place, cancel
        self._next_piece, self._tell = next_piece, tell
        self._scratch = Path(start.scratch)
        self._ends_at = time.monotonic() + start.timeout_seconds

    async def run(self, spec: PlanTask | ScanTask) -> Files:
        """The files. Failed; OutOfTime."""
        await self._in_thread(partial(_remove, self._place.drop))
        source = spec.source
        if isinstance(source, GitSource):
            return await self._from_git(source, plan=isinstance(spec, PlanTask))
        if isinstance(source, ArchiveSource):
            return await self._from_archive(source)
        raise ValueError("the task has no source")

    async def _from_archive(self, source: ArchiveSource) -> Files:
        origin = Origin(archive_sha256=source.sha256)
        if await self._is_ready():
            return Files(self._place.ready, origin, unpacked=True)
        packed = self._scratch / "archive"
        await self._receive(packed, source.sha256)
        await self._make(lambda fresh: self._in_thread(partial(_unpack, packed, fresh)))
        return Files(self._place.fresh, origin, unpacked=True)

    async def _from_git(self, source: GitSource, *, plan: bool) -> Files:
        for problem, what in (
            (url_problem(source.url), f"source.git.url {source.url!r}"),
            (revision_problem(source.revision), f"source.git.revision {source.revision!r}"),
            (source.base_revision and revision_problem(source.base_revision), f"baseRevision {source.base_revision!r}"),
        ):
            if problem:
                raise Failed("refused", "SourceRefused", f"{what} is not taken: {problem}")
        if not plan and not is_commit(source.revision):
            raise Failed("refused", "SourceRefused", f"{source.revision!r} is no commit in full")
        if not plan and await self._is_ready():
            return Files(self._place.ready, Origin(commit=source.revision))
        commits: list[str] = []

        async def fetch(fresh: Path) -> str:
            git = Fetch(fresh, source.url, self._frame())
            base = await git.commit_of(source.base_revision) if source.base_revision else ""
            commits.extend((await git.commit_of(source.revision), base))
            await git.check_out(commits[0])
            await self._in_thread(partial(lock_tree, fresh))
            return commits[0]

        await self._make(fetch)
        return Files(self._place.fresh, Origin(commit=commits[0], base_commit=commits[1]))

    async def _make(self, work: Callable[[Path], Awaitable[str]]) -> None:
        """Make the fresh folder whole, or not at all."""
        fresh = Path(self._place.fresh)
        try:
            await self._in_thread(partial(unlock_parents, fresh))  # a tool may have locked them
            commit = await work(fresh)
            digest, size = await self._in_thread(partial(seal, fresh))
        except BaseException as error:
            if not isinstance(error, OutOfTime):  # then a thread may still write there: the agent has it removed later
                await asyncio.to_thread(remove_scratch, fresh)
            if isinstance(error, OSError):
                words = f"the files could not be written on the worker: {error.strerror or error}"
                raise Failed("failed", "SourceUnwritable", words) from error
            raise
        self._tell(Prepared(self._place.fresh, digest, size, commit))

    async def _is_ready(self) -> bool:
        """Whether the folder of an earlier task is as it was made."""
        place = self._place
        if not place.ready:
            return False
        found, size = await self._in_thread(partial(_seal_or_none, Path(place.ready)))
        if found != place.seal:
            return False
        self._tell(Prepared(place.ready, found, size))
        return True

    async def _receive(self, packed: Path, sha256: str) -> None:
        digest, size = hashlib.sha256(), 0
        with packed.open("wb") as file:
            while True:
                piece = await self._next()
                if piece.error:
                    raise Failed("refused", "ArchiveMissing", f"the archive {sha256} cannot be had: {piece.error}")
                if piece.first:
                    file.seek(0)
                    file.truncate()
                    digest, size = hashlib.sha256(), 0
                digest.update(piece.data)
                size += len(piece.data)
                if size > MAX_BLOB_BYTES:
                    raise Failed("refused", "ArchiveRefused", f"the archive has more than {MAX_BLOB_BYTES} bytes")
                await self._in_thread(partial(_append, file, piece.data))
                if piece.last:
                    break
        if digest.hexdigest() != sha256:
            raise Failed("failed", "ArchiveDamaged", f"the archive {sha256} came with other content: {size} bytes")

    async def _next(self) -> Piece:
        """The next piece, within the task's time."""
        asking = asyncio.ensure_future(self._next_piece())
        try:
            both: set[asyncio.Future[Any]] = {asking, self._cancel}
            await asyncio.wait(both, timeout=self._left(), return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
        finally:
            asking.cancel()
        status, words = stopped(
            "Cancelled" if self._cancel.done() else "TimedOut",
            what="fetching the archive",
            timeout_seconds=self._start.timeout_seconds,
        )
        raise Failed(status, "Cancelled" if self._cancel.done() else "TimedOut", words)

    def _frame(self) -> Frame:
        certificates = ""
        if self._start.git_ca:
            check_certificates(self._start.git_ca)
            file = self._scratch / "git-ca.pem"
            file.write_text(self._start.git_ca)
            certificates = str(file)
        return Frame(self._scratch, certificates, self._left, self._cancel)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await in_thread(work, seconds=self._left(), cancel=self._cancel)

    def _left(self) -> float:
        return max(0.0, self._ends_at - time.monotonic())


def _remove(folders: tuple[str, ...]) -> None:
    for folder in folders:
        if not remove_scratch(Path(folder)):
            raise OSError(f"the folder {folder}, which no task uses any more, cannot be removed")


def _append(file: BinaryIO, data: bytes) -> None:
    file.write(data)


def _unpack(packed: Path, fresh: Path) -> str:
    fresh.mkdir(mode=0o700, parents=True)
    try:
        with packed.open("rb") as archive:
            unpack(archive, fresh)
    except InvalidInput as error:
        raise Failed("refused", error.reason, str(error)) from None
    packed.unlink()
    return ""


def _seal_or_none(folder: Path) -> tuple[str, int]:
    """The seal; '' where the tree has become something that cannot be looked through."""
    try:
        return seal(folder)
    except OSError:
        return "", 0
