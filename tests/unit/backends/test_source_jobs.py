"""The Job that brings files: its manifest, and how it stands by what is seen of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mahavishnu_operator.api.reasons import Reason
from mahavishnu_operator.api.scanjob import Source
from mahavishnu_operator.api.source_outcome import Failure
from mahavishnu_operator.backends.kubernetes.settings import KubernetesSettings
from mahavishnu_operator.backends.kubernetes.source_manifests import SourceWanted, source_job
from mahavishnu_operator.backends.kubernetes.source_phases import SourceJob, SourcePhase, observe_source_job
from mahavishnu_operator.resources.protocol import Key, Obj

SETTINGS = KubernetesSettings(
    image="image", dispatcher_url="https://name.system.svc:8681", ca_pem="PEM", git_ca_pem="GIT PEM"
)
GIT = {"git": {"url": "https://h/x", "revision": "main", "credentialsSecretRef": {"name": "key"}}}
CLAIM = {"persistentVolumeClaim": {"claimName": "files", "subPath": "a/b"}}


def manifest(source: dict[str, Any] | None = None, *, name: str = "job", **more: Any) -> Obj:
    wanted = SourceWanted(
        job=Key("ns", name),
        uid="12345678-aaaa",
        source=Source.model_validate(source or GIT),
        timeout_seconds=60,
        **more,
    )
    return source_job(wanted, SETTINGS)


def test_its_name_fits_and_tells_the_scanjob_the_uid_and_the_try() -> None:
    assert manifest(number=3)["metadata"]["name"] == "job-source-12345678-3"
    assert len(manifest(name="n" * 253, number=99)["metadata"]["name"]) <= 63


def test_it_ends_with_its_scanjob_at_the_latest_and_is_never_repeated_by_others() -> None:
    spec = manifest()["spec"]
    assert (spec["activeDeadlineSeconds"], spec["backoffLimit"]) == (60, 0)


@pytest.mark.parametrize("source", [GIT, CLAIM])
def test_no_container_has_both_the_token_and_what_it_guards(source: dict[str, Any]) -> None:
    pod = manifest(source)["spec"]["template"]["spec"]
    for container in (*pod["initContainers"], *pod["containers"]):
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert not ("token" in mounted and mounted & {"credentials", "claim"})


def test_a_claim_is_mounted_read_only_twice_over() -> None:
    pod = manifest(CLAIM)["spec"]["template"]["spec"]
    (claim,) = [volume for volume in pod["volumes"] if volume["name"] == "claim"]
    assert claim["persistentVolumeClaim"] == {"claimName": "files", "readOnly": True}
    mounts = pod["initContainers"][0]["volumeMounts"]
    assert {"name": "claim", "mountPath": "/source", "readOnly": True} in mounts


def test_the_secret_is_a_mount_and_in_no_argument_or_variable() -> None:
    pod = manifest()["spec"]["template"]["spec"]
    assert "secretKeyRef" not in json.dumps(pod)
    assert "envFrom" not in json.dumps(pod)


@pytest.mark.parametrize(("source", "told"), [(GIT, True), (CLAIM, False)])
def test_who_proves_git_servers_is_told_to_whoever_asks_one(source: dict[str, Any], told: bool) -> None:
    (fetch,) = manifest(source)["spec"]["template"]["spec"]["initContainers"]
    assert ({"name": "MAHAVISHNU_GIT_CA_PEM", "value": "GIT PEM"} in fetch["env"]) is told


def test_it_is_placed_as_the_pools_workers_are() -> None:
    pod = manifest(placement={"nodeSelector": {"a": "b"}, "image": "evil", "env": ["x"]})["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"a": "b"}
    assert "evil" not in json.dumps(pod)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://name.system.svc:8681", "/api/v1/namespaces/system/services/https:name:8681/proxy"),
        ("http://name.system.svc.cluster.local", "/api/v1/namespaces/system/services/http:name:80/proxy"),
        ("https://127.0.0.1:8681", ""),
        ("https://scan.example.com", ""),
    ],
)
def test_people_reach_the_dispatcher_through_its_service(url: str, path: str) -> None:
    assert KubernetesSettings(image="image", dispatcher_url=url).proxy_path == path


def job(*conditions: dict[str, str]) -> Obj:
    meta = {"name": "j", "annotations": {"mahavishnu.dev/try": "2"}}
    return {"metadata": meta, "status": {"conditions": [{"status": "True"} | each for each in conditions]}}


def pod(**status: Any) -> Obj:
    return {"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": status}


def ended(message: str, *, code: int = 1) -> dict[str, Any]:
    return {"name": "fetch", "state": {"terminated": {"exitCode": code, "message": message}}}


FAILED = {"type": "Failed", "reason": "BackoffLimitExceeded", "lastTransitionTime": "2026-01-01T00:00:10Z"}


def test_what_our_program_said_is_why_it_failed() -> None:
    said = json.dumps({"reason": "RevisionNotFound", "message": "no such branch", "failure": "final"})
    seen = observe_source_job(job(FAILED), pod(phase="Failed", initContainerStatuses=[ended(said)]))
    assert seen == SourceJob(
        "j", 2, SourcePhase.FAILED, Reason.REVISION_NOT_FOUND, "no such branch", Failure.FINAL, seen.ended_at
    )
    assert seen.ended_at > 0


@pytest.mark.parametrize("said", ["", "Killed", '{"reason": 1}', "[]"])
def test_other_words_are_no_verdict(said: str) -> None:
    seen = observe_source_job(job(FAILED), pod(phase="Failed", initContainerStatuses=[ended(said)]))
    assert (seen.reason, seen.failure) == (Reason.SOURCE_FAILED, Failure.PASSES)


def test_an_eviction_and_a_deadline_may_pass() -> None:
    evicted = observe_source_job(job(FAILED), pod(phase="Failed", reason="Evicted", message="out of disk"))
    assert (evicted.failure, "Evicted: out of disk" in evicted.message) == (Failure.PASSES, True)
    late = observe_source_job(job(FAILED | {"reason": "DeadlineExceeded"}), None)
    assert "DeadlineExceeded" in late.message


def test_a_job_without_a_pod_says_who_refuses_it() -> None:
    seen = observe_source_job(job(), None, refused="exceeded quota")
    assert (seen.phase, seen.reason, "exceeded quota" in seen.message) == (
        SourcePhase.RUNNING,
        Reason.POD_REFUSED,
        True,
    )
