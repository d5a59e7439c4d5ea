"""Whose a Pod is that shows its token: the API server says so, by TokenReview, and the Pod's owner.

The pressure: a label can be written by whoever may make a Pod, and a name comes again; a UID does not. What must stay
true: a token is believed only if the API server finds it valid now, for our audience, and bound to a Pod that exists
and that the very WorkerPool controls which the worker names, itself or through a Job; each link by its UID.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mahavishnu_operator.backends.kubernetes.ownership import controller_of
from mahavishnu_operator.backends.kubernetes.settings import JOB, POD
from mahavishnu_operator.dispatch.errors import Forbidden, TryAgain
from mahavishnu_operator.dispatch.protocol import Identity
from mahavishnu_operator.resources.protocol import WORKER_POOL, Key, Kind, Obj
from mahavishnu_operator.support.errors import MahavishnuError, NotFound

if TYPE_CHECKING:
    from mahavishnu_operator.resources.kubernetes import KubernetesResources

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
POD_NAME, POD_UID = "authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"
MAX_TOKEN = 16 * 1024  # characters; a service account's has about a thousand


async def review_token(resources: KubernetesResources, token: str, *, audience: str) -> Obj | None:
    """The user whose token it is, as the API server says now; None: nobody's, or not for this audience."""
    if token.count(".") != 2 or len(token) > MAX_TOKEN:
        return None
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [audience]},
    }
    status: dict[str, Any] = (await resources.post_json(REVIEWS, body)).get("status") or {}
    if not status.get("authenticated") or audience not in (status.get("audiences") or ()):
        return None
    user: Obj = status.get("user") or {}
    return user


class PodTokens:
    """Which Pod a token is of, as the API server says now."""

    def __init__(self, resources: KubernetesResources, *, audience: str) -> None:
        self.resources, self._audience = resources, audience

    async def pod_of(self, token: str) -> Obj | None:
        """The Pod that a token is bound to; None: nobody's. Forbidden: bound to none, or to one that has gone.

        TryAgain: the API server gave no answer.
        """
        try:
            user = await review_token(self.resources, token, audience=self._audience)
            if user is None:
                return None
            key, uid = _pod_of(user)
            return await self._pod(key, uid)
        except Forbidden:
            raise
        except MahavishnuError as error:
            raise TryAgain(
                f"the API server could not say whose token this is: {error}", hint="try again", reason="Unreachable"
            ) from error

    async def _pod(self, key: Key, uid: str) -> Obj:
        pod = await self.very(POD, key, uid)
        if pod is None:
            raise Forbidden(f"Pod {key} of this token has gone", hint="a new Pod has a token of its own")
        return pod

    async def very(self, kind: Kind, key: Key, uid: str) -> Obj | None:
        """The object with that name and UID, as the API server has it now."""
        try:
            obj = await self.resources.get(kind, key)
        except NotFound:
            return None
        return obj if obj["metadata"]["uid"] == uid else None


class TokenReviewer:
    """`identify(token)`: which worker it is. `pool_uid` answers the UID of a pool that exists, or None."""

    def __init__(self, tokens: PodTokens, *, pool_uid: Callable[[Key], str | None]) -> None:
        self._tokens, self._pool_uid = tokens, pool_uid

    async def identify(self, token: str) -> Identity | None:
        """The worker behind a token; None: nobody's. Forbidden: a Pod's that is no worker. TryAgain: no answer."""
        pod = await self._tokens.pod_of(token)
        if pod is None:
            return None
        try:
            return await self._worker(Key.of(pod), pod)
        except Forbidden:
            raise
        except MahavishnuError as error:
            raise TryAgain(
                f"the API server could not say whose Pod this is: {error}", hint="try again", reason="Unreachable"
            ) from error

    async def _worker(self, key: Key, pod: Obj) -> Identity:
        owner, name, once = controller_of(pod), key.name, False
        if owner is not None and _is(owner, JOB):
            job = await self._tokens.very(JOB, Key(key.namespace, owner["name"]), owner["uid"])
            if job is None:
                raise Forbidden(f"Pod {key} belongs to a Job {owner['name']} that has gone", hint="it will be deleted")
            owner, name, once = controller_of(job), job["metadata"]["name"], True
        if owner is None or not _is(owner, WORKER_POOL):
            raise Forbidden(f"Pod {key} is not controlled by a WorkerPool", hint="workers are started by the operator")
        pool = Key(key.namespace, owner["name"])
        if self._pool_uid(pool) != owner["uid"]:
            raise Forbidden(
                f"Pod {key} belongs to a WorkerPool {pool} that does not exist any more", hint="it will be deleted"
            )
        # The Pod of a Job is made busy and stays so: nothing has to be marked before its lease.
        return Identity(str(pool), name, guarded=not once, once=once)


def _is(owner: Obj, kind: Kind) -> bool:
    return (owner["kind"], owner["apiVersion"]) == (kind.kind, kind.api)


def _pod_of(user: Obj) -> tuple[Key, str]:
    """Namespace, name and UID of the Pod that a token is bound to. Forbidden: it is bound to none."""
    extra = user.get("extra") or {}
    names, uids = list(extra.get(POD_NAME) or ()), list(extra.get(POD_UID) or ())
    prefix, _, rest = str(user.get("username", "")).rpartition("system:serviceaccount:")
    namespace = rest.partition(":")[0]
    if prefix or not namespace or len(names) != 1 or len(uids) != 1:
        raise Forbidden(
            f"the token of {user.get('username')!r} is not bound to a Pod", hint="mount a projected token in the Pod"
        )
    return Key(namespace, names[0]), uids[0]
