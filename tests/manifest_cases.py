"""One table of manifests and their verdicts, run in embedded mode and against a real API server.

tests/unit/api/test_validation.py and tests/integration/test_crds.py both walk CASES and must find the same. Each
rule of api/rules.py has a case that keeps it and one that breaks it (a test counts). `says` is a fragment that
both servers' refusals contain: a rule's own message, or the path of the field.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mahavishnu_operator.api.reasons import API_VERSION
from mahavishnu_operator.api.rules import FROZEN, RULES

Manifest = dict[str, Any]
MESSAGES = {rule.name: rule.message for rule in RULES}
DIGEST = "0123456789abcdef" * 4


@dataclass(frozen=True)
class Case:
    """A manifest, and whether it is taken: when `refused` is empty.

    `old`: what is stored when the manifest arrives as an update. `keeps`, `breaks`: names of rules.
    """

    name: str
    manifest: Manifest
    refused: str = ""
    old: Manifest | None = None
    keeps: str = ""
    breaks: str = ""

    @property
    def says(self) -> str:
        """What the refusal contains; empty for a manifest that is taken."""
        return self.refused or MESSAGES.get(self.breaks, "")

    @property
    def kind(self) -> str:
        """The kind that it is sent as."""
        return "ScanJob" if "ScanJob" in str(self.manifest.get("kind")) else "WorkerPool"


def pool(metadata: Mapping[str, Any] | None = None, **spec: Any) -> Manifest:
    """A WorkerPool that is taken as it is; a spec member that is `...` is left out."""
    return _object("WorkerPool", metadata, {"backend": "local-process"} | spec)


def job(metadata: Mapping[str, Any] | None = None, **spec: Any) -> Manifest:
    """A ScanJob of one command that is taken as it is; a spec member that is `...` is left out."""
    base = {"poolRef": {"name": "local"}, "tasks": [{"id": "one", "command": ["true"]}]}
    return _object("ScanJob", metadata, base | spec)


def scan(source: Any = None, *, metadata: Mapping[str, Any] | None = None, **members: Any) -> Manifest:
    """A ScanJob that scans a source; `members` are of spec.scan."""
    source = {"path": "/srv/code"} if source is None else source
    return job(metadata, tasks=..., source=source, scan={"tools": ["ruff"]} | members)


def planned(manifest: Manifest) -> Manifest:
    """The same as stored once its plan is made."""
    condition = {
        "type": "Planned",
        "status": "True",
        "reason": "Planned",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    return {**copy.deepcopy(manifest), "status": {"phase": "Running", "conditions": [condition]}}


def k8s(**template: Any) -> Manifest:
    """A WorkerPool of backend kubernetes."""
    return pool(backend="kubernetes", kubernetes=template)


def task(**members: Any) -> Manifest:
    """A ScanJob of one task."""
    return job(tasks=[{"id": "one", **members}])


def _object(kind: str, metadata: Mapping[str, Any] | None, spec: Mapping[str, Any]) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": "case", **(metadata or {})},
        "spec": {name: value for name, value in spec.items() if value is not ...},
    }


def _without(manifest: Manifest, *path: str) -> Manifest:
    changed = copy.deepcopy(manifest)
    node: Any = changed
    for step in path[:-1]:
        node = node[step]
    del node[path[-1]]
    return changed


def _pool_rules() -> Iterator[Case]:
    yield Case("pool name of 52", pool({"name": "a" * 52}), keeps="pool-name-length")
    yield Case("pool name of 53", pool({"name": "a" * 53}), breaks="pool-name-length")
    yield Case("memory of another pool", pool(memory={"readFrom": ["other"]}), keeps="memory-of-others")
    yield Case("memory of itself", pool(memory={"readFrom": ["other", "case"]}), breaks="memory-of-others")
    yield Case("min equals max", pool(minWorkers=3, maxWorkers=3), keeps="min-max")
    yield Case("min over max", pool(minWorkers=4, maxWorkers=3), breaks="min-max")
    yield Case("min over the default max", pool(minWorkers=11), breaks="min-max")
    yield Case("backend kept", pool(suspend=True), old=pool(), keeps="backend-immutable")
    yield Case("backend changed", pool(backend="kubernetes"), old=pool(), breaks="backend-immutable")
    yield Case("kubernetes on kubernetes", k8s(image="worker:1"), keeps="kubernetes-block")
    yield Case("kubernetes on local-process", pool(kubernetes={}), breaks="kubernetes-block")
    yield Case("local on local", pool(localProcess={"memoryLimitMiB": 512}), keeps="local-process-block")
    yield Case("local on kubernetes", pool(backend="kubernetes", localProcess={}), breaks="local-process-block")
    buddy = {"url": "http://buddy:8678", "tokenSecretRef": {"name": "buddy"}}
    yield Case("buddy on buddy", pool(backend="session-buddy", sessionBuddy=buddy), keeps="session-buddy-block")
    yield Case("buddy on local", pool(sessionBuddy=buddy), breaks="session-buddy-block")
    yield Case("buddy named", pool(backend="session-buddy", sessionBuddy=buddy), keeps="session-buddy-required")
    yield Case("buddy not named", pool(backend="session-buddy"), breaks="session-buddy-required")
    yield Case("per task on kubernetes", pool(backend="kubernetes", isolation="PerTask"), keeps="per-task-backend")
    yield Case("per task on local", pool(isolation="PerTask"), breaks="per-task-backend")
    one = pool(backend="kubernetes", isolation="PerTask", slotsPerWorker=1)
    two = pool(backend="kubernetes", isolation="PerTask", slotsPerWorker=2)
    yield Case("per task, one slot", one, keeps="per-task-slots")
    yield Case("per task, two slots", two, breaks="per-task-slots")
    fresh: dict[str, Any] = {"backend": "kubernetes", "isolation": "PerTask"}
    numbers: tuple[dict[str, Any], ...] = ({"minWorkers": 1}, {"replicas": 2}, {"maxWorkers": 0})
    lives: tuple[dict[str, Any], ...] = (
        {"autoscaling": {"mode": "HPA"}},
        {"recycle": {"maxTasks": 5}},
        {"retireWorkers": ["w"]},
    )
    yield Case("per task, bounded", pool(**fresh, maxWorkers=50), keeps="per-task-number")
    for what in numbers:
        yield Case(f"per task with {what}", pool(**fresh, **what), breaks="per-task-number")
    yield Case("per task, not scaled", pool(**fresh, autoscaling={"mode": "Off"}), keeps="per-task-life")
    for what in lives:
        yield Case(f"per task with {what}", pool(**fresh, **what), breaks="per-task-life")
    yield Case("isolation kept", pool(**fresh, suspend=True), old=pool(**fresh), keeps="isolation-immutable")
    yield Case("isolation changed", pool(**fresh), old=pool(backend="kubernetes"), breaks="isolation-immutable")
    hpa = {"mode": "HPA"}
    yield Case("room to scale", pool(autoscaling=hpa, minWorkers=1, maxWorkers=2), keeps="autoscaling-room")
    yield Case("no room to scale", pool(autoscaling=hpa, minWorkers=2, maxWorkers=2), breaks="autoscaling-room")
    yield Case("recycle by age", pool(recycle={"maxAgeSeconds": 3600}), keeps="recycle-when")
    yield Case("recycle when?", pool(recycle={}), breaks="recycle-when")
    secret = {"secretKeyRef": {"name": "s", "key": "k"}}
    config = {"configMapKeyRef": {"name": "c", "key": "k"}}
    for name in ("GREETING", "PATHS", "A_LD_B", "MAHAVISHNU"):
        yield Case(f"env of the name {name}", k8s(env=[{"name": name}]), keeps="env-name")
    for name in ("PATH", "HOME", "TMPDIR", "LC_ALL", "LD_PRELOAD", "PYTHONPATH", "MAHAVISHNU_TOKEN"):
        yield Case(f"env of the name {name}", k8s(env=[{"name": name, "value": ""}]), breaks="env-name")
    yield Case("env by value", k8s(env=[{"name": "A", "value": "1"}, {"name": "B"}]), keeps="env-one-value")
    both = [{"name": "A", "value": "1", "valueFrom": config}]
    yield Case("env by value and source", k8s(env=both), breaks="env-one-value")
    yield Case("env by config", k8s(env=[{"name": "A", "valueFrom": config}]), keeps="env-one-source")
    yield Case("env by two", k8s(env=[{"name": "A", "valueFrom": secret | config}]), breaks="env-one-source")
    yield Case("env by none", k8s(env=[{"name": "A", "valueFrom": {}}]), breaks="env-one-source")
    yield Case("env by no secret", k8s(env=[{"name": "A", "valueFrom": config}]), keeps="env-no-secret")
    yield Case("env by secret", k8s(env=[{"name": "A", "valueFrom": secret}]), breaks="env-no-secret")
    whole = {"configMapRef": {"name": "c", "optional": True}, "prefix": "P_"}
    yield Case("env from config", k8s(envFrom=[whole]), keeps="env-from-one-source")
    yield Case("env from no secret", k8s(envFrom=[whole, whole]), keeps="env-from-no-secret")
    yield Case("env from secret", k8s(envFrom=[{"secretRef": {"name": "s"}}]), breaks="env-from-no-secret")
    yield Case("env from nothing", k8s(envFrom=[{"prefix": "P_"}]), breaks="env-from-one-source")
    exists, equal = {"operator": "Exists"}, {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
    yield Case("toleration of all", k8s(tolerations=[exists]), keeps="toleration-exists")
    yield Case("toleration of all with value", k8s(tolerations=[exists | {"value": "v"}]), breaks="toleration-exists")
    yield Case("toleration of one", k8s(tolerations=[equal]), keeps="toleration-equal")
    yield Case("toleration without key", k8s(tolerations=[{"value": "v"}]), breaks="toleration-equal")


def _job_rules() -> Iterator[Case]:
    yield Case("job name of 52", job({"name": "a" * 52}), keeps="job-name-length")
    yield Case("job name of 53", job({"name": "a" * 53}), breaks="job-name-length")
    yield Case("scan alone", scan(), keeps="scan-or-tasks")
    yield Case("tasks alone", job(), keeps="scan-or-tasks")
    yield Case("neither scan nor tasks", job(tasks=...), breaks="scan-or-tasks")
    both = job(scan={"tools": ["ruff"]}, source={"path": "/srv"})
    yield Case("scan and tasks", both, breaks="scan-or-tasks")
    yield Case("routing alone", job(poolRef=..., routing={}), keeps="pool-or-routing")
    yield Case("pool and routing", job(routing={"pools": ["a"]}), breaks="pool-or-routing")
    yield Case("no pool, no routing", job(poolRef=...), breaks="pool-or-routing")
    yield Case("scan with source", scan(), keeps="scan-source")
    yield Case("scan without source", _without(scan(), "spec", "source"), breaks="scan-source")
    yield Case("task as long as job", job(timeoutSeconds=9, taskTimeoutSeconds=9), keeps="task-timeout")
    yield Case("job shorter than the default task", job(timeoutSeconds=300), keeps="task-timeout")
    yield Case("task longer than job", job(timeoutSeconds=9, taskTimeoutSeconds=10), breaks="task-timeout")
    yield Case("queue as long as job", job(timeoutSeconds=9, queueTimeoutSeconds=9), keeps="queue-timeout")
    yield Case("queue longer than job", job(queueTimeoutSeconds=3601), breaks="queue-timeout")
    yield Case("cancelled", job(cancel=True), old=job(), keeps="cancel-for-good")
    yield Case("cancel taken back", job(cancel=False), old=job(cancel=True), breaks="cancel-for-good")
    yield Case("cancel left out", job(), old=job(cancel=True), breaks="cancel-for-good")
    tree = [{"id": "one", "prompt": "mend it", "workspace": "Worktree"}]
    yield Case("worktree of a source", job(tasks=tree, source={"path": "/srv"}), keeps="worktree-source")
    yield Case("worktree of nothing", job(tasks=tree), breaks="worktree-source")
    yield Case("source from a volume", scan({"persistentVolumeClaim": {"claimName": "code"}}), keeps="one-source")
    yield Case("no source in source", scan({}), breaks="one-source")
    yield Case("two sources", scan({"path": "/srv", "archive": {"sha256": DIGEST}}), breaks="one-source")
    yield Case("absolute path", scan({"path": "/"}), keeps="path-absolute")
    yield Case("relative path", scan({"path": "srv/code"}), breaks="path-absolute")
    yield Case("path with dots", scan({"path": "/srv/..code/a..b/..."}), keeps="path-upwards")
    yield Case("path upwards", scan({"path": "/srv/../etc"}), breaks="path-upwards")
    yield Case("path upwards at the end", scan({"path": "/srv/.."}), breaks="path-upwards")
    for url in ("https://h/r.git", "ssh://git@h/r.git", "git://h/r", "git@h:group/r.git"):
        yield Case(f"url {url}", scan({"git": {"url": url}}), keeps="git-url")
    for url in (
        "--upload-pack=x",
        "file:///etc",
        "ext::sh -c x",
        "https://-oProxyCommand=x/",
        "h:r",
        "git@h:-x",
        "/srv",
    ):
        yield Case(f"url {url}", scan({"git": {"url": url}}), breaks="git-url")
    yield Case("url with port", scan({"git": {"url": "https://h:8443/r"}}), keeps="git-url-secret")
    yield Case("url with a token as user", scan({"git": {"url": "https://token@h:8443/r"}}), breaks="git-url-user")
    yield Case("url of an ssh user", scan({"git": {"url": "ssh://git@h/r"}}), keeps="git-url-user")
    yield Case("url with password", scan({"git": {"url": "https://user:secret@h/r"}}), breaks="git-url-secret")
    git = {"url": "https://h/r"}
    yield Case("revision", scan({"git": {**git, "revision": "v1.0"}}), keeps="revision-option")
    yield Case("revision as option", scan({"git": {**git, "revision": "--x"}}), breaks="revision-option")
    yield Case("base", scan({"git": {**git, "baseRevision": "main~2"}}), keeps="base-revision-option")
    yield Case("base as option", scan({"git": {**git, "baseRevision": "-x"}}), breaks="base-revision-option")
    yield Case("changed since", scan(changedSince="main"), keeps="changed-since-option")
    yield Case("changed since an option", scan(changedSince="-x"), breaks="changed-since-option")
    volume = {"claimName": "code"}
    yield Case("folder", scan({"persistentVolumeClaim": {**volume, "subPath": "a/b"}}), keeps="volume-folder")
    yield Case("folder up", scan({"persistentVolumeClaim": {**volume, "subPath": "a/.."}}), breaks="volume-folder")
    yield Case("folder at root", scan({"persistentVolumeClaim": {**volume, "subPath": "/a"}}), breaks="volume-folder")
    near = {"strategy": "affinity", "affinityKey": "repo"}
    yield Case("affinity with key", job(poolRef=..., routing=near), keeps="affinity-key")
    yield Case("affinity to what?", job(poolRef=..., routing={"strategy": "affinity"}), breaks="affinity-key")
    for key in ("", "a key"):
        routing = {"strategy": "round_robin", "affinityKey": key}
        yield Case(f"affinity key {key!r} unused", job(poolRef=..., routing=routing), breaks="affinity-key-alone")
    yield Case(
        "default strategy, with key", job(poolRef=..., routing={"affinityKey": "a"}), breaks="affinity-key-alone"
    )
    yield Case(
        "affinity with key and class",
        job(poolRef=..., routing=near | {"workerClass": "fast"}),
        keeps="affinity-key-alone",
    )
    one = {"workerName": "fast-1", "pools": ["fast"]}
    yield Case("worker of a pool", job(poolRef=..., routing=one), keeps="worker-of-one-pool")
    yield Case("several pools, no worker", job(poolRef=..., routing={"pools": ["a", "b"]}), keeps="worker-of-one-pool")
    yield Case(
        "worker of two pools", job(poolRef=..., routing=one | {"pools": ["a", "b"]}), breaks="worker-of-one-pool"
    )
    yield Case("worker of any pool", job(poolRef=..., routing={"workerName": "fast-1"}), breaks="worker-of-one-pool")
    yield Case("worker of no pool", job(poolRef=..., routing=one | {"pools": []}), breaks="worker-of-one-pool")
    yield Case("fixed chunks", scan(chunking={"mode": "Fixed", "size": 5}), keeps="chunk-size")
    yield Case("automatic chunks of a size", scan(chunking={"size": 5}), breaks="chunk-size")
    yield Case("task by reference", task(inputRef={"sha256": DIGEST}), keeps="task-kind")
    yield Case("task of nothing", task(), breaks="task-kind")
    yield Case("task of two kinds", task(command=["true"], prompt="x"), breaks="task-kind")
    yield Case("empty argument", task(command=["echo", ""]), keeps="command-name")
    yield Case("empty program", task(command=["", "x"]), breaks="command-name")


def _planned_rules() -> Iterator[Case]:
    old = planned(job(timeoutSeconds=900, taskTimeoutSeconds=60, queueTimeoutSeconds=60))
    same = {"timeoutSeconds": 900, "taskTimeoutSeconds": 60, "queueTimeoutSeconds": 60}
    changes: dict[str, dict[str, Any]] = {
        "poolRef": {"poolRef": {"name": "other"}},
        "routing": {"poolRef": ..., "routing": {"strategy": "random"}},
        "source": {"source": {"path": "/other"}},
        "scan": {"tasks": ..., "source": {"path": "/srv"}, "scan": {"tools": ["ruff"]}},
        "tasks": {"tasks": [{"id": "one", "command": ["false"]}]},
        "timeoutSeconds": {"timeoutSeconds": 901},
        "taskTimeoutSeconds": {"taskTimeoutSeconds": 61},
        "queueTimeoutSeconds": {"queueTimeoutSeconds": ...},
        "maxAttempts": {"maxAttempts": 3},
        "priority": {"priority": 5},
        "parallelism": {"parallelism": 2},
    }
    for member in FROZEN:
        rule = f"planned-{member}"
        new = job(None, **same | changes[member])
        yield Case(f"{member} changed before the plan", new, old=_without(old, "status"), keeps=rule)
        yield Case(f"{member} changed after the plan", new, old=old, breaks=rule)
    free = {"suspend": True, "cancel": True, "ttlSecondsAfterFinished": 0}
    yield Case("the rest changed after the plan", job(None, **same | free), old=old)
    yield Case("the plan failed", job(maxAttempts=3), "spec.maxAttempts", _plan_failed(planned(job())))
    two = [{"id": "a", "command": ["true"]}, {"id": "b", "command": ["true"]}]
    yield Case("tasks in another order after the plan", job(tasks=two[::-1]), old=planned(job(tasks=two)))
    both = planned(scan(tools=["ruff", "bandit"]))
    yield Case("tools in another order after the plan", scan(tools=["bandit", "ruff"]), old=both)
    yield Case(
        "globs in another order after the plan",
        scan(include=["a", "b"]),
        "spec.scan",
        planned(scan(include=["b", "a"])),
    )


def _plan_failed(manifest: Manifest) -> Manifest:
    manifest["status"]["conditions"][0] |= {"status": "False", "reason": "PlanFailed"}
    return manifest


def _shapes() -> Iterator[Case]:
    yield Case("least pool", pool())
    yield Case("unknown field", pool(minWorker=1), "spec.minWorker")
    yield Case("unknown nested field", pool(drain={"grace": 1}), "spec.drain.grace")
    yield Case("unknown field in a list", task(command=["true"], shell=True), "spec.tasks[0].shell")
    yield Case("unknown field at the top", pool() | {"specs": {}}, "specs")
    yield Case("unknown metadata", pool({"lables": {}}), "metadata.lables")
    yield Case("open affinity", k8s(affinity={"nodeAffinity": {"anything": [{"goes": None}]}}))
    yield Case("affinity as a list", k8s(affinity=[]), "spec.kubernetes.affinity")
    yield Case("no spec", _without(pool(), "spec"), "spec")
    yield Case("null spec", pool() | {"spec": None}, "spec")
    yield Case("spec is a list", pool() | {"spec": []}, "spec")
    yield Case("no backend", pool(backend=...), "spec.backend")
    yield Case("null backend", pool(backend=None), "spec.backend")
    yield Case("unknown backend", pool(backend="docker"), "spec.backend")
    yield Case("null for a default", pool(replicas=None, drain=None, autoscaling={"mode": None}))
    yield Case("null for an option", pool(recycle=None, workerClass=None))
    yield Case("null in a list", pool(allowedCommands=[None]), "spec.allowedCommands[0]")
    yield Case("number as text", pool(replicas="3"), "spec.replicas")
    yield Case("fraction", pool(replicas=2.5), "spec.replicas")
    yield Case("whole number with a fraction of zero", pool(localProcess={"memoryLimitMiB": 64.0}))
    yield Case("the same where /scale reads it", pool(replicas=3.0), "spec.replicas")
    yield Case("the same where a rule reads it", pool(minWorkers=3.0), MESSAGES["min-max"])
    yield Case("the same where a rule does not come to read it", pool(slotsPerWorker=2.0))
    yield Case("true for a number", pool(replicas=True), "spec.replicas")
    yield Case("text for true", pool(suspend="true"), "spec.suspend")
    yield Case("number for true", pool(suspend=1), "spec.suspend")
    yield Case("text for a list", task(command="true"), "spec.tasks[0].command")
    yield Case("number in a command", task(command=["sleep", 1]), "spec.tasks[0].command[1]")
    yield Case("object for a text", pool(workerClass={}), "spec.workerClass")
    yield Case("below the least", pool(replicas=-1), "spec.replicas")
    yield Case("above the greatest", pool(maxWorkers=1001), "spec.maxWorkers")
    yield Case("beyond 64 bits", pool(replicas=2**70), "spec.replicas")
    yield Case("not a name", pool(workerClass="Fast"), "spec.workerClass")
    yield Case("a name with a line break", pool(workerClass="fast\n"), "spec.workerClass")
    yield Case("an empty name", pool(workerClass=""), "spec.workerClass")
    yield Case("a name of 63", pool(workerClass="a" * 63))
    yield Case("a name of 64", pool(workerClass="a" * 64), "spec.workerClass")
    yield Case("characters count, not bytes", task(command=["echo", "é" * 1024]))
    yield Case("a character too many", task(command=["echo", "é" * 1025]), "spec.tasks[0].command[1]")
    yield Case("a namespace with a dot", pool(allowedNamespaces=["a.b"]), "spec.allowedNamespaces[0]")
    yield Case("retired twice", pool(retireWorkers=["a", "b", "a"]), "spec.retireWorkers[2]")
    yield Case("a command twice", pool(allowedCommands=["ls", "ls"]), "spec.allowedCommands[1]")
    yield Case("a tool twice", scan(tools=["ruff", "ruff"]), "spec.scan.tools[1]")
    yield Case("no tool", scan(tools=[]), "spec.scan.tools")
    yield Case("too many tools", scan(tools=[f"t{n}" for n in range(33)]), "spec.scan.tools")
    yield Case("no task", job(tasks=[]), "spec.tasks")
    twice = [{"id": "a", "command": ["true"]}, {"id": "a", "command": ["false"]}]
    yield Case("a task id twice", job(tasks=twice), "spec.tasks[1]")
    yield Case("texts for tasks", job(tasks=["a", "a"]), "spec.tasks[0]")
    yield Case("a task without id", job(tasks=[{"command": ["true"]}]), "spec.tasks[0].id")
    many = [{"id": f"t{n}", "command": ["true"]} for n in range(501)]
    yield Case("500 tasks", job(tasks=many[:500]))
    yield Case("501 tasks", job(tasks=many), "spec.tasks")
    yield Case("no command", task(command=[]), "spec.tasks[0].command")
    yield Case("files", task(prompt="x", files=["a.py", "./b", "/c", "..d/e", "a//b/"]))
    for name in ("..", "../a", "a/..", "/../a", "a/../b", ""):
        yield Case(f"file {name!r}", task(prompt="x", files=[name]), "spec.tasks[0].files[0]")
    yield Case("no digest", task(inputRef={"sha256": ""}), "spec.tasks[0].inputRef.sha256")
    yield Case("a digest in capitals", task(inputRef={"sha256": DIGEST.upper()}), "spec.tasks[0].inputRef.sha256")
    yield Case("quantities", k8s(resources={"limits": {"cpu": 2, "memory": "1.5Gi"}, "requests": {"cpu": "100m"}}))
    yield Case("no quantity", k8s(resources={"limits": {"cpu": "two"}}), "spec.kubernetes.resources.limits")
    yield Case("a fraction as quantity", k8s(resources={"limits": {"cpu": 1.5}}), "spec.kubernetes.resources.limits")
    yield Case("a quantity beyond 64 bits", k8s(resources={"limits": {"cpu": 2**63}}), "resources.limits")
    yield Case("a variable twice", k8s(env=[{"name": "A"}, {"name": "A"}]), "spec.kubernetes.env[1]")
    yield Case("no variable", k8s(env=[{"name": "A-B"}]), "spec.kubernetes.env[0].name")
    odd = {"configMapRef": {"name": "c"}, "prefix": "1-"}
    yield Case("no beginning of a variable", k8s(envFrom=[odd]), "spec.kubernetes.envFrom[0].prefix")
    yield Case("labels of a node", k8s(nodeSelector={"disk": "ssd", "a/b": ""}))
    yield Case("a number as label", k8s(nodeSelector={"disk": 1}), "spec.kubernetes.nodeSelector")
    yield Case("no fail level", scan(failOn="fatal"), "spec.scan.failOn")
    yield Case("a status in a new object is dropped", pool() | {"status": {"ready": "many"}})


def _identities() -> Iterator[Case]:
    yield Case("labels and annotations", pool({"labels": {"a": "b"}, "annotations": {"c/d": "e f"}}))
    yield Case("a label that is a number", pool({"labels": {"a": 1}}), ".labels")
    yield Case("a name with dots", pool({"name": "a.b-c.1"}))
    yield Case("a name in capitals", pool({"name": "Case"}), "metadata.name")
    yield Case("a name ending with a dash", pool({"name": "case-"}), "metadata.name")
    yield Case("a name with an empty part", pool({"name": "a..b"}), "metadata.name")
    yield Case("no name", pool({"name": None}), "name")
    yield Case("a number as name", pool({"name": 7}), "name")
    yield Case("a name to be made", pool({"name": None, "generateName": "case-"}))
    yield Case("a long name to be made", pool({"name": None, "generateName": "a" * 48}), breaks="pool-name-length")
    yield Case("another version", pool() | {"apiVersion": "mahavishnu.dev/v1"}, "v1")
    yield Case("another group", pool() | {"apiVersion": "apps/v1"}, "apps/v1")
    yield Case("another kind", pool() | {"kind": "Pool"}, "Pool")


CASES: tuple[Case, ...] = (*_pool_rules(), *_job_rules(), *_planned_rules(), *_shapes(), *_identities())
