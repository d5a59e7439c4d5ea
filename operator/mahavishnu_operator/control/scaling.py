"""Carries the autoscaler's decisions out: the one place where this program writes spec.replicas.

The pressure: a manifest in Git, `kubectl scale` and an autoscaler all have a say about one number. What must stay true:
it is written through /scale alone, by a field manager of its own, so that applying a manifest without replicas changes
nothing; only on the version of the object that it was decided on, so that a change which came between is not undone;
not again before that write has come back. What is remembered here is only what was written last: who forgets it may
say a less exact reason in status.lastScale.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from mahavishnu_operator.api.reasons import Reason
from mahavishnu_operator.resources.protocol import WORKER_POOL, Key, Obj, Resources
from mahavishnu_operator.support.errors import Conflict, MahavishnuError, NotFound

from .autoscaling import STEADY, ScaleDecision, decide_scale, scale_state
from .census import PoolState
from .conditions import seconds_of
from .pool_status import last_scale
from .pools import PoolDecision

log = structlog.get_logger(__name__)

AUTOSCALER = "mahavishnu-autoscaler"  # the field manager of spec.replicas in mode Internal
RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Written:
    """A number that was written to spec.replicas, why, and which object it was decided on: its UID and generation."""

    replicas: int
    reason: Reason
    on: tuple[str, int]


class Scaler:
    """Scales the pools of mode Internal. No two calls for one pool at a time."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._written: dict[Key, Written] = {}
        self._errors: dict[Key, str] = {}

    def written(self, key: Key) -> tuple[int, Reason] | None:
        """The number that was written last, and why."""
        written = self._written.get(key)
        return None if written is None else (written.replicas, written.reason)

    def decide(self, key: Key, obj: Obj, state: PoolState, decision: PoolDecision, *, old: Obj) -> ScaleDecision:
        """What is to be written now. `old` is the status that was written last."""
        written = self._written.get(key)
        if written is not None and written.on == _identity(obj):
            return STEADY  # what the object says is older than what was written
        if written is not None and (old.get("lastScale") or {}).get("to") == written.replicas:
            del self._written[key]  # the status has it: the next change to that number may be somebody else's
        last = last_scale(state, decision, old.get("lastScale"))
        view = scale_state(state, decision, changed_at=seconds_of(last["time"]) if last else None)
        return STEADY if view is None else decide_scale(view)

    def shown(self, key: Key, scaling: ScaleDecision) -> ScaleDecision:
        """The decision as the status shows it: one that cannot be carried out says why."""
        error = self._errors.get(key)
        if scaling.replicas is None or error is None:
            return scaling
        return ScaleDecision(reason=Reason.SCALE_FAILED, message=error)

    async def carry_out(self, key: Key, obj: Obj, scaling: ScaleDecision, *, version: str) -> float | None:
        """Write the number, bound to that version of the object; seconds until the next look, or None."""
        if scaling.replicas is None:
            self._errors.pop(key, None)
            return scaling.look_again
        try:
            await self._resources.scale(WORKER_POOL, key, scaling.replicas, field_manager=AUTOSCALER, version=version)
        except (Conflict, NotFound):
            return RETRY_SECONDS  # somebody was quicker; what they did comes by the watch, and is decided on anew
        except MahavishnuError as error:
            log.warning("a pool could not be scaled", pool=str(key), replicas=scaling.replicas, error=str(error))
            self._errors[key] = f"replicas {scaling.replicas} could not be written: {error}"
            return RETRY_SECONDS
        log.info("a pool is scaled", pool=str(key), replicas=scaling.replicas, reason=scaling.reason.value)
        self._errors.pop(key, None)
        self._written[key] = Written(scaling.replicas, scaling.reason, _identity(obj))
        return None

    def forget(self, key: Key) -> None:
        """The pool is gone."""
        self._written.pop(key, None)
        self._errors.pop(key, None)


def _identity(obj: Obj) -> tuple[str, int]:
    return obj["metadata"]["uid"], obj["metadata"].get("generation", 1)
