"""Which server is meant: the command line says it, else MAHAVISHNU_URL, else a cluster that the environment names."""

from __future__ import annotations

from pathlib import Path

import pytest

from mahavishnu_operator.cli.server import find_address
from mahavishnu_operator.cli.settings import DEFAULT_URL


@pytest.mark.parametrize(
    ("given", "environment", "address"),
    [
        ({}, {}, DEFAULT_URL),
        ({}, {"KUBECONFIG": "/k"}, None),
        ({}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, None),
        ({}, {"KUBECONFIG": "/k", "MAHAVISHNU_URL": "http://127.0.0.1:1"}, "http://127.0.0.1:1"),
        ({"server": "http://127.0.0.1:2"}, {"MAHAVISHNU_URL": "http://127.0.0.1:1"}, "http://127.0.0.1:2"),
        ({"kubeconfig": Path("/k")}, {"MAHAVISHNU_URL": "http://127.0.0.1:1"}, None),
        ({"context": "c"}, {"MAHAVISHNU_URL": "http://127.0.0.1:1"}, None),
    ],
)
def test_the_address_wins_that_was_said_most_plainly(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, object], environment: dict[str, str], address: str | None
) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "MAHAVISHNU_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MAHAVISHNU_CONFIG", "/nonexistent/config.yaml")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    options = {"server": None, "kubeconfig": None, "context": None, **given}
    assert find_address(**options) == address  # type: ignore[arg-type]
