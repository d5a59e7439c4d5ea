"""The chart renders for every kind of use what schemas accept, refuses what cannot be meant, and asks for no Secret."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import mahavishnu_operator
from mahavishnu_operator.api.reasons import Label
from scripts.render_manifests import CHART, manifests
from tests.cluster.client import Cluster
from tests.cluster.helm import KUBERNETES, Helm, HelmError, objects
from tests.cluster.openapi import write_schemas

from .operator_tools import CRDS, DEPLOY

USES = {"default": (), **{file.stem: ("--values", str(file)) for file in sorted((CHART / "ci").glob("*.yaml"))}}
LOCAL = ("--set", "tls.existingSecret=there")  # no certificate to make, which takes a second


@pytest.fixture(scope="module")
def helm(helm_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(helm_binary, tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module", params=USES)
def rendered(request: pytest.FixtureRequest, helm: Helm) -> str:
    return helm.template(CHART, *USES[request.param])


@pytest.fixture(scope="session")
def schemas(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_schemas(cluster, tmp_path_factory.mktemp("schemas"))


@pytest.mark.parametrize("use", USES)
def test_helm_finds_nothing_to_complain_of(helm: Helm, use: str) -> None:
    assert "0 chart(s) failed" in helm.run("lint", "--strict", str(CHART), *KUBERNETES, *USES[use]).stdout


def test_every_use_is_valid_by_strict_schemas(rendered: str, schemas: str, kubeconform_binary: Path) -> None:
    command = [str(kubeconform_binary), "-strict", "-summary", "-output", "json", "-schema-location", schemas]
    done = subprocess.run([*command, "-"], input=rendered, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)["summary"]
    assert (summary["valid"], summary["skipped"]) == (len(objects(rendered)), 0)


def test_strict_schemas_refuse_a_field_nobody_knows(helm: Helm, schemas: str, kubeconform_binary: Path) -> None:
    wrong = helm.template(CHART, *LOCAL).replace("publishNotReadyAddresses:", "publishUnreadyAddresses:")
    command = [str(kubeconform_binary), "-strict", "-schema-location", schemas, "-"]
    done = subprocess.run(command, input=wrong, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "publishUnreadyAddresses" in done.stdout) == (1, True)


def test_an_api_server_takes_every_use(rendered: str, cluster: Cluster) -> None:
    cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", input=rendered)


def test_pods_are_admitted_where_only_restricted_ones_are(rendered: str, cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    account = {"serviceAccountName": "default", "priorityClassName": ""}
    deployed = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "as-deployed", "namespace": namespace},
            "spec": each["spec"]["template"]["spec"] | account,
        }
        for each in objects(rendered)
        if each["kind"] == "Deployment"
    ]
    test = one(objects(rendered), "Pod")
    test["metadata"]["namespace"] = namespace
    for each in (*deployed, test):
        cluster.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(each))


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("presistence.enabled=false", "presistence"),
        ("persistence.szie=1Gi", "szie"),
        ("replicaCount=2", "replicaCount"),
        ("logLevel=loud", "logLevel"),
        ("image.digest=latest", "digest"),
        ("watchNamespaces=team", "watchNamespaces"),
        ("watchNamespaces={Team A}", "watchNamespaces"),
        ("leaseSeconds=0", "leaseSeconds"),
        ("persistence.size=many", "size"),
        ("gitAuthorities.existingConfigMap=Mine", "existingConfigMap"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(helm: Helm, value: str, complaint: str) -> None:
    with pytest.raises(HelmError, match=complaint):
        helm.template(CHART, "--set", value)


def test_an_account_that_is_not_made_must_be_named(helm: Helm) -> None:
    with pytest.raises(HelmError, match=r"set serviceAccount\.name"):
        helm.template(CHART, *LOCAL, "--set", "serviceAccount.create=false")


def test_every_value_is_in_the_schema_and_in_the_readme() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    table = (CHART / "README.md").read_text()
    for path in leaves(yaml.safe_load((CHART / "values.yaml").read_text())):
        assert f"`{path}`" in table
        assert known(schema, path.split("."))


def test_nobody_is_given_secrets_or_everything(rendered: str) -> None:
    rules = [rule for each in objects(rendered) if each["kind"] in {"Role", "ClusterRole"} for rule in each["rules"]]
    assert not [rule for rule in rules if {"secrets", "*"} & {*rule["resources"], *rule["verbs"], *rule["apiGroups"]}]


def test_one_namespace_takes_the_same_rights_from_a_role(helm: Helm) -> None:
    everywhere = one(objects(helm.template(CHART, *LOCAL, "--show-only", "templates/rbac.yaml")), "ClusterRole")
    some = helm.template(CHART, *LOCAL, "--set", "watchNamespaces={team}", "--show-only", "templates/rbac.yaml")
    role, cluster_role = one(objects(some), "Role"), one(objects(some), "ClusterRole")
    assert role["metadata"]["namespace"] == "team"
    assert [*role["rules"], *cluster_role["rules"]] == everywhere["rules"]
    assert {name for rule in cluster_role["rules"] for name in rule["resources"]} == {"tokenreviews", "nodes"}


def test_workers_may_reach_the_operator_that_the_chart_makes(helm: Helm) -> None:
    """A pool's own NetworkPolicy lets its workers reach Pods with this label alone."""
    labels = one(objects(helm.template(CHART, *LOCAL)), "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert labels[Label.COMPONENT] == "operator"


def test_what_needs_no_token_is_open_to_its_own_namespace_and_whom_it_is_opened_to(helm: Helm) -> None:
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    for more in ([], [monitoring]):
        value = ("--set-json", f"networkPolicy.metricsFrom={json.dumps(more)}")
        policy = one(objects(helm.template(CHART, *LOCAL, *value)), "NetworkPolicy")
        (rule,) = [rule for rule in policy["spec"]["ingress"] if rule["ports"][0]["port"] == "probes"]
        assert rule["from"] == [{"podSelector": {}}, *more]


def test_an_api_server_that_is_away_is_no_reason_to_start_anew(helm: Helm) -> None:
    (container,) = one(objects(helm.template(CHART, *LOCAL)), "Deployment")["spec"]["template"]["spec"]["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/healthz"}


def test_a_database_url_comes_from_its_secret_and_needs_no_volume(helm: Helm) -> None:
    made = objects(helm.template(CHART, *LOCAL, "--set", "store.existingSecret=database"))
    assert not [each for each in made if each["kind"] == "PersistentVolumeClaim"]
    (container,) = one(made, "Deployment")["spec"]["template"]["spec"]["containers"]
    (url,) = [each for each in container["env"] if each["name"] == "MAHAVISHNU_STORE_URL"]
    assert url["valueFrom"]["secretKeyRef"] == {"name": "database", "key": "url"}


def test_who_proves_git_servers_to_workers_is_read_from_a_config_map(helm: Helm) -> None:
    values = "gitAuthorities.existingConfigMap=authorities,gitAuthorities.key=bundle.pem"
    pod = one(objects(helm.template(CHART, *LOCAL, "--set", values)), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (volume,) = [each for each in pod["volumes"] if "configMap" in each]
    (item,) = volume["configMap"]["items"]
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == volume["name"]]
    assert (volume["configMap"]["name"], item["key"]) == ("authorities", "bundle.pem")
    file = f"{mount['mountPath']}/{item['path']}"
    assert {"name": "MAHAVISHNU_GIT_CA", "value": file} in container["env"]


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert {chart["version"], chart["appVersion"]} == {mahavishnu_operator.__version__}


def test_the_kinds_are_those_of_the_models_and_are_kept(helm: Helm) -> None:
    made = objects(helm.template(CHART, *LOCAL, "--show-only", "templates/crds.yaml"))
    for each in made:
        assert each["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert made == [definition for file in sorted(CRDS.glob("*.yaml")) for definition in objects(file.read_text())]


def test_the_manifests_for_kubectl_are_what_the_chart_says(helm_binary: Path) -> None:
    expected = manifests(helm_binary)
    there = {str(file.relative_to(DEPLOY)): file.read_text() for file in DEPLOY.rglob("*.yaml")}
    by_hand = {"kustomization.yaml", "namespace.yaml", "gateway/kustomization.yaml"}
    assert {name: text for name, text in there.items() if name not in by_hand} == expected, "run `make manifests`"
    listed = yaml.safe_load(there["kustomization.yaml"])["resources"]
    assert set(listed) == {name for name in expected if "/" not in name} | {"namespace.yaml"}
    listed = yaml.safe_load(there["gateway/kustomization.yaml"])["resources"]
    assert {f"gateway/{name}" for name in listed} == {name for name in expected if name.startswith("gateway/")}


@pytest.mark.parametrize("folder", [DEPLOY, DEPLOY / "gateway"], ids=["operator", "gateway"])
def test_an_api_server_takes_the_manifests_for_kubectl(cluster: Cluster, namespace: str, folder: Path) -> None:
    made = cluster.kubectl("kustomize", str(folder)).stdout.replace("mahavishnu-system", namespace)
    cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", input=made)


def test_the_gateway_for_kubectl_is_the_one_of_the_chart_with_callers_told_apart(cluster: Cluster) -> None:
    made = objects(cluster.kubectl("kustomize", str(DEPLOY / "gateway")).stdout)
    kinds = {each["kind"] for each in made}
    assert kinds >= {"Deployment", "Service", "ServiceAccount", "ClusterRole", "NetworkPolicy", "PodDisruptionBudget"}
    assert "ValidatingAdmissionPolicy" in kinds
    (container,) = one(made, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert {"--auth=token-review", "--tls-cert=/tls/tls.crt"} <= set(container["args"])
    secrets = {
        each["secret"]["secretName"]
        for each in one(made, "Deployment")["spec"]["template"]["spec"]["volumes"]
        if "secret" in each
    }
    assert secrets == {"mahavishnu-operator-tls", "mahavishnu-operator-gateway-tls"}


def one(made: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [each for each in made if each["kind"] == kind]
    return found


def leaves(values: Any, prefix: str = "") -> list[str]:
    """The dotted path of every value that is no mapping of values; `resources` and the like are one."""
    if not isinstance(values, dict) or not values or prefix.endswith("resources."):
        return [prefix.rstrip(".")]
    return [path for name, value in values.items() for path in leaves(value, f"{prefix}{name}.")]


def known(schema: dict[str, Any], path: list[str]) -> bool:
    return not path or (path[0] in schema.get("properties", {}) and known(schema["properties"][path[0]], path[1:]))
