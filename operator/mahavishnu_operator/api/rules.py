"""The rules that one field alone cannot express, in CEL: written once, evaluated by every server.

The API server evaluates them from the CRD (x-kubernetes-validations), the embedded one evaluates the same text
(expressions.py), so a manifest gets one verdict everywhere. What must stay true: each rule has an accepting and
a refusing case in tests/manifest_cases.py, run against both; a message says what is allowed, in words that need
no knowledge of CEL; a rule uses only what both evaluators know. They differ in: optional selection (`.?`) and
the string extensions, which the embedded one lacks; the size of strings that are not ASCII; and the order of
lists that are sets or maps, which only the API server ignores (so no rule may index into one).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from .variables import RESERVED_BEGINNINGS, SET_BY_WORKER

MAX_NAME = 52  # a worker's name is its pool's and 9 characters, and has to fit into a label: 63


@dataclass(frozen=True)
class Rule:
    """`rule` must hold for the value at `at` (members joined by dots, `[]` for the items of a list; "" the object).

    `field` is the member that the refusal points at, `oldSelf` in the text makes it a rule about changes.
    """

    name: str
    kind: Literal["WorkerPool", "ScanJob"]
    at: str
    rule: str
    message: str
    field: str = ""

    @property
    def steps(self) -> tuple[str, ...]:
        """The way from the object's root: member names and `[]`."""
        return tuple(re.findall(r"\[\]|[^.\[\]]+", self.at))

    @property
    def is_transition(self) -> bool:
        """Whether it is about a change, and so is asked on updates alone."""
        return re.search(r"\boldSelf\b", self.rule) is not None

    def as_validation(self) -> dict[str, Any]:
        """The entry of x-kubernetes-validations."""
        entry = {"rule": self.rule, "message": self.message}
        return {**entry, "fieldPath": f".{self.field}"} if self.field else entry


def _pool(name: str, at: str, rule: str, message: str, field: str = "") -> Rule:
    return Rule(name, "WorkerPool", at, rule, message, field)


def _job(name: str, at: str, rule: str, message: str, field: str = "") -> Rule:
    return Rule(name, "ScanJob", at, rule, message, field)


def _exactly_one(*members: str) -> str:
    return f"[{', '.join(f'has(self.{m})' for m in members)}].filter(set, set).size() == 1"


_SHORT_NAME = f"self.metadata.name.size() <= {MAX_NAME}"
_SHORT_NAME_MESSAGE = (
    f"metadata.name must be at most {MAX_NAME} characters, so that names made from it fit into a label"
)
# Whoever may make a pool chooses what runs in it, and the operator's account is held to Pods without (docs/adr/0015).
_CONFIG_MAPS_ALONE = (
    "a variable cannot come from a Secret: all who may make a pool here, and all code that it runs, could read that "
    "Secret; put what is no secret into a ConfigMap, and the credentials of a git server into the ScanJob's "
    "source.git.credentialsSecretRef"
)

