"""Registered workers, their sessions, and who waits for news.

A session is a random token, bound to a worker's name and to one process of it (its incarnation). The
pressure: a worker that was restarted, or a process that was thought dead and is not, must not act under
the name of the other. What must stay true: a worker has one session; sessions live in memory alone, so
after a restart everybody registers again; secrets are kept and compared as digests only.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from dataclasses import dataclass, field

from mahavishnu_operator.api.wire import Hold, RegisterRequest


def digest(token: str) -> str:
    """SHA-256 of a secret, in hexadecimal. Secrets are 256 random bits, so nothing slower is needed."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def worker_id(pool: str, worker: str) -> str:
    """`namespace/pool/worker`, as in GrantRecord.worker."""
    return f"{pool}/{worker}"


@dataclass(slots=True, eq=False)
class Worker:
    """A registered worker. `registered_at` is in seconds since the Unix epoch; other moments are monotonic."""

    pool: str
    name: str
    id: str
    incarnation: str
    slots: int
    session_digest: str
    registered_at: float
    idle_from: float | None  # None while it holds a lease
    last_seen: float
    calls: int = 0  # requests of it that are being answered
    granting: int = 0  # tasks taken for it whose grant is being written
    tasks_done: int = 0
    guarded: bool = False  # its backend protects busy workers, and is told of each before it is one
    once: bool = False  # it is made for one task
    granted: int = 0  # tasks leased to it in this session, or held when it began
    ahead: bool = False  # it hands back what it cannot begin, so it may be leased short tasks ahead
    drain_told: bool = False
    told: frozenset[tuple[Hold, bool]] = frozenset()  # cancelled and lost holds, and whether it had named them
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def spent(self) -> bool:
        """It was made for one task and has had it."""
        return self.once and self.granted > 0


class Workers:
    """Workers by name and by session. Marks outlive registrations: they are about the name."""

    def __init__(self) -> None:
        self._by_id: dict[str, Worker] = {}
        self._by_session: dict[str, Worker] = {}
        self._by_pool: dict[str, dict[str, Worker]] = {}
        self._draining: set[str] = set()
        self._cordoned: set[str] = set()
        self._left: set[str] = set()

    def __len__(self) -> int:
        return len(self._by_id)

    def register(
        self, request: RegisterRequest, *, wall: float, now: float, guarded: bool = False, once: bool = False
    ) -> tuple[str, Worker, Worker | None]:
        """A new session for a worker: (session, worker, the registration that it replaces)."""
        session = secrets.token_urlsafe(32)
        id_ = worker_id(request.pool, request.worker)
        before = self._by_id.get(id_)
        worker = Worker(
            pool=request.pool,
            name=request.worker,
            id=id_,
            incarnation=request.incarnation,
            slots=request.slots,
            session_digest=digest(session),
            registered_at=wall,
            idle_from=now,
            last_seen=now,
            tasks_done=before.tasks_done if before is not None else 0,
            guarded=guarded,
            once=once,
            granted=len(request.holds),
        )
        self._left.discard(id_)
        if before is not None:
            self.remove(before)
        self._by_id[id_] = worker
        self._by_session[worker.session_digest] = worker
        self._by_pool.setdefault(worker.pool, {})[id_] = worker
        return session, worker, before

    def by_session(self, session: str) -> Worker | None:
        """Whose session it is. Looked up by digest: how long that takes tells nothing about the secret."""
        return self._by_session.get(digest(session))

    def by_id(self, id_: str) -> Worker | None:
        """The registered worker of that name."""
        return self._by_id.get(id_)

    def current(self, worker: Worker) -> bool:
        """Whether its registration is the one that counts."""
        return self._by_id.get(worker.id) is worker

    def remove(self, worker: Worker) -> None:
        """End a session; who waits on it is woken."""
        worker.news.set()
        if self._by_id.get(worker.id) is worker:
            del self._by_id[worker.id]
            del self._by_pool[worker.pool][worker.id]
        self._by_session.pop(worker.session_digest, None)

    def of_pool(self, pool: str) -> list[Worker]:
        """Registered workers of a pool, by name."""
        return sorted(self._by_pool.get(pool, {}).values(), key=lambda worker: worker.name)

    def count_of(self, pool: str) -> int:
        """How many are registered."""
        return len(self._by_pool.get(pool, ()))

    def all(self) -> list[Worker]:
        """Every registered worker."""
        return list(self._by_id.values())

    def drain(self, id_: str) -> None:
        """Lease nothing more to that name."""
        self._draining.add(id_)
        worker = self._by_id.get(id_)
        if worker is not None:
            worker.news.set()

    def draining(self, id_: str) -> bool:
        """It is leased nothing more."""
        return id_ in self._draining

    def forget_marks(self, id_: str) -> None:
        """Its process is gone."""
        self._draining.discard(id_)
        self._cordoned.discard(id_)
        self._left.discard(id_)

    def leave(self, worker: Worker) -> None:
        """End the session of one that goes; of one made for one task, remember that it went."""
        self.remove(worker)
        if worker.once:
            self._left.add(worker.id)

    def has_left(self, id_: str) -> bool:
        """It was made for one task and said that it goes."""
        return id_ in self._left

    def cordon(self, id_: str, *, cordoned: bool) -> bool:
        """Lease nothing to that name while its machine takes no new work; whether that is news."""
        before = id_ in self._cordoned
        (self._cordoned.add if cordoned else self._cordoned.discard)(id_)
        return before is not cordoned

    def cordoned(self, id_: str) -> bool:
        """Its machine takes no new work."""
        return id_ in self._cordoned
