"""The newest changes in memory: what they answer, and when the file is to be asked."""

from __future__ import annotations

from mahavishnu_operator.resources.embedded.recent import Noted, Recent
from mahavishnu_operator.resources.embedded.tables import Change
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, EventType, Key, Kind


def change(
    version: int, *, kind: Kind = SCAN_JOB, namespace: str = "default", name: str = "a", size: int = 1
) -> Change:
    meta = {"namespace": namespace, "name": name, "resourceVersion": str(version)}
    return Change(version, EventType.MODIFIED, {"kind": kind.kind, "metadata": meta}, {}, size)


def recent(*changes: Change, first: int = 1, **bounds: int) -> Recent:
    """After a write of that version, with these after it, each of a write of its own."""
    made = Recent(**bounds)
    made.note(Noted(first - 1, first, 0, [change(first)]))
    before = first
    for each in changes:
        made.note(Noted(before, each.version, 0, [each]))
        before = each.version
    return made


def versions(found: tuple[int, list[Change]] | None) -> list[int] | None:
    return None if found is None else [each.version for each in found[1]]


def test_who_keeps_up_is_told_what_came_after() -> None:
    known = recent(change(2), change(3), change(4))
    assert versions(known.after(SCAN_JOB, None, 2)) == [3, 4]
    assert known.after(SCAN_JOB, None, 4) == (4, [])


def test_each_is_told_of_a_kind_and_namespace() -> None:
    known = recent(change(2, kind=WORKER_POOL), change(3, namespace="other"), change(4))
    assert versions(known.after(SCAN_JOB, None, 1)) == [3, 4]
    assert versions(known.after(SCAN_JOB, "default", 1)) == [4]
    assert versions(known.after(WORKER_POOL, "default", 1)) == [2]


def test_a_version_before_the_first_write_or_after_the_last_is_the_files_to_answer() -> None:
    known = recent(change(2))
    assert known.after(SCAN_JOB, None, 0) is None
    assert known.after(SCAN_JOB, None, 3) is None
    assert Recent().after(SCAN_JOB, None, 0) is None


def test_a_write_without_changes_moves_the_newest_version() -> None:
    known = recent()
    known.note(Noted(1, 5, 0, []))
    assert known.after(SCAN_JOB, None, 1) == (5, [])


def test_a_change_that_may_be_missing_ends_what_is_known() -> None:
    known = recent(change(2))
    known.note(Noted(3, 4, 0, [change(4)]))
    assert known.after(SCAN_JOB, None, 2) is None
    assert known.latest(SCAN_JOB, Key("default", "a")) is None
    known.note(Noted(2, 3, 0, [change(3)]))  # it comes late
    assert known.after(SCAN_JOB, None, 3) is None
    known.note(Noted(4, 5, 0, [change(5)]))
    assert versions(known.after(SCAN_JOB, None, 4)) == [5]


def test_what_history_has_forgotten_is_not_told() -> None:
    known = recent(change(2))
    known.note(Noted(2, 3, 2, [change(3)]))
    assert known.after(SCAN_JOB, None, 1) is None
    assert versions(known.after(SCAN_JOB, None, 2)) == [3]


def test_it_is_bounded_by_number_and_by_size() -> None:
    for bounds in ({"most_changes": 2}, {"most_bytes": 25}):
        known = recent(change(2, size=10), change(3, size=10), change(4, size=10), **bounds)
        assert known.after(SCAN_JOB, None, 1) is None
        assert versions(known.after(SCAN_JOB, None, 2)) == [3, 4]


def test_an_object_is_known_by_its_last_change_as_long_as_that_is() -> None:
    known = recent(change(2), change(3, name="b"), change(4, name="c"), most_changes=2)
    assert known.latest(SCAN_JOB, Key("default", "a")) is None
    found = known.latest(SCAN_JOB, Key("default", "b"))
    assert found is not None
    assert found.version == 3
    assert known.latest(WORKER_POOL, Key("default", "b")) is None
