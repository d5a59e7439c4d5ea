from __future__ import annotations

import pytest

from mahavishnu_operator.cli.several import do_each
from mahavishnu_operator.resources.protocol import Key, Unreachable
from mahavishnu_operator.support.errors import NotFound

KEYS = [Key("default", name) for name in ("a", "gone", "b", "a")]


async def test_one_that_is_not_there_spares_none_of_the_others_and_each_is_asked_once() -> None:
    asked: list[str] = []

    async def act(key: Key) -> str:
        asked.append(key.name)
        if key.name == "gone":
            raise NotFound("no such thing")
        return key.name.upper()

    done, refused = await do_each(KEYS, act)
    assert (list(done.values()), [key.name for key in refused]) == (["A", "B"], ["gone"])
    assert asked == ["a", "gone", "b"]


async def test_where_nobody_answers_the_rest_is_not_asked() -> None:
    async def act(key: Key) -> None:
        raise Unreachable(f"no answer for {key}")

    with pytest.raises(Unreachable, match="default/a"):
        await do_each(KEYS, act)
