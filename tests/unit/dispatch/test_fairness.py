"""Shares of a pool: between namespaces first, then between the jobs of one; nobody waits for ever."""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import given, settings
from hypothesis import strategies as st

from mahavishnu_operator.dispatch.queue import Taken, TaskQueue

PLENTY = 400


class Tenants:
    """A queue of jobs `namespace/job`, and who was served so far."""

    def __init__(self) -> None:
        self.queue = TaskQueue()
        self.served: list[Taken] = []
        self.pushed = 0

    def add(self, uid: str, count: int = PLENTY, *, priority: int = 0, parallelism: int = 0) -> None:
        self.queue.add_job(uid, namespace=uid.split("/")[0], priority=priority, parallelism=parallelism)
        for _ in range(count):
            self.pushed += 1
            self.queue.push(uid, f"t{self.pushed}", seq=self.pushed)

    def serve(self) -> Taken:
        taken = self.queue.pop(0.0)
        assert taken is not None
        self.served.append(taken)
        return taken

    def order(self, count: int) -> list[str]:
        """Who comes next, one slot: each task has ended before the next is chosen."""
        found = []
        for _ in range(count):
            found.append(self.serve().job)
            self.queue.finished(found[-1])
        return found


def namespace(uid: str) -> str:
    return uid.split("/")[0]


jobs_of = st.dictionaries(st.sampled_from("xyz"), st.integers(1, 6), min_size=2, max_size=3)


def tenants(sizes: dict[str, int]) -> Tenants:
    made = Tenants()
    for name, jobs in sizes.items():
        for n in range(jobs):
            made.add(f"{name}/{n}")
    return made


def test_a_namespace_with_a_hundred_jobs_does_not_starve_one_with_a_single_job() -> None:
    made = tenants({"many": 100, "one": 1})
    assert Counter(map(namespace, made.order(40))) == {"many": 20, "one": 20}


@settings(max_examples=60, deadline=None)
@given(jobs_of, st.integers(0, 60), st.integers(1, 60), st.booleans())
def test_in_any_window_namespaces_with_work_are_served_equally_often(
    sizes: dict[str, int], begin: int, length: int, ending: bool
) -> None:
    made = tenants(sizes)
    count = begin + length
    served = made.order(count) if ending else [made.serve().job for _ in range(count)]  # or as many slots as tasks
    counts = Counter(map(namespace, served[begin:]))
    assert max(counts[name] for name in sizes) - min(counts[name] for name in sizes) <= 1


@settings(max_examples=60, deadline=None)
@given(jobs_of, st.integers(1, 8), st.lists(st.integers(0, 7), min_size=30, max_size=120))
def test_slots_are_shared_equally_however_long_the_tasks_of_each_run(
    sizes: dict[str, int], slots: int, ends: list[int]
) -> None:
    made = tenants(sizes)
    running: list[str] = []
    for end in ends:
        while len(running) < slots:
            held = Counter(map(namespace, running))
            taken = made.serve().job
            assert held[namespace(taken)] == min(held[name] for name in sizes)
            running.append(taken)
        made.queue.finished(running.pop(end % slots))


def test_long_tasks_of_one_namespace_leave_another_its_half_of_the_slots() -> None:
    made = tenants({"long": 3, "short": 3})
    running = [made.serve().job for _ in range(4)]
    short_done = 0
    for _ in range(50):  # the short ones end all the time, the long ones never
        ended = next(uid for uid in running if namespace(uid) == "short")
        running.remove(ended)
        made.queue.finished(ended)
        short_done += 1
        running.append(made.serve().job)
    assert Counter(map(namespace, running)) == {"long": 2, "short": 2}
    assert short_done == 50


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 8), st.integers(1, 60))
def test_jobs_of_a_namespace_take_turns_too(jobs: int, length: int) -> None:
    counts = Counter(tenants({"x": jobs}).order(length))
    assert max(counts.values()) - min(counts[f"x/{n}"] for n in range(jobs)) <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5))
def test_a_stream_of_new_jobs_and_namespaces_does_not_pass_those_that_wait(waiting: int, new: int) -> None:
    made = tenants({f"old{n}": 1 for n in range(waiting)})
    made.order(1)  # one of them has been served, and so is not new any more
    fresh: deque[str] = deque()
    seen: Counter[str] = Counter()
    for round_ in range(4 * waiting):
        for n in range(new):
            fresh.append(f"new{round_}-{n}/0")
            made.add(fresh[-1], 1)
        seen.update(made.order(1))
    assert min(seen[f"old{n}/0"] for n in range(waiting)) >= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 20))
def test_a_job_waits_for_a_turn_of_each_that_was_there_before_it_and_no_longer(others: int, served: int) -> None:
    made = tenants({"x": others})
    made.order(served)
    made.add("x/late", 1)
    assert "x/late" in made.order(others + 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.lists(st.booleans(), max_size=60))
def test_a_job_never_runs_more_than_its_parallelism_and_never_less_than_it_could(
    narrow: int, wide: int, ends: list[bool]
) -> None:
    made = Tenants()
    limits = {"x/narrow": narrow, "y/wide": wide}
    for uid, limit in limits.items():
        made.add(uid, parallelism=limit)
    running: Counter[str] = Counter()
    for which in ends:
        while (taken := made.queue.pop(0.0)) is not None:
            running[taken.job] += 1
        assert running == limits
        uid = "x/narrow" if which else "y/wide"
        made.queue.finished(uid)
        running[uid] -= 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(-3, 3)), min_size=2, max_size=12))
def test_priority_comes_before_every_share(jobs: list[tuple[str, int]]) -> None:
    made = Tenants()
    priorities = {}
    for n, (name, priority) in enumerate(jobs):
        priorities[f"{name}/{n}"] = priority
        made.add(f"{name}/{n}", 2, priority=priority)
    served = [priorities[made.serve().job] for _ in range(2 * len(jobs))]
    assert served == sorted(served, reverse=True)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(0.1, 100.0)), min_size=1, max_size=30))
def test_a_task_that_waits_for_its_next_try_holds_up_no_other(delays: list[float | None]) -> None:
    queue = TaskQueue()
    queue.add_job("a")
    for seq, delay in enumerate(delays):
        queue.push("a", f"t{seq}", seq=seq, not_before=delay)
    now = 0.0
    served: list[str] = []
    while len(served) < len(delays):
        taken = queue.pop(now)
        if taken is None:  # everything that is due was served; nothing more until the next one is
            ripe = queue.next_ripe()
            assert ripe is not None
            assert ripe > now
            now = ripe
            continue
        delay = delays[int(taken.task[1:])]
        assert (delay or 0.0) <= now
        served.append(taken.task)
    assert len(set(served)) == len(delays)
    assert now == max((delay for delay in delays if delay is not None), default=0.0)
