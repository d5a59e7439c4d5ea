"""Jobs that bring private files, on a real API server and Job controller: Pods, identity, programs, failures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mahavishnu_operator.backends.kubernetes.pods import TOKEN_FOLDER
from mahavishnu_operator.backends.kubernetes.settings import AUDIENCE, JOB, POD
from mahavishnu_operator.backends.kubernetes.source_manifests import CLAIM_FOLDER, CREDENTIALS_FOLDER
from mahavishnu_operator.resources.protocol import SCAN_JOB, Key, Obj
from tests.cluster.client import Cluster
from tests.cluster.pki import Authority

from .cli_tools import run
from .git_servers import PASSWORD, USERNAME, Repository, as_mounted, https_git
from .operator_tools import DEADLINE, POOL, OperatorProcess, Site, account, condition, message
from .pod_tools import CLI, IMAGE

CLAIM = {"persistentVolumeClaim": {"claimName": "files", "subPath": "sub"}}


@pytest.fixture(scope="module")
def operator(deployed: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """An operator that makes Pods, and runs workers of its own."""
    folder = tmp_path_factory.mktemp("operator")
    with OperatorProcess(account(deployed), folder, root=folder, worker_image=IMAGE) as process:
        yield process
        print(process.process.log_tail())
        process.process.stop()


class Node:
    """Plays the kubelet of source Pods: runs their two programs here, with tokens that the API server bound to them."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self.folder = site, folder

    async def pod(self, job: str, number: int = 1) -> Obj:
        """The Pod of one try, once the Job controller has made it."""

        def is_it(pod: Obj) -> bool:
            name = next((o["name"] for o in pod["metadata"].get("ownerReferences", []) if o["kind"] == "Job"), "")
            return name.startswith(f"{job}-source-") and name.endswith(f"-{number}")

        async with asyncio.timeout(DEADLINE):
            while True:
                listing = await self.site.resources.list(POD, namespace=self.site.namespace)
                for pod in filter(is_it, listing.items):
                    return pod
                await asyncio.sleep(0.1)  # each look is a call to the API server

    def token(self, pod: Obj, *, audience: str = AUDIENCE, namespace: str = "") -> str:
        meta = pod["metadata"]
        return self.site.cluster.kubectl(
            *("create", "token", "default", "-n", namespace or self.site.namespace, "--audience", audience),
            *("--bound-object-kind", "Pod", "--bound-object-name", meta["name"], "--bound-object-uid", meta["uid"]),
        ).stdout.strip()

    async def run(self, pod: Obj, mounts: dict[str, Path]) -> None:
        """Run the containers one after the other, and write what the kubelet would of them."""
        folder = self.folder / pod["metadata"]["name"]
        (folder / "archive").mkdir(parents=True)
        (folder / "token").write_text(self.token(pod))
        places = {"/archive": folder / "archive", TOKEN_FOLDER: folder, **mounts}
        said = folder / "said"
        steps = [("initContainerStatuses", *pod["spec"]["initContainers"])]
        steps += [("containerStatuses", *pod["spec"]["containers"])]
        for kind, container in steps:
            field, name = kind, container["name"]
            said.write_text("")
            arguments = [_moved(part, places) for part in container["args"]]
            process = await asyncio.create_subprocess_exec(*CLI, *arguments, "--termination-log", str(said))
            if code := await process.wait():
                break
        ended = {"exitCode": code, "reason": "Error" if code else "Completed", "message": said.read_text()}
        status = {
            "name": name,
            "image": IMAGE,
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"terminated": ended},
        }
        self.write_status(pod, {"phase": "Failed" if code else "Succeeded", field: [status]})

    def write_status(self, pod: Obj, status: dict[str, Any]) -> None:
        command = ("patch", "pod", pod["metadata"]["name"], "-n", self.site.namespace, "--subresource=status")
        patch = json.dumps({"status": status})
        done = self.site.cluster.kubectl(*command, "--type=merge", "-p", patch, check=False)
        # The ScanJob may be over, and its Job deleted, before a kubelet has come to that.
        assert not done.stderr or "NotFound" in done.stderr, done.stderr


def _moved(argument: str, places: dict[str, Path]) -> str:
    for there, here in places.items():
        if argument == there or argument.startswith(f"{there}/"):
            return str(here) + argument[len(there) :]
    return argument


@pytest.fixture
async def node(operator: OperatorProcess, site: Site, tmp_path: Path) -> Node:
    site.cluster.kubectl("label", "namespace", site.namespace, "pod-security.kubernetes.io/enforce=restricted")
    await site.pool()
    return Node(site, tmp_path / "pods")


