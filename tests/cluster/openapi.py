"""JSON schemas for kubeconform from what an API server says of itself: the very version, and no download."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .client import Cluster

# What the API server writes as a string and takes as a number too.
LOOSE = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["string", "integer"]},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": ["string", "number"]},
}
# Where kubeconform finds the schema of an object in the folder.
LOCATION = "{{ .ResourceKind }}{{ .KindSuffix }}.json"


def write_schemas(cluster: Cluster, folder: Path) -> str:
    """Write a strict schema for each kind that the server has; the `-schema-location` for kubeconform."""
    definitions = json.loads(cluster.kubectl("get", "--raw", "/openapi/v2").stdout)["definitions"]
    strict = {name: LOOSE.get(name) or _strict(definition) for name, definition in definitions.items()}
    (folder / "definitions.json").write_text(json.dumps({"definitions": strict}))
    for name, definition in definitions.items():
        for kind in definition.get("x-kubernetes-group-version-kind", ()):
            group = kind["group"].split(".")[0]
            parts = [kind["kind"], *([group] if group else []), kind["version"]]
            schema = {"$ref": f"file://{folder}/definitions.json#/definitions/{name}"}
            (folder / f"{'-'.join(parts).lower()}.json").write_text(json.dumps(schema))
    return f"{folder}/{LOCATION}"


def _strict(definition: dict[str, Any]) -> dict[str, Any]:
    """The same where no object may have a property that is not named; what is nested is a definition of its own."""
    if "properties" not in definition or "additionalProperties" in definition:
        return definition
    return {**definition, "additionalProperties": False}
