"""The trees that a worker's runners fetched or unpacked: which there are, who uses them, and which go.

The pressure: dozens of tasks of a job look at the same files, in several slots at once, and a disk is finite. And
tools are hostile and of one user: a tool can alter a tree that a later task, of another job, will look at. What must
stay true: a tree is of one job and one revision alone, and is used again only if its seal (seals.py), which is kept
here, out of every tool's reach, is still right; one that is in use is never removed; a folder's name is never used
twice.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mahavishnu_operator.api.wire import ArchiveSource, SourceSpec
from mahavishnu_operator.scan.git_names import is_commit

from .messages import Piece, Place, Prepared

MOST_TREES = 8
MOST_BYTES = 1024 * 1024 * 1024
Pieces = Callable[[str], AsyncGenerator[Piece, None]]
_TreeKey = tuple[str, str, str]  # job, url (empty: an archive), commit or digest


@dataclass(eq=False)
class Tree:
    """A folder with the files of a source. `used_at` counts uses, not seconds."""

    folder: str
    seal: str
    size: int
    users: int = 0
    used_at: int = 0


class Checkouts:
    """The table of one agent. `folder` is where its runners are."""

    def __init__(
        self, folder: Path, *, pieces: Pieces, most_trees: int = MOST_TREES, most_bytes: int = MOST_BYTES
    ) -> None:
        self._folder, self._pieces = folder, pieces
        self._most_trees, self._most_bytes = most_trees, most_bytes
        self._trees: dict[_TreeKey, Tree] = {}
        self._retired: list[Tree] = []  # replaced by another of the same key, and perhaps still in use
        self._waste: list[str] = []
        self._making: dict[_TreeKey, asyncio.Lock] = {}
        self._numbers, self._uses = itertools.count(1), itertools.count(1)

    @asynccontextmanager
    async def use(self, task: str, source: SourceSpec, *, cancel: asyncio.Event) -> AsyncIterator[Use]:
        """Use the files of `source` for a task (`job/id`). Of tasks that need the same tree, one makes it."""
        job = task.partition("/")[0]
        key = tree_key(job, source)
        lock = self._making.setdefault(key, asyncio.Lock()) if key is not None else asyncio.Lock()
        locked = await _acquire(lock, cancel)
        tree = self._trees.get(key) if key is not None and locked else None
        fresh, drop = self._new_folder(), self._take_waste(spare=tree)
        place = Place(fresh, tree.folder if tree else "", tree.seal if tree else "", drop)
        if tree is not None:
            self._begin(tree)
        pieces = self._pieces(source.sha256 if isinstance(source, ArchiveSource) else "")
        use = Use(self, job, source, place, pieces=pieces, tree=tree, release=lock.release if locked else None)
        try:
            async with aclosing(pieces):
                yield use
        finally:
            use.end()
            if key is not None and not lock.locked():
                self._making.pop(key, None)

    def keep(self, job: str, source: SourceSpec, tree: Tree, *, commit: str) -> None:
        """A new tree is there, in place of one that was altered or never was."""
        self._begin(tree)
        key = tree_key(job, source, commit=commit)
        if key is None:
            self._retired.append(tree)
            return
        before = self._trees.get(key)
        if before is not None:
            self._retired.append(before)
        self._trees[key] = tree

    def end(self, tree: Tree) -> None:
        """One user less."""
        tree.users -= 1

    def discard(self, *folders: str) -> None:
        """Have these removed by the next runner that is asked anything."""
        self._waste.extend(folders)

    def _new_folder(self) -> str:
        """A name that no tool can guess: what it cannot list it cannot change either."""
        return str(self._folder / f"{next(self._numbers)}-{secrets.token_hex(4)}")

    def _begin(self, tree: Tree) -> None:
        tree.users += 1
        tree.used_at = next(self._uses)

    def _take_waste(self, *, spare: Tree | None) -> tuple[str, ...]:
        """Folders to be removed now: nobody will use them."""
        for tree in [tree for tree in self._retired if not tree.users]:
            self._retired.remove(tree)
            self._waste.append(tree.folder)
        for key in surplus(self._trees, spare=spare, most_trees=self._most_trees, most_bytes=self._most_bytes):
            self._waste.append(self._trees.pop(key).folder)
        waste, self._waste = tuple(self._waste), []
        return waste


@dataclass(eq=False)
class Use:
    """One task's use of a tree; a slot.Supplier."""

    _checkouts: Checkouts
    _job: str
    _source: SourceSpec
    place: Place
    pieces: AsyncGenerator[Piece, None]
    tree: Tree | None
    release: Callable[[], None] | None
    _told: bool = field(default=False)

    async def piece(self) -> Piece:
        """The next piece of the archive."""
        if not isinstance(self._source, ArchiveSource):
            raise ValueError("the runner asks for an archive, and its task has none")
        return await anext(self.pieces)

    def prepared(self, what: Prepared) -> None:
        """The runner has the files: the next task may use them. ValueError: it says what cannot be."""
        if self._told or what.folder not in (self.place.fresh, self.place.ready):
            raise ValueError(f"the runner has put the files into {what.folder!r}, or says so twice")
        self._told = True
        if what.folder == self.place.fresh:
            if self.tree is not None:  # it was altered
                self._checkouts.end(self.tree)
            self.tree = Tree(what.folder, what.seal, max(0, what.size))
            self._checkouts.keep(self._job, self._source, self.tree, commit=what.commit)
        self._unlock()

    def end(self) -> None:
        """The task is over. What no runner has told of may be there all the same, or not."""
        self._unlock()
        if self.tree is not None:
            self._checkouts.end(self.tree)
        if not self._told:
            self._checkouts.discard(self.place.fresh, *self.place.drop)

    def _unlock(self) -> None:
        if self.release is not None:
            self.release()
            self.release = None


def tree_key(job: str, source: SourceSpec, *, commit: str = "") -> _TreeKey | None:
    """What a tree is known by; None: the commit is not known yet."""
    if isinstance(source, ArchiveSource):
        return job, "", source.sha256
    named = commit or source.revision
    return (job, source.url, named) if is_commit(named) else None


def surplus(trees: dict[_TreeKey, Tree], *, spare: Tree | None, most_trees: int, most_bytes: int) -> list[_TreeKey]:
    """Those to be removed, longest unused first, so that there is room for one more; none that is in use."""
    count, size = len(trees), sum(tree.size for tree in trees.values())
    unused = [key for key, tree in trees.items() if not tree.users and tree is not spare]
    chosen: list[_TreeKey] = []
    for key in sorted(unused, key=lambda key: trees[key].used_at):
        if count < most_trees and size <= most_bytes:
            break
        chosen.append(key)
        count, size = count - 1, size - trees[key].size
    return chosen


async def _acquire(lock: asyncio.Lock, cancel: asyncio.Event) -> bool:
    """Wait for the lock, but no longer than until the task is cancelled; whether it was had."""
    acquiring, cancelled = asyncio.ensure_future(lock.acquire()), asyncio.ensure_future(cancel.wait())
    try:
        await asyncio.wait({acquiring, cancelled}, return_when=asyncio.FIRST_COMPLETED)
        return acquiring.done()
    finally:
        cancelled.cancel()
        if not acquiring.done():
            acquiring.cancel()
            await asyncio.gather(acquiring, return_exceptions=True)
            if not acquiring.cancelled() and acquiring.exception() is None:
                lock.release()