_POOL_RULES = (
    _pool("pool-name-length", "", _SHORT_NAME, _SHORT_NAME_MESSAGE),
    _pool(
        "memory-of-others",
        "",
        "!has(self.spec.memory) || !has(self.spec.memory.readFrom) || "
        "!(self.metadata.name in self.spec.memory.readFrom)",
        "memory.readFrom must name other pools: a pool reads its own memory anyway",
        "spec.memory.readFrom",
    ),
    _pool(
        "min-max", "spec", "self.minWorkers <= self.maxWorkers", "minWorkers must be at most maxWorkers", "minWorkers"
    ),
    _pool(
        "backend-immutable",
        "spec",
        "self.backend == oldSelf.backend",
        "the backend of a pool cannot change: make another pool and delete this one",
        "backend",
    ),
    _pool(
        "kubernetes-block",
        "spec",
        "!has(self.kubernetes) || self.backend == 'kubernetes'",
        "kubernetes can only be set with backend kubernetes",
        "kubernetes",
    ),
    _pool(
        "local-process-block",
        "spec",
        "!has(self.localProcess) || self.backend == 'local-process'",
        "localProcess can only be set with backend local-process",
        "localProcess",
    ),
    _pool(
        "session-buddy-block",
        "spec",
        "!has(self.sessionBuddy) || self.backend == 'session-buddy'",
        "sessionBuddy can only be set with backend session-buddy",
        "sessionBuddy",
    ),
    _pool(
        "session-buddy-required",
        "spec",
        "self.backend != 'session-buddy' || has(self.sessionBuddy)",
        "backend session-buddy needs sessionBuddy.url",
        "sessionBuddy",
    ),
    _pool(
        "per-task-backend",
        "spec",
        "self.isolation != 'PerTask' || self.backend == 'kubernetes'",
        "isolation PerTask needs backend kubernetes: only there a task can have a Pod of its own",
        "isolation",
    ),
    _pool(
        "per-task-slots",
        "spec",
        "self.isolation != 'PerTask' || self.slotsPerWorker == 1",
        "isolation PerTask needs slotsPerWorker 1: a Pod of its own runs one task",
        "slotsPerWorker",
    ),
    _pool(
        "per-task-number",
        "spec",
        "self.isolation != 'PerTask' || (self.minWorkers == 0 && self.replicas == 1 && self.maxWorkers > 0)",
        "with isolation PerTask workers come and go with the tasks: leave minWorkers and replicas at their defaults, "
        "0 and 1, and bound the workers by maxWorkers",
        "replicas",
    ),
    _pool(
        "per-task-life",
        "spec",
        "self.isolation != 'PerTask' || (self.autoscaling.mode == 'Off' && !has(self.recycle) && "
        "(!has(self.retireWorkers) || self.retireWorkers.size() == 0))",
        "with isolation PerTask no worker outlives its task: leave out autoscaling.mode, recycle and retireWorkers",
        "isolation",
    ),
    _pool(
        "isolation-immutable",
        "spec",
        "self.isolation == oldSelf.isolation",
        "the isolation of a pool cannot change: make another pool and delete this one",
        "isolation",
    ),
    _pool(
        "autoscaling-room",
        "spec",
        "self.autoscaling.mode == 'Off' || self.minWorkers < self.maxWorkers",
        "autoscaling needs minWorkers below maxWorkers, or mode Off: there is nothing to scale",
        "autoscaling",
    ),
    _pool(
        "recycle-when",
        "spec.recycle",
        "has(self.maxTasks) || has(self.maxAgeSeconds)",
        "recycle needs maxTasks or maxAgeSeconds, or leave recycle out",
    ),
    _pool(
        "env-name",
        "spec.kubernetes.env[]",
        f"!(self.name in [{', '.join(map(repr, SET_BY_WORKER))}])"
        + "".join(f" && !self.name.startsWith('{beginning}')" for beginning in RESERVED_BEGINNINGS),
        f"{', '.join(SET_BY_WORKER)} and names that begin with {', '.join(RESERVED_BEGINNINGS)} are the worker's own: "
        "choose another name, or set it in the task's command, as in [env, NAME=VALUE, program]",
        "name",
    ),
    _pool(
        "env-one-value",
        "spec.kubernetes.env[]",
        "!(has(self.value) && has(self.valueFrom))",
        "a variable has value or valueFrom, not both",
    ),
    _pool(
        "env-one-source",
        "spec.kubernetes.env[].valueFrom",
        _exactly_one("configMapKeyRef", "secretKeyRef"),
        "exactly one of configMapKeyRef and secretKeyRef must be set",
    ),
    _pool(
        "env-no-secret",
        "spec.kubernetes.env[].valueFrom",
        "!has(self.secretKeyRef)",
        _CONFIG_MAPS_ALONE,
        "secretKeyRef",
    ),
    _pool(
        "env-from-one-source",
        "spec.kubernetes.envFrom[]",
        _exactly_one("configMapRef", "secretRef"),
        "exactly one of configMapRef and secretRef must be set",
    ),
    _pool("env-from-no-secret", "spec.kubernetes.envFrom[]", "!has(self.secretRef)", _CONFIG_MAPS_ALONE, "secretRef"),
    _pool(
        "toleration-exists",
        "spec.kubernetes.tolerations[]",
        "self.operator != 'Exists' || !has(self.value)",
        "a toleration with operator Exists has no value",
        "value",
    ),
    _pool(
        "toleration-equal",
        "spec.kubernetes.tolerations[]",
        "self.operator != 'Equal' || has(self.key)",
        "a toleration with operator Equal needs a key",
        "key",
    ),
)

_NO_OPTION = "!self.startsWith('-')"
_NO_OPTION_MESSAGE = "a revision must not begin with '-': git would take it for an option"
_UPWARDS = "self.matches('(^|/)[.][.](/|$)')"

# An edit after planning has begun could not be acted on: the tasks are durable and partly done. The condition is read
# from the object as stored, which a real API server (1.35) hands to a rule at the root with its status, also when
# spec alone is written; so a job can still be corrected while it waits, and GitOps is told at once when it cannot.
_PLANNED = (
    "has(oldSelf.status) && has(oldSelf.status.conditions) && oldSelf.status.conditions.exists(c, c.type == 'Planned')"
)
FROZEN = (
    "poolRef",
    "routing",
    "source",
    "scan",
    "tasks",
    "timeoutSeconds",
    "taskTimeoutSeconds",
    "queueTimeoutSeconds",
    "maxAttempts",
    "priority",
    "parallelism",
)


def _frozen(member: str) -> Rule:
    new, old = f"self.spec.{member}", f"oldSelf.spec.{member}"
    return _job(
        f"planned-{member}",
        "",
        f"!({_PLANNED}) || (has({new}) == has({old}) && (!has({new}) || {new} == {old}))",
        f"{member} cannot change once planning has begun: make another ScanJob "
        "(suspend, cancel and ttlSecondsAfterFinished still can)",
        f"spec.{member}",
    )


