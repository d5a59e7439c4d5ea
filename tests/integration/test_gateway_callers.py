"""The gateway on a cluster: each caller is who their token says, and may do what that user may do."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from scripts.render_manifests import CHART
from tests.cluster.client import Cluster
from tests.cluster.fixtures import fresh_namespace
from tests.cluster.helm import Helm, objects

from .callers_tools import (
    EVERYTHING,
    LOOKING,
    Tenants,
    apply,
    cluster_rights,
    make_accounts,
    reviewing_gateway,
    until_allowed,
    until_nobodys,
)
from .operator_tools import DEADLINE, OperatorProcess, account
from .pod_tools import IMAGE

EVERYWHERE = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings"
EMPTY_POOL = {"worker_type": "command", "min_workers": 0, "auto_scale": True}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


@pytest.fixture(scope="module")
def tenants(
    deployed: Cluster, root: Path, helm_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tenants]:
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("operator")
        # Pools that callers make are of Pods, which nobody starts here; those with work in them are of local workers.
        operator = stack.enter_context(OperatorProcess(account(deployed), folder, root=root, worker_image=IMAGE))
        spaces = {name: stack.enter_context(fresh_namespace(deployed)) for name in ("system", "a", "b")}
        make_accounts(deployed, spaces["a"], {"alice": EVERYTHING, "amy": EVERYTHING, "viewer": LOOKING})
        make_accounts(deployed, spaces["b"], {"bob": EVERYTHING, "auditor": [], "stranger": []})
        system = spaces["system"]
        chart = from_chart(Helm(helm_binary, tmp_path_factory.mktemp("helm")), system)
        apply(deployed, *chart, *cluster_rights(f"{system}-auditor", (spaces["b"], "auditor"), LOOKING))
        stack.callback(deployed.kubectl, "delete", EVERYWHERE, "-l", f"app.kubernetes.io/instance={system}")
        stack.callback(deployed.kubectl, "delete", "clusterrole,clusterrolebinding", f"{system}-auditor")
        # The right that was given last.
        until_allowed(deployed, f"system:serviceaccount:{spaces['b']}:auditor", "list", "workerpools", "-A")
        apply(deployed, *(local_pool(spaces["a"], name) for name in ("work", "gateway-workers")))
        gateway = deployed.as_service_account(namespace=system, name=f"{system}-gateway")
        options = ("-A", "--workspace", str(root), "--dispatcher-url", operator.dispatcher)
        url, log = stack.enter_context(reviewing_gateway(gateway, tmp_path_factory.mktemp("gateway"), *options))
        yield Tenants(deployed, url, log, spaces)
        print(operator.process.log_tail())


def from_chart(helm: Helm, namespace: str) -> list[dict[str, Any]]:
    """The gateway's account, its rights and the guard of its label, as the chart makes them."""
    parts = [part for file in ("gateway-rbac", "created-by") for part in ("--show-only", f"templates/{file}.yaml")]
    values = f"gateway.enabled=true,fullnameOverride={namespace},tls.existingSecret=none,gateway.tls.enabled=false"
    return objects(helm.template(CHART, "--set", values, *parts, release=namespace, namespace=namespace))


def local_pool(namespace: str, name: str) -> dict[str, Any]:
    """A pool that somebody made with kubectl."""
    spec = {"backend": "local-process", "minWorkers": 0, "maxWorkers": 5, "replicas": 1}
    spec |= {"autoscaling": {"mode": "Off"}}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "mahavishnu.dev/v1alpha1", "kind": "WorkerPool", "metadata": metadata, "spec": spec}


def ask(url: str, *tokens: str) -> tuple[int, dict[str, Any], str | None]:
    """Status, body and challenge of a call with those Authorization headers."""
    request = urllib.request.Request(url, data=json.dumps(LIST).encode() if url.endswith("/mcp") else None)
    request.add_header("Content-Type", "application/json")
    request.add_header("Accept", "application/json, text/event-stream")
    for token in tokens:
        request.add_header("Authorization", token)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, {}, None
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()), error.headers["WWW-Authenticate"]


