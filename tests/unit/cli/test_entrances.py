from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mahavishnu_operator.cli.entrances import Auth, Entrance
from mahavishnu_operator.support.errors import InvalidInput

TOKEN = "t" * 16
LOCAL = Entrance("127.0.0.1", 8680, Auth.SHARED_TOKEN, "gw", "", (), None, None, allow_plain_http=False)
REVIEWED: dict[str, Any] = {"auth": Auth.TOKEN_REVIEW, "host": "0.0.0.0"}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"host": "::1"},
        {"auth": Auth.TOKEN_REVIEW},
        {"host": "0.0.0.0", "token": TOKEN, "certificate": Path(__file__), "key": Path(__file__)},
        {**REVIEWED, "allow_plain_http": True},
    ],
)
def test_what_lets_in_nobody_unmeant_is_opened(more: dict[str, Any]) -> None:
    replace(LOCAL, **more).check()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"host": "0.0.0.0", "allow_plain_http": True}, "whoever reaches it runs commands"),
        ({"host": "0.0.0.0", "token": TOKEN}, "in the clear"),
        (REVIEWED, "in the clear"),
        ({"auth": Auth.TOKEN_REVIEW, "token": TOKEN}, "exclude each other"),
        ({"auth": Auth.TOKEN_REVIEW, "audience": ""}, "--audience is empty"),
        ({"certificate": Path(__file__)}, "belong together"),
        ({"certificate": Path("/gone"), "key": Path(__file__)}, "--tls-cert /gone is no file"),
        ({"token": "short"}, "has 5 characters"),
    ],
)
def test_what_would_is_refused_in_words(more: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        replace(LOCAL, **more).check()
