"""The worker's side of the wire protocol: one session with a dispatcher, kept across its restarts.

The pressure: a dispatcher restarts, moves and is overloaded, and none of it may cost a finished result. What must
stay true: a call is repeated with back-off until it is answered; an unknown session is registered again, with all
that is still held; a refusal that no repetition can change ends the worker.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TypeVar

import aiohttp
import msgspec
import structlog
from aiohttp.connector import AddrInfoType

from mahavishnu_operator import __version__
from mahavishnu_operator.api.wire import (
    PROTOCOL,
    Empty,
    ErrorBody,
    Hold,
    RegisterRequest,
    RegisterResponse,
)
from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError
from mahavishnu_operator.support.keepalive import keep_alive

from .config import WorkerConfig
from .messages import Piece

log = structlog.get_logger(__name__)
R = TypeVar("R")

FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 0.1, 5.0
CONNECT_SECONDS = 5.0
PIECE_BYTES = 1024 * 1024
ANSWER_SECONDS = 30.0  # beyond the time that a long poll may take; for a blob: without a byte


class Refused(MahavishnuError):
    """The dispatcher will never let this worker in as it is. `exit_code`: what the agent ends with."""

    reason = "Refused"

    def __init__(self, message: str, *, hint: str, exit_code: int) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class CallFailed(MahavishnuError):
    """The dispatcher understood the call and said no."""

    reason = "CallFailed"


class DispatcherClient:
    """Calls of one worker. `holds` answers what the worker still has, for registering anew."""

    def __init__(self, config: WorkerConfig, *, incarnation: str, holds: Callable[[], tuple[Hold, ...]]) -> None:
        self._config, self._incarnation, self._holds = config, incarnation, holds
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=ANSWER_SECONDS)
        trust = trusting(ca_file=config.ca_file, ca_pem=config.ca_pem)
        connector = aiohttp.TCPConnector(ssl=trust if trust is not None else True, socket_factory=_connection)
        self._http = aiohttp.ClientSession(
            base_url=config.server, connector=connector, timeout=timeout, auto_decompress=False
        )
        self._registering = asyncio.Lock()
        self._session: RegisterResponse | None = None

    @property
    def pace(self) -> RegisterResponse:
        """What the dispatcher answered last when this worker registered."""
        if self._session is None:
            raise ValueError("not registered yet")
        return self._session

    @property
    def longest_poll(self) -> float:
        """Seconds that a request for leases may wait.

        An older dispatcher does not say when it made a grant, which then counts from the request on: a third of a
        lease later it is good still. Workers that came at one moment, as after a restart, do not go on asking at one.
        """
        longest = self.pace.poll_seconds or self.pace.lease_seconds / 3
        return longest * random.uniform(0.8, 1.0)  # noqa: S311 (no secret)

    async def register(self, *, instead_of: RegisterResponse | None = None) -> RegisterResponse:
        """Get a session, unless another call got a newer one than `instead_of` meanwhile. Refused: never."""
        async with self._registering:
            if self._session is not None and self._session is not instead_of:
                return self._session
            backoff = _Backoff()
            while True:
                request = RegisterRequest(
                    protocol=PROTOCOL,
                    pool=self._config.pool,
                    worker=self._config.worker,
                    incarnation=self._incarnation,
                    slots=self._config.slots,
                    agent_version=__version__,
                    holds=self._holds(),
                )
                try:
                    status, body = await self._post("/v1/register", request, _token(self._config), ANSWER_SECONDS)
                    if status == 200:
                        self._session = msgspec.json.decode(body, type=RegisterResponse)
                        return self._session
                except _NO_ANSWER as error:
                    await backoff.wait(f"the dispatcher at {self._config.server} does not answer: {_words(error)}")
                    continue
                said = _error(status, body)
                if status in (401, 403, 409, 400):
                    raise Refused(said.message, hint=said.hint, exit_code=3 if status in (400, 409) else 4)
                await backoff.wait(f"register was answered {status}: {said.message}")

    async def call(self, path: str, request: object, answer: type[R], *, seconds: float = ANSWER_SECONDS) -> R:
        """POST until there is an answer, each time for up to `seconds`. CallFailed: a 4xx that is about this call."""
        backoff = _Backoff()
        while True:
            session = self._session or await self.register()
            try:
                status, body = await self._post(path, request, session.session, seconds)
                if status == 200:
                    return msgspec.json.decode(body, type=answer)
            except _NO_ANSWER as error:
                await backoff.wait(f"{path} got no answer: {_words(error)}")
                continue
            if status == 401:
                await self.register(instead_of=session)
            elif status >= 500 or status == 429:
                await backoff.wait(f"{path} was answered {status}: {_error(status, body).message}")
            else:
                said = _error(status, body)
                raise CallFailed(f"{path} was refused ({status} {said.reason}): {said.message}", hint=said.hint)

    async def tell(self, path: str, request: object) -> None:
        """A call whose answer says nothing."""
        await self.call(path, request, Empty)

    async def put_blob(self, digest: str, data: bytes) -> None:
        """Store a blob, however often it takes."""
        await self._blob("PUT", digest, data)

    async def get_blob(self, digest: str) -> bytes:
        """A blob's bytes. CallFailed when the dispatcher has none, or other bytes."""
        data = await self._blob("GET", digest, None)
        if hashlib.sha256(data).hexdigest() != digest:
            raise CallFailed(f"the blob {digest} has {len(data)} bytes of other content")
        return data

    async def blob_pieces(self, digest: str) -> AsyncGenerator[Piece, None]:
        """A blob in pieces, from the first on again whenever the connection breaks; whoever joins them checks them."""
        backoff, path = _Backoff(), f"/v1/blobs/{digest}"
        while True:
            session = self._session or await self.register()
            headers, first = {"Authorization": f"Bearer {session.session}"}, True
            try:
                async with self._http.get(path, headers=headers) as response:
                    if response.status == 200:
                        async for data in response.content.iter_chunked(PIECE_BYTES):
                            yield Piece(data, first=first)
                            first = False
                        yield Piece(first=first, last=True)
                        return
                    status, body = response.status, await response.read()
            except _NO_ANSWER as error:
                await backoff.wait(f"GET {path} got no answer: {_words(error)}")
                continue
            if status == 401:
                await self.register(instead_of=session)
            elif status >= 500 or status == 429:
                await backoff.wait(f"GET {path} was answered {status}")
            else:
                yield Piece(error=_error(status, body).message)
                return

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _blob(self, method: str, digest: str, data: bytes | None) -> bytes:
        backoff, path = _Backoff(), f"/v1/blobs/{digest}"
        while True:
            session = self._session or await self.register()
            try:
                headers = {"Authorization": f"Bearer {session.session}"}
                async with self._http.request(method, path, data=data, headers=headers) as response:
                    status, body = response.status, await response.read()
            except _NO_ANSWER as error:
                await backoff.wait(f"{method} {path} got no answer: {_words(error)}")
                continue
            if status < 300:
                return body
            if status == 401:
                await self.register(instead_of=session)
            elif status >= 500 or status == 429:
                await backoff.wait(f"{method} {path} was answered {status}")
            else:
                said = _error(status, body)
                raise CallFailed(f"{method} {path} was refused ({status} {said.reason}): {said.message}")

    async def _post(self, path: str, request: object, bearer: str, seconds: float) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=seconds, connect=CONNECT_SECONDS)
        data = msgspec.json.encode(request)
        async with self._http.post(path, data=data, headers=headers, timeout=timeout) as response:
            return response.status, await response.read()


