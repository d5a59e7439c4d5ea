"""The dispatcher as a person reaches it: through the API server that they have credentials for, or at a given address.

The pressure: people come with certificates, OIDC and plugins, from outside the cluster's network, and the API server's
proxy to services takes the Authorization header away. So a ScanJob is given the digest of a key that only we know, and
the key is shown in a header of its own (docs/adr/0013). What must stay true: credentials of the API server go to the
API server alone; the way that a status names is one below that server's proxy to services, or it is not taken.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from pathlib import Path
from typing import Any

from mahavishnu_operator.api.reasons import Label
from mahavishnu_operator.api.wire import KEY_HEADER
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.http import ApiSession
from mahavishnu_operator.resources.protocol import Forbidden, Key, Obj
from mahavishnu_operator.scan.answers import Answers, decode_answers
from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError

PROXY = re.compile(r"/api/v1/namespaces/[a-z0-9-]{1,63}/services/https?:[a-z0-9-]{1,63}:[0-9]{1,5}/proxy")
SECONDS = 600.0  # for one archive, or one report


class Key256:
    """A secret of 256 bits, and the annotation that makes a ScanJob open to it."""

    def __init__(self) -> None:
        self._secret = secrets.token_urlsafe(32)

    @property
    def annotation(self) -> dict[str, str]:
        """What the ScanJob must carry."""
        return {Label.ACCESS_KEY.value: hashlib.sha256(self._secret.encode()).hexdigest()}

    @property
    def header(self) -> dict[str, str]:
        """What the dispatcher is shown."""
        return {KEY_HEADER: self._secret}


class Door:
    """Calls about one ScanJob. Close it in the end."""

    def __init__(self, connection: Connection, *, prefix: str, key: Key256) -> None:
        self._http = ApiSession(connection)
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

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _exchange(self, method: str, path: str, data: bytes | None = None) -> bytes:
        try:
            return await self._http.exchange(
                method, f"{self._prefix}/v1/scanjobs/{path}", headers=self._key.header, data=data, total=SECONDS
            )
        except Forbidden as error:
            if "services/proxy" in error.message:
                raise Forbidden(
                    error.message,
                    hint="you need `services/proxy` on the operator's Service (the chart's value clients gives it), or "
                    "name an address with --dispatcher-url",
                ) from None
            raise


def open_door(
    connection: Connection, *, status: dict[str, Any], url: str | None, ca: Path | None, embedded: bool, key: Key256
) -> Door:
    """The way to the dispatcher: the address that was given, the server itself without a cluster, or its proxy.

    InvalidInput: there is none.
    """
    if url is not None:
        direct = Connection.from_url(url)
        return Door(Connection(direct.server, ca_data=_read(ca) if ca is not None else None), prefix="", key=key)
    if embedded:
        return Door(connection, prefix="", key=key)
    named = str(status.get("dispatcher") or "")
    if not PROXY.fullmatch(named):
        raise InvalidInput(
            "the operator does not say how its dispatcher is reached through the API server",
            hint="name its address with --dispatcher-url; the operator knows only a Service, --dispatcher-url "
            "https://NAME.NAMESPACE.svc:PORT, as the chart gives it",
        )
    return Door(connection, prefix=named, key=key)


def with_key(obj: Obj, key: Key256) -> Obj:
    """The object with the annotation."""
    meta = obj["metadata"]
    return {**obj, "metadata": {**meta, "annotations": {**(meta.get("annotations") or {}), **key.annotation}}}


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read the certificates in {file}: {error.strerror}") from None
