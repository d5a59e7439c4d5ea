"""What pip needs of a lock with extras."""

from __future__ import annotations

from scripts.lock_extras import with_twins

LOCK = "a==1 \\\n    --hash=sha256:00\nb[c, d]==2 ; x\\\n    --hash=sha256:11\ne==3\n"


def test_a_pin_with_extras_has_a_twin_without() -> None:
    twin = "b[c, d]==2 ; x\\\n    --hash=sha256:11\nb==2 ; x\\\n    --hash=sha256:11\n"
    assert with_twins(LOCK) == LOCK.replace("b[c, d]==2 ; x\\\n    --hash=sha256:11\n", twin)


def test_twice_does_no_more_than_once() -> None:
    assert with_twins(with_twins(LOCK)) == with_twins(LOCK)
