from __future__ import annotations

from pathlib import Path

import pytest

from mahavishnu_operator.cli.settings import DEFAULT_URL, load_settings
from mahavishnu_operator.support.errors import InvalidInput


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "config.yaml"
    monkeypatch.setenv("MAHAVISHNU_CONFIG", str(file))
    return file


def test_without_file_and_environment_the_defaults_hold() -> None:
    assert load_settings().url == DEFAULT_URL


def test_the_file_is_read(config: Path) -> None:
    config.write_text("url: http://127.0.0.1:9\nworkers: 3\n")
    assert (load_settings().url, load_settings().workers) == ("http://127.0.0.1:9", 3)


def test_the_environment_wins_over_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("workers: 3\n")
    monkeypatch.setenv("MAHAVISHNU_WORKERS", "5")
    assert load_settings().workers == 5


def test_a_misspelt_setting_in_the_file_is_an_error_that_names_it(config: Path) -> None:
    config.write_text("worker: 3\n")
    with pytest.raises(InvalidInput, match="worker: Extra inputs"):
        load_settings()


def test_the_token_is_not_in_the_printed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAHAVISHNU_TOKEN", "s3cret")
    assert "s3cret" not in repr(load_settings())


def test_a_log_level_that_does_not_exist_is_an_error_that_names_those_that_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAHAVISHNU_LOG_LEVEL", "loud")
    with pytest.raises(InvalidInput, match=r"log_level: .*'debug'.*'error'"):
        load_settings()
