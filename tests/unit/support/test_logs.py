from __future__ import annotations

import json

import pytest
import structlog

from mahavishnu_operator.support.logs import HIDDEN, configure_logging


def test_a_json_line_carries_event_level_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", json=True)
    structlog.get_logger("x").info("lease granted", task="a/b")
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"], line["task"]) == ("lease granted", "info", "a/b")


def test_a_secret_field_is_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", json=True)
    structlog.get_logger("x").info("registered", token="abc123")
    line = json.loads(capsys.readouterr().err)
    assert line["token"] == HIDDEN


def test_stdout_stays_free_of_logs(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", json=False)
    structlog.get_logger("x").warning("escape me", name="\x1b[31mred")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "\x1b[31m" not in captured.err


@pytest.mark.parametrize("as_json", [False, True])
def test_a_traceback_shows_no_local_variable(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    configure_logging(level="info", json=as_json)
    bearer = "".join(["abc", "123", "xyz"])
    try:
        raise ValueError(len(bearer))
    except ValueError:
        structlog.get_logger("x").exception("failed")
    logged = capsys.readouterr().err
    assert "ValueError" in logged
    assert bearer not in logged


def test_an_unknown_level_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'loud' is not one of debug, info, warning, error"):
        configure_logging(level="loud")