def test_without_a_token_of_somebody_for_this_gateway_nobody_is_let_in(tenants: Tenants) -> None:
    make_accounts(tenants.cluster, tenants.spaces["a"], {"leaver": EVERYTHING})
    of_one_who_left = tenants.token("a/leaver")
    tenants.cluster.kubectl("delete", "serviceaccount", "leaver", "-n", tenants.spaces["a"])
    until_nobodys(tenants.cluster, of_one_who_left)
    good = tenants.token("a/alice")
    head, body, _ = good.split(".")
    for token in ("", "Bearer", "Bearer nothing", f"Basic {good}", good):
        status, _, challenge = ask(f"{tenants.url}/mcp", *([token] if token else []))
        assert (status, challenge) == (401, "Bearer")
    for unknown in (of_one_who_left, tenants.token("a/alice", audience=""), f"{head}.{body}.c2lnbmF0dXJl", "a.b.c"):
        status, said, challenge = ask(f"{tenants.url}/mcp", f"Bearer {unknown}")
        assert (status, challenge) == (401, "Bearer")
        assert "knows no user of this token for audience mahavishnu-gateway" in said["message"]
        assert unknown not in json.dumps(said)
    assert ask(f"{tenants.url}/mcp", f"Bearer {good}")[0] == 200


def test_probes_need_no_token_and_measures_do(tenants: Tenants) -> None:
    assert [ask(f"{tenants.url}/{path}")[0] for path in ("healthz", "readyz", "health", "metrics")] == [200] * 3 + [401]
    assert ask(f"{tenants.url}/metrics", f"Bearer {tenants.token('b/bob')}")[0] == 200


async def test_a_caller_works_in_their_own_namespace_under_their_own_name(tenants: Tenants) -> None:
    async with tenants.agent("a/alice") as alice:
        spawned = await alice.call("pool_spawn", name="hers", **EMPTY_POOL)
        assert (spawned["pool_id"], spawned["success"]) == (tenants.pool("a/hers"), True)
        looking = await alice.refused("pool_execute", {"pool_id": "hers", "prompt": "Execute: ruff check src"})
        assert "scan_submit" in looking["error"]  # its workers are Pods, which have no files
        ran = await alice.call("pool_execute", pool_id="work", prompt="echo seen")
        assert (ran["output"], ran["success"]) == ("seen\n", True)
        held = await alice.call("worker_spawn", worker_type="command")
        assert held["worker_ids"][0].startswith(f"{tenants.spaces['a']}/")
        job = tenants.cluster.json("get", "scanjob", ran["task_id"].partition("/")[2], "-n", tenants.spaces["a"])
        assert job["metadata"]["annotations"]["mahavishnu.dev/created-by-name"] == tenants.user("a/alice")
        async with tenants.agent("a/amy") as amy:
            assert "not made by this caller" in (await amy.refused("pool_close", {"pool_id": "hers"}))["error"]
            said = await amy.refused("worker_close", {"worker_id": held["worker_ids"][0]})
            assert "not by this caller" in said["error"]
            assert (await amy.call("worker_close_all"))["closed_count"] == 0
        assert (await alice.call("worker_close_all"))["closed_count"] == 1
        assert (await alice.call("pool_close", pool_id="hers"))["success"]


async def test_an_agent_works_on_a_cluster_as_beside_up(tenants: Tenants, root: Path) -> None:
    folder = root / "scanned"
    folder.mkdir()
    (folder / "dirty.py").write_text("import os\n")
    async with tenants.agent("a/alice") as alice:
        (worker,) = (await alice.call("worker_spawn", worker_type="command"))["worker_ids"]
        batch = await alice.call("worker_execute_batch", worker_ids=[worker], prompts=["echo one", "echo two"])
        assert [row["output"] for row in batch["result"]] == ["one\n", "two\n"]
        assert (await alice.call("worker_collect_results"))[worker]["output"] == "two\n"
        assert (await alice.call("worker_close", worker_id=worker))["success"]
        job = (await alice.call("scan_submit", path=str(folder), tools=["ruff"], pool_id="work"))["job_id"]
        assert (await alice.call("scan_wait", job_id=job, timeout=60))["verdict"] == "failed"
        assert [row["rule"] for row in (await alice.call("scan_report", job_id=job))["worst_findings"]] == ["F401"]
        assert (await alice.call("scan_report", job_id=job, format="sarif"))["sarif"]["version"] == "2.1.0"
        routed = await alice.call("pool_route_execute", prompt="echo routed", caller_pool_allowlist=["work"])
        assert (routed["pool_id"], routed["output"]) == (tenants.pool("a/work"), "routed\n")
        await alice.call("pool_store_memory", key="why", value="unheard-of")
        assert [row["metadata"]["key"] for row in await alice.call("pool_search_memory", query="unheard-of")] == ["why"]
        assert await alice.call("pool_search_memory", query="routed")
        async with tenants.agent("a/amy") as amy:
            assert (await amy.call("pool_search_memory", query="routed")) == []  # another's answers


