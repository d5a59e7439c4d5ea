"""Pools: spawn, list, monitor, scale, close, health. Each is a WorkerPool that is created, read, patched or deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastmcp import FastMCP
from pydantic import Field

from mahavishnu_operator.client import Pool, Pools
from mahavishnu_operator.mcp_gateway.answering import ENDS, READS, SETS, add
from mahavishnu_operator.mcp_gateway.answers import (
    PoolClosed,
    PoolHealth,
    PoolMeasures,
    PoolRow,
    PoolScaled,
    PoolsClosed,
    PoolSpawned,
)
from mahavishnu_operator.mcp_gateway.arguments import Labels, PoolId, PoolIds, Seconds, Workers
from mahavishnu_operator.mcp_gateway.gateway import Gateway
from mahavishnu_operator.mcp_gateway.remembering import count_answers
from mahavishnu_operator.mcp_gateway.schemas import answer_of, list_of, mapping_of
from mahavishnu_operator.mcp_gateway.shapes import (
    POOL_TYPES,
    Shape,
    failure,
    pool_measures,
    pool_row,
    pools_health,
    sentence,
)
from mahavishnu_operator.mcp_gateway.spawning import spawn_pool
from mahavishnu_operator.mcp_gateway.telling import Progress
from mahavishnu_operator.mcp_gateway.worker_types import check_worker_type, note_on
from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError, NotFound


def register(server: FastMCP, gateway: Gateway) -> None:
    """Put the tools on a server."""
    tools = PoolTools(gateway)
    add(server, tools.pool_spawn, SETS, answer_of(PoolSpawned))
    add(server, tools.pool_list, READS, list_of(PoolRow))
    add(server, tools.pool_monitor, READS, mapping_of(PoolMeasures, or_one=True))
    add(server, tools.pool_scale, SETS, answer_of(PoolScaled))
    add(server, tools.pool_close, ENDS, answer_of(PoolClosed))
    add(server, tools.pool_close_all, ENDS, answer_of(PoolsClosed))
    add(server, tools.pool_health, READS, answer_of(PoolHealth))


class PoolTools:
    """The tools, by the names that clients call."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @property
    def _pools(self) -> Pools:
        return self._gateway.client.pools

    async def pool_spawn(
        self,
        telling: Progress,
        pool_type: Annotated[
            str, Field(description="Who starts the workers: mahavishnu (this installation's own way) or kubernetes.")
        ] = "mahavishnu",
        name: Annotated[
            str, Field(description="Its name: small letters, digits and hyphens. Your own pool of that name is reused.")
        ] = "default",
        min_workers: Annotated[Workers, Field(description="Workers it always has.")] = 1,
        max_workers: Annotated[Workers, Field(description="Workers it may have at most.")] = 10,
        worker_type: Annotated[
            str, Field(description="command: scanners and commands. AI worker types are not there yet.")
        ] = "terminal-claude",
        timeout: Annotated[Seconds, Field(description="Seconds to wait until its workers are ready.")] = 30.0,
        auto_scale: Annotated[bool, Field(description="Follow the queue between min_workers and max_workers.")] = False,
        namespace: Annotated[
            str | None, Field(max_length=200, description="Where; left out: the gateway's own.")
        ] = None,
        labels: Annotated[Labels | None, Field(description="Labels to put on it.")] = None,
    ) -> Shape:
        """Start a pool of workers that run commands and code scanners, and wait until they are ready.

        A pool is a set of worker processes under one name. Spawn one first, then give its pool_id to pool_execute,
        scan_submit and the other tools. Spawning a name that you spawned before returns that pool, with the new
        settings; a name that somebody else made is refused. Example: pool_spawn(name="scanners",
        worker_type="command", max_workers=4) -> {"pool_id": "default/scanners", "success": true, ...}.
        """
        pool = await spawn_pool(
            self._gateway,
            told=telling.of_pool,
            pool_type=pool_type,
            name=name,
            min_workers=min_workers,
            max_workers=max_workers,
            worker_type=worker_type,
            timeout=timeout,
            auto_scale=auto_scale,
            namespace=namespace or "",
            labels=labels,
        )
        row = {
            "pool_id": str(pool.key),
            "pool_type": POOL_TYPES[pool.backend],
            "name": pool.key.name,
            "min_workers": pool.min_workers,
            "max_workers": pool.max_workers,
        }
        if not pool.settled:
            words = f"{pool.ready} of {pool.wanted} workers are ready after {timeout:g} s: {pool.message}"
            return {**row, **failure(f"{words}; the pool is there: ask pool_monitor, or pool_close it")}
        note = note_on(check_worker_type(worker_type))
        return {**row, "status": "created", "success": True, **({"note": note} if note else {})}

    async def pool_list(self) -> list[Shape]:
        """List all pools with their state and number of ready workers."""
        return [pool_row(pool) for pool in await self._pools.list(namespace=self._gateway.scope)]

    async def pool_monitor(
        self,
        pool_ids: Annotated[PoolIds | None, Field(description="Some pools; left out: all.")] = None,
        pool_id: Annotated[PoolId | None, Field(description="One pool, answered by itself.")] = None,
    ) -> Shape:
        """Show how busy pools are: tasks waiting, running, done and failed, workers, and seconds without work.

        With pool_id the answer is that pool's own measures; else a mapping of pool_id to measures.
        """
        remembered = await count_answers(self._gateway)
        if pool_id is not None:
            return await self._measures(pool_id, remembered)
        if pool_ids is not None:
            return {each: await self._measures(each, remembered) for each in pool_ids}
        pools = await self._pools.list(namespace=self._gateway.scope)
        return {str(pool.key): pool_measures(pool, remembered=remembered.get(str(pool.key), 0)) for pool in pools}

    async def pool_scale(
        self,
        telling: Progress,
        pool_id: PoolId,
        target_workers: Annotated[Workers | None, Field(description="How many workers there shall be.")] = None,
        worker_count: Annotated[Workers | None, Field(description="Another name for target_workers.")] = None,
    ) -> Shape:
        """Change how many workers a pool has, within its min_workers and max_workers; busy workers finish first."""
        target = target_workers if target_workers is not None else worker_count
        if target is None:
            raise InvalidInput("target_workers is missing")
        key = self._gateway.key(pool_id, what="pool_id")
        pool = await self._pools.scale(key, target, told=telling.of_pool)
        return {
            "pool_id": str(key),
            "target_workers": target,
            "actual_workers": pool.ready,
            "status": "scaled",
            "success": True,
        }

    async def pool_close(
        self,
        telling: Progress,
        pool_id: PoolId,
        force: Annotated[bool, Field(description="Also when others made it or have work in it.")] = False,
    ) -> Shape:
        """Close a pool: its work ends first, then its workers stop and it is deleted. This cannot be undone."""
        key = self._gateway.key(pool_id, what="pool_id")
        await self._pools.close(key, force=force, told=telling.of_job)
        return {"pool_id": str(key), "status": "closed", "success": True}

    async def pool_close_all(self, telling: Progress) -> Shape:
        """Close all pools that you spawned; those of others, or managed elsewhere, stay as they are."""
        closed, kept = await self._pools.close_all(namespace=self._gateway.scope, told=telling.of_job)
        shape: Shape = {"pools_closed": len(closed), "status": "all_closed", "success": True}
        if kept:
            why = {str(key): sentence(words) for key, words in kept.items()}
            return {**shape, **failure(f"{len(kept)} pools are not closed: {'; '.join(why.values())}"), "kept": why}
        return shape

    async def pool_health(
        self, pool_id: Annotated[PoolId | None, Field(description="One pool; left out: all.")] = None
    ) -> Shape:
        """Say whether pools are healthy: all as wanted, degraded (some are in trouble), or unhealthy (all are)."""
        try:
            if pool_id is not None:
                pools: tuple[Pool, ...] = (await self._pools.get(self._gateway.key(pool_id, what="pool_id")),)
            else:
                pools = await self._pools.list(namespace=self._gateway.scope)
        except MahavishnuError as error:
            return failure(str(error), status="unhealthy", given={"pool_id": pool_id})
        return pools_health(pools)

    async def _measures(self, pool_id: str, remembered: Mapping[str, int]) -> Shape:
        try:
            pool = await self._pools.get(self._gateway.key(pool_id, what="pool_id"))
            return pool_measures(pool, remembered=remembered.get(str(pool.key), 0))
        except (NotFound, InvalidInput) as error:
            return failure(str(error), status="not_found", given={"pool_id": pool_id})
