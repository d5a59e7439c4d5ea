"""The dispatcher as a person reaches it: through the API server that they have credentials for, or at a given address.

The pressure: people come with certificates, OIDC and plugins, from outside the cluster's network, and the API server's
proxy to services takes the Authorization header away. So a ScanJob is given the digest of a key that only we know, and
the key is shown in a header of its own (docs/adr/0013). What must stay true: credentials of the API server go to the
API server alone; the way that a status names is one below that server's proxy to services, or it is not taken.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from mahavishnu_operator.api.answers import TaskAnswer, TaskRow
from mahavishnu_operator.api.reasons import Label
from mahavishnu_operator.api.wire import KEY_HEADER
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.http import ApiSession
from mahavishnu_operator.resources.protocol import Forbidden, Key, Obj
from mahavishnu_operator.scan.answers import Answers, decode_answers
from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError

PROXY = re.compile(r"/api/v1/namespaces/[a-z0-9-]{1,63}/services/https?:[a-z0-9-]{1,63}:[0-9]{1,5}/proxy")
SECONDS = 600.0  # for one archive, or one report
T = TypeVar("T")


class Key256:
    """A secret of 256 bits, a fresh one by default, and the annotation that makes a ScanJob open to it."""

    def __init__(self, secret: str = "") -> None:
        self._secret = secret or secrets.token_urlsafe(32)

    @property
    def annotation(self) -> dict[str, str]:
        """What the ScanJob must carry."""
        return {Label.ACCESS_KEY.value: hashlib.sha256(self._secret.encode()).hexdigest()}

    @property
    def header(self) -> dict[str, str]:
        """What the dispatcher is shown."""
        return {KEY_HEADER: self._secret}


class Door:
    """Calls about one ScanJob. Close it in the end; a session that was given stays open."""

    def __init__(self, connection: Connection, *, prefix: str, key: Key256, http: ApiSession | None = None) -> None:
        self._own = http is None
        self._http = ApiSession(connection) if http is None else http
        self._prefix, self._key = prefix, key

    async def bring(self, job: Key, archive: Path, sha256: str) -> None:
        """Upload the archive that the ScanJob names."""
        data = await asyncio.to_thread(archive.read_bytes)
        await self._exchange("PUT", f"{job.namespace}/{job.name}/archives/{sha256}", data)

    async def answers(self, job: Key) -> Answers:
        """What the tools said."""
        try:
            return decode_answers(await self._exchange("GET", f"{job.namespace}/{job.name}/answers"))
        except ValueError as error:
            raise MahavishnuError(f"the report of ScanJob {job} cannot be read: {error}") from None

    async def sarif(self, job: Key) -> bytes:
        """The report as stored."""
        return await self._exchange("GET", f"{job.namespace}/{job.name}/report")

    async def tasks(self, job: Key) -> list[TaskRow]:
        """All tasks that were planned, in order."""
        return _decoded(await self._exchange("GET", f"{job.namespace}/{job.name}/tasks"), list[TaskRow], job)

    async def task(self, job: Key, task: str) -> TaskAnswer:
        """One task and the ends of what it wrote."""
        data = await self._exchange("GET", f"{job.namespace}/{job.name}/tasks/{quote(task, safe='')}")
        return _decoded(data, TaskAnswer, job)

    async def output(self, job: Key, task: str, *, stream: str, offset: int, limit: int) -> bytes:
        """A page of what a task wrote."""
        path = f"{job.namespace}/{job.name}/tasks/{quote(task, safe='')}/{quote(stream, safe='')}"
        return await self._exchange("GET", path, query={"offset": str(offset), "limit": str(limit)})

    async def close(self) -> None:
        """Close the connections."""
        if self._own:
            await self._http.close()

    async def _exchange(
        self, method: str, path: str, data: bytes | None = None, *, query: dict[str, str] | None = None
    ) -> bytes:
        where = f"{self._prefix}/v1/scanjobs/{path}"
        try:
            async with self._http.open(
                method, where, query=query, data=data, headers=self._key.header, total=SECONDS
            ) as response:
                return await response.read()
        except Forbidden as error:
            if "services/proxy" in error.message:
                raise Forbidden(
                    error.message,
                    hint="you need `services/proxy` on the operator's Service (the chart's value clients gives it), or "
                    "name an address with --dispatcher-url",
                ) from None
            raise


class Doors:
    """The doors of one client: one session to the dispatcher, and one secret that the keys of all jobs are made from.

    `of(who)`: the same session, with keys that those of others tell nothing about.
    """

    def __init__(self, way: Way, *, secret: bytes = b"") -> None:
        self._way, self._secret = way, secret or secrets.token_bytes(32)
        self._sessions: list[ApiSession] = []

    def of(self, who: str) -> Doors:
        """The doors of one caller of many."""
        theirs = Doors(self._way, secret=hmac.new(self._secret, who.encode(), hashlib.sha256).digest())
        theirs._sessions = self._sessions
        return theirs

    def key_of(self, job: Key) -> Key256:
        """The same for one job as long as this client lives; nothing about one tells that of another."""
        digest = hmac.new(self._secret, str(job).encode(), hashlib.sha256).digest()
        return Key256(base64.urlsafe_b64encode(digest).rstrip(b"=").decode())

    def open(self, job: Key, *, status: dict[str, Any]) -> Door:
        """The door to one ScanJob."""
        if not self._sessions:
            self._sessions.append(ApiSession(self._way.to_dispatcher()))
        return self._way.open(status=status, key=self.key_of(job), http=self._sessions[0])

    async def close(self) -> None:
        """Close the connections, of all callers."""
        while self._sessions:
            await self._sessions.pop().close()


@dataclass(frozen=True)
class Way:
    """How the dispatcher is reached: at an address that was given, on the server itself without a cluster, or by proxy.

    `embedded`: the server is a `mahavishnu up`. `url` and `ca`: an address, and the certificates that prove it.
    """

    connection: Connection
    embedded: bool = False
    url: str | None = None
    ca: Path | None = None

    def to_dispatcher(self) -> Connection:
        """The server that is called: the API server, or the address that was given, which no credentials go to."""
        if self.url is None:
            return self.connection
        direct = Connection.from_url(self.url)
        return Connection(direct.server, ca_data=_read(self.ca) if self.ca is not None else None)

    def prefix(self, status: dict[str, Any]) -> str:
        """What comes before the dispatcher's own paths there. InvalidInput: the operator does not say."""
        if self.url is not None or self.embedded:
            return ""
        named = str(status.get("dispatcher") or "")
        if not PROXY.fullmatch(named):
            raise InvalidInput(
                "the operator does not say how its dispatcher is reached through the API server",
                hint="name its address with --dispatcher-url; the operator knows only a Service, --dispatcher-url "
                "https://NAME.NAMESPACE.svc:PORT, as the chart gives it",
            )
        return named

    def open(self, *, status: dict[str, Any], key: Key256, http: ApiSession | None = None) -> Door:
        """The door to one ScanJob; `http`: a session to `to_dispatcher()` that others use as well."""
        prefix = self.prefix(status)
        return Door(self.to_dispatcher() if http is None else self.connection, prefix=prefix, key=key, http=http)


def with_key(obj: Obj, key: Key256) -> Obj:
    """The object with the annotation."""
    meta = obj["metadata"]
    return {**obj, "metadata": {**meta, "annotations": {**(meta.get("annotations") or {}), **key.annotation}}}


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read the certificates in {file}: {error.strerror}") from None


def _decoded(data: bytes, type_: type[T], job: Key) -> T:
    try:
        return msgspec.json.decode(data, type=type_)
    except msgspec.DecodeError as error:
        raise MahavishnuError(f"what the dispatcher says of ScanJob {job} cannot be read: {error}") from None