async def scan(site: Site, name: str = "job", *, source: dict[str, Any] | None = None, **spec: Any) -> Obj:
    return await site.scan(name, Path("/"), "ruff", **({"source": source or CLAIM} | spec))


async def waits(site: Site, reason: str, name: str = "job") -> str:
    """The message of a job that waits for that reason."""
    obj = await site.until(SCAN_JOB, name, lambda s: condition(s, "Ready") == ("False", reason))
    return message(obj["status"], "Ready")


async def bring(operator: OperatorProcess, site: Site, token: str, *, name: str = "job") -> int:
    """Try to bring an archive; the status of the answer."""
    url = f"{operator.dispatcher}/v1/scanjobs/{site.namespace}/{name}/archives/{'0' * 64}"
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as http, http.put(url, data=b"x", headers=headers) as answer:
        await answer.read()
        return answer.status


async def test_a_folder_is_brought_to_the_address_of_a_dispatcher(
    operator: OperatorProcess, node: Node, site: Site, tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/a.py").write_text("import os\n")
    where = ("--cluster", "--kubeconfig", site.cluster.kubeconfig, "-n", site.namespace, "--pool", POOL)
    command = ("scan", tmp_path / "tree", *where, "--dispatcher-url", operator.dispatcher, "--tool", "ruff")
    done = await asyncio.to_thread(run, *command)
    assert "1 finding in 1 file" in done.stdout, done.stderr
    assert done.returncode == 1


async def test_the_job_is_admitted_in_a_restricted_namespace_and_owned_by_its_scanjob(node: Node, site: Site) -> None:
    job = await scan(site)
    pod = await node.pod("job")
    owned = await site.resources.get(JOB, Key(site.namespace, pod["metadata"]["ownerReferences"][0]["name"]))
    (owner,) = owned["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("ScanJob", job["metadata"]["uid"], True)
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert "finalizers" not in owned["metadata"]


async def test_the_token_and_the_secret_are_in_no_container_together(node: Node, site: Site) -> None:
    git = {"url": "https://git.invalid/x", "credentialsSecretRef": {"name": "key"}}
    await scan(site, source={"git": git})
    pod = await node.pod("job")
    (fetch,), (upload,) = pod["spec"]["initContainers"], pod["spec"]["containers"]
    assert {mount["name"] for mount in fetch["volumeMounts"]} == {"archive", "tmp", "credentials"}
    assert {mount["name"] for mount in upload["volumeMounts"]} == {"token", "archive"}


async def test_a_pod_that_no_node_takes_is_waited_for_in_the_schedulers_words(node: Node, site: Site) -> None:
    await scan(site)
    assert "no nodes available" in await waits(site, "Unschedulable")


async def test_a_quota_that_lets_no_pod_be_made_is_named(node: Node, site: Site) -> None:
    site.kubectl("create", "quota", "none", "--hard=pods=0")
    await scan(site)
    assert "exceeded quota" in await waits(site, "PodRefused")


async def test_an_image_that_cannot_be_pulled_is_waited_for_in_the_kubelets_words(node: Node, site: Site) -> None:
    await scan(site)
    pod = await node.pod("job")
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "no.such/image"'}}
    status = {"name": "fetch", "image": IMAGE, "imageID": "", "ready": False, "restartCount": 0, "state": waiting}
    node.write_status(pod, {"phase": "Pending", "initContainerStatuses": [status], "conditions": []})
    assert "no.such/image" in await waits(site, "ImageUnavailable")


async def test_who_is_not_the_scanjobs_own_pod_brings_nothing(
    operator: OperatorProcess, node: Node, site: Site, deployed: Cluster
) -> None:
    await scan(site)
    await scan(site, "other")
    pod, others = await node.pod("job"), await node.pod("other")
    assert await bring(operator, site, node.token(pod, audience="https://kubernetes.default.svc")) == 401
    assert await bring(operator, site, node.token(others)) == 403
    assert await bring(operator, site, forged(site, pod, node)) == 403
    elsewhere = f"{site.namespace}-other"
    deployed.kubectl("create", "namespace", elsewhere)
    try:
        deployed.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={elsewhere}", "--timeout=30s")
        stranger = plain_pod(Site(deployed, site.resources, elsewhere), "stranger")
        assert await bring(operator, site, node.token(stranger, namespace=elsewhere)) == 403
    finally:
        deployed.kubectl("delete", "namespace", elsewhere, "--wait=false")
    assert await bring(operator, site, "no.to.ken") == 401
    assert await bring(operator, site, node.token(pod)) == 400  # let in; the bytes are not those of the digest


def forged(site: Site, pod: Obj, node: Node) -> str:
    """The token of a Pod that has all labels of a source Job's, and nobody who controls it."""
    return node.token(plain_pod(site, "forged", labels=pod["metadata"]["labels"]))


def plain_pod(site: Site, name: str, *, labels: dict[str, str] | None = None) -> Obj:
    locked = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "main", "image": IMAGE, "securityContext": locked}
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    kept = {k: v for k, v in (labels or {}).items() if "job-name" not in k and "controller-uid" not in k}
    meta = {"name": name, "labels": kept}
    spec = {"containers": [container], "securityContext": security}
    made = site.kubectl(
        *("create", "-f", "-", "-o", "json"),
        input=json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}),
    )
    found: Obj = json.loads(made)
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str], str]]:
    """The address of a private repository, the keys of its Secret, and its commit."""
    folder = tmp_path_factory.mktemp("git")
    repository, authority = Repository(folder / "repository"), Authority(folder)
    commit = repository.commit({"a.py": "import os\n"})
    with https_git(repository, authority) as url:
        yield (
            url,
            {"username": USERNAME, "password": PASSWORD, "ca.crt": authority.pair.certificate.read_text()},
            commit,
        )


