"""Installed once, whole, and anew when a lock is another."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from . import installing
from .installing import InstallError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MAHAVISHNU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(installing, "HERE", tmp_path)
    (tmp_path / "a.lock").write_text("1")
    return tmp_path


def test_what_was_left_half_done_is_done_anew_and_what_is_done_stays(folder: Path) -> None:
    def half(content: Path) -> None:
        (content / "half").touch()
        raise InstallError

    with pytest.raises(InstallError):
        installing._ensure("set", ("a.lock",), half)
    content = installing._ensure("set", ("a.lock",), lambda content: (content / "whole").touch())
    assert installing._ensure("set", ("a.lock",), half) == content
    assert [each.name for each in content.iterdir()] == ["whole"]


def test_another_lock_is_another_folder(folder: Path) -> None:
    first = installing._ensure("set", ("a.lock",), lambda content: None)
    (folder / "a.lock").write_text("2")
    assert installing._ensure("set", ("a.lock",), lambda content: None) != first


def test_what_an_installer_says_is_shown() -> None:
    with pytest.raises(InstallError, match=r"(?s)it cannot be installed.*no such thing"):
        installing._run("it", [sys.executable, "-c", "import sys; sys.exit('no such thing')"])
