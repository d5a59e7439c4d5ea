"""The floor for a ScanJob's way through an operator: a bare kopf handler that writes its status once, and nothing else.

    python -m benchmarks.kopf_status KUBECONFIG

`on.event` alone, which is kopf's cheapest handler, and one merge patch by bare aiohttp.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
import kopf

from mahavishnu_operator.api.reasons import GROUP, VERSION
from mahavishnu_operator.control.kopf_feed import quiet_settings
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.credentials import Credential

HEADERS = {"Content-Type": "application/merge-patch+json"}
STATUS = json.dumps({"status": {"phase": "Succeeded", "observedGeneration": 1}}).encode()


def main(kubeconfig: Path) -> None:
    """Serve until SIGTERM."""
    connection = Connection.from_kubeconfig(kubeconfig)
    registry = kopf.OperatorRegistry()
    sessions: list[aiohttp.ClientSession] = []

    @kopf.on.startup(registry=registry)
    async def open_session(**_: Any) -> None:
        context = connection.ssl_context(Credential(connection.token))
        connector = aiohttp.TCPConnector(limit=0, ssl=True if context is None else context)
        bearer = {"Authorization": f"Bearer {connection.token}"}
        sessions.append(aiohttp.ClientSession(connection.server, connector=connector, headers=bearer))

    @kopf.on.cleanup(registry=registry)
    async def close_session(**_: Any) -> None:
        await sessions[0].close()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> Any:
        return kopf.ConnectionInfo(
            server=connection.server, ca_data=_ca_data(kubeconfig), token=connection.token, scheme="Bearer"
        )

    @kopf.on.event(GROUP, VERSION, "scanjobs", registry=registry)
    async def write_once(event: Any, **_: Any) -> None:
        obj = event["object"]
        if event["type"] == "DELETED" or obj["status"]["phase"] == "Succeeded":
            return
        meta = obj["metadata"]
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{meta['namespace']}/scanjobs/{meta['name']}/status"
        async with sessions[0].patch(path, data=STATUS, headers=HEADERS) as response:
            response.raise_for_status()
            await response.read()

    kopf.run(registry=registry, settings=quiet_settings(), clusterwide=True, standalone=True)


def _ca_data(kubeconfig: Path) -> str:
    """The authority in a kubeconfig that tests.cluster wrote, which is JSON."""
    data: str = json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]["certificate-authority-data"]
    return data


if __name__ == "__main__":
    main(Path(sys.argv[1]))
