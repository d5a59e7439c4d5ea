"""How a pool is made for whoever asks by tool or command line: its type, and what its workers may run."""

from __future__ import annotations

from typing import Any

from mahavishnu_operator.api.reasons import Label
from mahavishnu_operator.client import Pool
from mahavishnu_operator.client.following import Told
from mahavishnu_operator.client.pools import MEMORY, RESERVED
from mahavishnu_operator.control.acceptance import DEFAULT_COMMANDS
from mahavishnu_operator.scan.tools.registry import TOOLS
from mahavishnu_operator.support.errors import InvalidInput

from .gateway import Gateway
from .worker_types import backend_of, check_worker_type


def allowed_commands(allow: tuple[str, ...]) -> tuple[str, ...]:
    """What pools made here may run; empty: what the installation allows by itself."""
    if "any" in allow:
        return ("any",)
    return tuple(dict.fromkeys((*DEFAULT_COMMANDS, *sorted(TOOLS), *allow))) if allow else ()


async def spawn_pool(
    gateway: Gateway, *, pool_type: str, worker_type: str, name: str, told: Told | None, **settings: Any
) -> Pool:
    """Make a pool, or settle this caller's own of that name, and wait for its workers."""
    kind = check_worker_type(worker_type)
    if name in (RESERVED, MEMORY):
        raise InvalidInput(f"the name {name} is the gateway's own", hint="choose another name")
    client = gateway.client
    if settings.get("namespace"):
        gateway.check_namespace(settings["namespace"])
    return await client.pools.spawn(
        name,
        backend=backend_of(pool_type, default=client.default_backend),
        allowed_commands=allowed_commands(gateway.options.allow),
        annotations={Label.ASKED_WORKER_TYPE.value: kind},
        told=told,
        **settings,
    )
