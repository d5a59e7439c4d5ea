"""How attempts end: results, retries, losses, hand-backs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from mahavishnu_operator.api.wire import (
    Hold,
    OutputChunk,
    OutputRequest,
    ReleaseRequest,
    RenewRequest,
    TaskResult,
)
from mahavishnu_operator.dispatch.core import Pace
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.dispatch.errors import CallRefused, SessionUnknown, TooLarge, TryAgain
from mahavishnu_operator.dispatch.ledger import Task
from mahavishnu_operator.store.records import TaskKey, TaskState

from .harness import COMMAND, Agent, FullDisk, check_memory, ended, hold, job, tasks, until


async def leased(dispatcher: Dispatcher, count: int = 1, *, max_attempts: int = 2) -> tuple[Agent, list[Task]]:
    await dispatcher.submit(job(max_attempts=max_attempts), tasks(count=count))
    agent = await Agent(dispatcher, slots=count).register()
    return agent, await agent.lease(count)


def state_of(dispatcher: Dispatcher, name: str = "t0") -> TaskState:
    return dispatcher.core.ledger.jobs["job-1"].tasks[name].state


async def test_a_recorded_result_is_durable_and_the_tasks_own(dispatcher: Dispatcher) -> None:
    agent, [_task] = await leased(dispatcher)
    delivered = TaskResult("job-1/t0", 1, "succeeded", reason="Completed", payload='{"n":1}', exit_code=0)
    assert await agent.deliver(delivered) == ["recorded"]
    assert await dispatcher.result("job-1", "t0") == delivered
    progress = dispatcher.progress("job-1")
    assert progress is not None
    assert (progress.succeeded, progress.done) == (1, True)


async def test_the_same_result_again_is_a_duplicate(dispatcher: Dispatcher) -> None:
    agent, [task] = await leased(dispatcher)
    assert await agent.deliver(ended(task)) == ["recorded"]
    assert await agent.deliver(ended(task)) == ["duplicate"]
    assert dispatcher.load("default/pool").completed_total == 1


async def test_the_same_result_twice_at_once_counts_once(dispatcher: Dispatcher) -> None:
    agent, [task] = await leased(dispatcher)
    answers = await asyncio.gather(*(agent.deliver(ended(task)) for _ in range(4)))
    assert sorted(answer for [answer] in answers) == ["duplicate"] * 3 + ["recorded"]


async def test_the_same_result_twice_in_one_request_counts_once(dispatcher: Dispatcher) -> None:
    agent, [task] = await leased(dispatcher)
    assert await agent.deliver(ended(task), ended(task)) == ["recorded", "duplicate"]


async def test_receipts_come_in_the_order_of_the_results(dispatcher: Dispatcher) -> None:
    agent, found = await leased(dispatcher, 2)
    unknown = TaskResult("nobody/t9", 1, "succeeded")
    receipts = await agent.receipts(ended(found[1]), unknown, ended(found[0]))
    assert [(r.task, r.receipt) for r in receipts] == [
        ("job-1/t1", "recorded"),
        ("nobody/t9", "unknown"),
        ("job-1/t0", "recorded"),
    ]


async def test_a_worker_cannot_deliver_what_another_one_holds(dispatcher: Dispatcher) -> None:
    agent, [task] = await leased(dispatcher)
    thief = await Agent(dispatcher, "w2").register()
    assert await thief.deliver(ended(task)) == ["superseded"]
    assert state_of(dispatcher) is TaskState.LEASED
    assert await agent.deliver(ended(task)) == ["recorded"]


async def test_a_worker_of_another_pool_learns_nothing_of_a_task(dispatcher: Dispatcher) -> None:
    _, [task] = await leased(dispatcher)
    stranger = await Agent(dispatcher, "w2", pool="default/other").register()
    assert await stranger.deliver(ended(task)) == ["unknown"]


async def test_an_attempt_that_was_never_granted_is_superseded(dispatcher: Dispatcher) -> None:
    agent, [task] = await leased(dispatcher)
    assert await agent.deliver(ended(task, attempt=2**70)) == ["superseded"]
    assert state_of(dispatcher) is TaskState.LEASED


async def test_a_failed_attempt_is_charged_and_tried_again(dispatcher: Dispatcher) -> None:
    agent, [task] = await leased(dispatcher)
    assert await agent.deliver(ended(task, "failed")) == ["recorded"]
    assert (state_of(dispatcher), task.charged, task.lost) == (TaskState.QUEUED, 1, 0)
    assert await agent.deliver(ended(task, "failed")) == ["superseded"]


async def test_the_last_allowed_failure_is_the_result_with_its_words(dispatcher: Dispatcher) -> None:
    agent, [_task] = await leased(dispatcher, max_attempts=1)
    crash = TaskResult("job-1/t0", 1, "failed", reason="ToolCrashed", message="killed by signal 11", exit_code=-11)
    assert await agent.deliver(crash) == ["recorded"]
    assert await dispatcher.result("job-1", "t0") == crash
    progress = dispatcher.progress("job-1")
    assert progress is not None
    assert (progress.failed, progress.done) == (1, True)


async def test_a_refused_task_is_not_tried_again(dispatcher: Dispatcher) -> None:
    agent, [task] = await leased(dispatcher, max_attempts=5)
    await agent.deliver(ended(task, "refused"))
    assert state_of(dispatcher) is TaskState.FAILED


async def test_a_released_lease_goes_back_at_once_and_is_not_charged(dispatcher: Dispatcher) -> None:
    agent, [task] = await leased(dispatcher)
    await dispatcher.desk.release(agent.worker, ReleaseRequest((hold(task),), "SIGTERM"))
    assert (task.state, task.charged, task.lost) == (TaskState.QUEUED, 0, 1)
    [again] = await agent.lease()
    assert again.attempts == 2


async def test_somebody_elses_lease_cannot_be_released(dispatcher: Dispatcher) -> None:
    _, [task] = await leased(dispatcher)
    other = await Agent(dispatcher, "w2").register()
    await dispatcher.desk.release(other.worker, ReleaseRequest((hold(task),)))
    assert task.state is TaskState.LEASED


async def test_a_worker_that_leaves_hands_everything_back(dispatcher: Dispatcher) -> None:
    agent, found = await leased(dispatcher, 2)
    await dispatcher.desk.leave(agent.worker)
    assert [task.state for task in found] == [TaskState.QUEUED] * 2
    assert dispatcher.load("default/pool").workers == ()
    with pytest.raises(SessionUnknown):
        await agent.lease()


async def test_the_tasks_of_a_dead_process_go_back_at_once_and_its_token_is_void(dispatcher: Dispatcher) -> None:
    agent, [task] = await leased(dispatcher)
    await dispatcher.worker_gone(pool="default/pool", worker="w1", message="exit code -9")
    assert (task.state, task.lost) == (TaskState.QUEUED, 1)
    with pytest.raises(CallRefused, match="token"):
        await agent.register()


async def test_five_losses_fail_the_task_and_its_result_says_so(store: FullDisk) -> None:
    skipped = 0.0
    real = asyncio.get_running_loop().time
    async with Dispatcher(store, holder="test", clock=lambda: real() + skipped) as dispatcher:
        await dispatcher.submit(job(), tasks())
        for number in range(5):
            skipped += 10.0  # past any back-off
            [task] = await (await Agent(dispatcher, f"w{number}").register()).lease()
            assert task.attempts == number + 1
            await dispatcher.worker_gone(pool="default/pool", worker=f"w{number}", message="killed by signal 9")
        result = await dispatcher.result("job-1", "t0")
    assert result is not None
    assert (result.status, result.reason, result.exit_code) == ("failed", "WorkerLost", None)
    assert "5 times" in result.message
    assert "killed by signal 9" in result.message


async def test_a_lease_that_is_not_renewed_is_leased_anew(tmp_path: Path) -> None:
    store = FullDisk(tmp_path)
    async with Dispatcher(store, holder="test", pace=Pace(lease_seconds=0.3, renew_seconds=0.1)) as dispatcher:
        agent, [task] = await leased(dispatcher)
        other = await Agent(dispatcher, "w2").register()
        async with asyncio.timeout(10):
            [again] = await other.lease(wait=30)
        assert (again.attempts, again.lost) == (2, 1)
        assert await agent.deliver(ended(task, attempt=1)) == ["superseded"]
        assert await other.deliver(ended(again)) == ["recorded"]
        await check_memory(dispatcher)
    await store.close()


async def test_a_renewed_lease_outlives_its_first_deadline(tmp_path: Path) -> None:
    store = FullDisk(tmp_path)
    async with Dispatcher(store, holder="test", pace=Pace(lease_seconds=0.4, renew_seconds=0.1)) as dispatcher:
        agent, [task] = await leased(dispatcher)
        begun = dispatcher.core.clock()
        while dispatcher.core.clock() < begun + 1.2:
            renewed = await dispatcher.desk.renew(agent.worker, RenewRequest((hold(task),), wait_seconds=0.1))
            assert renewed.lost == ()
        assert await agent.deliver(ended(task)) == ["recorded"]
    await store.close()


async def test_time_in_which_the_dispatcher_itself_did_not_run_costs_no_lease(
    store: FullDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    skipped = 0.0
    real = asyncio.get_running_loop().time

    dispatcher = Dispatcher(store, holder="test", clock=lambda: real() + skipped)
    async with dispatcher:
        _agent, [task] = await leased(dispatcher)
        lease = dispatcher.core.leases.get(task.key)
        assert lease is not None
        before = lease.deadline
        moved = asyncio.Event()
        postpone = dispatcher.core.leases.postpone

        def postpone_and_tell(seconds: float) -> None:
            postpone(seconds)
            moved.set()

        monkeypatch.setattr(dispatcher.core.leases, "postpone", postpone_and_tell)
        skipped = 3600.0
        async with asyncio.timeout(10):
            await moved.wait()
        assert lease.deadline > before + 3500
        assert task.state is TaskState.LEASED


async def test_a_full_disk_leaves_a_result_unacknowledged_and_the_lease_held(
    dispatcher: Dispatcher, store: FullDisk
) -> None:
    agent, [task] = await leased(dispatcher)
    store.full = True
    with pytest.raises(TryAgain):
        await agent.deliver(ended(task))
    store.full = False
    assert await agent.deliver(ended(task)) == ["recorded"]


async def test_a_loss_that_could_not_be_written_is_written_when_there_is_space(tmp_path: Path) -> None:
    store = FullDisk(tmp_path)
    async with Dispatcher(store, holder="test", pace=Pace(lease_seconds=0.3, renew_seconds=0.1)) as dispatcher:
        agent, [task] = await leased(dispatcher)
        store.full = True
        with pytest.raises(TryAgain):
            await dispatcher.desk.leave(agent.worker)
        assert task.state is TaskState.LEASED
        store.full = False
        await until(dispatcher, lambda: task.state is TaskState.QUEUED)
        await check_memory(dispatcher)
    await store.close()


async def test_running_output_of_a_held_task_is_kept_and_of_others_dropped(
    dispatcher: Dispatcher, store: FullDisk
) -> None:
    agent, [_task] = await leased(dispatcher)
    chunks = (
        OutputChunk("job-1/t0", 1, "stdout", 0, b"hello "),
        OutputChunk("job-1/t0", 1, "stdout", 6, b"world"),
        OutputChunk("job-1/t0", 2, "stdout", 0, b"never granted"),
        OutputChunk("job-1/t0", 1, "stdout", 2**80, b"far away"),
    )
    await dispatcher.desk.output(agent.worker, OutputRequest(chunks))
    assert await store.output(TaskKey("job-1", "t0")) == b"hello world"


async def test_payloads_over_their_bound_are_refused_in_words(dispatcher: Dispatcher) -> None:
    agent, [task] = await leased(dispatcher)
    with pytest.raises(TooLarge, match="payload of job-1/t0 is 40000 long; at most 32768"):
        await agent.deliver(msgspec.structs.replace(ended(task), payload="x" * 40_000))


async def test_words_over_their_bound_are_cut_and_the_result_counts(dispatcher: Dispatcher) -> None:
    agent, [task] = await leased(dispatcher)
    await agent.deliver(msgspec.structs.replace(ended(task), message="a\0" * 5000))
    result = await dispatcher.result("job-1", "t0")
    assert result is not None
    assert len(result.message) == 4096
    assert "\0" not in result.message


@pytest.mark.parametrize("name", ["", "no-slash", "/x", "x/"])
async def test_a_task_name_that_is_none_is_refused(dispatcher: Dispatcher, name: str) -> None:
    agent, _ = await leased(dispatcher)
    with pytest.raises(CallRefused, match="JOB/TASK"):
        await agent.deliver(TaskResult(name, 1, "succeeded"))


async def test_a_lease_that_was_lost_is_reported_on_renewal_once_at_once(dispatcher: Dispatcher) -> None:
    agent, _ = await leased(dispatcher)
    request = RenewRequest((Hold("job-1/t0", 9),), wait_seconds=0.2)
    first = await dispatcher.desk.renew(agent.worker, request)
    assert first.lost == (Hold("job-1/t0", 9),)
    begun = dispatcher.core.clock()
    again = await dispatcher.desk.renew(agent.worker, request)
    assert again.lost == first.lost
    assert dispatcher.core.clock() - begun >= 0.15


async def test_results_of_a_job_come_by_seq_whatever_the_page(
    dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mahavishnu_operator.dispatch.dispatcher.PAGE", 3)
    agent, found = await leased(dispatcher, 10)
    await agent.deliver(*map(ended, reversed(found)))
    results = await dispatcher.results("job-1")
    assert [name for name, _ in results] == [f"t{n}" for n in range(10)]


async def test_results_with_one_seq_are_all_there_whatever_the_page(
    dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mahavishnu_operator.dispatch.dispatcher.PAGE", 2)
    await dispatcher.submit(job(), [replace(task, seq=7) for task in tasks(count=5, spec=COMMAND)])
    agent = await Agent(dispatcher, slots=5).register()
    await agent.deliver(*map(ended, await agent.lease(5)))
    assert sorted(name for name, _ in await dispatcher.results("job-1")) == [f"t{n}" for n in range(5)]
