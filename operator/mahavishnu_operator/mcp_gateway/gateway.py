"""What every tool of the gateway stands on: the client, where commands run, and whose work it is.

What must stay true: nothing here is state of a call, so any replica answers any call; a gateway that stops cancels no
work; a caller that went away while its call was served does.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from mahavishnu_operator.client import Client, Job, parse_id
from mahavishnu_operator.resources.protocol import Forbidden, Key
from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError, NotFound

from .limiting import Rate

log = structlog.get_logger(__name__)

LAST_WORDS_SECONDS = 5.0

# The client of whoever makes this call, where callers are told apart: of one request and what it starts.
acting: ContextVar[Client | None] = ContextVar("mahavishnu_caller", default=None)


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

    def __init__(self, client: Client, options: GatewayOptions, *, told_apart: bool = False) -> None:
        """`told_apart`: each call is made by the client of its caller, whom `admitting` has let in."""
        self.own, self.options, self._told_apart = client, options, told_apart
        self.stopping = False
        self._aside: set[asyncio.Task[None]] = set()

    @property
    def client(self) -> Client:
        """What a call is made with: the caller's own where they are told apart, else the gateway's.

        Forbidden: they are, and this is no call of anybody. Never keep it longer than the call.
        """
        client = acting.get() if self._told_apart else self.own
        if client is None:
            raise Forbidden("this call has no caller", hint="show a bearer token")
        return client

    @property
    def caller(self) -> str:
        """Who calls, as rates and audit lines know them: the user of the gateway where callers are not told apart."""
        return self.client.maker.name or self.client.created_by

    @property
    def scope(self) -> str | None:
        """The one namespace that is served; None: all."""
        return None if self.options.all_namespaces else self.own.namespace

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
        task = asyncio.create_task(self._cancel(submitting))  # as the caller: a task has the context of its maker
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
