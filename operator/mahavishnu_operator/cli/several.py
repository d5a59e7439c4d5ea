"""The same for each of several objects that a person names: one that refuses keeps none of the others from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from mahavishnu_operator.resources.protocol import Key, Unreachable
from mahavishnu_operator.support.errors import MahavishnuError

T = TypeVar("T")


async def do_each(
    keys: Iterable[Key], act: Callable[[Key], Awaitable[T]]
) -> tuple[dict[Key, T], dict[Key, MahavishnuError]]:
    """What came of each, and why others refused. Unreachable: nobody answers, so the rest is not asked."""
    done: dict[Key, T] = {}
    refused: dict[Key, MahavishnuError] = {}
    for key in dict.fromkeys(keys):
        try:
            done[key] = await act(key)
        except Unreachable:
            raise
        except MahavishnuError as error:
            refused[key] = error
    return done, refused
