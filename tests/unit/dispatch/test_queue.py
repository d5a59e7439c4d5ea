"""The order in which tasks are handed out, as a pure structure."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

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


class AnyOrder(RuleBasedStateMachine):
    """Whatever is done to the queue: nothing lost, nothing twice, limits kept, the best goes first."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = TaskQueue()
        self.now = 0.0
        self.waiting: dict[str, dict[str, tuple[int, int, float]]] = {}
        self.running: Counter[str] = Counter()
        self.paused: set[str] = set()
        self.priority: dict[str, int] = {}
        self.limit: dict[str, int] = {}
        self.numbers = 0

    @rule(priority=st.integers(-2, 2), limit=st.integers(0, 3), paused=st.booleans())
    def add_job(self, priority: int, limit: int, paused: bool) -> None:
        self.numbers += 1
        uid = f"j{self.numbers}"
        self.queue.add_job(uid, priority=priority, parallelism=limit, paused=paused)
        self.waiting[uid], self.priority[uid], self.limit[uid] = {}, priority, limit
        if paused:
            self.paused.add(uid)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), priority=st.integers(-2, 2), delay=st.integers(0, 3))
    def push(self, data: st.DataObject, priority: int, delay: int) -> None:
        self.numbers += 1
        uid, task = data.draw(st.sampled_from(sorted(self.waiting))), f"t{self.numbers}"
        not_before = self.now + delay if delay else None
        self.queue.push(uid, task, seq=self.numbers, priority=priority, not_before=not_before)
        self.waiting[uid][task] = (-priority - self.priority[uid], self.numbers, not_before or self.now)

    @rule(seconds=st.integers(1, 2))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    def leasable(self) -> dict[tuple[str, str], tuple[int, int, float]]:
        return {
            (uid, task): rank
            for uid, tasks in self.waiting.items()
            for task, rank in tasks.items()
            if uid not in self.paused and rank[2] <= self.now and not 0 < self.limit[uid] <= self.running[uid]
        }

    @rule()
    def pop(self) -> None:
        leasable = self.leasable()
        taken = self.queue.pop(self.now)
        if taken is None:
            assert not leasable
            return
        rank = leasable[taken.job, taken.task]
        assert rank[0] == min(other[0] for other in leasable.values())
        rivals = {uid for (uid, _), other in leasable.items() if other[0] == rank[0]}
        assert self.running[taken.job] == min(self.running[uid] for uid in rivals)
        assert rank == min(other for (uid, _), other in leasable.items() if uid == taken.job)
        del self.waiting[taken.job][taken.task]
        self.running[taken.job] += 1

    @precondition(lambda self: any(self.running.values()))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        uid = data.draw(st.sampled_from(sorted(uid for uid, n in self.running.items() if n)))
        self.queue.finished(uid)
        self.running[uid] -= 1

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), paused=st.booleans())
    def pause(self, data: st.DataObject, paused: bool) -> None:
        uid = data.draw(st.sampled_from(sorted(self.waiting)))
        self.queue.pause(uid, paused)
        (self.paused.add if paused else self.paused.discard)(uid)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), whole=st.booleans())
    def clear_or_remove(self, data: st.DataObject, whole: bool) -> None:
        uid = data.draw(st.sampled_from(sorted(self.waiting)))
        if whole:
            self.queue.remove_job(uid)
            del self.waiting[uid]
            del self.running[uid]
            self.paused.discard(uid)
        else:
            self.queue.clear(uid)
            self.waiting[uid] = {}

    @invariant()
    def the_length_is_what_waits_in_jobs_that_are_not_paused(self) -> None:
        assert len(self.queue) == sum(len(t) for uid, t in self.waiting.items() if uid not in self.paused)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
