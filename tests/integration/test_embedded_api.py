"""The embedded API as others see it: our own client over HTTP, and plain kubectl."""

from __future__ import annotations

import asyncio
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.embedded import EmbeddedResources
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import WORKER_POOL, Forbidden, Key
from mahavishnu_operator.resources.rest import api_app, write_kubeconfig
from tests.unit.resources.conformance import ResourcesConformance, job, pool

from .serving import Kubectl, serving

TOKEN = "only-for-this-test"


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[EmbeddedResources]:
    resources = EmbeddedResources(tmp_path / "objects.db")
    yield resources
    await resources.close()


@pytest.fixture
async def url(embedded: EmbeddedResources) -> AsyncIterator[str]:
    async with serving(api_app(embedded)) as address:
        yield address
        await embedded.close()  # ends the watches, for which a graceful end would wait


@pytest.fixture
async def resources(url: str) -> AsyncIterator[KubernetesResources]:
    client = KubernetesResources(Connection.from_url(url))
    yield client
    await client.close()


@pytest.fixture
def namespace() -> str:
    return "team-a"


@pytest.fixture
def kubectl(url: str, tmp_path: Path, kubectl_binary: Path) -> Kubectl:
    return Kubectl(kubectl_binary, write_kubeconfig(tmp_path / "kubeconfig", server=url), tmp_path)


class TestOverHttp(ResourcesConformance):
    pass


async def test_the_kubeconfig_is_its_owners_alone(kubectl: Kubectl) -> None:
    assert stat.S_IMODE(kubectl.kubeconfig.stat().st_mode) == 0o600


async def test_kubectl_finds_the_kinds(kubectl: Kubectl) -> None:
    out = (await kubectl.run("api-resources")).out
    assert "workerpools" in out
    assert "scanjobs" in out
    assert " sj " in out
    assert "v1.35" in (await kubectl.run("version")).out


async def test_kubectl_get_prints_the_columns_of_the_crd(kubectl: Kubectl) -> None:
    await kubectl.run("apply", "-f", "-", manifest=pool("default"))
    header, row = (await kubectl.run("get", "wp")).out.splitlines()
    assert header.split()[:2] == ["NAME", "BACKEND"]
    assert row.split()[:2] == ["p", "local-process"]
    assert "<none>" not in row
    assert len(row.split()) == len(header.split())
    everywhere = (await kubectl.run("get", "workerpools.mahavishnu.dev", "-A")).out
    assert everywhere.splitlines()[1].split()[:2] == ["default", "p"]
    assert "backend: local-process" in (await kubectl.run("get", "wp", "p", "-o", "yaml")).out
    assert (await kubectl.run("get", "mahavishnu", "-o", "name")).out == "workerpool.mahavishnu.dev/p\n"
    assert "No resources found" in (await kubectl.run("get", "sj")).err


async def test_kubectl_get_by_name_label_and_field(kubectl: Kubectl) -> None:
    await kubectl.run("apply", "-f", "-", manifest=pool("default", "a", labels={"tier": "fast"}))
    await kubectl.run("apply", "-f", "-", manifest=pool("default", "b"))
    assert (await kubectl.run("get", "wp", "-l", "tier=fast", "-o", "name")).out == "workerpool.mahavishnu.dev/a\n"
    by_field = await kubectl.run("get", "wp", "--field-selector", "metadata.name=b", "-o", "name")
    assert by_field.out == "workerpool.mahavishnu.dev/b\n"
    assert "NotFound" in (await kubectl.run("get", "wp", "nobody", fails=True)).err


async def test_kubectl_watches(kubectl: Kubectl, embedded: EmbeddedResources) -> None:
    await embedded.create(WORKER_POOL, pool("default"))
    process = await kubectl.start("get", "wp", "-w", "--output-watch-events")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            assert b"EVENT" in await process.stdout.readline()
            assert (await process.stdout.readline()).split()[:2] == [b"ADDED", b"p"]
            await embedded.merge(WORKER_POOL, Key("default", "p"), {"spec": {"replicas": 3}})
            assert (await process.stdout.readline()).split()[:2] == [b"MODIFIED", b"p"]
            await embedded.delete(WORKER_POOL, Key("default", "p"))
            assert (await process.stdout.readline()).split()[:2] == [b"DELETED", b"p"]
    finally:
        process.kill()
        await process.wait()


async def test_kubectl_applies_on_the_clients_side(kubectl: Kubectl) -> None:
    assert "created" in (await kubectl.run("apply", "-f", "-", manifest=pool("default", workerClass="x"))).out
    assert "unchanged" in (await kubectl.run("apply", "-f", "-", manifest=pool("default", workerClass="x"))).out
    assert "configured" in (await kubectl.run("apply", "-f", "-", manifest=pool("default", maxWorkers=3))).out
    spec = (await kubectl.json("get", "wp", "p"))["spec"]
    assert spec["maxWorkers"] == 3
    assert "workerClass" not in spec


