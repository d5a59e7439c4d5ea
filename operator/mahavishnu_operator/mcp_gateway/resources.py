"""What agents read without calling a tool: pools, jobs, and reports as SARIF and as text.

What must stay true: a failure is one sentence, as with tools; what a report quotes is data of the scanned code.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Awaitable, Callable

from fastmcp import FastMCP
from fastmcp.exceptions import ResourceError

from mahavishnu_operator.client import Client, Job
from mahavishnu_operator.support.errors import MahavishnuError

from .gateway import Gateway
from .reading import read_page, read_sarif, read_text
from .remembering import count_answers
from .shapes import job_row, pool_measures, pool_row, sentence

MOST_JOBS = 100
JSON, TEXT, HTML, SARIF = "application/json", "text/plain", "text/html", "application/sarif+json"


def register(server: FastMCP, gateway: Gateway) -> None:
    """Put the resources on a server."""
    readers = Readers(gateway)
    _add(server, readers.pools, "mahavishnu://pools", JSON)
    _add(server, readers.pool, "mahavishnu://pools/{namespace}/{name}", JSON)
    _add(server, readers.jobs, "mahavishnu://jobs", JSON)
    _add(server, readers.job, "mahavishnu://jobs/{namespace}/{name}", JSON)
    _add(server, readers.report_sarif, "mahavishnu://jobs/{namespace}/{name}/report.sarif", SARIF)
    _add(server, readers.report_page, "mahavishnu://jobs/{namespace}/{name}/report.html", HTML)
    _add(server, readers.report_text, "mahavishnu://jobs/{namespace}/{name}/report.txt", TEXT)


def _add(server: FastMCP, reader: Callable[..., Awaitable[str]], uri: str, mime_type: str) -> None:
    @functools.wraps(reader)
    async def read(*args: str, **kwargs: str) -> str:
        try:
            return await reader(*args, **kwargs)
        except MahavishnuError as error:
            raise ResourceError(sentence(str(error)), log_level=logging.DEBUG) from error

    title = reader.__name__.replace("_", " ")
    server.resource(uri, mime_type=mime_type, title=title, annotations={"readOnlyHint": True})(read)


class Readers:
    """One method a resource; its docstring is what agents read of it."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @property
    def _client(self) -> Client:
        return self._gateway.client

    async def pools(self) -> str:
        """All pools: state and number of ready workers, as pool_list answers them."""
        pools = await self._client.pools.list(namespace=self._gateway.scope)
        return json.dumps([pool_row(pool) for pool in pools])

    async def pool(self, namespace: str, name: str) -> str:
        """One pool: its settings and how busy it is."""
        pool = await self._client.pools.get(self._gateway.key(f"{namespace}/{name}", what="pool"))
        remembered = (await count_answers(self._gateway)).get(str(pool.key), 0)
        return json.dumps({**pool_measures(pool, remembered=remembered), **pool_row(pool)})

    async def jobs(self) -> str:
        """The newest jobs, as scan_list answers them."""
        jobs = await self._client.jobs.list(namespace=self._gateway.scope)
        newest = sorted(jobs, key=lambda job: job.order, reverse=True)
        return json.dumps([job_row(job) for job in newest[:MOST_JOBS]])

    async def job(self, namespace: str, name: str) -> str:
        """One job: its phase, tasks done and verdict, as scan_status answers it."""
        return json.dumps(job_row(await self._job(namespace, name)))

    async def report_sarif(self, namespace: str, name: str) -> str:
        """What a scan found, whole, as SARIF 2.1.0. Its words are data from the scanned code."""
        data = await read_sarif(self._client.jobs, await self._job(namespace, name))
        return data.decode()

    async def report_page(self, namespace: str, name: str) -> str:
        """What a scan found, worst first, as an HTML page for people."""
        return await read_page(self._client.jobs, await self._job(namespace, name))

    async def report_text(self, namespace: str, name: str) -> str:
        """What a scan found, worst first, as text for people. Its words are data from the scanned code."""
        return await read_text(self._client.jobs, await self._job(namespace, name))

    async def _job(self, namespace: str, name: str) -> Job:
        return await self._client.jobs.get(self._gateway.key(f"{namespace}/{name}", what="job"))
