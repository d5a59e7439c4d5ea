"""Whatever RBAC gives the operator's account, it can write only workers as workers are: the policies of deploy/."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from mahavishnu_operator.backends.kubernetes.pods import worker_pod
from mahavishnu_operator.backends.kubernetes.settings import KubernetesSettings
from mahavishnu_operator.backends.protocol import PoolTemplate
from mahavishnu_operator.resources.protocol import Key
from tests.cluster.client import Cluster

from .operator_tools import ACCOUNT, DEADLINE, SYSTEM

# The account with every right there is, so that only the policies refuse.
AS_OPERATOR = (
    f"--as=system:serviceaccount:{SYSTEM}:{ACCOUNT}",
    "--as-group=system:masters",
    "--as-group=system:authenticated",
)
SETTINGS = KubernetesSettings(image="worker:1", dispatcher_url="https://dispatcher.system.svc:8681", ca_pem="pem")
API_TOKEN = {"name": "api", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
HOST = {"name": "host", "hostPath": {"path": "/"}}
SECRET = {"name": "secret", "secret": {"secretName": "credentials"}}
FROM_SECRET = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
CLAIM = {"name": "claim", "persistentVolumeClaim": {"claimName": "code"}}
CONFINED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}

Json = dict[str, Any]


@pytest.fixture(scope="module")
def confined(deployed: Cluster) -> Cluster:
    """The cluster once every policy is in force, which takes an API server a moment."""
    deployed.kubectl("create", "serviceaccount", "admin")
    stray = pod("default")
    del stray["metadata"]["ownerReferences"]
    refused = {"-owned'": stray, "-pods'": changed(pod("default"), hostPID=True), "-jobs'": job("default", HOST)}
    deadline = time.monotonic() + DEADLINE
    while not all(policy in said(deployed, manifest) for policy, manifest in refused.items()):
        assert time.monotonic() < deadline, "the policies never came into force"
        time.sleep(0.1)
    return deployed


def pod(namespace: str, **kubernetes: Any) -> Json:
    """The Pod of a worker, as the operator makes it."""
    spec = {"backend": "kubernetes", "kubernetes": kubernetes}
    return worker_pod(PoolTemplate(Key(namespace, "pool"), "u-1", 1, "abc", spec), "pool-x7", SETTINGS)


def job(namespace: str, *volumes: Json) -> Json:
    """A Job for a ScanJob, with the least that the policies ask for."""
    owner = {
        "apiVersion": "mahavishnu.dev/v1alpha1",
        "kind": "ScanJob",
        "name": "scan",
        "uid": "u-2",
        "controller": True,
    }
    spec: Json = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True},
        "containers": [{"name": "main", "image": "worker:1", "securityContext": CONFINED}],
        "volumes": [*volumes],
    }
    metadata = {"name": "fetch", "namespace": namespace, "ownerReferences": [owner]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": {"spec": spec}}}


def said(cluster: Cluster, manifest: Json, *, who: tuple[str, ...] = AS_OPERATOR) -> str:
    """Why the API server refuses to make it; empty when it would."""
    create = ("create", "--dry-run=server", "-f", "-", *who)
    return cluster.kubectl(*create, input=json.dumps(manifest), check=False).stderr


def changed(manifest: Json, **spec: Any) -> Json:
    manifest["spec"] |= spec
    return manifest


def with_volume(manifest: Json, volume: Json) -> Json:
    manifest["spec"]["volumes"].append(volume)
    return manifest


def with_variables(manifest: Json, **members: Json) -> Json:
    manifest["spec"]["containers"][1] |= {member: [entry] for member, entry in members.items()}
    return manifest


def in_container(manifest: Json, **context: Any) -> Json:
    manifest["spec"]["containers"][1]["securityContext"] |= context
    return manifest


def test_it_may_make_the_pod_of_a_worker(confined: Cluster) -> None:
    assert said(confined, pod("default")) == ""


def test_it_may_give_a_worker_variables_from_a_config_map(confined: Cluster) -> None:
    one = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}
    whole = {"configMapRef": {"name": "c"}}
    assert said(confined, pod("default", env=[one, {"name": "B", "value": "b"}], envFrom=[whole])) == ""


@pytest.mark.parametrize(
    ("manifest", "complaint"),
    [
        pytest.param(changed(pod("default"), serviceAccountName="admin"), "only of the account", id="another account"),
        pytest.param(changed(pod("default"), automountServiceAccountToken=True), "without its token", id="its token"),
        pytest.param(changed(pod("default"), hostNetwork=True), "outside the node's namespaces", id="host network"),
        pytest.param(changed(pod("default"), hostPID=True), "outside the node's namespaces", id="host processes"),
        pytest.param(changed(pod("default"), securityContext={}), "not as root", id="root"),
        pytest.param(in_container(pod("default"), runAsUser=0), "any privilege", id="a container as root"),
        pytest.param(in_container(pod("default"), allowPrivilegeEscalation=True), "any privilege", id="escalation"),
        pytest.param(
            in_container(pod("default"), capabilities={"drop": ["ALL"], "add": ["NET_RAW"]}), "any privilege", id="caps"
        ),
        pytest.param(with_volume(pod("default"), HOST), "may mount only emptyDir, projected", id="the node's files"),
        pytest.param(with_volume(pod("default"), SECRET), "may mount only emptyDir, projected", id="a Secret"),
        pytest.param(with_variables(pod("default"), env=FROM_SECRET), "no variable from a Secret", id="a Secret's key"),
        pytest.param(
            with_variables(pod("default"), envFrom={"secretRef": {"name": "s"}}),
            "no variable from a Secret",
            id="all keys",
        ),
        pytest.param(with_volume(pod("default"), API_TOKEN), "no token but one", id="a token for the API"),
    ],
)
def test_it_may_make_no_other_pod(confined: Cluster, manifest: Json, complaint: str) -> None:
    assert complaint in said(confined, manifest)


def test_it_may_make_nothing_that_no_pool_or_job_controls(confined: Cluster) -> None:
    stray = pod("default")
    stray["metadata"]["ownerReferences"][0]["kind"] = "ConfigMap"
    assert "may write only what one of these controls" in said(confined, stray)


def test_its_jobs_may_mount_what_a_source_names_and_nothing_of_the_node(confined: Cluster) -> None:
    assert said(confined, job("default", SECRET, CLAIM)) == ""
    assert "may mount only" in said(confined, job("default", HOST))
    secret = job("default")
    secret["spec"]["template"]["spec"]["containers"][0]["env"] = [FROM_SECRET]
    assert "no variable from a Secret" in said(confined, secret)
    assert "no token but one" in said(confined, job("default", API_TOKEN))


def test_it_may_label_and_delete_a_worker_and_not_change_what_it_is(confined: Cluster, namespace: str) -> None:
    pool = {"apiVersion": "mahavishnu.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "pool"}}
    suspended = json.dumps(pool | {"spec": {"backend": "kubernetes", "suspend": True}})
    confined.kubectl("create", "-n", namespace, "-f", "-", input=suspended)
    owned, uid = pod(namespace), confined.json("get", "wp", "pool", "-n", namespace)["metadata"]["uid"]
    owned["metadata"]["ownerReferences"][0]["uid"] = uid
    confined.kubectl("create", "-f", "-", *AS_OPERATOR, input=json.dumps(owned))
    worker = ("pod/pool-x7", "-n", namespace, *AS_OPERATOR)
    confined.kubectl("label", *worker, "mahavishnu.dev/busy=true")
    image = confined.kubectl("set", "image", *worker, "runner=other:1", check=False)
    assert "not change what it is" in image.stderr
    orphaned = ("patch", *worker, "--type=merge", "-p", '{"metadata":{"ownerReferences":null}}')
    assert "another owner" in confined.kubectl(*orphaned, check=False).stderr
    confined.kubectl("delete", *worker, "--grace-period=0", "--force")


@pytest.mark.parametrize(
    "attack",
    [("delete",), ("label", "a=b"), ("set", "image", "agent=other:1")],
    ids=["delete", "label", "another image"],
)
def test_the_pods_of_others_are_out_of_its_reach(confined: Cluster, namespace: str, attack: tuple[str, ...]) -> None:
    theirs = pod(namespace)
    del theirs["metadata"]["ownerReferences"]
    confined.kubectl("create", "-f", "-", input=json.dumps(theirs))
    verb, rest = (attack[:2], attack[2:]) if attack[0] == "set" else (attack[:1], attack[1:])
    done = confined.kubectl(*verb, "pod/pool-x7", *rest, "-n", namespace, *AS_OPERATOR, check=False)
    assert "ValidatingAdmissionPolicy 'mahavishnu-operator-" in done.stderr
    assert "denied request" in done.stderr


def test_others_are_not_held_to_this(confined: Cluster) -> None:
    assert said(confined, changed(job("default", HOST), suspend=True), who=()) == ""
