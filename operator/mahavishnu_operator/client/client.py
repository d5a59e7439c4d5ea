"""One client of one installation: its pools, its jobs, and what happens to them. Stateless: objects are the state."""

from __future__ import annotations

import copy
import getpass
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Self

from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import Resources

from .door import Doors, Way
from .events import Happening, watch_happenings
from .following import Following, MayWatch
from .jobs import Jobs
from .making import Maker
from .notes import Notes
from .pools import Pools
from .results import Results, ResultsByKey
from .workers import Workers

LOCAL, CLUSTER = "local-process", "kubernetes"


class Client:
    """`async with Client.connect(URL) as client`, or `Client(resources, way)` on resources that somebody else closes.

    `namespace`: where a bare name is looked for. `created_by`: whose the objects are that it makes, as it says.
    `results`: where they are read, for a client in the engine's own process; None: by `way`.
    """

    def __init__(
        self,
        resources: Resources,
        way: Way,
        *,
        namespace: str = "default",
        created_by: str = "",
        results: Results | None = None,
    ) -> None:
        self.way, self._doors = way, Doors(way)
        self._own: KubernetesResources | None = None
        maker = Maker.said(created_by or _who(), embedded=way.embedded)
        read = results if results is not None else ResultsByKey(resources, self._doors)
        self._act(resources, Following(resources), read, namespace=namespace, maker=maker)

    def _act(
        self, resources: Resources, following: Following, results: Results, *, namespace: str, maker: Maker
    ) -> None:
        self.resources, self.namespace, self.maker = resources, namespace, maker
        self.created_by = maker.value
        self.default_backend = LOCAL if self.way.embedded else CLUSTER
        self._following = following
        self.jobs = Jobs(resources, following, results, namespace=namespace, me=maker)
        self.pools = Pools(resources, following, self.jobs, namespace=namespace, me=maker, backend=self.default_backend)
        self.workers = Workers(resources, following, self.pools, self.jobs, namespace=namespace, me=maker)
        self.notes = Notes(resources, namespace=namespace, me=maker, backend=self.default_backend)

    @classmethod
    def connect(cls, url: str, *, token: str | None = None, namespace: str = "default", created_by: str = "") -> Client:
        """A `mahavishnu up` by its address."""
        connection = Connection.from_url(url, token=token)
        return cls.over(Way(connection, embedded=True), namespace=namespace, created_by=created_by)

    @classmethod
    def over(cls, way: Way, *, namespace: str = "default", created_by: str = "") -> Client:
        """Any API server, as in `Way(Connection.from_kubeconfig())`."""
        resources = KubernetesResources(way.connection)
        client = cls(resources, way, namespace=namespace, created_by=created_by)
        client._own = resources
        return client

    def acting_for(self, maker: Maker, resources: Resources, *, may_watch: MayWatch, namespace: str) -> Client:
        """The client of one caller of many, who reads and writes by these resources alone.

        It shares watches, which `may_watch` guards, and connections with this client, and is closed with it. Results it
        reads by keys, whatever this client does.
        """
        theirs = copy.copy(self)
        following = self._following.seen_by(resources, may_watch)
        results = ResultsByKey(resources, self._doors.of(maker.value))
        theirs._act(resources, following, results, namespace=namespace, maker=maker)
        return theirs

    def events(self, *, namespace: str | None = "") -> AsyncGenerator[Happening]:
        """What happens from now on in a namespace (None: in all)."""
        return watch_happenings(self.resources, namespace=self.namespace if namespace == "" else namespace)

    async def close(self) -> None:
        """End watches and close connections; work goes on."""
        await self._following.close()
        await self._doors.close()
        if self._own is not None:
            await self._own.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _who() -> str:
    """The user of this machine; one without a name is known by number."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
