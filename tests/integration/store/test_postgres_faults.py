"""What the store says and keeps when the server is killed, restarted, unreachable, or loses an answer."""

from __future__ import annotations

import asyncio
import threading

import psycopg
import pytest

from mahavishnu_operator.api.reasons import FailureClass
from mahavishnu_operator.store.postgres import PostgresStore
from mahavishnu_operator.store.protocol import NotStored, OutcomeUnknown, StaleEpoch, StoreUnavailable
from mahavishnu_operator.store.records import AttemptEnd, Recorded, TaskState
from mahavishnu_operator.store.schema import MIGRATIONS
from mahavishnu_operator.support.errors import InvalidInput
from mahavishnu_operator.support.group_commit import Session
from tests.postgres.cutting import CuttingProxy
from tests.postgres.server import PostgresServer
from tests.unit.store.conftest import Holder, key


@pytest.fixture
def own_server() -> PostgresServer:
    """A server that the test may kill without disturbing others."""
    return PostgresServer()


async def hold(url: str, *, patience: float = 30.0) -> Holder:
    return await Holder.open(lambda clock: PostgresStore(url, clock=clock, patience=patience))


async def test_every_write_is_there_once_when_the_server_is_killed_in_the_middle(own_server: PostgresServer) -> None:
    with own_server as server:
        held = await hold(server.make_database())
        names = [f"t{number}" for number in range(400)]
        await held.add(*names)
        await held.grant(*names)
        killing = asyncio.create_task(asyncio.to_thread(server.restart))
        answers: list[Recorded] = []
        for name in names:
            answers += await held.deliver(name)
        await killing
        results = await held.store.results("u1", limit=1000)
        await held.store.close()
    assert answers == [Recorded.RECORDED] * len(names)
    assert [result.key.task for _, result in results] == names


async def test_a_commit_that_a_killed_server_forgot_is_not_taken_for_a_strangers() -> None:
    """Which has its number: numbers that reached no disk are given again."""
    late = {"commit_delay": "100000", "commit_siblings": "0", "wal_writer_delay": "10000"}
    with PostgresServer(settings=late) as server:
        held = await hold(server.make_database())
        await held.add("t0")
        await held.grant("t0")
        delivering = asyncio.create_task(held.deliver("t0"))
        await asyncio.to_thread(_kill_in_a_commit, server)
        answers = await delivering
        results = await held.store.results("u1", limit=10)
        await held.store.close()
    assert (answers, [result.key.task for _, result in results]) == ([Recorded.RECORDED], ["t0"])


def _kill_in_a_commit(server: PostgresServer) -> None:
    """And let others write much once it is back."""
    waiting = (
        "SELECT FROM pg_stat_activity WHERE application_name = 'mahavishnu' AND state = 'active' AND query = 'COMMIT'"
    )
    with psycopg.connect(server.url("postgres"), autocommit=True) as other:
        while other.execute(waiting).fetchone() is None:
            pass
    server.restart()
    with psycopg.connect(server.url("postgres"), autocommit=True) as other:
        other.execute("SET commit_delay = 0")
        for _ in range(50):
            other.execute("SELECT pg_current_xact_id()")


async def test_reads_wait_for_a_server_that_is_restarted(own_server: PostgresServer) -> None:
    with own_server as server:
        held = await hold(server.make_database())
        await held.add("t0")
        await asyncio.to_thread(server.restart)
        states = await held.states()
        await held.store.close()
    assert states == {"t0": TaskState.QUEUED}


async def test_a_server_that_stays_away_is_said_in_words_and_nothing_was_stored(own_server: PostgresServer) -> None:
    with own_server as server:
        held = await hold(server.make_database(), patience=0.5)
        await asyncio.to_thread(server.kill)
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1") as said:
            await held.add("t0")
        assert isinstance(said.value, NotStored)
        await asyncio.to_thread(server.start)
        tasks = await held.store.tasks("u1")
        await held.store.close()
    assert tasks == []


@pytest.mark.parametrize("lose", ["answer", "request"])
async def test_a_commit_whose_answer_is_lost_is_asked_for_and_counted_once(
    postgres: PostgresServer, database: str, lose: str
) -> None:
    async with CuttingProxy(postgres.port) as proxy:
        held = await hold(database.replace(str(postgres.port), str(proxy.port)))
        await held.add("t0")
        await held.grant("t0")
        proxy.lose = lose
        answer = await held.deliver("t0")
        tasks = await held.store.tasks("u1")
        await held.store.close()
    assert proxy.lost == 1
    assert answer == [Recorded.RECORDED]
    assert [task.state for task in tasks] == [TaskState.SUCCEEDED]


async def test_a_commit_that_nobody_can_tell_of_is_no_answer_of_either_kind(
    postgres: PostgresServer, database: str
) -> None:
    async with CuttingProxy(postgres.port) as proxy:
        held = await hold(database.replace(str(postgres.port), str(proxy.port)), patience=0.5)
        proxy.lose, proxy.for_good = "answer", True
        with pytest.raises(OutcomeUnknown, match="cannot say whether"):
            await held.add("t0")
        await held.store.close()


async def test_a_client_that_sleeps_in_a_transaction_does_not_stop_its_successor(database: str) -> None:
    """As after SIGSTOP: the row that the successor needs is locked by somebody who does not run."""
    asleep, wake = threading.Event(), threading.Event()
    held = await hold(database)
    seen: list[int] = []

    def sleep(session: Session) -> None:
        seen.append(session.execute("SELECT epoch FROM epoch FOR UPDATE").fetchone()[0])
        asleep.set()
        wake.wait(60)

    sleeping = asyncio.create_task(held.store._database.write(sleep))  # type: ignore[attr-defined]
    await asyncio.to_thread(asleep.wait, 30)
    successor = await hold(database)
    wake.set()
    await sleeping
    assert seen == [held.epoch, successor.epoch]  # the server ended its transaction, so it was run again
    with pytest.raises(StaleEpoch):
        await held.add("t0")
    assert await successor.store.known_jobs() == []
    await held.store.close()
    await successor.store.close()


async def test_a_database_of_a_newer_version_is_refused_in_words(database: str) -> None:
    await (await hold(database)).store.close()
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO schema_migrations VALUES (%s, '')", (len(MIGRATIONS) + 1,))
    with pytest.raises(InvalidInput, match="newer version"):
        PostgresStore(database)


async def test_replicas_that_start_together_migrate_once(database: str) -> None:
    stores = await asyncio.gather(*(asyncio.to_thread(PostgresStore, database) for _ in range(4)))
    epochs = [await store.take_epoch(f"replica {number}") for number, store in enumerate(stores)]
    for store in stores:
        await store.close()
    assert epochs == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "url", ["postgresql://tests:se-cret@127.0.0.1:1/x", "postgresql://tests:se-cret@127.0.0.1:1/x?nonsense=1"]
)
def test_no_password_is_in_an_error(url: str) -> None:
    with pytest.raises((StoreUnavailable, InvalidInput)) as said:
        PostgresStore(url)
    assert "se-cret" not in str(said.value)


async def test_text_that_a_tool_made_is_stored_whatever_is_in_it(database: str) -> None:
    held = await hold(database)
    await held.add("t0")
    await held.grant("t0")
    words = "killed by \x00 and \udc80"
    await held.store.end_attempts(held.epoch, [AttemptEnd(key(), 1, FailureClass.TOOL, "X", words, False, 1.0)])
    result = await held.store.result(key())
    await held.store.close()
    assert result is not None
    assert b"killed by" in result.body
