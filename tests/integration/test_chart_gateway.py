"""The gateway's part of the chart: not there unless asked for, and never one that lets in whom nobody meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mahavishnu_operator.api.reasons import Label
from scripts.render_manifests import CHART
from tests.cluster.helm import Helm, HelmError, objects

ON = "tls.existingSecret=there,gateway.enabled=true,gateway.tls.existingSecret=there"
KINDS = {"workerpools", "workerpools/scale", "scanjobs"}


@pytest.fixture(scope="module")
def helm(helm_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(helm_binary, tmp_path_factory.mktemp("helm"))


def of_gateway(helm: Helm, *values: str) -> list[dict[str, Any]]:
    """What the chart makes for the gateway with those values besides."""
    made = objects(helm.template(CHART, "--set", ",".join([ON, *values])))
    return [each for each in made if "gateway" in each["metadata"]["name"]]


def one(made: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [each for each in made if each["kind"] == kind]
    return found


def arguments(made: list[dict[str, Any]]) -> list[str]:
    (container,) = one(made, "Deployment")["spec"]["template"]["spec"]["containers"]
    return list(container["args"])


def test_without_being_asked_for_nothing_of_it_is_there(helm: Helm) -> None:
    text = helm.template(CHART, "--set", "tls.existingSecret=there")
    assert not [each for each in objects(text) if "gateway" in each["metadata"]["name"]]
    assert "created-by" not in text


def test_two_replicas_review_tokens_behind_one_service(helm: Helm) -> None:
    made = of_gateway(helm)
    deployment, selector = one(made, "Deployment"), one(made, "Service")["spec"]["selector"]
    assert deployment["spec"]["replicas"] == 2
    assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert {"--auth=token-review", "--all-namespaces", "--tls-cert=/tls/tls.crt"} <= set(arguments(made))
    assert "--allow-plain-http" not in arguments(made)


def test_plain_http_has_to_be_said(helm: Helm) -> None:
    told = arguments(of_gateway(helm, "gateway.tls.enabled=false"))
    assert {"--auth=token-review", "--allow-plain-http"} <= set(told)
    assert not [each for each in told if each.startswith("--tls")]


def test_it_has_rights_to_both_kinds_and_reviews_alone_and_becomes_nobody(helm: Helm) -> None:
    rules = one(of_gateway(helm), "ClusterRole")["rules"]
    assert {name for rule in rules for name in rule["resources"]} == {*KINDS, "tokenreviews", "subjectaccessreviews"}
    assert "impersonate" not in {verb for rule in rules for verb in rule["verbs"]}


def test_for_one_namespace_it_has_rights_to_objects_there_alone(helm: Helm) -> None:
    for value in ("watchNamespaces={team}", "gateway.namespace=team"):
        made = of_gateway(helm, value)
        assert "--namespace=team" in arguments(made)
        role = one(made, "Role")
        assert role["metadata"]["namespace"] == "team"
        assert {name for rule in role["rules"] for name in rule["resources"]} == KINDS
        everywhere = {name for rule in one(made, "ClusterRole")["rules"] for name in rule["resources"]}
        assert everywhere == {"tokenreviews", "subjectaccessreviews"}


def test_the_dispatcher_is_open_to_it_and_its_key_is_not(helm: Helm) -> None:
    made = objects(helm.template(CHART, "--set", ON))
    operator, gateway = (
        one([each for each in made if each["metadata"]["name"] == name], "Deployment")["spec"]["template"]["metadata"][
            "labels"
        ]
        for name in ("test-mahavishnu-operator", "test-mahavishnu-operator-gateway")
    )
    (policy,) = [each["spec"] for each in made if each["metadata"]["name"].endswith("-gateway-dispatcher")]
    chosen = policy["podSelector"]["matchLabels"].items()
    assert (chosen <= operator.items(), chosen <= gateway.items()) == (True, False)
    (rule,) = policy["ingress"]
    assert rule["ports"] == [{"port": "dispatch", "protocol": "TCP"}]
    assert [peer["podSelector"]["matchLabels"].items() <= gateway.items() for peer in rule["from"]] == [True]
    assert gateway[Label.COMPONENT] == "gateway"
    volumes = one(of_gateway(helm), "Deployment")["spec"]["template"]["spec"]["volumes"]
    assert [each["secret"]["items"] for each in volumes if each["name"] == "dispatcher"] == [
        [{"key": "ca.crt", "path": "ca.crt"}]
    ]


def test_it_is_proven_under_the_names_that_it_is_called_by(helm: Helm) -> None:
    hosts = {each.partition("=")[2] for each in arguments(of_gateway(helm)) if each.startswith("--allowed-host")}
    name = "test-mahavishnu-operator-gateway"
    expected = {name, f"{name}.default", f"{name}.default.svc", f"{name}.default.svc.cluster.local"}
    assert hosts == expected


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("gateway.enabeld=true", "enabeld"),
        ("gateway.replicaCount=many", "replicaCount"),
        ("gateway.audience=", "audience"),
        ("gateway.createdBy.exemptUsers={a'b}", "exemptUsers"),
        ("gateway.allowedCommands={/bin/sh}", "allowedCommands"),
        ("watchNamespaces={a,b}", "set gateway.namespace to one of watchNamespaces"),
        ("gateway.serviceAccount.create=false", r"set gateway\.serviceAccount\.name"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(helm: Helm, value: str, complaint: str) -> None:
    with pytest.raises(HelmError, match=complaint):
        helm.template(CHART, "--set", f"{ON},{value}")
