"""Which pools a command may go to that names none: by tool or command line, as ScanJobs have it."""

from __future__ import annotations

from collections.abc import Sequence

from mahavishnu_operator.api.scanjob import RoutingStrategy
from mahavishnu_operator.client import Client
from mahavishnu_operator.client.ids import shown
from mahavishnu_operator.resources.protocol import Key, Obj
from mahavishnu_operator.support.errors import InvalidInput

MOST_POOLS = 64  # as the kind has them


def routing_of(selector: str, *, pools: Sequence[Key] | None, affinity_key: str | None) -> Obj:
    """The routing of a ScanJob; `pools`: one of these alone. InvalidInput: nothing can be chosen that way."""
    strategy = selector.strip().lower().replace("-", "_")
    if strategy not in list(RoutingStrategy):
        raise InvalidInput(
            f"pool_selector {shown(selector)} is not known", hint=f"use one of {', '.join(RoutingStrategy)}"
        )
    if strategy == RoutingStrategy.AFFINITY and not affinity_key:
        raise InvalidInput("affinity_key is missing", hint="pool_selector affinity sends equal keys to one pool")
    routing: Obj = {"strategy": strategy}
    if strategy == RoutingStrategy.AFFINITY:
        routing["affinityKey"] = affinity_key
    if pools is not None:
        if not pools:
            raise InvalidInput("caller_pool_allowlist is empty: no pool may run it")
        routing["pools"] = sorted({key.name for key in pools})
    return routing


async def shared_only(client: Client, routing: Obj) -> Obj:
    """The same, without the pool of single workers."""
    shared = None if routing.get("pools") else await client.pools.shared()
    return {**routing, "pools": list(shared)[:MOST_POOLS]} if shared else routing
