"""Who calls, and what they may do: the API server says both, by TokenReview and SubjectAccessReview.

The pressure: the gateway has the rights of all its callers together, so each act must be one that this caller could do
without it; and no caller may lend it more, as impersonation would. What must stay true: a token is believed only if the
API server finds it valid for our audience; what it says holds for SECONDS and no longer; nothing is allowed because it
could not be asked.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mahavishnu_operator.api.reasons import GROUP, VERSION
from mahavishnu_operator.control.token_review import review_token
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import Forbidden, Obj
from mahavishnu_operator.support.errors import MahavishnuError

from .remembered import Remembered

SECONDS = 10.0  # that an answer of the API server holds: a right that is taken away, or a token, works no longer
MOST_TOKENS, MOST_ACTS = 2_000, 20_000  # answers that are held
AT_ONCE = 32  # reviews under way
ACCESS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


@dataclass(frozen=True)
class Identity:
    """A user as the API server named it; all of it decides what they may do."""

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @classmethod
    def of(cls, user: Obj) -> Identity:
        """The identity in the `user` of a TokenReview."""
        extra: Mapping[str, Any] = user.get("extra") or {}
        return cls(
            str(user.get("username") or ""),
            str(user.get("uid") or ""),
            tuple(user.get("groups") or ()),
            tuple((name, tuple(values)) for name, values in sorted(extra.items())),
        )

    @property
    def home(self) -> str:
        """The namespace of a service account; empty: it is none."""
        parts = self.username.split(":")
        return parts[2] if parts[:2] == ["system", "serviceaccount"] and len(parts) == 4 else ""


@dataclass(frozen=True)
class Act:
    """What is about to be done with a kind of object. `namespace` None: in all; `name` empty: with any."""

    verb: str
    resource: str
    namespace: str | None
    name: str = ""
    subresource: str = ""
    group: str = GROUP
    version: str = VERSION

    def __str__(self) -> str:
        what = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        what = f"{what} {self.name}" if self.name else what
        where = "in all namespaces" if self.namespace is None else f"in namespace {self.namespace}"
        return f"{self.verb} {what} {where}"


@dataclass
class Reviews:
    """What an API server says of callers. Errors: Unreachable, and Forbidden when it does not let us ask."""

    resources: KubernetesResources
    audience: str
    _tokens: Remembered[str, Identity | None] = field(
        default_factory=lambda: Remembered(seconds=SECONDS, most=MOST_TOKENS)
    )
    _acts: Remembered[tuple[Identity, Act], bool] = field(
        default_factory=lambda: Remembered(seconds=SECONDS, most=MOST_ACTS)
    )
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def identify(self, token: str) -> Identity | None:
        """Whose token it is; None: nobody's, or not for us."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()  # no token is kept
        return await self._tokens.get(digest, lambda: self._whose(token))

    async def allow(self, who: Identity, act: Act) -> bool:
        """Whether they may do it."""
        if act.name:  # whoever may do it with any object is asked about once, not for each
            anyone = Act(act.verb, act.resource, act.namespace, "", act.subresource, act.group, act.version)
            if await self.allow(who, anyone):
                return True
        return await self._acts.get((who, act), lambda: self._may(who, act))

    async def check(self, who: Identity, act: Act) -> None:
        """Forbidden, in words, unless they may do it."""
        if not await self.allow(who, act):
            raise refusal(who, act)

    async def _whose(self, token: str) -> Identity | None:
        async with self._gate:
            user = await review_token(self.resources, token, audience=self.audience)
        return Identity.of(user) if user is not None and user.get("username") else None

    async def _may(self, who: Identity, act: Act) -> bool:
        attributes = {
            "verb": act.verb,
            "group": act.group,
            "version": act.version,
            "resource": act.resource,
            "subresource": act.subresource,
            "namespace": act.namespace or "",
            "name": act.name,
        }
        spec: Obj = {"user": who.username, "groups": list(who.groups), "resourceAttributes": attributes}
        spec |= {"uid": who.uid} if who.uid else {}
        spec |= {"extra": {name: list(values) for name, values in who.extra}} if who.extra else {}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        async with self._gate:
            try:
                status = (await self.resources.post_json(ACCESS, body)).get("status") or {}
            except Forbidden as error:
                raise MahavishnuError(
                    f"the gateway may not ask the API server what {who.username} may do: {error.message}",
                    hint="its own account needs `create` on subjectaccessreviews and tokenreviews",
                    reason="Forbidden",
                ) from None
        return status.get("allowed") is True and not status.get("denied")


def refusal(who: Identity, act: Act) -> Forbidden:
    """That they may not do it, and what to do about it."""
    return Forbidden(
        f"{who.username} may not {act}",
        hint="the gateway does for its callers what they may do themselves: whoever administers that namespace gives "
        "the right, as by a RoleBinding to the ClusterRole admin, edit or view",
    )
