"""The Job that brings the files of a ScanJob: a pure function to a manifest.

The pressure: credentials and private volumes must not meet what a git server sends, nor the dispatcher's token meet
either, and the operator must never see a Secret. So there are two containers, one after the other: `fetch` has the
Secret or the volume and no token, `upload` has the token and nothing but the archive. What must stay true: admitted
under the restricted Pod Security Standard; no credentials of the API server; owned by its ScanJob, without finalizer;
the kubelet ends it in bounded time whatever happens; only our own image runs in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mahavishnu_operator.api.reasons import API_VERSION, Label
from mahavishnu_operator.api.scanjob import Source
from mahavishnu_operator.resources.protocol import SCAN_JOB, Key, Obj

from .pods import TOKEN_FOLDER, TOKEN_SECONDS, USER, locked_down
from .settings import JOB, KubernetesSettings

FETCH, UPLOAD, COMPONENT = "fetch", "upload", "source"
CREDENTIALS_FOLDER, CLAIM_FOLDER, ARCHIVE_FOLDER = "/var/run/mahavishnu/credentials", "/source", "/archive"
DEADLINE_SECONDS = 900  # of one try, waiting for a node and for images included
KEPT_SECONDS = 900  # after its end: for people, and for counting tries
MOST_DISK = "4Gi"  # a repository as it comes, and its archive
MAX_NAME = 63 - len("-source-00000000-00")
FETCH_RESOURCES = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}}
UPLOAD_RESOURCES = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
PLACEMENT = ("nodeSelector", "tolerations", "affinity", "priorityClassName", "imagePullSecrets")


@dataclass(frozen=True, kw_only=True)
class SourceWanted:
    """Whose files are to be brought. `placement`: spec.kubernetes of the pool, where it is of the same namespace."""

    job: Key
    uid: str
    source: Source
    timeout_seconds: int
    number: int = 1
    placement: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The Job's: no other ScanJob's, and no other try's."""
        return f"{self.job.name[:MAX_NAME].rstrip('.-')}-source-{self.uid[:8]}-{self.number}"


def source_job(wanted: SourceWanted, settings: KubernetesSettings) -> Obj:
    """The manifest of one try."""
    labels = {
        Label.COMPONENT: COMPONENT,
        Label.MANAGED_BY: "mahavishnu",
        Label.SCAN_JOB_UID: wanted.uid,
    }
    return {
        "apiVersion": JOB.api,
        "kind": JOB.kind,
        "metadata": {
            "name": wanted.name,
            "namespace": wanted.job.namespace,
            "labels": labels,
            "annotations": {Label.TRY: str(wanted.number)},
            "ownerReferences": [_owner(wanted)],
        },
        "spec": {
            "backoffLimit": 0,  # each try is a Job of its own, which the operator decides on
            "activeDeadlineSeconds": min(DEADLINE_SECONDS, wanted.timeout_seconds),
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {"metadata": {"labels": labels}, "spec": _pod(wanted, settings)},
        },
    }


def _owner(wanted: SourceWanted) -> Obj:
    return {
        "apiVersion": API_VERSION,
        "kind": SCAN_JOB.kind,
        "name": wanted.job.name,
        "uid": wanted.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _pod(wanted: SourceWanted, settings: KubernetesSettings) -> Obj:
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [_fetch(wanted, settings)],
        "containers": [_upload(wanted, settings)],
        "volumes": _volumes(wanted.source, settings),
    }
    for name in PLACEMENT:
        if wanted.placement.get(name):
            pod[name] = wanted.placement[name]
    if wanted.placement.get("runtimeClassName"):
        pod["runtimeClassName"] = wanted.placement["runtimeClassName"]
    return pod


def _fetch(wanted: SourceWanted, settings: KubernetesSettings) -> Obj:
    mounts: list[Obj] = [
        {"name": "archive", "mountPath": ARCHIVE_FOLDER},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 (a folder of the Pod's own)
    ]
    environment = [{"name": "MAHAVISHNU_LOG_LEVEL", "value": settings.log_level}]
    git, claim = wanted.source.git, wanted.source.persistent_volume_claim
    if git is not None:
        if settings.git_ca_pem:
            environment.append({"name": "MAHAVISHNU_GIT_CA_PEM", "value": settings.git_ca_pem})
        arguments = ["--git", git.url, "--revision", git.revision]
        arguments += ["--base-revision", git.base_revision] if git.base_revision else []
        if git.credentials_secret_ref is not None:
            arguments += ["--credentials", CREDENTIALS_FOLDER, "--secret-name", git.credentials_secret_ref.name]
            mounts.append({"name": "credentials", "mountPath": CREDENTIALS_FOLDER, "readOnly": True})
    elif claim is not None:
        arguments = ["--folder", CLAIM_FOLDER, "--sub-path", claim.sub_path]
        mounts.append({"name": "claim", "mountPath": CLAIM_FOLDER, "readOnly": True})
    else:
        raise ValueError(f"ScanJob {wanted.job} has no source that a Job brings")
    return {
        "name": FETCH,
        "image": settings.image,
        "args": ["source-fetch", *arguments, "--into", ARCHIVE_FOLDER],
        "env": environment,
        "resources": FETCH_RESOURCES,
        "securityContext": locked_down(),
        "volumeMounts": mounts,
    }


def _upload(wanted: SourceWanted, settings: KubernetesSettings) -> Obj:
    return {
        "name": UPLOAD,
        "image": settings.image,
        "args": [
            *("source-upload", "--from", ARCHIVE_FOLDER, "--dispatcher", settings.dispatcher_url),
            *("--scanjob", str(wanted.job), "--token-file", f"{TOKEN_FOLDER}/token"),
        ],
        "env": [
            {"name": "MAHAVISHNU_LOG_LEVEL", "value": settings.log_level},
            *([{"name": "MAHAVISHNU_DISPATCHER_CA", "value": settings.ca_pem}] if settings.ca_pem else []),
        ],
        "resources": UPLOAD_RESOURCES,
        "securityContext": locked_down(),
        "volumeMounts": [
            {"name": "token", "mountPath": TOKEN_FOLDER, "readOnly": True},
            {"name": "archive", "mountPath": ARCHIVE_FOLDER, "readOnly": True},
        ],
    }


def _volumes(source: Source, settings: KubernetesSettings) -> list[Obj]:
    token = {"path": "token", "audience": settings.audience, "expirationSeconds": TOKEN_SECONDS}
    volumes: list[Obj] = [
        {"name": "token", "projected": {"sources": [{"serviceAccountToken": token}], "defaultMode": 0o440}},
        {"name": "archive", "emptyDir": {"sizeLimit": MOST_DISK}},
        {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},  # what git is told of credentials
    ]
    if source.git is not None and source.git.credentials_secret_ref is not None:
        # Optional: our program says at once that it is not there; the kubelet would only wait.
        secret = {"secretName": source.git.credentials_secret_ref.name, "optional": True, "defaultMode": 0o440}
        volumes.append({"name": "credentials", "secret": secret})
    if source.persistent_volume_claim is not None:
        claim = {"claimName": source.persistent_volume_claim.claim_name, "readOnly": True}
        volumes.append({"name": "claim", "persistentVolumeClaim": claim})
    return volumes