async def test_kubectl_applies_on_the_servers_side(kubectl: Kubectl) -> None:
    serverside = ("apply", "--server-side", "-f", "-")
    await kubectl.run(*serverside, manifest=pool("default", workerClass="x"))
    await kubectl.run("scale", "wp/p", "--replicas=4")
    await kubectl.run(*serverside, manifest=pool("default", maxWorkers=8))
    spec = (await kubectl.json("get", "wp", "p"))["spec"]
    assert (spec["maxWorkers"], spec["replicas"]) == (8, 4)
    assert "workerClass" not in spec
    refused = await kubectl.run(*serverside, manifest=pool("default", replicas=1), fails=True)
    assert 'conflict with "kubectl"' in refused.err
    assert ".spec.replicas" in refused.err
    await kubectl.run(*serverside, "--force-conflicts", manifest=pool("default", replicas=1))
    assert (await kubectl.json("get", "wp", "p"))["spec"]["replicas"] == 1


async def test_kubectl_moves_from_client_side_to_server_side_apply(kubectl: Kubectl) -> None:
    manifest = pool("default", maxWorkers=3, workerClass="x")
    await kubectl.run("apply", "-f", "-", manifest=manifest)
    await kubectl.run("apply", "--server-side", "-f", "-", manifest=manifest)
    await kubectl.run("apply", "--server-side", "-f", "-", manifest=pool("default", maxWorkers=4))
    spec = (await kubectl.json("get", "wp", "p"))["spec"]
    assert spec["maxWorkers"] == 4
    assert "workerClass" not in spec


async def test_kubectl_diff_and_dry_run_store_nothing(kubectl: Kubectl) -> None:
    await kubectl.run("apply", "-f", "-", manifest=pool("default", maxWorkers=3))
    await kubectl.run("apply", "--dry-run=server", "-f", "-", manifest=pool("default", maxWorkers=4))
    shown = await kubectl.run("diff", "-f", "-", manifest=pool("default", maxWorkers=5), fails=True)
    assert "+  maxWorkers: 5" in shown.out
    assert (await kubectl.json("get", "wp", "p"))["spec"]["maxWorkers"] == 3


async def test_kubectl_is_told_of_an_unknown_field(kubectl: Kubectl) -> None:
    refused = await kubectl.run("create", "-f", "-", manifest=pool("default", wokers=1), fails=True)
    assert "wokers" in refused.err
    warned = await kubectl.run("create", "--validate=warn", "-f", "-", manifest=pool("default", wokers=1))
    assert "Warning" in warned.err
    assert "wokers" in warned.err
    await kubectl.run("create", "--validate=ignore", "-f", "-", manifest=pool("default", "q", wokers=1))


async def test_kubectl_is_told_why_an_object_is_invalid(kubectl: Kubectl) -> None:
    refused = await kubectl.run("create", "-f", "-", manifest=pool("default", maxWorkers=100_000), fails=True)
    assert "maxWorkers" in refused.err


async def test_kubectl_waits_for_a_condition(kubectl: Kubectl, embedded: EmbeddedResources) -> None:
    made = await embedded.create(WORKER_POOL, pool("default"))
    waiting = asyncio.create_task(kubectl.run("wait", "--for=condition=Ready", "wp/p", "--timeout=20s"))
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "WorkersReady",
        "message": "",
        "lastTransitionTime": made["metadata"]["creationTimestamp"],
    }
    await embedded.merge_status(WORKER_POOL, Key("default", "p"), {"conditions": [condition]})
    assert "condition met" in (await waiting).out


async def test_kubectl_scales_and_patches(kubectl: Kubectl) -> None:
    await kubectl.run("apply", "-f", "-", manifest=pool("default"))
    assert "scaled" in (await kubectl.run("scale", "wp", "p", "--replicas=3")).out
    assert "scaled" in (await kubectl.run("scale", "wp", "p", "--replicas=4", "--current-replicas=3")).out
    await kubectl.run("patch", "wp", "p", "--type=merge", "-p", '{"spec":{"maxWorkers":7}}')
    await kubectl.run("patch", "wp", "p", "--type=json", "-p", '[{"op":"add","path":"/spec/suspend","value":true}]')
    await kubectl.run("label", "wp", "p", "tier=fast")
    await kubectl.run("annotate", "wp", "p", "example.com/note=hello")
    obj = await kubectl.json("get", "wp", "p")
    assert (obj["spec"]["replicas"], obj["spec"]["maxWorkers"], obj["spec"]["suspend"]) == (4, 7, True)
    assert obj["metadata"]["labels"] == {"tier": "fast"}
    refused = await kubectl.run("patch", "wp", "p", "-p", "{}", fails=True)
    assert "strategic-merge-patch" in refused.err


