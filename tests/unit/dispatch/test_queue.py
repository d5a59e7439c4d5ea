"""The order in which tasks are handed out, as a pure structure."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mahavishnu_operator.dispatch import queue as queue_module
from mahavishnu_operator.dispatch.queue import Taken, TaskQueue


def drain(queue: TaskQueue, now: float = 0.0) -> Iterator[Taken]:
    while (taken := queue.pop(now)) is not None:
        yield taken


def filled(**tasks_of: int) -> TaskQueue:
    queue = TaskQueue()
    for uid, count in tasks_of.items():
        queue.add_job(uid)
        for seq in range(count):
            queue.push(uid, f"t{seq}", seq=seq)
    return queue


def test_tasks_of_a_job_come_in_order_of_seq() -> None:
    queue = TaskQueue()
    queue.add_job("a")
    for seq in (2, 0, 1):
        queue.push("a", f"t{seq}", seq=seq)
    assert [taken.task for taken in drain(queue)] == ["t0", "t1", "t2"]


def test_a_task_with_priority_goes_before_its_siblings() -> None:
    queue = filled(a=2)
    queue.push("a", "urgent", seq=9, priority=1)
    taken = queue.pop(0.0)
    assert taken == Taken("a", "urgent")


def test_job_and_task_priority_add_up_between_jobs() -> None:
    queue = TaskQueue()
    queue.add_job("low", priority=0)
    queue.add_job("high", priority=5)
    queue.push("high", "plain", seq=0)
    queue.push("low", "urgent", seq=0, priority=6)
    assert [taken.task for taken in drain(queue)] == ["urgent", "plain"]


def test_jobs_of_one_priority_take_turns() -> None:
    queue = filled(a=3, b=3)
    assert [taken.job for taken in drain(queue)] == ["a", "b", "a", "b", "a", "b"]


def test_the_job_with_fewer_running_tasks_is_served_first() -> None:
    queue = filled(a=3, b=3)
    assert [queue.pop(0.0), queue.pop(0.0), queue.pop(0.0)] == [Taken("a", "t0"), Taken("b", "t0"), Taken("a", "t1")]
    queue.finished("a")
    queue.finished("a")
    assert queue.pop(0.0) == Taken("a", "t2")


def test_a_single_task_does_not_wait_behind_a_long_job() -> None:
    queue = filled(long=1000)
    queue.pop(0.0)
    queue.add_job("short")
    queue.push("short", "only", seq=0)
    assert queue.pop(0.0) == Taken("short", "only")


def test_parallelism_holds_a_job_back_until_a_task_ends() -> None:
    queue = TaskQueue()
    queue.add_job("a", parallelism=1)
    queue.push("a", "t0", seq=0)
    queue.push("a", "t1", seq=1)
    assert queue.pop(0.0) == Taken("a", "t0")
    assert queue.pop(0.0) is None
    queue.finished("a")
    assert queue.pop(0.0) == Taken("a", "t1")


def test_tasks_leased_before_a_restart_count_for_parallelism() -> None:
    queue = TaskQueue()
    queue.add_job("a", parallelism=1)
    queue.started("a")
    queue.push("a", "t1", seq=1)
    assert queue.pop(0.0) is None


def test_a_paused_job_yields_nothing_and_counts_nothing_until_resumed() -> None:
    queue = filled(a=2)
    queue.pause("a", True)
    assert queue.pop(0.0) is None
    assert len(queue) == 0
    queue.pause("a", False)
    assert len(queue) == 2
    assert len(list(drain(queue))) == 2


def test_a_delayed_task_ripens_at_its_time() -> None:
    queue = TaskQueue()
    queue.add_job("a")
    queue.push("a", "later", seq=0, not_before=5.0)
    assert queue.pop(4.9) is None
    assert queue.next_ripe() == 5.0
    assert queue.pop(5.0) == Taken("a", "later")
    assert queue.next_ripe() is None


def test_cleared_tasks_do_not_come_back_even_delayed_ones() -> None:
    queue = filled(a=2)
    queue.push("a", "later", seq=9, not_before=1.0)
    queue.clear("a")
    assert queue.pop(2.0) is None
    assert queue.next_ripe() is None
    assert len(queue) == 0


def test_a_removed_job_yields_nothing_even_when_its_name_comes_back() -> None:
    queue = filled(a=1)
    queue.push("a", "later", seq=9, not_before=1.0)
    queue.remove_job("a")
    queue.add_job("a")
    assert queue.pop(2.0) is None


def test_a_task_cannot_wait_twice() -> None:
    queue = filled(a=1)
    with pytest.raises(ValueError, match="a/t0 waits already"):
        queue.push("a", "t0", seq=0)


def test_a_choice_costs_few_heap_operations_whatever_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: Counter[str] = Counter()

    def counting(name: str) -> None:
        real = getattr(heapq, name)

        def call(*args: object) -> object:
            counted[name] += 1
            return real(*args)

        monkeypatch.setattr(queue_module, name, call)

    for name in ("heappush", "heappop", "heapify"):
        counting(name)
    tasks = 3000
    queue = TaskQueue()
    for job in range(30):
        queue.add_job(str(job))
    for task in range(tasks):
        queue.push(str(task % 30), str(task), seq=task)
    for taken in drain(queue):
        queue.finished(taken.job)
    assert counted["heappush"] + counted["heappop"] < 8 * tasks
    assert counted["heapify"] <= tasks / 10


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=6))
def test_no_job_gets_more_than_one_task_ahead_of_an_equal_one(sizes: list[int]) -> None:
    queue = filled(**{f"job{n}": size for n, size in enumerate(sizes)})
    served: Counter[str] = Counter()
    left = Counter({f"job{n}": size for n, size in enumerate(sizes)})
    for taken in drain(queue):
        waiting = [job for job in left if left[job] > 0 and job != taken.job]
        assert all(served[taken.job] <= served[job] for job in waiting)
        served[taken.job] += 1
        left[taken.job] -= 1
