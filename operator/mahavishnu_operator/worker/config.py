"""How the programs of a worker are told who they are: one line of JSON.

What must stay true: a configuration with a token comes by stdin: arguments and environments can be read by other
processes of the machine. In a Pod the token is a file, so the line is an argument there (pods.py).
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct

from mahavishnu_operator.support.errors import InvalidInput


class WorkerConfig(Struct, frozen=True, rename="camel"):
    """What an agent needs. `pool` is `namespace/name`, `grace_seconds` as in spec.drain.

    `work_dir`: where its runners have their scratch folders, absolute; of no use beside `runner_socket`.

    `git_ca_pem`: certificates that prove git servers, instead of the machine's.
    `token`, or `token_file` where somebody renews it. `ca_file` or `ca_pem`: certificates that prove a dispatcher at
    https, instead of the machine's. `runner_socket`: where to wait for a runner host; empty: runners are children of
    the agent. `one_task_seconds`: run one task whose time-out is that long at most, and leave; 0: as many as come.
    """

    server: str
    pool: str
    worker: str
    work_dir: str = ""
    token: str = ""
    token_file: str = ""
    ca_file: str = ""
    ca_pem: str = ""
    git_ca_pem: str = ""
    runner_socket: str = ""
    slots: int = 1
    grace_seconds: float = 60.0
    one_task_seconds: float = 0.0
    log_level: str = "info"


class HostConfig(Struct, frozen=True, rename="camel"):
    """What a runner host needs. `socket`: where the agent listens. `work_dir`: absolute.

    `confine`: folders that tools share, which are closed to them but for their own in them. `patience_seconds`: how
    long to wait for an agent that listens.
    """

    socket: str
    work_dir: str
    confine: tuple[str, ...] = ()
    patience_seconds: float = 300.0
    log_level: str = "info"


Config = TypeVar("Config", WorkerConfig, HostConfig)


def parse_config(line: bytes, kind: type[Config]) -> Config:
    """The configuration in a line of JSON. InvalidInput never repeats the line: it may hold a token."""
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"the worker's configuration line cannot be used: {error}") from None
