"""What every tool of the gateway stands on: the client, where commands run, and whose work it is.

What must stay true: nothing here is state of a call, so any replica answers any call; a gateway that stops cancels no
work; a caller that went away while its call was served does.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from mahavishnu_operator.client import Client, Job, parse_id
from mahavishnu_operator.resources.protocol import Key
from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError, NotFound

from .limiting import Rate

log = structlog.get_logger(__name__)

LAST_WORDS_SECONDS = 5.0


@dataclass(frozen=True)
class GatewayOptions:
    """How a gateway works.

    `workspace`: the folder that commands of local workers run in. `allow`: commands, besides the usual ones, that pools
    made here may run; `any` among them allows all. `all_namespaces`: serve them all, not the client's alone.
    `rate`: how many calls a caller may make.
    """

    workspace: Path = field(default_factory=Path.cwd)
    allow: tuple[str, ...] = ()
    all_namespaces: bool = False
    rate: Rate = field(default_factory=Rate)


class Gateway:
    """One gateway; `stop` it before its server ends."""

    def __init__(self, client: Client, options: GatewayOptions) -> None:
        self.client, self.options = client, options
        self.stopping = False
        self._aside: set[asyncio.Task[None]] = set()

    @property
    def caller(self) -> str:
        """Who calls: the user of the gateway, until callers are told apart."""
        return self.client.created_by

    @property
    def scope(self) -> str | None:
        """The one namespace that is served; None: all."""
        return None if self.options.all_namespaces else self.client.namespace

    def key(self, text: str, *, what: str) -> Key:
        """The object that an id names. InvalidInput: it is no id, or of a namespace that is not served here."""
        key = parse_id(text, namespace=self.client.namespace, what=what)
        self.check_namespace(key.namespace)
        return key

    def check_namespace(self, namespace: str) -> None:
        """InvalidInput when it is not served here."""
        if self.scope is not None and namespace != self.scope:
            raise InvalidInput(
                f"this gateway serves namespace {self.scope} alone, not {namespace[:80]!r}",
                hint="leave the namespace out, or start the gateway with --all-namespaces",
            )

    def abandon(self, submitting: asyncio.Task[Job]) -> None:
        """Whoever waited for a job has gone, maybe before it was there: cancel it, unless it is we who go."""
        if self.stopping:
            return
        task = asyncio.create_task(self._cancel(submitting))
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def stop(self) -> None:
        """From now on nothing is cancelled; what was begun aside is finished."""
        self.stopping = True
        if self._aside:
            await asyncio.wait(self._aside, timeout=LAST_WORDS_SECONDS)

    async def _cancel(self, submitting: asyncio.Task[Job]) -> None:
        try:
            job = await submitting
            await self.client.jobs.cancel(job.key)
        except NotFound:
            return
        except MahavishnuError as error:
            log.warning("a job that nobody waits for could not be cancelled", error=str(error))
