"""What published clients send and read, one row a quirk, at a real `mahavishnu up` with real workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from .cli_tools import Up
from .gateway_tools import Agent, agent_of, serving_agents

POOL = {"pool_id": "default/p", "pool_type": "mahavishnu", "name": "p", "min_workers": 0, "max_workers": 3}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with serving_agents(tmp_path_factory.mktemp("up"), allow=("cat", "python3")) as running:
        yield running


@pytest.fixture
async def agent(up: Up) -> AsyncIterator[Agent]:
    async with agent_of(up.url) as connected:
        spawned = await connected.call("pool_spawn", name="p", min_workers=0, max_workers=3, worker_type="command")
        assert spawned == {**POOL, "status": "created", "success": True}
        yield connected


def holds(answer: Any, expected: Any) -> bool:
    """Whether an answer has all that is expected of it; a function is asked."""
    if callable(expected):
        return bool(expected(answer))
    if isinstance(expected, dict):
        return isinstance(answer, dict) and all(holds(answer.get(name), each) for name, each in expected.items())
    return bool(answer == expected)


def says(*words: str) -> Any:
    return lambda text: isinstance(text, str) and all(word in text for word in words)


RAN = {"pool_id": "default/p", "status": "completed", "success": True, "exit_code": 0, "error": None}
ROWS: list[tuple[str, str, dict[str, Any], Any]] = [
    # pool_spawn
    ("a pool type has two names", "pool_spawn", {"name": "p", "pool_type": "local-process", "min_workers": 0,
     "max_workers": 3, "worker_type": "terminal-shell"}, {**POOL, "status": "created", "success": True}),
    ("a type with an underscore", "pool_spawn", {"name": "q", "pool_type": "session_buddy", "worker_type": "command"},
     {"status": "failed", "success": False, "error": says("backend")}),
    ("AI workers are said not to be there", "pool_spawn", {"name": "ai", "min_workers": 0, "max_workers": 1},
     {"pool_id": "default/ai", "success": True, "note": says("no AI workers", "Execute:")}),
    ("an unknown pool type", "pool_spawn", {"pool_type": "cloud"}, {"status": "failed", "error": says("'cloud'")}),
    ("an unknown worker type", "pool_spawn",
     {"worker_type": "x"}, {"status": "failed", "error": says("'x'", "command")}),
    ("less than least", "pool_spawn", {"name": "r", "min_workers": 5, "max_workers": 2, "worker_type": "command"},
     {"status": "failed", "success": False, "error": says("min_workers is 5")}),
    ("a name that nothing can have", "pool_spawn", {"name": "My_Pool", "worker_type": "command"},
     {"status": "failed", "success": False, "error": says("'My_Pool'", "small letters")}),
    # pool_execute
    ("Execute: is a command", "pool_execute", {"pool_id": "default/p", "prompt": "Execute: echo hello"},
     {**RAN, "output": "hello\n", "worker_id": says("default/p-"), "task_id": says("default/run-")}),
    ("a bare command is one too", "pool_execute",
     {"pool_id": "p", "prompt": "echo 'a  b'"}, {**RAN, "output": "a  b\n"}),
    ("no shell reads it", "pool_execute", {"pool_id": "p", "prompt": "echo $HOME; id && `id` | cat > x"},
     {**RAN, "output": "$HOME; id && `id` | cat > x\n"}),
    ("it runs in the workspace", "pool_execute", {"pool_id": "p", "prompt": "cat clean.py"},
     {**RAN, "output": '"""Clean."""\n'}),
    ("exit code and streams are its own", "pool_execute",
     {"pool_id": "p", "prompt": "python3 -c 'import sys; print(1); print(2, file=sys.stderr); sys.exit(7)'"},
     {"status": "failed", "success": False, "exit_code": 7, "output": "1\n", "error": "2", "reason": "ExitCode"}),
    ("the word error decides nothing", "pool_execute", {"pool_id": "p", "prompt": "echo error: none"}, RAN),
    ("a known client's flag is dropped", "pool_execute",
     {"pool_id": "p", "prompt": "Execute: complexipy clean.py --path ."}, RAN),
    ("findings are an exit code", "pool_execute",
     {"pool_id": "p", "prompt": "ruff check --select F --isolated dirty.py"},
     {"status": "failed", "exit_code": 1, "output": says("F401")}),
    ("names of callers are taken", "pool_execute",
     {"pool_id": "p", "prompt": "true", "caller_kind": "crackerjack", "parent_session_id": "s-1"}, RAN),
    ("too slow", "pool_execute", {"pool_id": "p", "prompt": "sleep 30", "timeout": 1},
     {"pool_id": "default/p", "status": "timeout", "success": False, "reason": "TimedOut",
      "duration": lambda seconds: 0.9 < seconds < 5}),
    ("a command that is not allowed", "pool_execute", {"pool_id": "p", "prompt": "rm -rf /"},
     {"status": "failed", "success": False, "error": says("'rm'", "allowedCommands"), "exit_code": None}),
    ("an empty command", "pool_execute", {"pool_id": "p", "prompt": "Execute:  "},
     {"pool_id": "p", "status": "failed", "success": False, "error": says("empty")}),
    ("a pool that is not there", "pool_execute", {"pool_id": "gone", "prompt": "true"},
     {"pool_id": "gone", "status": "failed", "success": False, "error": says("gone")}),
    ("a prompt for a model", "pool_execute", {"pool_id": "ai", "prompt": "rm everything you find"},
     {"pool_id": "ai", "status": "failed", "error": says("no AI workers")}),
    # pool_route_execute
    ("a selector with a hyphen", "pool_route_execute",
     {"prompt": "echo routed", "pool_selector": "least-loaded", "caller_pool_allowlist": ["default/p"]},
     {**RAN, "output": "routed\n"}),
    ("the selector's other name", "pool_route_execute",
     {"prompt": "true", "selector": "round_robin", "caller_pool_allowlist": ["p"], "tool_name": "x", "files": ["a"]},
     RAN),
    ("affinity", "pool_route_execute",
     {"prompt": "true", "pool_selector": "affinity", "affinity_key": "repo", "caller_pool_allowlist": ["p"]}, RAN),
    ("affinity to nothing", "pool_route_execute", {"prompt": "true", "pool_selector": "affinity"},
     {"status": "failed", "error": says("affinity_key")}),
    ("an unknown selector", "pool_route_execute", {"prompt": "true", "pool_selector": "best"},
     {"pool_id": "", "status": "failed", "success": False, "error": says("'best'", "least_loaded")}),
    ("no prompt", "pool_route_execute", {}, {"status": "failed", "success": False, "error": says("prompt")}),
    ("no pool is allowed", "pool_route_execute", {"prompt": "true", "caller_pool_allowlist": []},
     {"status": "failed", "error": says("allowlist")}),
    ("pools that are not there", "pool_route_execute", {"prompt": "true", "caller_pool_allowlist": ["gone"]},
     {"status": "failed", "success": False, "error": says("gone")}),
    # the rest
    ("rows of a list", "pool_list", {}, lambda rows: any(holds(row, POOL) for row in rows)),
    ("one pool by itself", "pool_monitor", {"pool_id": "p"}, {
        "status": "running", "pending_tasks": 0, "running_tasks": 0, "min_workers": 0, "max_workers": 3,
        "memory_count": lambda n: n >= 0, "current_workers": 1, "busy_workers": 0, "completed_tasks": lambda n: n >= 0,
        "failed_tasks": lambda n: n >= 0, "idle_time": lambda n: n >= 0, "idle_seconds": lambda n: n >= 0}),
    ("many pools by name", "pool_monitor", {"pool_ids": ["p", "gone"]},
     {"p": {"min_workers": 0}, "gone": {"status": "not_found", "success": False}}),
    ("all pools", "pool_monitor", {}, {"default/p": {"max_workers": 3}}),
    ("an unknown pool is not found", "pool_monitor",
     {"pool_id": "gone"}, {"status": "not_found", "error": says("gone")}),
    ("more workers", "pool_scale", {"pool_id": "p", "target_workers": 2},
     {"pool_id": "default/p", "target_workers": 2, "actual_workers": 2, "status": "scaled", "success": True}),
    ("worker_count is the same", "pool_scale", {"pool_id": "p", "worker_count": 1},
     {"target_workers": 1, "actual_workers": 1, "status": "scaled"}),
    ("outside its range", "pool_scale", {"pool_id": "p", "target_workers": 4},
     {"pool_id": "p", "status": "failed", "success": False, "error": says("0 to 3")}),
    ("no number", "pool_scale", {"pool_id": "p"}, {"status": "failed", "error": says("target_workers")}),
    ("health of one", "pool_health", {"pool_id": "p"},
     {"status": "healthy", "pools_active": 1, "pools": lambda rows: rows[0]["pool_id"] == "default/p"}),
    ("health of an unknown one", "pool_health", {"pool_id": "gone"}, {"status": "unhealthy", "error": says("gone")}),
    ("closing what is not there", "pool_close", {"pool_id": "gone"},
     {"pool_id": "gone", "status": "failed", "success": False, "error": says("gone")}),
    ("a workflow that is not there", "workflow_result", {"workflow_id": "none/of\nthese"},
     {"workflow_id": "none/of\nthese", "status": "not_found"}),
    ("a scan of nothing", "scan_submit", {}, {"status": "failed", "success": False, "error": says("path", "git_url")}),
    ("an unknown scanner", "scan_submit", {"path": ".", "tools": ["nessus"]},
     {"status": "failed", "success": False, "error": says("nessus", "ruff")}),
    ("a name of the gateway's own", "pool_spawn", {"name": "gateway-workers", "worker_type": "command"},
     {"status": "failed", "success": False, "error": says("gateway-workers")}),
    # memory and swarm
    ("a note", "pool_store_memory", {"namespace": "n", "key": "k", "value": {"a": [1]}, "ttl": 60},
     {"namespace": "n", "key": "k", "status": "stored", "success": True, "forgotten": []}),
    ("a note that is too large", "pool_store_memory", {"namespace": "n", "key": "k", "value": "x" * 20000},
     {"status": "failed", "success": False, "error": says("16384")}),
    ("memory of nothing", "pool_search_memory", {"query": "no such words anywhere", "max_results": 5}, []),
    ("a query that is neither", "pool_search_memory", {"query": {"tool": "ruff"}},
     {"status": "failed", "success": False, "error": says("files")}),
    ("files that no tool saw", "pool_search_memory", {"query": {"tool": "ruff", "files": ["no.py"]}}, {}),
    ("nothing is fixed yet", "swarm_autofix", {"issue_types": ["F401"], "max_workers": 2},
     {"status": "failed", "success": False, "error": says("no AI workers"), "fixes_applied": 0, "files_modified": []}),
    ("how much is going on", "swarm_status", {},
     {"success": True, "pools_active": lambda n: n >= 1, "autofix_available": False}),
    ("alive", "get_liveness", {}, {"status": "ok", "service": "mahavishnu"}),
    ("ready", "get_readiness", {}, {"status": "ready", "ready": True}),
    ("all is well", "health_check_all", {}, {"status": "healthy", "services": {"resources": {"status": "healthy"}}}),
    ("one service", "health_check_service", {"service_name": "gateway"}, {"service": "gateway", "status": "healthy"}),
    ("tools by a word", "discover_tools", {"query": "scan_"}, {"count": 6}),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "arguments", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
async def test_a_request_is_answered_as_clients_read_it(
    agent: Agent, tool: str, arguments: dict[str, Any], expected: Any
) -> None:
    if arguments.get("pool_id") == "ai":
        await agent.call("pool_spawn", name="ai", min_workers=0, max_workers=1)
    answer = await agent.call(tool, **arguments)
    assert holds(answer, expected), answer