# They ask for the same spec: where it is the same they hold, and most of all writes are of a status.
HOLD_WITHOUT_A_CHANGE_OF_SPEC = frozenset(_frozen(member).rule for member in FROZEN)

_JOB_RULES = (
    _job("job-name-length", "", _SHORT_NAME, _SHORT_NAME_MESSAGE),
    *(_frozen(member) for member in FROZEN),
    _job("scan-or-tasks", "spec", _exactly_one("scan", "tasks"), "exactly one of scan and tasks must be set"),
    _job(
        "pool-or-routing", "spec", _exactly_one("poolRef", "routing"), "exactly one of poolRef and routing must be set"
    ),
    _job(
        "scan-source",
        "spec",
        "!has(self.scan) || has(self.source)",
        "a scan needs a source: path, git, archive or persistentVolumeClaim",
        "source",
    ),
    _job(
        "task-timeout",
        "spec",
        "!has(self.taskTimeoutSeconds) || self.taskTimeoutSeconds <= self.timeoutSeconds",
        "taskTimeoutSeconds must be at most timeoutSeconds (3600 unless set): a task cannot outlast its job",
        "taskTimeoutSeconds",
    ),
    _job(
        "queue-timeout",
        "spec",
        "!has(self.queueTimeoutSeconds) || self.queueTimeoutSeconds <= self.timeoutSeconds",
        "queueTimeoutSeconds must be at most timeoutSeconds (3600 unless set)",
        "queueTimeoutSeconds",
    ),
    _job(
        "cancel-for-good",
        "spec",
        "!oldSelf.cancel || self.cancel",
        "cancel cannot be taken back: make another ScanJob",
        "cancel",
    ),
    _job(
        "worktree-source",
        "spec",
        "has(self.source) || !has(self.tasks) || !self.tasks.exists(task, task.workspace == 'Worktree')",
        "workspace Worktree needs a source to make a copy of",
        "source",
    ),
    _job(
        "one-source",
        "spec.source",
        _exactly_one("path", "git", "archive", "persistentVolumeClaim"),
        "exactly one of path, git, archive and persistentVolumeClaim must be set",
    ),
    _job("path-absolute", "spec.source.path", "self.startsWith('/')", "the path must be absolute: it begins with '/'"),
    _job("path-upwards", "spec.source.path", f"!{_UPWARDS}", "the path must not have a '..' in it"),
    _job(
        "git-url",
        "spec.source.git.url",
        "self.matches('^(https|ssh|git)://[^-/]') || self.matches('^[A-Za-z0-9_][-A-Za-z0-9_.]*@[^-/:][^/:]*:[^-]')",
        "the url must be https://..., ssh://..., git://... or user@host:path",
    ),
    _job(
        "git-url-secret",
        "spec.source.git.url",
        "!self.matches('^[a-z]+://[^/@]*:[^/]*@')",
        "a password does not belong into the url, where everybody can read it: use credentialsSecretRef",
    ),
    _job(
        "git-url-user",
        "spec.source.git.url",
        "!self.matches('^(https|git)://[^/]*@')",
        "nobody's name or token belongs into the url, where everybody can read it: use credentialsSecretRef",
    ),
    _job("revision-option", "spec.source.git.revision", _NO_OPTION, _NO_OPTION_MESSAGE),
    _job("base-revision-option", "spec.source.git.baseRevision", _NO_OPTION, _NO_OPTION_MESSAGE),
    _job("changed-since-option", "spec.scan.changedSince", _NO_OPTION, _NO_OPTION_MESSAGE),
    _job(
        "volume-folder",
        "spec.source.persistentVolumeClaim.subPath",
        f"!self.startsWith('/') && !{_UPWARDS}",
        "the folder within the volume must be relative and without '..'",
    ),
    _job(
        "affinity-key",
        "spec.routing",
        "self.strategy != 'affinity' || has(self.affinityKey)",
        "strategy affinity needs an affinityKey",
        "affinityKey",
    ),
    _job(
        "affinity-key-alone",
        "spec.routing",
        "!has(self.affinityKey) || self.strategy == 'affinity'",
        "affinityKey can only be set with strategy affinity: the others do not look at it",
        "affinityKey",
    ),
    _job(
        "worker-of-one-pool",
        "spec.routing",
        "!has(self.workerName) || (has(self.pools) && self.pools.size() == 1)",
        "workerName needs exactly one name in pools: the pool whose worker it is",
        "workerName",
    ),
    _job(
        "chunk-size",
        "spec.scan.chunking",
        "!has(self.size) || self.mode == 'Fixed'",
        "size can only be set with mode Fixed",
        "size",
    ),
    _job(
        "task-kind",
        "spec.tasks[]",
        _exactly_one("command", "prompt", "inputRef"),
        "exactly one of command, prompt and inputRef must be set",
    ),
    _job("command-name", "spec.tasks[].command", "self[0] != ''", "the first item is the program, which needs a name"),
)

RULES: tuple[Rule, ...] = (*_POOL_RULES, *_JOB_RULES)
