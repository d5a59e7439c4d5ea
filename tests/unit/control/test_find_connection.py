"""Which API server the operator talks to when several could be meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mahavishnu_operator.control.operator import find_connection
from mahavishnu_operator.support.errors import InvalidInput

POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def kubeconfig(folder: Path, server: str) -> Path:
    file = folder / "config"
    context = {"name": "c", "context": {"cluster": "c"}}
    config = {"contexts": [context], "clusters": [{"name": "c", "cluster": {"server": server}}], "current-context": "c"}
    file.write_text(json.dumps(config))
    return file


def test_the_named_kubeconfig_wins_in_a_pod(tmp_path: Path) -> None:
    found = find_connection(kubeconfig(tmp_path, "https://named:6443"), environ=POD)
    assert found.server == "https://named:6443"


def test_the_kubeconfig_of_the_environment_wins_in_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = kubeconfig(tmp_path, "https://environment:6443")
    monkeypatch.setenv("KUBECONFIG", str(file))
    assert find_connection(environ={**POD, "KUBECONFIG": str(file)}).server == "https://environment:6443"


def test_a_pod_without_its_service_account_is_told_so() -> None:
    with pytest.raises(InvalidInput, match="the Pod must mount its service account"):
        find_connection(environ=POD)


def test_elsewhere_the_file_that_kubectl_reads_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".kube").mkdir()
    kubeconfig(tmp_path / ".kube", "https://home:6443")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert find_connection(environ={}).server == "https://home:6443"
