"""The second program of a source Job: brings the archive to the dispatcher.

It has the Pod's token and nothing that the files came with. What must stay true: it is sent as it lies on disk; a
dispatcher that restarts is waited for; an answer that no repetition changes ends it, in words.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import structlog

from mahavishnu_operator.api.reasons import Reason
from mahavishnu_operator.api.source_outcome import Failure
from mahavishnu_operator.api.wire import COMMITS_HEADER, ErrorBody
from mahavishnu_operator.scan.git_fetching import SourceFailed
from mahavishnu_operator.support.logs import configure_logging

from .client import trusting
from .source_fetch import ARCHIVE, SAID, Prepared, leave

log = structlog.get_logger(__name__)
PATIENCE_SECONDS = 300.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 15.0


@dataclass(frozen=True)
class UploadWanted:
    """`job`: namespace/name of the ScanJob. `ca_pem`, `ca_file`: what proves the dispatcher at https; empty: none."""

    source: Path
    dispatcher: str
    job: str
    token_file: Path
    ca_pem: str = ""
    ca_file: str = ""


def run_upload(wanted: UploadWanted, *, log_level: str, termination_log: Path) -> int:
    """The exit code: 0, the dispatcher has it; 1, the termination log says why not."""
    configure_logging(level=log_level)
    try:
        asyncio.run(_upload(wanted))
    except SourceFailed as error:
        return leave(error, termination_log)
    return 0


async def _upload(wanted: UploadWanted) -> None:
    prepared = msgspec.json.decode(await asyncio.to_thread((wanted.source / SAID).read_bytes), type=Prepared)
    url = f"{wanted.dispatcher}/v1/scanjobs/{wanted.job}/archives/{prepared.sha256}"
    trust = trusting(ca_file=wanted.ca_file, ca_pem=wanted.ca_pem)
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS, connect=10)
    connector = aiohttp.TCPConnector(ssl=trust) if trust is not None else None
    ends_at, pause = time.monotonic() + PATIENCE_SECONDS, FIRST_PAUSE_SECONDS
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        while True:
            try:
                status, said = await _put(http, url, wanted, prepared)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                status, said = 0, ErrorBody("Unreachable", str(error) or type(error).__name__)
            if status == 200:
                log.info("archive brought", job=wanted.job, sha256=prepared.sha256)
                return
            if 400 <= status < 500 and status != 429:
                reason = Reason.ARCHIVE_TOO_LARGE if status == 413 else Reason.SOURCE_FAILED
                raise SourceFailed(reason, f"the dispatcher refused the archive: {said.message}", Failure.FINAL)
            if time.monotonic() + pause > ends_at:
                raise SourceFailed(
                    Reason.SOURCE_FAILED, f"the dispatcher did not take the archive: {said.message}", Failure.PASSES
                )
            log.warning("the archive is sent again", status=status, why=said.message)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (no secret)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


async def _put(
    http: aiohttp.ClientSession, url: str, wanted: UploadWanted, prepared: Prepared
) -> tuple[int, ErrorBody]:
    token = (await asyncio.to_thread(wanted.token_file.read_text)).strip()
    headers = {"Authorization": f"Bearer {token}", COMMITS_HEADER: msgspec.json.encode(prepared.commits).decode()}
    with (wanted.source / ARCHIVE).open("rb") as file:
        async with http.put(url, data=file, headers=headers) as answer:
            body = await answer.read()
    try:
        return answer.status, msgspec.json.decode(body, type=ErrorBody) if answer.status != 200 else ErrorBody("", "")
    except msgspec.MsgspecError:
        return answer.status, ErrorBody("Unreadable", f"HTTP {answer.status} with a body that is not ours")
