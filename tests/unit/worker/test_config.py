from __future__ import annotations

import pytest

from mahavishnu_operator.support.errors import InvalidInput
from mahavishnu_operator.worker.config import WorkerConfig, parse_config
from mahavishnu_operator.worker.pods import run_program

LINE = b'{"server": "http://127.0.0.1:1", "token": "s3cret", "pool": "ns/p", "worker": "w", "workDir": "/tmp/w"}\n'


def test_the_defaults_fill_what_the_line_leaves_out() -> None:
    config = parse_config(LINE, WorkerConfig)
    assert (config.work_dir, config.slots, config.grace_seconds) == ("/tmp/w", 1, 60.0)


def test_a_broken_line_is_refused_without_repeating_the_token() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_config(LINE.replace(b'"ns/p"', b"7"), WorkerConfig)
    assert "pool" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("program", "arguments", "why"),
    [
        ("pod-agent", [], "wants its configuration as one argument"),
        ("pod-agent", ["{}"], "server"),
        ("pod-agent", ["not JSON"], "malformed"),
        ("pod-agent", ['{"server": "s", "pool": "n/p", "worker": "w", "token": "s3cret"}'], "a tokenFile"),
        ("pod-runner", ['{"socket": 7, "workDir": "/w"}'], "socket"),
    ],
)
def test_a_pods_program_says_what_is_wrong_with_its_configuration(
    program: str, arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(program, arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert why in said
    assert "s3cret" not in said
