"""The Pod of a worker: a pure function from the pool's spec to a manifest.

The pressure: the tools of a pool are hostile code, and the author of a pool must not be able to give them more than
the curated template has. So there are two containers: the agent, with the token, and the runner, with the tools;
what they share is a folder with the agent's socket, which the runner cannot write to. What must stay true: the Pod is
admitted under the restricted Pod Security Standard; no container of it has credentials of the API server; the pool's
variables are the runner's alone, under names that no program reads (api/variables.py), and none is from a Secret; it is
owned by its pool, so that deleting the pool deletes it with no operator running.
"""

from __future__ import annotations

import json
from typing import Any

from mahavishnu_operator.api.podtemplate import EnvFrom, EnvVar, KubernetesTemplate
from mahavishnu_operator.api.reasons import API_VERSION, Label
from mahavishnu_operator.api.variables import POD_PREFIX
from mahavishnu_operator.api.workerpool import WorkerPoolSpec
from mahavishnu_operator.backends.protocol import PoolTemplate
from mahavishnu_operator.resources.protocol import Key, Obj

from .settings import KubernetesSettings

AGENT, RUNNER = "agent", "runner"
USER = 65532  # of the images; any other number would do as well
TOKEN_FOLDER, SOCKET_FOLDER, WORK_FOLDER = "/var/run/secrets/mahavishnu", "/run/mahavishnu", "/workspace"
TOKEN_SECONDS = 3607  # kubelet renews it at 80 %; with exactly 3607 API servers may extend it for old clients: not ours
STOP_MARGIN_SECONDS = 15  # beyond the pool's grace: last results, handing back, leaving
# What tools of one worker share; each is kept to its own folder there (worker/confining.py).
CONFINED = (WORK_FOLDER, "/tmp", "/dev/shm")  # noqa: S108
WORK_BYTES = "4Gi"
AGENT_RESOURCES = {
    "requests": {"cpu": "10m", "memory": "64Mi"},
    "limits": {"memory": "256Mi"},
}
RUNNER_RESOURCES = {
    "requests": {"cpu": "250m", "memory": "256Mi"},
    "limits": {"cpu": "2", "memory": "2Gi"},
}


def worker_pod(template: PoolTemplate, name: str, settings: KubernetesSettings) -> Obj:
    """The manifest of one worker. `template.spec` is a WorkerPool.spec that was accepted."""
    spec = WorkerPoolSpec.model_validate(template.spec)
    chosen = (template.spec.get("kubernetes") or {}) if isinstance(template.spec, dict) else {}
    pod: dict[str, Any] = {
        "restartPolicy": "Never",  # a worker's name is never used twice: a new one is a new Pod
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": spec.drain.grace_seconds + STOP_MARGIN_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            _agent(template, settings, name=name, spec=spec),
            _runner(chosen, settings) | _variables(spec.kubernetes),
        ],
        "volumes": _volumes(settings),
    }
    for field in ("nodeSelector", "tolerations", "affinity", "priorityClassName", "imagePullSecrets"):
        if chosen.get(field):
            pod[field] = chosen[field]
    if chosen.get("runtimeClassName"):
        pod["runtimeClassName"] = chosen["runtimeClassName"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": template.key.namespace,
            "labels": {Label.POOL: template.key.name, Label.COMPONENT: "worker", Label.MANAGED_BY: "mahavishnu"},
            "annotations": {Label.REVISION: template.revision},
            "ownerReferences": [owner_reference(template.key, template.uid)],
        },
        "spec": pod,
    }


def owner_reference(pool: Key, uid: str) -> Obj:
    """The pool as controller; it does not block the pool's deletion."""
    return {
        "apiVersion": API_VERSION,
        "kind": "WorkerPool",
        "name": pool.name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _agent(template: PoolTemplate, settings: KubernetesSettings, *, name: str, spec: WorkerPoolSpec) -> Obj:
    config = {  # worker.config.WorkerConfig
        "server": settings.dispatcher_url,
        "pool": str(template.key),
        "worker": name,
        "slots": template.slots,
        "graceSeconds": spec.drain.grace_seconds,
        "oneTaskSeconds": template.task_seconds,
        "tokenFile": f"{TOKEN_FOLDER}/token",
        "runnerSocket": f"{SOCKET_FOLDER}/runner.sock",
        "logLevel": settings.log_level,
    }
    return {
        "name": AGENT,
        "image": settings.image,
        "args": ["pod-agent", json.dumps(config)],
        "env": [  # each may be as long as an argument can be
            *([{"name": "MAHAVISHNU_DISPATCHER_CA", "value": settings.ca_pem}] if settings.ca_pem else []),
            *([{"name": "MAHAVISHNU_GIT_CA_PEM", "value": settings.git_ca_pem}] if settings.git_ca_pem else []),
        ],
        "resources": AGENT_RESOURCES,
        "securityContext": locked_down(),
        "volumeMounts": [
            {"name": "token", "mountPath": TOKEN_FOLDER, "readOnly": True},
            {"name": "socket", "mountPath": SOCKET_FOLDER},
        ],
    }


def _runner(chosen: dict[str, Any], settings: KubernetesSettings) -> Obj:
    config = {  # worker.config.HostConfig
        "socket": f"{SOCKET_FOLDER}/runner.sock",
        "workDir": WORK_FOLDER,
        "confine": CONFINED,
        "logLevel": settings.log_level,
    }
    return {
        "name": RUNNER,
        "image": chosen.get("image") or settings.image,
        "args": ["pod-runner", json.dumps(config)],
        "resources": chosen.get("resources") or RUNNER_RESOURCES,
        "securityContext": locked_down(),
        "volumeMounts": [
            {"name": "socket", "mountPath": SOCKET_FOLDER, "readOnly": True},  # a socket there can be connected to
            {"name": "work", "mountPath": WORK_FOLDER},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 (a folder of the Pod's own)
        ],
    }


def _variables(template: KubernetesTemplate | None) -> Obj:
    """What the pool gives its tools, as members of a container."""
    if template is None:
        return {}
    each, whole = map(_variable, template.env or ()), map(_variables_of, template.env_from or ())
    members = {"env": list(each), "envFrom": list(whole)}
    return {member: entries for member, entries in members.items() if entries}


def _variable(variable: EnvVar) -> Obj:
    name = f"{POD_PREFIX}{variable.name}"
    config_map = variable.value_from.config_map_key_ref if variable.value_from is not None else None
    if config_map is not None:
        return {"name": name, "valueFrom": {"configMapKeyRef": config_map.model_dump(by_alias=True)}}
    return {"name": name, "value": (variable.value or "").replace("$", "$$")}  # a kubelet reads $(NAME) as another one


def _variables_of(source: EnvFrom) -> Obj:
    if source.config_map_ref is None:
        raise ValueError("variables come from a ConfigMap alone: the rules let nothing else pass")
    return {"prefix": f"{POD_PREFIX}{source.prefix}", "configMapRef": source.config_map_ref.model_dump(by_alias=True)}


def locked_down() -> Obj:
    """What restricted Pod Security wants of a container, and a read-only root."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _volumes(settings: KubernetesSettings) -> list[Obj]:
    token = {"path": "token", "audience": settings.audience, "expirationSeconds": TOKEN_SECONDS}
    return [
        {"name": "token", "projected": {"sources": [{"serviceAccountToken": token}], "defaultMode": 0o440}},
        {"name": "socket", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "work", "emptyDir": {"sizeLimit": WORK_BYTES}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
    ]
