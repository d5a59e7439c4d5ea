"""What is left out of collections."""

from __future__ import annotations

import gc

from mahavishnu_operator.support.collecting import settle


def test_what_is_there_is_left_out_of_later_collections() -> None:
    before = gc.get_freeze_count()
    try:
        settle()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