async def test_close_all_closes_what_this_caller_made_alone(tenants: Tenants) -> None:
    async with tenants.agent("a/alice") as alice, tenants.agent("a/amy") as amy:
        await alice.call("pool_spawn", name="hers", **EMPTY_POOL)
        await amy.call("pool_spawn", name="mine", **EMPTY_POOL)
        assert "made by" in (await amy.refused("pool_spawn", {"name": "hers", **EMPTY_POOL}))["error"]
        assert (await amy.call("pool_close_all"))["pools_closed"] == 1
        assert "hers" in [row["name"] for row in await alice.call("pool_list")]
        assert (await alice.call("pool_close_all"))["pools_closed"] == 1


async def test_in_another_namespace_every_act_is_refused_in_words(tenants: Tenants) -> None:
    async with tenants.agent("b/bob") as bob, tenants.agent("a/alice") as alice:
        await bob.call("pool_spawn", name="his", **EMPTY_POOL)
        pool = tenants.pool("b/his")
        refused: list[tuple[str, str, dict[str, Any]]] = [
            ("create workerpools", "pool_spawn", {"name": "p", "namespace": tenants.spaces["b"], **EMPTY_POOL}),
            ("get workerpools his", "pool_execute", {"pool_id": pool, "prompt": "echo x"}),
            ("get workerpools his", "pool_monitor", {"pool_id": pool}),
            ("get workerpools his", "pool_scale", {"pool_id": pool, "target_workers": 1}),
            ("get workerpools his", "pool_close", {"pool_id": pool, "force": True}),
            ("get scanjobs j", "scan_status", {"job_id": f"{tenants.spaces['b']}/j"}),
            ("get scanjobs j", "scan_cancel", {"job_id": f"{tenants.spaces['b']}/j"}),
            ("get scanjobs j", "task_output", {"task_id": f"{tenants.spaces['b']}/j"}),
        ]
        for act, tool, arguments in refused:
            said = (await alice.refused(tool, arguments))["error"]
            assert f"{tenants.user('a/alice')} may not {act} in namespace {tenants.spaces['b']}" in said
            assert "whoever administers that namespace" in said
        with pytest.raises(Exception, match="may not get workerpools his"):
            await alice.client.read_resource(f"mahavishnu://pools/{pool}")
        assert (await bob.call("pool_close_all"))["pools_closed"] == 1


async def test_a_list_of_all_namespaces_has_those_of_the_caller(tenants: Tenants) -> None:
    async with tenants.agent("a/alice") as alice, tenants.agent("b/bob") as bob:
        for agent in (alice, bob):
            await agent.call("pool_spawn", name="seen", **EMPTY_POOL)
        both = [tenants.pool("a/seen"), tenants.pool("b/seen")]
        calls = [agent.call("pool_list") for _ in range(10) for agent in (alice, bob)]  # at once, on one gateway
        for number, rows in enumerate(await asyncio.gather(*calls)):
            ids = {row["pool_id"] for row in rows}
            assert both[number % 2] in ids
            assert {each.partition("/")[0] for each in ids} == {tenants.spaces["ab"[number % 2]]}
        async with tenants.agent("b/auditor") as auditor:
            seen = {row["pool_id"] for row in await auditor.call("pool_list")}
            assert set(both) <= seen
        async with tenants.agent("b/stranger") as stranger:
            said = (await stranger.refused("pool_list", {}))["error"]
            assert "may not list workerpools in any namespace" in said
        for agent in (alice, bob):
            await agent.call("pool_close_all")