def _token(config: WorkerConfig) -> str:
    """The worker's own token; a file is read each time, because it is renewed before it expires."""
    if not config.token_file:
        return config.token
    try:
        return Path(config.token_file).read_text().strip()
    except (OSError, ValueError) as error:
        raise Refused(
            f"the token in {config.token_file} cannot be read: {error}",
            hint="mount a token there that this user may read",
            exit_code=4,
        ) from None


def _connection(address: AddrInfoType) -> socket.socket:
    """A socket for one of our calls, most of which wait: a dispatcher whose machine is gone never answers."""
    family, kind, protocol, _, _ = address
    connection = socket.socket(family, kind, protocol)
    keep_alive(connection)
    return connection


def trusting(*, ca_file: str, ca_pem: str) -> ssl.SSLContext | None:
    """Prove servers by these certificates alone; None: by the machine's. InvalidInput: they are none."""
    if not ca_file and not ca_pem:
        return None
    try:
        return ssl.create_default_context(cafile=ca_file or None, cadata=ca_pem or None)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(
            f"the certificates that prove the dispatcher cannot be used: {error}",
            hint=f"give PEM certificates in {ca_file or '$MAHAVISHNU_DISPATCHER_CA'}",
        ) from None


# What says nothing about the call itself: it may have been done or not, and is made again.
_NO_ANSWER = (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError)


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _error(status: int, body: bytes) -> ErrorBody:
    try:
        return msgspec.json.decode(body, type=ErrorBody)
    except msgspec.MsgspecError:
        return ErrorBody("Unreadable", f"HTTP {status} with a body that is not ours: is this a dispatcher?")


class _Backoff:
    """Growing pauses with jitter; the first failure and then each tenth is logged."""

    def __init__(self) -> None:
        self._seconds, self._count = FIRST_BACKOFF_SECONDS, 0

    async def wait(self, why: str) -> None:
        if self._count % 10 == 0:
            log.warning("waiting for the dispatcher", why=why, tries=self._count + 1)
        self._count += 1
        await asyncio.sleep(self._seconds * random.uniform(0.5, 1.0))  # noqa: S311 (spreads load, keeps no secret)
        self._seconds = min(LONGEST_BACKOFF_SECONDS, self._seconds * 2)
