"""Every argument that published clients send is there by its name, with the default that they count on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mahavishnu_operator.client import Client
from mahavishnu_operator.client.door import Way
from mahavishnu_operator.mcp_gateway.gateway import Gateway, GatewayOptions
from mahavishnu_operator.mcp_gateway.server import make_server
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.embedded import EmbeddedResources

CALLER = {"caller_kind": "unknown", "parent_session_id": None}
SPAWNED = {"min_workers": 1, "max_workers": 10, "worker_type": "terminal-claude", "timeout": 30, "auto_scale": False}
ROUTED = {"pool_selector": "least_loaded", "timeout": 300}
CHOSEN = {"selector": None, "caller_pool_allowlist": None, "affinity_key": None, "auto_spawn": False}
REQUIRED = ...
ARGUMENTS: dict[str, dict[str, Any]] = {
    "pool_spawn": {"pool_type": "mahavishnu", "name": "default", "namespace": None, "labels": None, **SPAWNED},
    "pool_execute": {"pool_id": REQUIRED, "prompt": REQUIRED, "timeout": 300, **CALLER},
    "pool_route_execute": {
        "prompt": None,
        "worker_type": None,
        "tool_name": None,
        "files": None,
        **ROUTED,
        **CHOSEN,
        **CALLER,
    },
    "pool_list": {},
    "pool_monitor": {"pool_ids": None, "pool_id": None},
    "pool_scale": {"pool_id": REQUIRED, "target_workers": None, "worker_count": None},
    "pool_close": {"pool_id": REQUIRED, "force": False},
    "pool_close_all": {},
    "pool_health": {"pool_id": None},
    "pool_search_memory": {"query": REQUIRED, "limit": 100, "max_results": None, "pool_id": None, "namespace": None},
    "pool_store_memory": {"key": REQUIRED, "value": REQUIRED, "namespace": "default", "ttl": None},
    "dispatch_to_pool": {"prompt": REQUIRED, "async_callback": None, "workflow_id": None, **ROUTED},
    "workflow_result": {"workflow_id": REQUIRED},
    "worker_spawn": {"worker_type": "terminal-qwen", "count": 1},
    "worker_execute": {"worker_id": REQUIRED, "prompt": REQUIRED, "timeout": 300},
    "worker_execute_batch": {"worker_ids": REQUIRED, "prompts": REQUIRED, "timeout": 300},
    "worker_list": {"state": None, "worker_id": None},
    "worker_monitor": {"worker_ids": None, "interval": 1.0},
    "worker_collect_results": {"worker_ids": None, "since_offset": 0},
    "worker_close": {"worker_id": REQUIRED, "force": False},
    "worker_close_all": {},
    "worker_health": {},
    "swarm_autofix": {"issue_types": None, "max_workers": 4},
    "swarm_status": {},
}


@pytest.fixture
async def schemas(tmp_path: Path) -> dict[str, dict[str, Any]]:
    resources = EmbeddedResources(tmp_path / "objects.db")
    async with Client(resources, Way(Connection.from_url("http://127.0.0.1:9"), embedded=True)) as client:
        tools = await make_server(Gateway(client, GatewayOptions(workspace=tmp_path))).list_tools()
    await resources.close()
    return {tool.name: tool.parameters for tool in tools}


async def test_a_tool_takes_what_clients_send_and_stands_in_for_what_they_leave_out(
    schemas: dict[str, dict[str, Any]],
) -> None:
    for tool, arguments in ARGUMENTS.items():
        properties, required = schemas[tool]["properties"], schemas[tool].get("required", [])
        there = {name: REQUIRED if name in required else each.get("default") for name, each in properties.items()}
        assert {name: there.get(name, "not there") for name in arguments} == arguments, tool