async def test_whoever_may_only_look_changes_nothing_and_reads_no_output(tenants: Tenants) -> None:
    async with tenants.agent("a/viewer") as viewer, tenants.agent("a/alice") as alice:
        ran = await alice.call("pool_execute", pool_id="work", prompt="echo secret")
        assert "work" in [row["name"] for row in await viewer.call("pool_list")]
        refused: list[tuple[str, str, dict[str, Any]]] = [
            ("create scanjobs", "pool_execute", {"pool_id": "work", "prompt": "echo x"}),
            ("patch workerpools/scale", "pool_scale", {"pool_id": "work", "target_workers": 2}),
            ("delete workerpools", "pool_close", {"pool_id": "work", "force": True}),
            ("patch scanjobs", "task_output", {"task_id": ran["task_id"]}),
        ]
        for act, tool, arguments in refused:
            assert f"may not {act}" in (await viewer.refused(tool, arguments))["error"]
        assert (await alice.call("task_output", task_id=ran["task_id"]))["output"] == "secret\n"


async def test_each_call_is_audited_by_the_name_of_its_caller(tenants: Tenants) -> None:
    async with tenants.agent("b/stranger") as stranger:
        await stranger.call("get_liveness")
        await stranger.refused("worker_list", {})
    lines = [json.loads(line) for line in tenants.log.read_text().splitlines() if '"tool call"' in line]
    last = {(line["caller"], line["tool"], line["outcome"]) for line in lines[-2:]}
    user = tenants.user("b/stranger")
    assert last == {(user, "get_liveness", "answered"), (user, "worker_list", "failed")}


@pytest.fixture(scope="module")
def guarded(tenants: Tenants) -> Tenants:
    """The same once the guard is in force, which takes an API server a moment."""
    deadline = time.monotonic() + DEADLINE
    while "which alone may write it" not in said(tenants, labelled(tenants, "created-by"), "--dry-run=server"):
        assert time.monotonic() < deadline, "the guard never came into force"
        time.sleep(0.1)
    return tenants


async def test_nobody_but_the_gateway_writes_who_made_an_object(guarded: Tenants) -> None:
    assert "created" in said(guarded, labelled(guarded, "anything-else"))
    async with guarded.agent("a/alice") as alice:
        await alice.call("pool_spawn", name="guarded", **EMPTY_POOL)
        for name, value in (("anything-else", "stolen"), ("guarded", "stolen"), ("guarded", None)):
            for where in ("labels", "annotations"):
                key = "mahavishnu.dev/created-by" + ("-name" if where == "annotations" else "")
                patch = {"metadata": {where: {key: value}}}
                changed = ("patch", "wp", name, "--type=merge", "-p", json.dumps(patch))
                done = guarded.cluster.kubectl(*changed, "-n", guarded.spaces["a"], check=False)
                assert f"{key} says who made an object" in done.stderr
        other = {"metadata": {"labels": {"team": "a"}}, "spec": {"maxWorkers": 4}}
        patched = ("patch", "wp", "guarded", "--type=merge", "-p", json.dumps(other), "-n", guarded.spaces["a"])
        assert "patched" in guarded.cluster.kubectl(*patched).stdout
        assert (await alice.call("pool_spawn", name="guarded", max_workers=3, **EMPTY_POOL))["max_workers"] == 3
        assert (await alice.call("pool_close_all"))["pools_closed"] == 1


def labelled(tenants: Tenants, key: str) -> dict[str, Any]:
    """A pool with such a label, which its name tells."""
    pool = local_pool(tenants.spaces["a"], key)
    pool["spec"] |= {"replicas": 0}
    pool["metadata"] |= {"labels": {f"mahavishnu.dev/{key}": "somebody"}}
    return pool


def said(tenants: Tenants, obj: dict[str, Any], *options: str) -> str:
    """What the API server says to whoever makes an object, though they may do everything."""
    done = tenants.cluster.kubectl("create", "-f", "-", *options, input=json.dumps(obj), check=False)
    return done.stdout + done.stderr