async def test_a_private_repository_is_scanned(
    node: Node, site: Site, tmp_path: Path, served: tuple[str, dict[str, str], str]
) -> None:
    url, secret, commit = served
    await scan(site, source={"git": {"url": url, "credentialsSecretRef": {"name": "key"}}}, **warnings())
    mounts = {CREDENTIALS_FOLDER: as_mounted(tmp_path / "secret", secret)}
    await node.run(await node.pod("job"), mounts)
    status = await site.ended("job")
    assert status["findings"]["byTool"] == {"ruff": 1}
    assert status["source"]["commit"] == commit


async def test_the_folder_of_a_volume_is_scanned(node: Node, site: Site, tmp_path: Path) -> None:
    (tmp_path / "volume/sub").mkdir(parents=True)
    (tmp_path / "volume/sub/a.py").write_text("import os\n")
    await scan(site, **warnings())
    await node.run(await node.pod("job"), {CLAIM_FOLDER: tmp_path / "volume"})
    status = await site.ended("job")
    assert status["findings"]["byTool"] == {"ruff": 1}


def warnings() -> dict[str, Any]:
    return {"scan": {"tools": ["ruff"], "failOn": "none"}}


async def test_a_wrong_password_ends_the_scanjob_in_words(
    node: Node, site: Site, tmp_path: Path, served: tuple[str, dict[str, str], str]
) -> None:
    url, secret, _ = served
    await scan(site, source={"git": {"url": url, "credentialsSecretRef": {"name": "key"}}})
    wrong = as_mounted(tmp_path / "secret", secret | {"password": "wr0ng"})
    await node.run(await node.pod("job"), {CREDENTIALS_FOLDER: wrong})
    status = await site.ended("job")
    assert condition(status, "Failed") == ("True", "AuthenticationRefused")
    assert "wr0ng" not in json.dumps(status)


async def test_a_secret_that_comes_later_is_waited_for(
    node: Node, site: Site, tmp_path: Path, served: tuple[str, dict[str, str], str]
) -> None:
    url, secret, _ = served
    await scan(site, source={"git": {"url": url, "credentialsSecretRef": {"name": "key"}}}, **warnings())
    (tmp_path / "none").mkdir()
    await node.run(await node.pod("job"), {CREDENTIALS_FOLDER: tmp_path / "none"})
    assert "Secret key" in await waits(site, "CredentialsMissing")
    mounts = {CREDENTIALS_FOLDER: as_mounted(tmp_path / "secret", secret)}
    await node.run(await node.pod("job", 2), mounts)
    assert (await site.ended("job"))["phase"] == "Succeeded"


async def test_a_cancelled_scanjob_leaves_no_job_running(node: Node, site: Site) -> None:
    await scan(site)
    await node.pod("job")
    site.kubectl("patch", "scanjob", "job", "--type=merge", "-p", '{"spec":{"cancel":true}}')
    assert (await site.ended("job"))["phase"] == "Cancelled"
    await until_none(site, lambda job: not job["metadata"].get("deletionTimestamp"))


async def test_a_deleted_scanjob_takes_its_job_along(node: Node, site: Site) -> None:
    await scan(site)
    await node.pod("job")
    site.kubectl("delete", "scanjob", "job")
    await until_none(site, lambda _: True)


async def until_none(site: Site, counts: Callable[[Obj], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while True:
            listing = await site.resources.list(JOB, namespace=site.namespace)
            if not any(map(counts, listing.items)):
                return
            await asyncio.sleep(0.1)  # each look is a call to the API server
