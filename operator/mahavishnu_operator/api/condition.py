"""Condition: one entry of status.conditions of either kind, in the shape that every Kubernetes tool reads."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StrictStr

from .base import ApiModel, Total, keyed_by
from .reasons import ConditionType, Reason


class ConditionStatus(StrEnum):
    """Whether what the type says is so."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """One observation about the object (meta/v1 Condition)."""

    type: Annotated[StrictStr, Field(min_length=1, max_length=316)] = Field(
        description="What is observed; see the reference of reasons."
    )
    status: ConditionStatus = Field(description="Whether it is so.")
    reason: Annotated[StrictStr, Field(min_length=1, max_length=1024)] = Field(
        description="Why, in one CamelCase word for programs."
    )
    message: Annotated[StrictStr, Field(max_length=32_768)] = Field("", description="Why, in words for people.")
    last_transition_time: Annotated[StrictStr, Field(min_length=1, max_length=64)] = Field(
        description="When the status last changed, RFC 3339 in UTC."
    )
    observed_generation: Total | None = Field(None, description="The metadata.generation that this was observed of.")


Conditions = Annotated[list[Condition], Field(max_length=32)]
CONDITIONS_DESCRIPTION = "What is observed; types and reasons are in the reference of reasons."
BY_TYPE = keyed_by("type")

# What an object says until a reconciler has looked at it: `kubectl get` shows no empty cell, `kubectl wait` and
# kstatus see an object in progress, and a person sees that no operator is at work. The time is the epoch: a CRD's
# default cannot know the time of creation.
UNSEEN: dict[str, Any] = {
    "type": ConditionType.READY.value,
    "status": ConditionStatus.UNKNOWN.value,
    "reason": Reason.PENDING.value,
    "message": "no operator has looked at this object yet",
    "lastTransitionTime": "1970-01-01T00:00:00Z",
}
