"""kopf as the engine's feed: against the embedded API server, whose watches a test may break."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mahavishnu_operator.control.kopf_feed import KopfFeed
from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.embedded import EmbeddedResources
from mahavishnu_operator.resources.protocol import SCAN_JOB, WORKER_POOL, EventType, Key, Kind, Obj
from mahavishnu_operator.resources.rest import api_app
from mahavishnu_operator.support.errors import MahavishnuError
from tests.unit.resources.conformance import pool

from .serving import serving

# kopf does not always close a session that it was using when its watch was cut; the process ends right after.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

DEADLINE = 20.0
CUT = b'{"type":"ADDED","object":{"metadata":{"na'
ERROR = b'{"type":"ERROR","object":{"code":500,"message":"etcdserver: no leader"}}\n'


@dataclass
class Front:
    """In front of the API: wants a token where one is set, and answers watches with `broken` where that is set."""

    app: ASGIApp
    broken: bytes | None = None
    token: str = ""
    refused: int = 0
    seen: set[str] = field(default_factory=set)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        given = request.headers.get("authorization", "")
        self.seen.add(given)
        if self.token and given != f"Bearer {self.token}":
            self.refused += 1
            status = '{"kind":"Status","message":"who are you","code":401}'
            await PlainTextResponse(status, status_code=401, media_type="application/json")(scope, receive, send)
        elif self.broken is not None and request.query_params.get("watch") == "true":
            await StreamingResponse(iter([self.broken]))(scope, receive, send)
        else:
            await self.app(scope, receive, send)


@dataclass
class Seen:
    """What the feed hands over, and in which thread."""

    events: list[tuple[Kind, EventType, str]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, kind: Kind, type_: EventType, obj: Obj) -> None:
        self.events.append((kind, type_, obj["metadata"]["name"]))
        self.threads.add(threading.get_ident())
        self.news.set()

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not what():
                self.news.clear()
                await self.news.wait()


@pytest.fixture(autouse=True)
def what_kopf_left() -> Iterator[None]:
    """Collected here, where its warnings are expected, and not in the test of somebody else."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[tuple[Front, str, EmbeddedResources]]:
    resources = EmbeddedResources(tmp_path / "objects.db")
    made = Front(api_app(resources))
    async with serving(made) as url:
        yield made, url, resources
        await resources.close()


@asynccontextmanager
async def feeding(connection: Connection, *namespaces: str) -> AsyncIterator[tuple[KopfFeed, Seen]]:
    seen = Seen()
    async with asyncio.timeout(DEADLINE), KopfFeed(connection, seen, namespaces=namespaces) as feed:
        yield feed, seen


async def test_lists_and_watches_are_handed_over_in_the_engines_own_thread(
    front: tuple[Front, str, EmbeddedResources],
) -> None:
    _, url, resources = front
    await resources.create(WORKER_POOL, pool("default", "before"))
    async with feeding(Connection.from_url(url)) as (_, seen):
        await seen.until(lambda: (WORKER_POOL, EventType.ADDED, "before") in seen.events)
        await resources.create(WORKER_POOL, pool("elsewhere", "after"))
        await resources.merge_status(WORKER_POOL, Key("elsewhere", "after"), {"ready": 1})
        await resources.delete(WORKER_POOL, Key("elsewhere", "after"))
        await seen.until(lambda: (WORKER_POOL, EventType.DELETED, "after") in seen.events)
    assert (WORKER_POOL, EventType.MODIFIED, "after") in seen.events
    assert seen.threads == {threading.get_ident()}


async def test_other_namespaces_are_not_watched(front: tuple[Front, str, EmbeddedResources]) -> None:
    _, url, resources = front
    for namespace in ("one", "two", "three"):
        await resources.create(WORKER_POOL, pool(namespace, namespace))
    async with feeding(Connection.from_url(url), "one", "three") as (_, seen):
        await seen.until(lambda: len(seen.events) == 2)
        await resources.create(WORKER_POOL, pool("two", "late"))
        await resources.create(WORKER_POOL, pool("one", "last"))
        await seen.until(lambda: (WORKER_POOL, EventType.ADDED, "last") in seen.events)
    assert {name for _, _, name in seen.events} == {"one", "three", "last"}


async def test_stopping_is_quick_and_touches_nothing_of_the_engine(
    front: tuple[Front, str, EmbeddedResources],
) -> None:
    _, url, resources = front
    await resources.create(WORKER_POOL, pool("default", "p"))
    handler = signal.getsignal(signal.SIGTERM)
    async with feeding(Connection.from_url(url)) as (_, seen):
        await seen.until(lambda: bool(seen.events))
        mine = asyncio.create_task(asyncio.Event().wait())
        await asyncio.sleep(0)  # it has begun
        begun = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - begun < 2
    assert not mine.done()
    assert signal.getsignal(signal.SIGTERM) is handler
    mine.cancel()


async def test_a_feed_that_is_left_at_once_ends(front: tuple[Front, str, EmbeddedResources]) -> None:
    _, url, _ = front
    async with feeding(Connection.from_url(url)):
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "kopf" and thread.is_alive()]


@pytest.mark.parametrize(("broken", "words"), [(ERROR, "no leader"), (CUT, "JSONDecodeError")])
async def test_a_broken_watch_is_told_in_words(
    front: tuple[Front, str, EmbeddedResources], broken: bytes, words: str
) -> None:
    made, url, _ = front
    made.broken = broken
    async with feeding(Connection.from_url(url)) as (feed, _):
        with pytest.raises(MahavishnuError, match=f"the watch on the API server ended by itself: .*{words}") as error:
            await feed.ended()
    assert error.value.reason == "WatchEnded"


async def test_a_token_that_was_replaced_is_read_again(
    front: tuple[Front, str, EmbeddedResources], tmp_path: Path
) -> None:
    made, url, resources = front
    (tmp_path / "token").write_text("first")
    made.token = "first"
    made.broken = b""  # each watch ends at once, so that there are always new requests
    await resources.create(WORKER_POOL, pool("default", "before"))
    async with feeding(Connection(url, token_file=tmp_path / "token")) as (_, seen):
        await seen.until(lambda: bool(seen.events))
        (tmp_path / "token").write_text("second")
        made.token = "second"
        made.broken = None
        await resources.create(WORKER_POOL, pool("default", "after"))
        await seen.until(lambda: (WORKER_POOL, EventType.ADDED, "after") in seen.events)
    assert made.refused >= 1
    assert made.seen == {"Bearer first", "Bearer second"}


async def test_what_comes_on_a_watch_is_noted(front: tuple[Front, str, EmbeddedResources]) -> None:
    _, url, resources = front
    async with feeding(Connection.from_url(url)) as (feed, seen):
        await resources.create(WORKER_POOL, pool("default", "p"))
        await seen.until(lambda: bool(seen.events))
        path = "/apis/mahavishnu.dev/v1alpha1/workerpools"
        at = feed.heard.at(path)
        await resources.merge_status(WORKER_POOL, Key("default", "p"), {"ready": 1})
        await seen.until(lambda: (WORKER_POOL, EventType.MODIFIED, "p") in seen.events)
        assert feed.heard.at(path) > at
        assert feed.heard.at(path.replace(WORKER_POOL.plural, SCAN_JOB.plural)) > 0
