"""The objects of a kind that a label selector chooses, or what is to be kept of each, as a Source for a Reflector."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from .kubernetes import Keep, KubernetesResources, whole
from .protocol import Kind, Listing, WatchEvent


@dataclass(frozen=True)
class Selection:
    """What the server's own selector lets through: an object that leaves it arrives as DELETED."""

    resources: KubernetesResources
    label_selector: str = ""
    keep: Keep = whole

    async def list(self, kind: Kind, *, namespace: str | None = None) -> Listing:
        """The chosen objects."""
        return await self.resources.list(kind, namespace=namespace, label_selector=self.label_selector, keep=self.keep)

    def watch(self, kind: Kind, *, namespace: str | None = None, since: str) -> AsyncIterator[WatchEvent]:
        """Their changes."""
        return self.resources.watch(
            kind, namespace=namespace, since=since, label_selector=self.label_selector, keep=self.keep
        )
