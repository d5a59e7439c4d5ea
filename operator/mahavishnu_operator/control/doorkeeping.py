"""Who may bring the files of a ScanJob, and who may read its report (docs/adr/0013).

The pressure: people come with certificates, OIDC and plugins that only the API server understands, and through a
proxy that takes their credentials away; a source Job's Pod comes with a token. What must stay true: a person shows a
key whose digest stands on the ScanJob, so whoever may write the ScanJob speaks for it and nobody else; a Pod is
believed by the UIDs of its controller and of that one's controller, read from the API server now; a refusal tells
nothing of others.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from mahavishnu_operator.api.reasons import JobPhase, Label
from mahavishnu_operator.backends.kubernetes.ownership import controller_of
from mahavishnu_operator.backends.kubernetes.settings import JOB, KubernetesSettings
from mahavishnu_operator.dispatch.errors import Contradicted, Forbidden, TokenUnknown, TryAgain
from mahavishnu_operator.dispatch.protocol import Permit, Proof
from mahavishnu_operator.resources.protocol import SCAN_JOB, Key, Obj, Resources
from mahavishnu_operator.support.errors import InvalidInput, MahavishnuError, NotFound

from .sources import Supply, supply_of
from .token_review import PodTokens

KEY_FORM = re.compile(r"[A-Za-z0-9_-]{32,128}")


def make_doorkeeper(resources: Resources, settings: KubernetesSettings | None) -> Doorkeeper:
    """In a cluster Pods are believed too; without one there are none."""
    if settings is None:
        return Doorkeeper(resources, tokens=None)
    from mahavishnu_operator.resources.kubernetes import KubernetesResources

    cluster = resources if isinstance(resources, KubernetesResources) else None
    return Doorkeeper(resources, tokens=PodTokens(cluster, audience=settings.audience) if cluster else None)


class Doorkeeper:
    """See dispatch.protocol.Doorkeeper. `tokens` None: no Pod can be believed here."""

    def __init__(self, resources: Resources, *, tokens: PodTokens | None) -> None:
        self._resources, self._tokens = resources, tokens

    async def permit_upload(self, namespace: str, name: str, proof: Proof) -> Permit:
        """Who brings the archive: the person who made the ScanJob, or its source Job."""
        key = Key(namespace, name)
        if proof.key:
            job = await self._opened_by(key, proof.key)
            sha256 = str((((job.get("spec") or {}).get("source") or {}).get("archive") or {}).get("sha256") or "")
            if not sha256:
                raise Contradicted(f"ScanJob {key} names no archive", hint="set spec.source.archive.sha256")
            _still_open(job)
            return Permit(job["metadata"]["uid"], namespace, sha256=sha256)
        job = await self._controlling(key, proof.token)
        if supply_of((job.get("spec") or {}).get("source")) is not Supply.JOB:
            raise Forbidden(f"the files of ScanJob {key} are not brought by a Job")
        _still_open(job)
        return Permit(job["metadata"]["uid"], namespace, resolves=True)

    async def permit_reading(self, namespace: str, name: str, proof: Proof) -> Permit:
        """Who reads: whoever may write the ScanJob."""
        job = await self._opened_by(Key(namespace, name), proof.key)
        return Permit(job["metadata"]["uid"], namespace)

    async def _opened_by(self, key: Key, secret: str) -> Obj:
        """The ScanJob whose annotation has the digest of that key."""
        job = await self._read(key) if KEY_FORM.fullmatch(secret) else None
        wanted = str(((job or {"metadata": {}})["metadata"].get("annotations") or {}).get(Label.ACCESS_KEY, ""))
        if job is None or not hmac.compare_digest(
            wanted.encode(), hashlib.sha256(secret.encode()).hexdigest().encode()
        ):
            raise Forbidden(
                f"no ScanJob {key} is opened by this key",
                hint=f"its annotation {Label.ACCESS_KEY.value} must be the key's SHA-256; `mahavishnu report` sets it",
            )
        return job

    async def _controlling(self, key: Key, token: str) -> Obj:
        """The ScanJob that controls the Job that controls the Pod whose token this is."""
        if self._tokens is None:
            raise TokenUnknown("no Pod brings files to this dispatcher", hint="it has no API server to ask about Pods")
        pod = await self._tokens.pod_of(token)
        if pod is None:
            raise TokenUnknown("the token is not known", hint="it has expired, or is for another audience")
        if pod["metadata"]["namespace"] != key.namespace:
            raise Forbidden(f"Pod {Key.of(pod)} brings nothing for namespace {key.namespace}")
        owner = controller_of(pod)
        if owner is not None and (owner["kind"], owner["apiVersion"]) == (JOB.kind, JOB.api):
            source_job = await self._read(Key(key.namespace, owner["name"]), kind_is_job=True)
            above = controller_of(source_job) if source_job and source_job["metadata"]["uid"] == owner["uid"] else None
            if above is not None and (above["kind"], above["apiVersion"]) == (SCAN_JOB.kind, SCAN_JOB.api):
                job = await self._read(key)
                if job is not None and (above["name"], above["uid"]) == (key.name, job["metadata"]["uid"]):
                    return job
        raise Forbidden(
            f"Pod {Key.of(pod)} is not of a Job that ScanJob {key} controls", hint="the operator starts such Jobs"
        )

    async def _read(self, key: Key, *, kind_is_job: bool = False) -> Obj | None:
        """The object now, past every cache: the ScanJob may be younger than what a watch has told."""
        try:
            return await self._resources.get(JOB if kind_is_job else SCAN_JOB, key)
        except (NotFound, InvalidInput):
            return None
        except MahavishnuError as error:
            raise TryAgain(f"{key} could not be read: {error}", hint="try again", reason="Unreachable") from error


def _still_open(job: Obj) -> None:
    if JobPhase((job.get("status") or {}).get("phase") or JobPhase.PENDING).terminal:
        raise Contradicted(f"ScanJob {Key.of(job)} has ended", hint="make a new one")
