"""What the README tells people who have an agent: the JSON to add, and the transcript of a session."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastmcp.mcp_config import MCPConfig, RemoteMCPServer, StdioMCPServer
from mcp import Client, StdioServerParameters

from .cli_tools import DEADLINE_SECONDS, MAHAVISHNU, Up, environment, running_up
from .operator_tools import REPOSITORY

PROJECT = '''"""Send a build to the server."""

import os
import subprocess
import sys


def send(server: str) -> None:
    """Copy the build over, and recieve its log."""
    subprocess.run(f"scp -r build {server}:/srv", shell=True, check=True)


send(sys.argv[1])
'''
README = (REPOSITORY / "README.md").read_text()
NEW_NAMES = re.compile(r"(default/(?:scanners|run|scan))-[a-z0-9]+")
DEFAULT_URL = "http://127.0.0.1:8680"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """`mahavishnu up` in the repository that the README scans."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "project").mkdir()
    (folder / "project" / "deploy.py").write_text(PROJECT)
    with running_up(folder / "data", "--workspace", str(folder / "project")) as running:
        yield running


def entries() -> list[RemoteMCPServer | StdioMCPServer]:
    """What agents read in the README's JSON, in its order."""
    blocks = [block for block in re.findall(r"```json\n(.*?)```", README, re.DOTALL) if "mcpServers" in block]
    servers = [MCPConfig.model_validate(json.loads(block)).mcpServers["mahavishnu"] for block in blocks]
    assert all(isinstance(server, (RemoteMCPServer, StdioMCPServer)) for server in servers)
    return servers


def transcript() -> str:
    """The session in the README, without the prompt of the shell."""
    found = re.search(r"```\n\$ python examples/agent.py\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found.group(1)


def calls(text: str) -> list[tuple[str, list[str]]]:
    """Each call with the lines of its answer; names that are used once as their kind alone."""
    made: list[tuple[str, list[str]]] = []
    for line in NEW_NAMES.sub(r"\1-*", text).splitlines():
        if line.startswith("> "):
            made.append((line, []))
        else:
            made[-1][1].append(line)
    return made


async def test_the_json_for_http_leads_to_the_tools(up: Up) -> None:
    remote = entries()[0]
    assert isinstance(remote, RemoteMCPServer)
    assert remote.model_dump()["type"] == "http"
    assert remote.url.startswith(f"{DEFAULT_URL}/")
    async with Client(remote.url.replace(DEFAULT_URL, up.url)) as client:
        assert "pool_execute" in {tool.name for tool in (await client.list_tools()).tools}


async def test_the_json_for_stdio_starts_a_server_that_lists_its_tools(up: Up) -> None:
    started = entries()[1]
    assert isinstance(started, StdioMCPServer)
    path = f"{Path(MAHAVISHNU).parent}{os.pathsep}{os.environ['PATH']}"  # where people have installed it
    env = environment(PATH=path, MAHAVISHNU_URL=up.url)
    async with Client(StdioServerParameters(command=started.command, args=started.args, env=env)) as client:
        assert "pool_execute" in {tool.name for tool in (await client.list_tools()).tools}


def test_an_agent_makes_the_calls_of_the_transcript_and_gets_its_answers(up: Up) -> None:
    command = [sys.executable, str(REPOSITORY / "examples" / "agent.py"), f"{up.url}/mcp"]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told, made = calls(transcript()), calls(done.stdout)
    assert [call for call, _ in told] == [call for call, _ in made]
    for (call, shown), (_, answered) in zip(told, made, strict=True):
        for line in shown:
            known = line.partition("...")[0]  # what follows is left out
            assert any(each.startswith(known) for each in answered), (call, line, answered)
