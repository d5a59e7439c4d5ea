"""One client of one installation: its pools, its jobs, and what happens to them. Stateless: objects are the state."""

from __future__ import annotations

import getpass
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Self

from mahavishnu_operator.resources.connection import Connection
from mahavishnu_operator.resources.kubernetes import KubernetesResources
from mahavishnu_operator.resources.protocol import Resources

from .door import Way
from .events import Happening, watch_happenings
from .following import Following
from .ids import label_value
from .jobs import Jobs
from .notes import Notes
from .pools import Pools
from .workers import Workers

LOCAL, CLUSTER = "local-process", "kubernetes"


class Client:
    """`async with Client.connect(URL) as client`, or `Client(resources, way)` on resources that somebody else closes.

    `namespace`: where a bare name is looked for. `created_by`: whose the objects are that it makes (a label).
    """

    def __init__(self, resources: Resources, way: Way, *, namespace: str = "default", created_by: str = "") -> None:
        self.resources, self.namespace, self.way = resources, namespace, way
        self.created_by = label_value(created_by or _who())
        self.default_backend = LOCAL if way.embedded else CLUSTER
        self._own: KubernetesResources | None = None
        self._following = Following(resources)
        self.jobs = Jobs(resources, self._following, way, namespace=namespace, me=self.created_by)
        self.pools = Pools(
            resources,
            self._following,
            self.jobs,
            namespace=namespace,
            me=self.created_by,
            backend=self.default_backend,
        )
        self.workers = Workers(
            resources, self._following, self.pools, self.jobs, namespace=namespace, me=self.created_by
        )
        self.notes = Notes(resources, namespace=namespace, me=self.created_by, backend=self.default_backend)

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

    def events(self, *, namespace: str | None = "") -> AsyncGenerator[Happening]:
        """What happens from now on in a namespace (None: in all)."""
        return watch_happenings(self.resources, namespace=self.namespace if namespace == "" else namespace)

    async def close(self) -> None:
        """End watches and close connections; work goes on."""
        await self._following.close()
        await self.jobs.close()
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
