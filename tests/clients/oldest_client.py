"""The oldest official client that speaks streamable HTTP, as a program: prints what it was answered, as JSON.

Arguments: URL, TOKEN, pool. Runs in an environment of its own, which has nothing of this project. Asserts nothing: the
test that runs it does.
"""

# mypy: ignore-errors

import asyncio
import json
import logging
import re
import sys
from importlib.metadata import version

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from mcp.types import (
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    ClientRequest,
    ProgressNotification,
    RequestParams,
)

URL, TOKEN, POOL = sys.argv[1:]


class Complaint(logging.Handler):
    """Waits for what this client says of a request that failed: its log is all that it says."""

    def __init__(self):
        super().__init__()
        self.heard = asyncio.get_running_loop().create_future()

    def emit(self, record):
        if not self.heard.done():
            self.heard.set_result(record.getMessage())


async def refusal(headers):
    """What this client says when it connects with these headers; it waits for ever, which is ended here."""
    complaint = Complaint()
    logging.getLogger("mcp.client.streamable_http").addHandler(complaint)

    async def connect():
        async with (
            streamablehttp_client(URL, headers=headers) as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()

    connecting = asyncio.create_task(connect())
    try:
        async with asyncio.timeout(30):
            return await complaint.heard
    finally:
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)


def shape_of(answer):
    """What a tool answered; this client knows the text alone."""
    return json.loads(answer.content[0].text)


async def main():
    saw, heard, running = {"client": version("mcp")}, [], asyncio.Event()

    async def hear(message):
        notice = getattr(message, "root", None)
        if isinstance(notice, ProgressNotification):
            words = (notice.params.model_extra or {}).get("message")
            heard.append([notice.params.progressToken, notice.params.progress, words])
            if re.search(" 1 running$", words or ""):
                running.set()

    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        streamablehttp_client(URL, headers=headers) as (read, write, _),
        ClientSession(read, write, message_handler=hear) as session,
    ):
        saw["version"] = (await session.initialize()).protocolVersion
        saw["tools"] = [tool.name for tool in (await session.list_tools()).tools]
        saw["prompts"] = [prompt.name for prompt in (await session.list_prompts()).prompts]
        saw["resources"] = [str(each.uri) for each in (await session.list_resources()).resources]

        def call(name, arguments, token):
            meta = RequestParams.Meta(progressToken=token)
            params = CallToolRequestParams(name=name, arguments=arguments, _meta=meta)
            return session.send_request(
                ClientRequest(CallToolRequest(method="tools/call", params=params)), CallToolResult
            )

        spawned = await call("pool_spawn", {"name": POOL, "worker_type": "command", "max_workers": 1}, "spawning")
        saw["spawned"] = shape_of(spawned)
        saw["progress"] = [notice for notice in heard if notice[0] == "spawning"]
        saw["ran"] = shape_of(await session.call_tool("pool_execute", {"pool_id": POOL, "prompt": "echo hi"}))
        wrong = await session.call_tool("pool_execute", {"pool_id": POOL})
        saw["wrong"] = {"isError": wrong.isError, **shape_of(wrong)}
        leaving = asyncio.create_task(call("pool_execute", {"pool_id": POOL, "prompt": "sleep 62"}, "leaving"))
        await asyncio.wait_for(running.wait(), 30)
        leaving.cancel()
    saw["without_token"] = await refusal({})
    saw["wrong_token"] = await refusal({"Authorization": "Bearer not-the-token-of-this-gateway"})
    print(json.dumps(saw))


asyncio.run(main())
