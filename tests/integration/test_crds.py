"""The generated CRDs on a real API server: accepted, serving what clients need, and with embedded mode's verdicts."""

from __future__ import annotations

import json
import secrets
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from mahavishnu_operator.api.crd import crd
from mahavishnu_operator.api.reasons import API_VERSION
from mahavishnu_operator.api.validation import Refused, admit
from tests.cluster.client import Cluster
from tests.manifest_cases import CASES, Case, Manifest, job, pool
from tests.manifest_mutations import mutants

CRDS = Path(__file__).resolve().parents[2] / "crds"
PLURALS = {"WorkerPool": "workerpools", "ScanJob": "scanjobs"}


@dataclass(frozen=True)
class Api:
    """Plain HTTP to the API server, through kubectl's proxy: JSON goes out exactly as it is in a case."""

    url: str

    def call(self, method: str, path: str, body: Any = None, accept: str = "application/json") -> tuple[int, Any]:
        """The status and the JSON answer."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Accept": accept},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def must(self, method: str, path: str, body: Any = None, accept: str = "application/json") -> Any:
        """The JSON answer of a call that succeeds."""
        status, answer = self.call(method, path, body, accept)
        assert status < 300, answer
        return answer


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[Api]:
    """The API server with our CRDs."""
    cluster.install_kinds(CRDS)
    proxy = subprocess.Popen(
        [str(cluster.kubectl_binary), f"--kubeconfig={cluster.kubeconfig}", "proxy", "--port=0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert proxy.stdout is not None
        address = proxy.stdout.readline().rsplit(" ", 1)[-1].strip()
        yield Api(f"http://{address}")
    finally:
        proxy.terminate()
        proxy.communicate(timeout=10)


@pytest.fixture(scope="module")
def place(cluster: Cluster, api: Api) -> Iterator[str]:
    """A namespace for this module."""
    name = f"crds-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    try:
        yield name
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


def collection(kind: str, namespace: str) -> str:
    return f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURALS[kind]}"


def verdict(api: Api, namespace: str, case: Case) -> tuple[int, str]:
    """What the API server says to the case: its status and message."""
    path = collection(case.kind, namespace)
    strict = "?dryRun=All&fieldValidation=Strict"
    if case.old is None:
        status, answer = api.call("POST", path + strict, case.manifest)
        return status, str(answer.get("message", ""))
    one = f"{path}/{case.old['metadata']['name']}"
    stored = api.must("POST", path, case.old)
    try:
        if "status" in case.old:
            stored = api.must("PUT", f"{one}/status", {**stored, "status": case.old["status"]})
        metadata = {**case.manifest["metadata"], "resourceVersion": stored["metadata"]["resourceVersion"]}
        status, answer = api.call("PUT", one + strict, {**case.manifest, "metadata": metadata})
        return status, str(answer.get("message", ""))
    finally:
        api.must("DELETE", one)


def ours(case: Case) -> tuple[Manifest | None, str]:
    """What embedded mode stores, or why it refuses."""
    try:
        return admit(case.kind, case.manifest)[0], ""
    except Refused as refused:
        return None, str(refused)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_manifest_gets_the_same_verdict_as_in_embedded_mode(api: Api, place: str, case: Case) -> None:
    status, message = verdict(api, place, case)
    if case.says:
        assert status in (400, 422), message
        assert case.says in message
    else:
        assert status in (200, 201), message


def test_random_manifests_get_the_same_verdict_and_are_stored_alike(api: Api, place: str) -> None:
    taken = 0
    for case in mutants(seed=20261121, count=400):
        path = f"{collection(case.kind, place)}?dryRun=All&fieldValidation=Strict"
        status, answer = api.call("POST", path, case.manifest)
        admitted, refusal = ours(case)
        assert (status == 201) == (admitted is not None), (
            f"{case.name}, {case.manifest}: {refusal or answer.get('message')}"
        )
        if admitted is not None:
            assert (answer["spec"], answer["status"]) == (admitted["spec"], admitted["status"]), case.name
            taken += 1
    assert 40 < taken < 360, "neither verdict may be a rarity"


def test_the_files_are_what_the_models_say() -> None:
    for kind, plural in PLURALS.items():
        assert yaml.safe_load((CRDS / f"{plural}.mahavishnu.dev.yaml").read_text()) == crd(kind)


def test_the_crds_are_established_and_structural(cluster: Cluster, api: Api) -> None:
    for plural in PLURALS.values():
        conditions = {
            c["type"]: c["status"]
            for c in cluster.json("get", "crd", f"{plural}.mahavishnu.dev")["status"]["conditions"]
        }
        assert conditions["Established"] == "True"
        assert conditions.get("NonStructuralSchema", "False") == "False"


def test_a_status_is_written_through_its_own_door_alone(api: Api, place: str) -> None:
    one = f"{collection('WorkerPool', place)}/doors"
    made = api.must("POST", collection("WorkerPool", place), pool({"name": "doors"}))
    by_spec = api.must("PUT", one, {**made, "status": {**made["status"], "ready": 5}})
    assert by_spec["status"]["ready"] == 0
    changed = {**by_spec, "status": {**by_spec["status"], "ready": 5}, "spec": {**by_spec["spec"], "replicas": 9}}
    by_status = api.must("PUT", f"{one}/status", changed)
    assert by_status["status"]["ready"] == 5
    assert by_status["spec"] == made["spec"]
    assert by_status["metadata"]["generation"] == made["metadata"]["generation"] == 1


def test_a_new_object_fills_every_column_before_any_operator_saw_it(cluster: Cluster, api: Api, place: str) -> None:
    for kind, manifest in (("WorkerPool", pool({"name": "fresh"})), ("ScanJob", job({"name": "fresh"}))):
        api.must("POST", collection(kind, place), manifest)
        table = api.must(
            "GET", f"{collection(kind, place)}/fresh", accept="application/json;as=Table;v=v1;g=meta.k8s.io"
        )
        columns = [column["name"] for column in table["columnDefinitions"]]
        assert columns[0] == "Name"
        assert columns[-1] == "Age"
        (row,) = table["rows"]
        assert [c for c, cell in zip(columns, row["cells"], strict=True) if cell in (None, "")] == []
    printed = cluster.kubectl("get", "wp,sj", "--namespace", place, "--no-headers").stdout
    assert "workerpool.mahavishnu.dev/fresh" in printed
    assert "scanjob.mahavishnu.dev/fresh" in printed


def test_the_kinds_are_found_by_their_category(cluster: Cluster, api: Api, place: str, tmp_path: Path) -> None:
    api.must("POST", collection("WorkerPool", place), pool({"name": "listed"}))
    fresh = ("--cache-dir", str(tmp_path))  # kubectl remembers categories from before our kinds were there
    printed = cluster.kubectl("get", "mahavishnu", "--namespace", place, "-o", "name", *fresh).stdout
    assert "workerpool.mahavishnu.dev/listed" in printed


def test_scale_reads_and_writes_replicas_alone(api: Api, place: str) -> None:
    one = f"{collection('WorkerPool', place)}/scaled"
    api.must("POST", collection("WorkerPool", place), pool({"name": "scaled"}))
    scale = api.must("GET", f"{one}/scale")
    assert scale["kind"] == "Scale"
    assert scale["spec"] == {"replicas": 1}
    assert scale["status"]["replicas"] == 0
    api.must("PUT", f"{one}/scale", {**scale, "spec": {"replicas": 7}})
    assert api.must("GET", one)["spec"]["replicas"] == 7
    refused, answer = api.call(
        "PUT", f"{one}/scale", {**scale, "metadata": {"name": "scaled"}, "spec": {"replicas": -1}}
    )
    assert refused == 422, answer


def test_a_real_horizontal_pod_autoscaler_moves_a_pool(cluster: Cluster, api: Api, place: str) -> None:
    api.must("POST", collection("WorkerPool", place), pool({"name": "autoscaled"}, replicas=5))
    reference = {"apiVersion": API_VERSION, "kind": "WorkerPool", "name": "autoscaled"}
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "autoscaled"},
        # Above its maximum it acts without metrics, of which a control plane without nodes has none.
        "spec": {"scaleTargetRef": reference, "minReplicas": 1, "maxReplicas": 3},
    }
    api.must("POST", f"/apis/autoscaling/v2/namespaces/{place}/horizontalpodautoscalers", autoscaler)
    wanted = "--for=jsonpath={.spec.replicas}=3"
    cluster.kubectl("wait", wanted, "wp/autoscaled", "--namespace", place, "--timeout=55s")
