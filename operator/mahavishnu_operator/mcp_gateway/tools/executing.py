"""Commands: run one in a pool and wait, let a pool be chosen, or dispatch it and ask later. Each is a ScanJob."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastmcp import FastMCP
from pydantic import Field

from mahavishnu_operator.api.reasons import JobPhase, Label
from mahavishnu_operator.client import Client, new_name
from mahavishnu_operator.client.ids import name_of, shown
from mahavishnu_operator.mcp_gateway.answering import READS, RUNS, add
from mahavishnu_operator.mcp_gateway.answers import Dispatched, Page, Ran, WorkflowResult
from mahavishnu_operator.mcp_gateway.arguments import Id, PoolId, PoolIds, Prompt, Seconds, Words
from mahavishnu_operator.mcp_gateway.gateway import Gateway
from mahavishnu_operator.mcp_gateway.reading import INLINE_BYTES, read_part
from mahavishnu_operator.mcp_gateway.routing import routing_of, shared_only
from mahavishnu_operator.mcp_gateway.running import (
    caller_notes,
    command_of,
    outcome,
    run_command,
    spec_of_command,
)
from mahavishnu_operator.mcp_gateway.schemas import answer_of
from mahavishnu_operator.mcp_gateway.shapes import Shape
from mahavishnu_operator.mcp_gateway.spawning import spawn_pool
from mahavishnu_operator.mcp_gateway.telling import Progress
from mahavishnu_operator.mcp_gateway.worker_types import AI_TYPES, NO_AI, check_worker_type
from mahavishnu_operator.resources.protocol import Key, Obj
from mahavishnu_operator.support.errors import Conflict, InvalidInput, NotFound

WORKFLOW_KEPT_SECONDS = 24 * 3600  # its result, after its end
Selector = Annotated[
    str,
    Field(max_length=40, description="How the pool is chosen: least_loaded, round_robin, random or affinity."),
]
CallerKind = Annotated[Words, Field(description="What kind of program calls; kept with the job.")]


def register(server: FastMCP, gateway: Gateway) -> None:
    """Put the tools on a server."""
    tools = ExecutingTools(gateway)
    add(server, tools.pool_execute, RUNS, answer_of(Ran))
    add(server, tools.pool_route_execute, RUNS, answer_of(Ran), failed={"pool_id": ""})
    add(server, tools.task_output, READS, answer_of(Page))
    add(server, tools.dispatch_to_pool, RUNS, answer_of(Dispatched))
    add(server, tools.workflow_result, READS, answer_of(WorkflowResult))


class ExecutingTools:
    """The tools, by the names that clients call."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @property
    def _client(self) -> Client:
        return self._gateway.client

    async def pool_execute(
        self,
        telling: Progress,
        pool_id: PoolId,
        prompt: Prompt,
        timeout: Annotated[Seconds, Field(description="Seconds until it is stopped, waiting included.")] = 300.0,
        caller_kind: CallerKind = "unknown",
        parent_session_id: Annotated[Words | None, Field(description="Your session; kept with the job.")] = None,
    ) -> Shape:
        """Run one command on a worker of a pool and wait for its end.

        The command is split into words and run without a shell (no pipes, no `&&`, no variables), in the gateway's
        workspace folder; workers in Pods have an empty one (scan_submit brings files there). Allowed are the known
        scanners (ruff, bandit, codespell, complexipy, mypy, vulture) and echo,
        sleep, true and false, unless the installation allows more. The answer has the process's own exit_code, output
        (stdout), stderr and duration; success is exit code 0. A scanner that finds something may exit with 1.
        Example: pool_execute(pool_id="default/scanners", prompt="Execute: ruff check src").
        """
        pool = await self._client.pools.get(self._gateway.key(pool_id, what="pool_id"))
        spec = spec_of_command(self._gateway, command_of(prompt, pool), pool=pool, routing=None, timeout=timeout)
        return await run_command(
            self._gateway,
            spec,
            namespace=pool.key.namespace,
            timeout=timeout,
            told=telling.of_job,
            notes=caller_notes(caller_kind, parent_session_id),
        )

    async def pool_route_execute(
        self,
        telling: Progress,
        prompt: Annotated[Prompt | None, Field()] = None,
        pool_selector: Selector = "least_loaded",
        selector: Annotated[Selector | None, Field(description="Another name for pool_selector.")] = None,
        timeout: Annotated[Seconds, Field(description="Seconds until it is stopped, waiting included.")] = 300.0,
        worker_type: Annotated[Words | None, Field(description="command; AI worker types are not there yet.")] = None,
        tool_name: Annotated[Words | None, Field(description="What the command is for; without effect.")] = None,
        files: Annotated[list[str] | None, Field(max_length=10_000, description="The same; without effect.")] = None,
        caller_pool_allowlist: Annotated[PoolIds | None, Field(description="Only one of these pools.")] = None,
        affinity_key: Annotated[Words | None, Field(description="With affinity: the same key, the same pool.")] = None,
        auto_spawn: Annotated[bool, Field(description="Spawn a pool named default when there is none.")] = False,
        caller_kind: CallerKind = "unknown",
        parent_session_id: Annotated[Words | None, Field(description="Your session; kept with the job.")] = None,
    ) -> Shape:
        """Run one command on whichever pool is best placed, and wait for its end; pool_id says which pool it was.

        Like pool_execute, without naming a pool. For scanners over many files scan_submit is the better tool.
        """
        if worker_type is not None and check_worker_type(worker_type) in AI_TYPES:
            raise InvalidInput(f"no pool has worker_type {shown(worker_type)}", hint=NO_AI)
        argv = command_of(prompt, None)
        allowed = caller_pool_allowlist
        keys = [self._gateway.key(each, what="pool_id") for each in allowed] if allowed is not None else None
        routing = routing_of(selector or pool_selector, pools=keys, affinity_key=affinity_key)
        shared = await self._client.pools.shared()
        if not (shared if shared is not None else await self._client.pools.list()):
            if not auto_spawn:
                raise NotFound("there is no pool to choose from", hint="pool_spawn one, or say auto_spawn=true")
            await spawn_pool(
                self._gateway,
                pool_type="mahavishnu",
                worker_type="command",
                name="default",
                auto_scale=True,
                told=telling.of_pool,
            )
        spec = spec_of_command(
            self._gateway, argv, pool=None, routing=await shared_only(self._client, routing), timeout=timeout
        )
        return await run_command(
            self._gateway,
            spec,
            namespace=self._client.namespace,
            timeout=timeout,
            told=telling.of_job,
            notes=caller_notes(caller_kind, parent_session_id),
        )

    async def task_output(
        self,
        task_id: Annotated[Id, Field(description="As pool_execute answered it.")],
        stream: Annotated[Literal["stdout", "stderr"], Field(description="Which stream.")] = "stdout",
        offset: Annotated[int, Field(ge=0, le=2**40, description="First byte.")] = 0,
        limit: Annotated[int, Field(ge=1, le=INLINE_BYTES, description="Bytes at most.")] = INLINE_BYTES,
    ) -> Shape:
        """Read a page of what a command wrote, where an answer left some of it out. An empty page is the end."""
        key = self._gateway.key(task_id, what="task_id")
        job = await self._client.jobs.get(key)
        part = await read_part(self._client.jobs, job, stream, since=offset, inline=limit)
        return {"task_id": str(key), "stream": stream, "offset": offset, "output": part.text, "next_offset": part.end}

    async def dispatch_to_pool(
        self,
        prompt: Prompt,
        pool_selector: Selector = "least_loaded",
        timeout: Annotated[Seconds, Field(description="Seconds until it is stopped, waiting included.")] = 300.0,
        async_callback: Annotated[Any, Field(description="Without effect: nothing is called back.")] = None,
        workflow_id: Annotated[
            Words | None, Field(min_length=1, description="An id of your choice; the same id again starts nothing new.")
        ] = None,
    ) -> Shape:
        """Start one command on whichever pool is best placed and return at once; ask workflow_result for its result."""
        chosen = workflow_id or new_name("wf")
        spec = spec_of_command(
            self._gateway,
            command_of(prompt, None),
            pool=None,
            routing=await shared_only(self._client, routing_of(pool_selector, pools=None, affinity_key=None)),
            timeout=timeout,
            kept_seconds=WORKFLOW_KEPT_SECONDS,
        )
        try:
            await self._client.jobs.submit(
                spec, name=name_of("workflow", chosen), annotations={Label.WORKFLOW.value: chosen}
            )
        except Conflict:
            note: Obj = {"note": "it was dispatched before"}
        else:
            note = {"note": "nothing is called back: ask workflow_result"} if async_callback else {}
        return {"workflow_id": chosen, "status": "queued", "success": True, **note}

    async def workflow_result(
        self, workflow_id: Annotated[Words, Field(min_length=1, description="As dispatch_to_pool answered it.")]
    ) -> Shape:
        """Ask for the result of dispatch_to_pool: queued, running, completed, failed or not_found. Kept for a day."""
        key = Key(self._client.namespace, name_of("workflow", workflow_id))
        shape: Shape = {"workflow_id": workflow_id, "result": None, "error": None}
        try:
            job = await self._client.jobs.get(key)
        except NotFound:
            return {**shape, "status": "not_found", "error": "there is no such workflow, or its result is not kept now"}
        if not job.ended:
            begun = job.phase is JobPhase.RUNNING and int(job.tasks.get("running", 0)) > 0
            return {**shape, "status": "running" if begun else "queued"}
        result = await outcome(self._gateway, job)
        status = "completed" if result["success"] else "failed"
        return {**shape, "status": status, "result": result, "error": result["error"]}
