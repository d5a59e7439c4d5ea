from __future__ import annotations

from typing import Any

import pytest

from mahavishnu_operator.client.declared import declared_by


def wrote(manager: str, operation: str = "Update") -> dict[str, Any]:
    return {
        "managedFields": [
            {"manager": "mahavishnu", "operation": "Update"},
            {"manager": manager, "operation": operation},
        ]
    }


@pytest.mark.parametrize(
    ("meta", "tool"),
    [
        ({}, ""),
        ({"managedFields": [{}], "labels": None}, ""),
        (wrote("mahavishnu-autoscaler"), ""),
        (wrote("kubectl-edit"), ""),
        ({"labels": {"app.kubernetes.io/managed-by": "mahavishnu"}}, ""),
        ({"labels": {"app.kubernetes.io/managed-by": "Helm"}}, "Helm"),
        ({"labels": {"argocd.argoproj.io/instance": "apps"}}, "Argo CD"),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "x"}}, "Argo CD"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}, "Flux"),
        ({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}}, "kubectl apply"),
        (wrote("argocd-controller"), "Argo CD"),
        (wrote("kubectl-client-side-apply"), "kubectl apply"),
        (wrote("kustomize-controller", "Apply"), "Flux"),
        (wrote("my-pipeline", "Apply"), "my-pipeline"),
    ],
)
def test_labels_annotations_and_field_managers_tell_who_declares_an_object(meta: dict[str, Any], tool: str) -> None:
    assert declared_by({"metadata": {"name": "p", **meta}}) == tool
