"""The programs in the two containers of a Pod: `pod-agent CONFIG` and `pod-runner CONFIG`, one argument of JSON each.

The pressure: a pool with a Pod a task pays for both at each task, and the command line with its settings costs as much
processor time as they do themselves. What must stay true: nothing is loaded that they do not need; there is no secret
in a configuration, for a Pod's arguments are for all to read who may see the Pod.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from mahavishnu_operator.support.errors import InvalidInput

from .config import HostConfig, WorkerConfig, parse_config
from .lean import leave_out_what_no_worker_uses

USAGE = 2


def run_program(name: str, arguments: Sequence[str]) -> int:
    """Run that one of PROGRAMS to its end; the exit code, 2 for a configuration that cannot be used."""
    leave_out_what_no_worker_uses()
    try:
        if len(arguments) != 1:
            raise InvalidInput(f"{name} wants its configuration as one argument", hint="it is for Pods")
        return PROGRAMS[name](arguments[0].encode())
    except InvalidInput as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE


def _run_agent(line: bytes) -> int:
    from .agent import run_agent

    config = parse_config(line, WorkerConfig)
    if config.token or not config.token_file or not config.runner_socket:
        raise InvalidInput("an agent in a Pod has a tokenFile and a runnerSocket, and no token")
    authorities = {"ca_pem": "MAHAVISHNU_DISPATCHER_CA", "git_ca_pem": "MAHAVISHNU_GIT_CA_PEM"}
    return run_agent(replace(config, **{field: os.environ.get(name, "") for field, name in authorities.items()}))


def _run_host(line: bytes) -> int:
    from .runner_host import run_host

    return run_host(parse_config(line, HostConfig))


PROGRAMS: dict[str, Callable[[bytes], int]] = {"pod-agent": _run_agent, "pod-runner": _run_host}
