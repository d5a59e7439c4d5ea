"""Calls of those who are no workers: who brings the archive of a ScanJob's files, and who reads what came of it.

The pressure: an archive is tens of megabytes from somebody who may be slow, or gone in the middle, and a report quotes
source code. What must stay true: nothing is read before a doorkeeper let the caller in; a body goes to disk as it
comes, and only a whole one with the promised digest is stored; an archive is found through the ScanJob, never by its
digest.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
from collections.abc import Awaitable, Callable
from typing import IO
from urllib.parse import parse_qs

import msgspec
import structlog

from mahavishnu_operator.api.wire import (
    COMMITS_HEADER,
    KEY_HEADER,
    MAX_BLOB_BYTES,
    MAX_COMMITS_BYTES,
    Commits,
    Empty,
)
from mahavishnu_operator.store.records import SourceRecord, TaskKey
from mahavishnu_operator.support.errors import NotFound

from .asgi import Receive, Scope, body_pieces, header
from .core import Core
from .errors import CallRefused, NothingThere, Starting, TooLarge, TryAgain
from .limits import SHA256
from .protocol import Dispatch, Doorkeeper, Permit, Proof
from .reading import DEFAULT_LIMIT, MAX_LIMIT, STREAMS, read_output, read_report, task_answer, task_rows

log = structlog.get_logger(__name__)

VISITS = "/v1/scanjobs/"
UPLOADS_AT_ONCE = 32  # each holds a file on disk while it comes
PIECE_BYTES = 1024 * 1024  # written at once, on a thread
COMMIT = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})?")

ReadAnswers = Callable[[str], Awaitable[bytes | None]]


class Visitors:
    """`answer(scope, receive)` one request below VISITS. Raises CallRefused."""

    def __init__(self, core: Core, dispatch: Dispatch) -> None:
        self._core, self._dispatch = core, dispatch
        self._doorkeeper: Doorkeeper | None = None
        self._read_answers: ReadAnswers | None = None
        self._uploads = 0
        self._storing = asyncio.Lock()  # one is held in memory, and the first of a ScanJob's is the one

    def admit_with(self, doorkeeper: Doorkeeper, read_answers: ReadAnswers) -> None:
        """Ask this about everybody; `read_answers(uid)`: what the tools of a ScanJob said, as JSON."""
        self._doorkeeper, self._read_answers = doorkeeper, read_answers

    async def answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes, bytes]:
        """Status, body and content type."""
        self._core.check_alive()
        if self._doorkeeper is None or self._read_answers is None:
            raise Starting("this dispatcher does not know the ScanJobs yet", hint="try again in a moment")
        match scope["method"], scope["path"][len(VISITS) :].split("/"):
            case "PUT", [namespace, name, "archives", sha256] if SHA256.fullmatch(sha256):
                permit = await self._doorkeeper.permit_upload(namespace, name, _proof(scope))
                await self._take_archive(permit, sha256, scope, receive)
                return 200, msgspec.json.encode(Empty()), b"application/json"
            case "GET", [namespace, name, "report"]:
                permit = await self._doorkeeper.permit_reading(namespace, name, _proof(scope))
                return 200, await self._report(permit.uid), b"application/sarif+json"
            case "GET", [namespace, name, "answers"]:
                permit = await self._doorkeeper.permit_reading(namespace, name, _proof(scope))
                answers = await self._read_answers(permit.uid)
                if answers is None:
                    raise NothingThere(
                        "there is no report of this ScanJob", hint="it is written when the job has ended"
                    )
                return 200, answers, b"application/json"
            case "GET", [namespace, name, "tasks", *rest]:
                permit = await self._doorkeeper.permit_reading(namespace, name, _proof(scope))
                return await self._tasks(permit.uid, rest, scope)
        raise NothingThere(f"{scope['method']} {scope['path'][:200]} is nothing that the dispatcher answers")

    async def _report(self, uid: str) -> bytes:
        try:
            data, _ = await read_report(self._core.store, uid)
        except NotFound as error:
            raise NothingThere("there is no report of this ScanJob", hint=error.hint) from None
        return data

    async def _tasks(self, uid: str, rest: list[str], scope: Scope) -> tuple[int, bytes, bytes]:
        store = self._core.store
        try:
            match rest:
                case []:
                    rows = await task_rows(self._dispatch, store, uid)
                    return 200, msgspec.json.encode(rows), b"application/json"
                case [task]:
                    answer = await task_answer(store, TaskKey(uid, task))
                    return 200, msgspec.json.encode(answer), b"application/json"
                case [task, stream] if stream in STREAMS:
                    offset, limit = _page(scope)
                    key = TaskKey(uid, task)
                    data = await read_output(
                        self._dispatch, store, key, stream=stream, offset=offset, limit=min(limit, MAX_LIMIT)
                    )
                    return 200, data, b"application/octet-stream"
        except NotFound as error:
            raise NothingThere(error.message, hint=error.hint) from None
        raise NothingThere(f"{'/'.join(rest)[:200]} is nothing that a ScanJob has")

    async def _take_archive(self, permit: Permit, sha256: str, scope: Scope, receive: Receive) -> None:
        if permit.sha256 and permit.sha256 != sha256:
            raise CallRefused(
                f"the ScanJob names the archive {permit.sha256}, and {sha256} was to be brought", reason="WrongArchive"
            )
        commits = _commits(scope) if permit.resolves else Commits()
        length = header(scope, b"content-length")
        if length.isascii() and length.isdigit() and int(length[:20]) > MAX_BLOB_BYTES:
            raise TooLarge(f"the archive has {length[:20]} bytes; at most {MAX_BLOB_BYTES}", hint="leave files out")
        if self._uploads >= UPLOADS_AT_ONCE:
            raise TryAgain(f"{self._uploads} archives are being brought already", hint="try again", reason="Busy")
        self._uploads += 1
        try:
            with tempfile.TemporaryFile() as file:
                size = await _spool(receive, file, sha256)
                async with self._storing:
                    await self._store(permit, sha256, size, file, commits)
        finally:
            self._uploads -= 1
        log.info("source stored", job=permit.uid, namespace=permit.namespace, sha256=sha256, bytes=size)
        for tell in self._core.job_listeners:
            tell(permit.uid)

    async def _store(self, permit: Permit, sha256: str, size: int, file: IO[bytes], commits: Commits) -> None:
        core = self._core
        if permit.resolves and await core.store.source(permit.uid) is not None:
            return  # an earlier try has brought it, and tasks may look at that by now
        data = await asyncio.to_thread(file.read)
        await core.keep(core.store.put_blob(core.epoch, data))
        source = SourceRecord(
            job=permit.uid,
            namespace=permit.namespace,
            sha256=sha256,
            size_bytes=size,
            stored_at=core.wall(),
            revision=commits.revision,
            base_revision=commits.base_revision,
        )
        await core.keep(core.store.put_source(core.epoch, source))


async def _spool(receive: Receive, file: IO[bytes], sha256: str) -> int:
    """Write the body to the file, which is then at its start; its length. CallRefused: it is something else."""
    digest, pieces, size = hashlib.sha256(), bytearray(), 0

    def write() -> None:
        digest.update(pieces)
        file.write(pieces)

    async for piece in body_pieces(receive, MAX_BLOB_BYTES):
        pieces += piece
        size += len(piece)
        if len(pieces) >= PIECE_BYTES:
            await asyncio.to_thread(write)
            pieces.clear()
    await asyncio.to_thread(write)
    if digest.hexdigest() != sha256:
        raise CallRefused(
            f"the {size} bytes sent have SHA-256 {digest.hexdigest()}, not {sha256}: nothing was stored",
            hint="send it again; the body may have been cut off",
        )
    file.seek(0)
    return size


def _proof(scope: Scope) -> Proof:
    kind, _, token = header(scope, b"authorization").partition(" ")
    key = header(scope, KEY_HEADER.lower().encode())
    return Proof(token=token.strip() if kind.lower() == "bearer" else "", key=key)


def _page(scope: Scope) -> tuple[int, int]:
    """Offset and limit of the query. CallRefused: they are no numbers."""
    given = parse_qs(scope["query_string"].decode("latin-1"))
    texts = (given.get("offset", ["0"])[0], given.get("limit", [str(DEFAULT_LIMIT)])[0])
    if not all(text.isascii() and text.isdigit() and len(text) <= 15 for text in texts):
        raise CallRefused("offset and limit are whole numbers from 0")
    return int(texts[0]), int(texts[1])


def _commits(scope: Scope) -> Commits:
    text = header(scope, COMMITS_HEADER.lower().encode())
    if len(text) > MAX_COMMITS_BYTES:
        raise TooLarge(f"{COMMITS_HEADER} has {len(text)} characters; at most {MAX_COMMITS_BYTES}")
    try:
        commits = msgspec.json.decode(text or "{}", type=Commits)
    except msgspec.DecodeError as error:
        raise CallRefused(f"{COMMITS_HEADER} is not what it should be: {error}") from None
    if not all(COMMIT.fullmatch(commit) for commit in (commits.revision, commits.base_revision)):
        raise CallRefused(f"{COMMITS_HEADER} names something that is no commit")
    return commits
