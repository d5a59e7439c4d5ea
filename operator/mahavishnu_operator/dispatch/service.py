"""The HTTP service that workers call (api/wire.py), as one ASGI callable.

The pressure: with two workers and no-op tasks the server's own cost is what limits throughput, so paths
are looked up in a dictionary, bodies are decoded straight into structs, and a grant's spec is copied as
the bytes that the store has. What must stay true: every call under /v1 carries a bearer token; every
error is an ErrorBody in words; no body is read past its limit; a caller that hung up is granted nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import msgspec
import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from mahavishnu_operator.api.wire import (
    MAX_BLOB_BYTES,
    PROTOCOL,
    Empty,
    ErrorBody,
    LeaseRequest,
    OutputRequest,
    RegisterRequest,
    ReleaseRequest,
    RenewRequest,
    ResultsRequest,
)
from mahavishnu_operator.support.errors import MahavishnuError

from .asgi import Receive, Scope, Send, bearer, decoded, read_body
from .callers import Caller
from .dispatcher import Dispatcher
from .errors import CallRefused, ClientGone, NotLeader, ProtocolUnsupported, TokenUnknown
from .limits import SHA256
from .visitors import VISITS
from .workers import Worker

log = structlog.get_logger(__name__)
MAX_BODY_BYTES = 16 * 1024 * 1024  # of JSON; blobs have their own limit
BLOBS_AT_ONCE = 4  # each is held in memory while it is checked
BLOBS = "/v1/blobs/"
JSON = b"application/json"


class _Grant(msgspec.Struct, frozen=True):
    """wire.Grant with the spec as it is stored."""

    task: str
    attempt: int
    epoch: int
    lease_seconds: float
    timeout_seconds: float
    spec: msgspec.Raw


class _Leased(msgspec.Struct, frozen=True):
    """wire.LeaseResponse of such grants."""

    grants: tuple[_Grant, ...]
    drain: bool
    waited_seconds: float


class _Hello(msgspec.Struct, frozen=True):
    """All that is known of a register request of any protocol."""

    protocol: int


_ENCODER = msgspec.json.Encoder()
_EMPTY = _ENCODER.encode(Empty())
_REGISTER = msgspec.json.Decoder(RegisterRequest)
_HELLO = msgspec.json.Decoder(_Hello)
_LEASE = msgspec.json.Decoder(LeaseRequest)
_RENEW = msgspec.json.Decoder(RenewRequest)
_RESULTS = msgspec.json.Decoder(ResultsRequest)
_OUTPUT = msgspec.json.Decoder(OutputRequest)
_RELEASE = msgspec.json.Decoder(ReleaseRequest)


class DispatchService:
    """An ASGI application on a dispatcher."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._desk = dispatcher.desk
        self._blobs = asyncio.Semaphore(BLOBS_AT_ONCE)
        self._callers: set[Caller] = set()
        self._stopping = False
        self._posts: dict[str, Callable[[Worker, bytes, Caller], Awaitable[bytes]]] = {
            "/v1/lease": self._lease,
            "/v1/renew": self._renew,
            "/v1/results": self._results,
            "/v1/output": self._output,
            "/v1/release": self._release,
            "/v1/leave": self._leave,
        }

    def stop(self) -> None:
        """Answer 503 from now on, to those who wait at once."""
        self._stopping = True
        for caller in self._callers:
            caller.dismiss()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"the dispatcher answers http only, not {scope['type']}")
        try:
            status, body, kind = await self._answer(scope, receive)
        except CallRefused as error:
            self._dispatcher.meters.refused(error.reason)
            status, kind = error.status, JSON
            body = _ENCODER.encode(ErrorBody(error.reason, error.message, error.hint))
        except MahavishnuError as error:
            log.error("call failed", path=scope["path"], error=str(error))
            self._dispatcher.meters.refused(error.reason)
            status, kind = 500, JSON
            body = _ENCODER.encode(ErrorBody(error.reason, error.message, error.hint))
        except Exception:
            log.exception("call failed", path=scope["path"])
            self._dispatcher.meters.refused("InternalError")
            status, kind = 500, JSON
            body = _ENCODER.encode(
                ErrorBody("InternalError", "the dispatcher failed to answer; its log has the details", "report it")
            )
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        if status == 401:
            headers.append((b"www-authenticate", b'Bearer realm="mahavishnu-dispatch"'))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes, bytes]:
        path, method = scope["path"], scope["method"]
        call = self._posts.get(path)
        if call is not None and method == "POST":
            with self._desk.call(bearer(scope)) as worker:
                body = await read_body(receive, MAX_BODY_BYTES)
                return 200, await self._call(call, worker, body, Caller(receive)), JSON
        if path == "/v1/register" and method == "POST":
            token = bearer(scope, missing=TokenUnknown)
            return 200, await self._register(token, await read_body(receive, MAX_BODY_BYTES)), JSON
        if path.startswith(BLOBS) and method in ("PUT", "GET"):
            with self._desk.call(bearer(scope)) as worker:
                return await self._blob(method, path[len(BLOBS) :], worker, receive)
        if path.startswith(VISITS):
            return await self._dispatcher.visitors.answer(scope, receive)
        if path == "/healthz" and method == "GET":
            self._dispatcher.core.check_alive()
            return 200, b"ok\n", b"text/plain; charset=utf-8"
        if path == "/metrics" and method == "GET":
            return 200, generate_latest(self._dispatcher.meters.registry), CONTENT_TYPE_LATEST.encode()
        known = path in self._posts or path in ("/v1/register", "/healthz", "/metrics") or path.startswith(BLOBS)
        refusal = CallRefused(f"{method} {path[:200]} is nothing that the dispatcher answers")
        refusal.status, refusal.reason = (405, "MethodNotAllowed") if known else (404, "NotFound")
        raise refusal

    async def _call(
        self, call: Callable[[Worker, bytes, Caller], Awaitable[bytes]], worker: Worker, body: bytes, caller: Caller
    ) -> bytes:
        if self._stopping:
            raise NotLeader("this server stops", hint="try again: its successor answers")
        self._callers.add(caller)
        try:
            return await call(worker, body, caller)
        except ClientGone:
            if self._stopping:
                raise NotLeader("this server stops", hint="try again: its successor answers") from None
            raise
        finally:
            self._callers.discard(caller)
            caller.close()

    async def _register(self, token: str, body: bytes) -> bytes:
        hello = decoded(_HELLO, body)
        try:
            request = _REGISTER.decode(body)
        except msgspec.DecodeError as error:
            if hello.protocol != PROTOCOL:  # its register request may look different altogether
                raise ProtocolUnsupported(
                    f"the worker speaks protocol {hello.protocol}; this dispatcher speaks {PROTOCOL}"
                ) from None
            raise CallRefused(f"the body is not a register request: {error}") from None
        return _ENCODER.encode(await self._dispatcher.admission.register(token, request))

    async def _lease(self, worker: Worker, body: bytes, caller: Caller) -> bytes:
        request = decoded(_LEASE, body)
        if request.max < 1:
            raise CallRefused(f"max is {request.max}; it must be at least 1")
        core = self._dispatcher.core
        came_at = core.clock()
        tasks, drain = await self._desk.lease(worker, request, caller=caller)
        granted = [lease.granted_at for task in tasks if (lease := core.leases.get(task.key)) is not None]
        grants = tuple(
            _Grant(
                task=str(task.key),
                attempt=task.attempts,
                epoch=core.epoch,
                lease_seconds=core.pace.lease_seconds,
                timeout_seconds=task.job.record.task_timeout_seconds,
                spec=msgspec.Raw(task.spec),
            )
            for task in tasks
        )
        return _ENCODER.encode(_Leased(grants, drain, max(0.0, min(granted, default=came_at) - came_at)))

    async def _renew(self, worker: Worker, body: bytes, caller: Caller) -> bytes:
        return _ENCODER.encode(await self._desk.renew(worker, decoded(_RENEW, body), caller=caller))

    async def _results(self, worker: Worker, body: bytes, _: Caller) -> bytes:
        return _ENCODER.encode(await self._desk.results(worker, decoded(_RESULTS, body)))

    async def _output(self, worker: Worker, body: bytes, _: Caller) -> bytes:
        await self._desk.output(worker, decoded(_OUTPUT, body))
        return _EMPTY

    async def _release(self, worker: Worker, body: bytes, _: Caller) -> bytes:
        await self._desk.release(worker, decoded(_RELEASE, body))
        return _EMPTY

    async def _leave(self, worker: Worker, _body: bytes, _: Caller) -> bytes:
        await self._desk.leave(worker)
        return _EMPTY

    async def _may_read(self, worker: Worker, sha256: str) -> bool:
        """A task of the worker's names it; an archive, moreover, was uploaded for the namespace of that task's job."""
        job = self._desk.reader(worker, sha256)
        if job is None:
            return False
        owners = await self._dispatcher.store.source_namespaces(sha256)
        return not owners or job.namespace in owners

    async def _blob(self, method: str, sha256: str, worker: Worker, receive: Receive) -> tuple[int, bytes, bytes]:
        if not SHA256.fullmatch(sha256):
            raise CallRefused(f"{sha256[:80]!r} is no SHA-256 in lower-case hexadecimal")
        core, store = self._dispatcher.core, self._dispatcher.store
        async with self._blobs:
            if method == "GET":
                data = await store.blob(sha256) if await self._may_read(worker, sha256) else None
                if data is None:
                    refusal = CallRefused(f"there is no blob {sha256} that your tasks name", reason="NotFound")
                    refusal.status = 404
                    raise refusal
                return 200, data, b"application/octet-stream"
            data = await read_body(receive, MAX_BLOB_BYTES)
            found = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
            if found != sha256:
                raise CallRefused(
                    f"the {len(data)} bytes sent have SHA-256 {found}, not {sha256}: nothing was stored",
                    hint="send it again; the body may have been cut off",
                )
            await core.keep(store.put_blob(core.epoch, data))
            return 200, _EMPTY, JSON
