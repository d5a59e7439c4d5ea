from __future__ import annotations

import pytest

from mahavishnu_operator.support.errors import InvalidInput
from mahavishnu_operator.worker.config import parse_config

LINE = b'{"server": "http://127.0.0.1:1", "token": "s3cret", "pool": "ns/p", "worker": "w", "workDir": "/tmp/w"}\n'


def test_the_defaults_fill_what_the_line_leaves_out() -> None:
    config = parse_config(LINE)
    assert (config.work_dir, config.slots, config.grace_seconds) == ("/tmp/w", 1, 60.0)


def test_a_broken_line_is_refused_without_repeating_the_token() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_config(LINE.replace(b'"ns/p"', b"7"))
    assert "pool" in str(caught.value)
    assert "s3cret" not in str(caught.value)
