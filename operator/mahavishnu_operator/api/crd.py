"""The CustomResourceDefinitions, made from the models: `python -m mahavishnu_operator.api.crd --write|--check DIR`.

The files in crds/ are for those who install without this program; both come from `crd`. What must stay true:
`kubectl get` shows no empty cell, also before any operator has seen an object (the status has a default); the
order of keys is stable, so that a drift check compares text.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from typing import Any

from .generated import main
from .reasons import GROUP, VERSION
from .schema import kind_schema

_NAMES = {"WorkerPool": ("workerpools", "workerpool", "wp"), "ScanJob": ("scanjobs", "scanjob", "sj")}
_READY_REASON = '.status.conditions[?(@.type=="Ready")].reason'
_AGE = ("Age", "date", ".metadata.creationTimestamp", "Time since creation.")
_COLUMNS = {
    "WorkerPool": (
        ("Backend", "string", ".spec.backend", "Who starts the workers."),
        ("Wanted", "integer", ".spec.replicas", "Wanted workers, before minWorkers and maxWorkers."),
        ("Ready", "integer", ".status.ready", "Workers that can take a task now."),
        ("Busy", "integer", ".status.busy", "Workers with at least one task."),
        ("Queued", "integer", ".status.pendingTasks", "Tasks waiting for a worker."),
        ("Status", "string", _READY_REASON, "Why the pool is ready or not."),
        _AGE,
    ),
    "ScanJob": (
        ("Phase", "string", ".status.phase", "Where the job stands."),
        ("Verdict", "string", ".status.verdict", "The findings measured against failOn."),
        ("Tasks", "integer", ".status.tasks.total", "Tasks in the plan."),
        ("Succeeded", "integer", ".status.tasks.succeeded", "Tasks that have an answer."),
        ("Failed", "integer", ".status.tasks.failed", "Tasks that ended without an answer."),
        ("Status", "string", _READY_REASON, "Why it stands there."),
        _AGE,
    ),
}
_SCALE = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": ".status.selector",
}


def crd(kind: str) -> dict[str, Any]:
    """The CustomResourceDefinition of `WorkerPool` or `ScanJob`: a new dictionary each time."""
    plural, singular, short = _NAMES[kind]
    columns = [
        {"name": name, "type": type_, "jsonPath": path, "description": description}
        for name, type_, path, description in _COLUMNS[kind]
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": singular,
                "shortNames": [short],
                "categories": ["mahavishnu"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": copy.deepcopy(kind_schema(kind))},
                    "subresources": {"status": {}, **({"scale": dict(_SCALE)} if kind == "WorkerPool" else {})},
                }
            ],
        },
    }


def files() -> Iterator[tuple[str, str]]:
    """File name and YAML text of each CRD."""
    import yaml

    for kind in _NAMES:
        text = yaml.safe_dump(crd(kind), sort_keys=False, width=120, allow_unicode=True)
        yield f"{_NAMES[kind][0]}.{GROUP}.yaml", f"# Generated from the models (make crds): do not edit.\n{text}"


if __name__ == "__main__":
    sys.exit(main("mahavishnu_operator.api.crd", files()))
