"""The manifest of a worker Pod."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mahavishnu_operator.backends.kubernetes.pods import worker_pod
from mahavishnu_operator.backends.kubernetes.settings import KubernetesSettings
from mahavishnu_operator.backends.protocol import PoolTemplate
from mahavishnu_operator.resources.protocol import Key
from mahavishnu_operator.worker.config import HostConfig, WorkerConfig, parse_config

SETTINGS = KubernetesSettings(image="worker:1", dispatcher_url="http://dispatcher.system.svc:8681")


def made(kubernetes: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    full = {"backend": "kubernetes", **({"kubernetes": kubernetes} if kubernetes else {}), **spec}
    template = PoolTemplate(key=Key("team", "scans"), uid="u-1", slots=2, revision="abc", spec=full)
    return worker_pod(template, "scans-x7", SETTINGS)


def containers(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {container["name"]: container for container in pod["spec"]["containers"]}


def configuration(pod: dict[str, Any], container: str) -> dict[str, Any]:
    """What the container's program is told."""
    program, line = containers(pod)[container]["args"]
    assert program == f"pod-{container}"
    told: dict[str, Any] = json.loads(line)
    return told


def test_the_token_is_mounted_in_the_agent_alone() -> None:
    mounts = {name: {m["name"] for m in each["volumeMounts"]} for name, each in containers(made()).items()}
    assert "token" in mounts["agent"]
    assert "token" not in mounts["runner"]


def test_the_token_is_for_the_dispatcher_alone() -> None:
    (volume,) = [v for v in made()["spec"]["volumes"] if v["name"] == "token"]
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == "dispatcher.mahavishnu.dev"
    assert made()["spec"]["automountServiceAccountToken"] is False


def test_tools_cannot_write_where_the_agent_listens() -> None:
    (mount,) = [m for m in containers(made())["runner"]["volumeMounts"] if m["name"] == "socket"]
    assert mount["readOnly"] is True


@pytest.mark.parametrize("name", ["agent", "runner"])
def test_every_container_is_restricted(name: str) -> None:
    assert containers(made())[name]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("name", ["agent", "runner"])
def test_every_container_has_requests_and_a_memory_limit(name: str) -> None:
    resources = containers(made())[name]["resources"]
    assert resources["requests"].keys() >= {"cpu", "memory"}
    assert "memory" in resources["limits"]


def test_the_authors_image_is_that_of_the_tools() -> None:
    found = containers(made({"image": "mine:2"}))
    assert (found["agent"]["image"], found["runner"]["image"]) == ("worker:1", "mine:2")


def test_placement_is_as_the_author_wants_it() -> None:
    chosen = {
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "scans", "operator": "Exists"}],
        "priorityClassName": "low",
        "runtimeClassName": "gvisor",
        "imagePullSecrets": [{"name": "pull"}],
        "affinity": {"nodeAffinity": {}},
    }
    spec = made(chosen)["spec"]
    assert {name: spec[name] for name in chosen} == chosen


VARIABLES = {
    "env": [
        {"name": "GREETING", "value": "hello"},
        {"name": "EMPTY"},
        {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "levels", "key": "of.tools"}}},
    ],
    "envFrom": [{"prefix": "P_", "configMapRef": {"name": "proxies", "optional": True}}],
}


def test_the_pools_variables_are_the_runners_under_names_that_no_program_reads() -> None:
    level = {"configMapKeyRef": {"name": "levels", "key": "of.tools", "optional": False}}
    runner = containers(made(VARIABLES))["runner"]
    assert runner["env"] == [
        {"name": "MAHAVISHNU_TOOL_GREETING", "value": "hello"},
        {"name": "MAHAVISHNU_TOOL_EMPTY", "value": ""},
        {"name": "MAHAVISHNU_TOOL_LEVEL", "valueFrom": level},
    ]
    assert runner["envFrom"] == [
        {"prefix": "MAHAVISHNU_TOOL_P_", "configMapRef": {"name": "proxies", "optional": True}},
    ]


def test_the_agent_is_as_it_is_without_them() -> None:
    assert containers(made(VARIABLES))["agent"] == containers(made())["agent"]


def test_a_pool_without_variables_names_none() -> None:
    assert not containers(made({"env": [], "envFrom": []}))["runner"].keys() & {"env", "envFrom"}


def test_a_value_is_taken_as_it_stands_and_names_no_other_variable() -> None:
    (variable,) = containers(made({"env": [{"name": "A", "value": "$(PATH) $$ $5"}]}))["runner"]["env"]
    assert variable["value"] == "$$(PATH) $$$$ $$5"


def test_the_pod_outlives_the_pools_grace_by_a_margin() -> None:
    assert made(drain={"graceSeconds": 100})["spec"]["terminationGracePeriodSeconds"] > 100
    assert configuration(made(drain={"graceSeconds": 100}), "agent")["graceSeconds"] == 100


def test_no_secret_is_in_the_manifest_and_the_certificates_are() -> None:
    settings = KubernetesSettings(image="worker:1", dispatcher_url="https://d:1", ca_pem="-----BEGIN CERTIFICATE-----")
    template = PoolTemplate(key=Key("team", "scans"), uid="u-1", slots=1, revision="a", spec={"backend": "kubernetes"})
    pod = worker_pod(template, "scans-x7", settings)
    assert {"name": "MAHAVISHNU_DISPATCHER_CA", "value": settings.ca_pem} in containers(pod)["agent"]["env"]
    assert "BEGIN" not in json.dumps(containers(pod)["runner"])


def test_the_pool_controls_the_pod() -> None:
    (owner,) = made()["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == ("WorkerPool", "scans", "u-1", True)


def test_tools_are_kept_to_their_own_folders() -> None:
    runner = containers(made())["runner"]
    mounted = {mount["mountPath"] for mount in runner["volumeMounts"] if not mount.get("readOnly")}
    assert mounted | {"/dev/shm"} == set(configuration(made(), "runner")["confine"])


def test_its_programs_understand_what_they_are_told() -> None:
    parse_config(json.dumps(configuration(made(), "agent")).encode(), WorkerConfig)
    parse_config(json.dumps(configuration(made(), "runner")).encode(), HostConfig)


def test_the_agents_folders_lie_in_none_that_tools_see() -> None:
    mounts = {name: [m["mountPath"] for m in each["volumeMounts"]] for name, each in containers(made()).items()}
    seen = [folder.removeprefix("/var") + "/" for folder in mounts["runner"]]  # in images /var/run is /run
    assert [f for f in mounts["agent"] if any(f.removeprefix("/var").startswith(each) for each in seen)] == []
