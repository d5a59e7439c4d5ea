"""How a worker is told who it is: one line of JSON, never an argument or an environment variable.

Arguments and environments can be read by other processes of the machine, and the token is a secret.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from mahavishnu_operator.support.errors import InvalidInput


class WorkerConfig(Struct, frozen=True, rename="camel"):
    """What an agent needs. `pool` is `namespace/name`, `work_dir` absolute, `grace_seconds` as in spec.drain.

    `git_ca_pem`: certificates that prove git servers, instead of the machine's.
    `token`, or `token_file` where somebody renews it. `ca_file` or `ca_pem`: certificates that prove a dispatcher at
    https, instead of the machine's. `runner_socket`: where to wait for a runner host; empty: runners are children of
    the agent. `one_task_seconds`: run one task whose time-out is that long at most, and leave; 0: as many as come.
    """

    server: str
    pool: str
    worker: str
    work_dir: str
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


def parse_config(line: bytes) -> WorkerConfig:
    """The configuration in a line of JSON. InvalidInput never repeats the line: it holds the token."""
    try:
        return msgspec.json.decode(line, type=WorkerConfig)
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"the worker's configuration line cannot be used: {error}") from None
