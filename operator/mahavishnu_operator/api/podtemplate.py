"""KubernetesTemplate: the part of a Pod that the author of a WorkerPool may choose.

The pressure: a pool runs hostile code, so its Pods are ours (security context, volumes, service account,
containers) and a full PodTemplateSpec would let an author take that back. What must stay true: nothing here
can weaken the Pod's isolation; everything is typed and bounded, but affinity, whose depth would treble the CRD
and which the API server checks itself when the Pod is made.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StrictInt, StrictStr, WithJsonSchema

from .base import ApiModel, Bool, LongName, keyed_by
from .variables import NAME

_QUANTITY = r"^[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+|m|[kMGTPE]|[KMGTPE]i)?$"
Quantity = Annotated[
    Annotated[StrictInt, Field(ge=0)] | Annotated[StrictStr, Field(min_length=1, max_length=32, pattern=_QUANTITY)],
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "minimum": 0, "minLength": 1, "maxLength": 32, "pattern": _QUANTITY}
    ),
]
EnvName = Annotated[StrictStr, Field(min_length=1, max_length=256, pattern=NAME)]
LabelKey = Annotated[StrictStr, Field(min_length=1, max_length=316)]
DataKey = Annotated[StrictStr, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
OPEN: dict[str, Any] = {"x-kubernetes-preserve-unknown-fields": True}


class Resources(ApiModel):
    """Compute resources of the worker's container (core/v1 ResourceRequirements)."""

    requests: Annotated[dict[str, Quantity], Field(max_length=16)] | None = Field(
        None, description="Guaranteed amounts by resource: cpu 500m, memory 256Mi."
    )
    limits: Annotated[dict[str, Quantity], Field(max_length=16)] | None = Field(
        None, description="Greatest amounts by resource: cpu 2, memory 1Gi."
    )


class ConfigMapKey(ApiModel):
    """A key of a ConfigMap in the pool's namespace."""

    name: LongName = Field(description="Name of the ConfigMap.")
    key: DataKey = Field(description="Key within it.")
    optional: Bool = Field(False, description="Start without the variable when it is missing.")


class SecretKey(ApiModel):
    """A key of a Secret: refused, with what to do instead."""

    name: LongName = Field(description="Name of the Secret.")
    key: DataKey = Field(description="Key within it.")
    optional: Bool = Field(False, description="Start without the variable when it is missing.")


class EnvSource(ApiModel):
    """Where the value of a variable comes from: a ConfigMap."""

    config_map_key_ref: ConfigMapKey | None = Field(None, description="A key of a ConfigMap.")
    secret_key_ref: SecretKey | None = Field(None, description="Refused: a variable cannot come from a Secret.")


class EnvVar(ApiModel):
    """An environment variable of the tools and commands that a worker runs."""

    name: EnvName = Field(description="Name of the variable.")
    value: Annotated[StrictStr, Field(max_length=8192)] | None = Field(None, description="Its value, as it stands.")
    value_from: EnvSource | None = Field(None, description="Where its value comes from, instead of `value`.")


class EnvFromRef(ApiModel):
    """A ConfigMap in the pool's namespace."""

    name: LongName = Field(description="Its name.")
    optional: Bool = Field(False, description="Start without it when it is missing.")


class EnvFrom(ApiModel):
    """Variables from all keys of a ConfigMap; what cannot be a tool's variable is named in the runner's log."""

    prefix: Annotated[StrictStr, Field(max_length=64, pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")] = Field(
        "", description="Put before every name."
    )
    config_map_ref: EnvFromRef | None = Field(None, description="The ConfigMap.")
    secret_ref: EnvFromRef | None = Field(None, description="Refused: a variable cannot come from a Secret.")


class TolerationOperator(StrEnum):
    """How a toleration's key and value are matched."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """What a taint does to Pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(ApiModel):
    """A taint that the worker's Pod tolerates (core/v1 Toleration)."""

    key: LabelKey | None = Field(None, description="Key of the taint; left out with operator Exists: every key.")
    operator: TolerationOperator = Field(TolerationOperator.EQUAL, description="How key and value are matched.")
    value: Annotated[StrictStr, Field(max_length=63)] | None = Field(None, description="Value of the taint.")
    effect: TaintEffect | None = Field(None, description="Effect of the taint; left out: every effect.")
    toleration_seconds: Annotated[StrictInt, Field(ge=0, le=31_536_000)] | None = Field(
        None, description="Seconds that a NoExecute taint is tolerated; left out: for ever."
    )


class PullSecret(ApiModel):
    """A Secret to pull images with, in the pool's namespace."""

    name: LongName = Field(description="Name of the Secret.")


class NetworkPolicy(StrEnum):
    """Who writes the NetworkPolicy of the worker Pods."""

    MANAGED = "Managed"  # the operator: the dispatcher and DNS alone can be reached
    UNMANAGED = "Unmanaged"  # somebody else


class KubernetesTemplate(ApiModel):
    """A curated Pod template: what a worker Pod may be given, and nothing else."""

    image: Annotated[StrictStr, Field(min_length=1, max_length=1024)] | None = Field(
        None, description="Image of the workers; left out: the one that the operator was installed with."
    )
    resources: Resources | None = Field(None, description="Compute resources of each worker.")
    env: Annotated[list[EnvVar], Field(max_length=64)] | None = Field(
        None,
        description="Environment variables of tools and commands, each name once.",
        json_schema_extra=keyed_by("name"),
    )
    env_from: Annotated[list[EnvFrom], Field(max_length=16)] | None = Field(
        None, description="Environment variables from whole ConfigMaps, read when a Pod starts."
    )
    node_selector: Annotated[dict[str, Annotated[StrictStr, Field(max_length=63)]], Field(max_length=32)] | None = (
        Field(None, description="Labels that a node must have.")
    )
    tolerations: Annotated[list[Toleration], Field(max_length=32)] | None = Field(
        None, description="Taints that the Pods tolerate."
    )
    affinity: Annotated[dict[str, Any], Field(max_length=3)] | None = Field(
        None,
        description="core/v1 Affinity, checked when a Pod is made: nodeAffinity, podAffinity, podAntiAffinity.",
        json_schema_extra=OPEN,
    )
    priority_class_name: LongName | None = Field(None, description="PriorityClass of the Pods.")
    image_pull_secrets: Annotated[list[PullSecret], Field(max_length=16)] | None = Field(
        None, description="Secrets to pull the image with.", json_schema_extra=keyed_by("name")
    )
    runtime_class_name: LongName | None = Field(None, description="RuntimeClass of the Pods, such as gvisor.")
    network_policy: NetworkPolicy = Field(
        NetworkPolicy.MANAGED, description="Who writes the NetworkPolicy of the Pods."
    )