async def test_kubectl_patches_and_reads_subresources(kubectl: Kubectl) -> None:
    await kubectl.run("apply", "-f", "-", manifest=pool("default"))
    patch = '{"status":{"ready":2},"spec":{"maxWorkers":99}}'
    await kubectl.run("patch", "wp", "p", "--subresource=status", "--type=merge", "-p", patch)
    obj = await kubectl.json("get", "wp", "p", "--subresource=status")
    assert (obj["status"]["ready"], obj["spec"]["maxWorkers"]) == (2, 10)
    assert (await kubectl.json("get", "wp", "p", "--subresource=scale"))["kind"] == "Scale"


async def test_kubectl_replaces_and_edits_against_the_version_it_read(kubectl: Kubectl) -> None:
    await kubectl.run("create", "-f", "-", manifest=pool("default"))
    read = await kubectl.json("get", "wp", "p")
    await kubectl.run("patch", "wp", "p", "--type=merge", "-p", '{"spec":{"maxWorkers":7}}')
    assert "changed" in (await kubectl.run("replace", "-f", "-", manifest=read, fails=True)).err
    await kubectl.run("replace", "-f", "-", manifest=pool("default", maxWorkers=8))
    assert (await kubectl.json("get", "wp", "p"))["spec"]["maxWorkers"] == 8


async def test_kubectl_deletes_and_waits(kubectl: Kubectl) -> None:
    for name in ("a", "b", "c"):
        await kubectl.run("create", "-f", "-", manifest=job("default", name))
    assert "deleted" in (await kubectl.run("delete", "sj", "a")).out
    assert "NotFound" in (await kubectl.run("delete", "sj", "a", fails=True)).err
    await kubectl.run("delete", "sj", "--all")
    assert (await kubectl.json("get", "sj"))["items"] == []


async def test_kubectl_describes_with_events(kubectl: Kubectl, embedded: EmbeddedResources) -> None:
    obj = await embedded.create(WORKER_POOL, pool("default"))
    await embedded.record_event(obj, reason="Scaled", message="from 1 to 2")
    out = (await kubectl.run("describe", "wp", "p")).out
    assert "Scaled" in out
    assert "from 1 to 2" in out
    assert "from 1 to 2" in (await kubectl.run("get", "events")).out
    assert "from 1 to 2" in (await kubectl.run("events", "--for=workerpool/p")).out


async def test_kubectl_explains(kubectl: Kubectl) -> None:
    out = (await kubectl.run("explain", "workerpool.spec.maxWorkers")).out
    assert "maxWorkers" in out
    assert "integer" in out


async def test_every_valid_namespace_is_there(kubectl: Kubectl) -> None:
    await kubectl.run("apply", "-f", "-", manifest=pool("team-b"))
    assert "team-b" in (await kubectl.run("get", "namespaces")).out
    assert "Active" in (await kubectl.run("get", "ns", "anything")).out


async def test_with_a_token_only_its_bearer_is_served(embedded: EmbeddedResources) -> None:
    async with serving(api_app(embedded, token=TOKEN)) as address:
        stranger = KubernetesResources(Connection.from_url(address))
        with pytest.raises(Forbidden, match="token"):
            await stranger.list(WORKER_POOL)
        bearer = KubernetesResources(Connection.from_url(address, token=TOKEN))
        assert (await bearer.list(WORKER_POOL)).items == ()
        await stranger.close()
        await bearer.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from mahavishnu_operator.resources.embedded import EmbeddedResources
from mahavishnu_operator.resources.protocol import WORKER_POOL
from tests.unit.resources.conformance import pool

async def main():
    resources = EmbeddedResources(Path(sys.argv[1]))
    for number in range(100_000):
        await resources.create(WORKER_POOL, pool("default", f"p{number}"))
        print(number, flush=True)

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "killed.db"
    pipe = asyncio.subprocess.PIPE
    root = Path(__file__).resolve().parents[2]
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, str(path), stdout=pipe, cwd=root)
    assert writer.stdout is not None
    async with asyncio.timeout(60):
        for _ in range(20):
            assert await writer.stdout.readline()
        writer.kill()
        rest = (await writer.stdout.read()).split()
        await writer.wait()
    acknowledged = 20 + len(rest)
    again = EmbeddedResources(path)
    listing = await again.list(WORKER_POOL)
    assert len(listing.items) in (acknowledged, acknowledged + 1)  # the last may be stored and not yet told
    versions = [int(obj["metadata"]["resourceVersion"]) for obj in listing.items]
    made = await again.create(WORKER_POOL, pool("default", "after"))
    assert int(made["metadata"]["resourceVersion"]) > max(versions)
    await again.close()
