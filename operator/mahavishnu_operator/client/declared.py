"""Whether an object is declared elsewhere: by GitOps, Helm or a manifest that somebody applied; pure.

The pressure: whoever deletes what a GitOps tool owns has it made again a minute later, and the work in it is lost for
nothing. What must stay true: both what such tools write on an object and how they write it tell; a doubt counts as
declared, because keeping is what can be undone.
"""

from __future__ import annotations

from mahavishnu_operator.api.reasons import Label
from mahavishnu_operator.resources.protocol import Obj

OURS = "mahavishnu"
_MARKS = {
    "argocd.argoproj.io/instance": "Argo CD",
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
    "meta.helm.sh/release-name": "Helm",
    "kubectl.kubernetes.io/last-applied-configuration": "kubectl apply",
}
_MANAGERS = {
    "kubectl-client-side-apply": "kubectl apply",
    "argocd-controller": "Argo CD",
    "argocd-application-controller": "Argo CD",
    "kustomize-controller": "Flux",
    "helm-controller": "Flux",
    "helm": "Helm",
}


def declared_by(obj: Obj) -> str:
    """Who else says what the object shall be; empty: nobody."""
    meta = obj["metadata"]
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    for mark, tool in _MARKS.items():
        if mark in labels or mark in annotations:
            return tool
    keeper = str(labels.get(Label.MANAGED_BY) or OURS)
    if keeper != OURS:
        return keeper
    for entry in meta.get("managedFields") or ():
        manager = str(entry.get("manager") or "")
        if entry.get("operation") == "Apply":
            return _MANAGERS.get(manager, manager or "an apply")
        if manager in _MANAGERS:
            return _MANAGERS[manager]
    return ""
