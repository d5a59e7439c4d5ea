"""The queue against a model that is slow and plain, whatever is done to it."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mahavishnu_operator.dispatch.queue import TaskQueue


class AnyOrder(RuleBasedStateMachine):
    """Whatever is done to the queue: nothing lost, nothing twice, limits kept, the best goes first, shares are fair."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = TaskQueue()
        self.now = 0.0
        self.waiting: dict[str, dict[str, tuple[int, int, float]]] = {}
        self.running: Counter[str] = Counter()
        self.paused: set[str] = set()
        self.priority: dict[str, int] = {}
        self.limit: dict[str, int] = {}
        self.namespace: dict[str, str] = {}
        self.worker: dict[str, str] = {}
        self.numbers = 0

    @rule(
        namespace=st.sampled_from("xyz"),
        worker=st.sampled_from(["", "", "w1", "w2"]),
        priority=st.integers(-2, 2),
        limit=st.integers(0, 3),
        paused=st.booleans(),
    )
    def add_job(self, namespace: str, worker: str, priority: int, limit: int, paused: bool) -> None:
        self.numbers += 1
        uid = f"j{self.numbers}"
        self.queue.add_job(uid, namespace=namespace, worker=worker, priority=priority, parallelism=limit, paused=paused)
        self.namespace[uid], self.worker[uid] = namespace, worker
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

    def may_go(self, uid: str, ready_at: float, worker: str) -> bool:
        full = 0 < self.limit[uid] <= self.running[uid]
        return self.worker[uid] in ("", worker) and uid not in self.paused and ready_at <= self.now and not full

    def leasable(self, worker: str) -> dict[tuple[str, str], tuple[int, int, float]]:
        return {
            (uid, task): rank
            for uid, tasks in self.waiting.items()
            for task, rank in tasks.items()
            if self.may_go(uid, rank[2], worker)
        }

    def running_in(self, namespace: str) -> int:
        return sum(n for uid, n in self.running.items() if self.namespace[uid] == namespace)

    @rule(worker=st.sampled_from(["w1", "w2", "w3"]))
    def pop(self, worker: str) -> None:
        leasable = self.leasable(worker)
        taken = self.queue.pop(self.now, worker)
        if taken is None:
            assert not leasable
            return
        rank = leasable[taken.job, taken.task]
        assert rank[0] == min(other[0] for other in leasable.values())
        rivals = {uid for (uid, _), other in leasable.items() if other[0] == rank[0]}
        namespace = self.namespace[taken.job]
        assert self.running_in(namespace) == min(self.running_in(self.namespace[uid]) for uid in rivals)
        siblings = [uid for uid in rivals if self.namespace[uid] == namespace]
        assert self.running[taken.job] == min(self.running[uid] for uid in siblings)
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
    def what_is_for_one_worker_is_known(self) -> None:
        for worker in ("w1", "w2", "w3"):
            mine = sorted(uid for uid in self.waiting if self.worker[uid] == worker)
            assert sorted(self.queue.jobs_for(worker)) == mine
            assert self.queue.reserves_for(worker) == bool(mine)
        assert self.queue.reserves == any(self.worker[uid] for uid in self.waiting)

    @invariant()
    def what_anybody_could_be_handed_at_once_is_known(self) -> None:
        found: dict[str, int] = {}
        for uid, tasks in self.waiting.items():
            ready = sum(1 for *_, not_before in tasks.values() if not_before <= self.now)
            room = self.limit[uid] - self.running[uid] if self.limit[uid] else ready
            if not self.worker[uid] and uid not in self.paused and (number := min(ready, room)) > 0:
                found[uid] = number
        assert self.queue.ready(self.now) == found

    @invariant()
    def the_length_is_what_waits_in_jobs_that_are_not_paused(self) -> None:
        assert len(self.queue) == sum(len(t) for uid, t in self.waiting.items() if uid not in self.paused)

    @invariant()
    def the_backlog_is_what_more_workers_could_run(self) -> None:
        open_to_all = [uid for uid in self.waiting if not self.worker[uid] and uid not in self.paused]
        room = {uid: self.limit[uid] - self.running[uid] if self.limit[uid] else 10**6 for uid in open_to_all}
        assert self.queue.backlog == sum(min(len(self.waiting[uid]), max(0, room[uid])) for uid in open_to_all)

    @invariant()
    def what_waits_for_one_worker_is_counted(self) -> None:
        counts: Counter[str] = Counter()
        for uid, tasks in self.waiting.items():
            counts[self.worker[uid]] += 0 if uid in self.paused else len(tasks)
        del counts[""]
        assert Counter(self.queue.reserved) == counts


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
