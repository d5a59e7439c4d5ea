"""The runner host: the first process of a container that starts runners for an agent in another container.

The pressure: in a Pod the token is mounted in the agent's container alone, so the tools need a container of their
own, and something in it that starts runners and ends them to the last descendant. What must stay true: it connects
once, before any tool ran, and what it then holds no tool can reach; when the agent goes, so does all that is below;
SIGTERM is the agent's business, which finishes first.
"""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import structlog

from mahavishnu_operator.support.errors import InvalidInput
from mahavishnu_operator.support.logs import configure_logging

from . import confining, descendants
from .config import HostConfig
from .hosting import DESCRIPTORS, ORDERS, Begin, Begun, Channel, End, Ended, Hello, close_all
from .runners import ChildRunners
from .scratch_space import scratch_space
from .stops import on_stops, run_to_its_end
from .variables import take_variables

log = structlog.get_logger(__name__)

LOOK_AGAIN_SECONDS = 0.05  # for the agent's socket: the containers of a Pod start in any order


def run_host(config: HostConfig) -> int:
    """Serve the agent that listens at that path until it goes; the exit code.

    InvalidInput: nobody listens there in time, or the work folder cannot be used.
    """
    configure_logging(level=config.log_level)
    descendants.become_subreaper()
    descendants.hide_memory()
    confine = config.confine
    if confine and (why := confining.missing()):
        log.warning("tools of this worker are not kept apart: they can read and change each other's files", why=why)
        confine = ()
    variables, refused = take_variables(os.environ)
    if refused:
        log.warning("variables of the pool are not handed on: their names are the worker's, or none", names=refused)
    with scratch_space(Path(config.work_dir)) as scratch:
        runners = ChildRunners(scratch, shared=confine, variables=variables)
        return run_to_its_end(_serve(Path(config.socket), runners, config.patience_seconds))


async def _serve(agent: Path, runners: ChildRunners, patience_seconds: float) -> int:
    stopped = asyncio.Event()
    on_stops(stopped.set)
    channel = await _connect(agent, patience_seconds, stopped)
    if channel is None:
        return 0
    await channel.send(Hello(str(runners.scratch)))
    log.info("serving the agent", scratch=str(runners.scratch))
    try:
        await Host(channel, runners).serve()
    finally:
        descendants.end_all()
    return 0


async def _connect(agent: Path, patience_seconds: float, stopped: asyncio.Event) -> Channel | None:
    """A connection to the agent, as soon as it listens; None when told to stop before."""
    deadline = asyncio.get_running_loop().time() + patience_seconds
    while not stopped.is_set():
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.connect(str(agent))
            return Channel(connection)
        except (FileNotFoundError, ConnectionError) as error:
            connection.close()
            if asyncio.get_running_loop().time() > deadline:
                raise InvalidInput(
                    f"no agent listens at {agent} after {patience_seconds:.0f} s: {error.strerror}",
                    hint="look at the log of the agent's container",
                ) from None
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        except OSError as error:
            connection.close()
            raise InvalidInput(f"the agent's socket {agent} cannot be used: {error.strerror}") from None
    return None


class Host:
    """Carries orders out, one after another: starting and ending take milliseconds."""

    def __init__(self, channel: Channel, runners: ChildRunners) -> None:
        self._channel, self._runners = channel, runners
        self._processes: dict[int, asyncio.subprocess.Process] = {}

    async def serve(self) -> None:
        """Until the agent goes. ValueError when it says what no agent says."""
        while (received := await self._channel.receive(ORDERS)) is not None:
            order, descriptors = received
            try:
                match order:
                    case Begin(number):
                        await self._channel.send(await self._begin(number, descriptors))
                    case End(number, scratch):
                        await self._channel.send(await self._end(number, scratch))
            except ConnectionError:
                return  # it went while it was answered
            finally:
                close_all(descriptors)

    async def _begin(self, number: int, descriptors: list[int]) -> Begun:
        if len(descriptors) != DESCRIPTORS or number in self._processes:
            raise ValueError(f"runner {number} cannot begin with {len(descriptors)} descriptors")
        try:
            self._processes[number] = await self._runners.spawn(stdin=descriptors[0], stdout=descriptors[1])
        except OSError as error:
            return Begun(number, os.strerror(error.errno or 0))
        return Begun(number)

    async def _end(self, number: int, scratch: str) -> Ended:
        process = self._processes.pop(number, None)
        if process is None:
            raise ValueError(f"runner {number} cannot end: it did not begin")
        return Ended(number, await self._runners.kill(process, scratch=self._below(scratch)))

    def _below(self, scratch: str) -> Path | None:
        folder = Path(scratch)
        return folder if scratch and folder.parent == self._runners.scratch else None
