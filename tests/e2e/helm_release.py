"""A release of the chart on the tests' node, in the hands of helm."""

from __future__ import annotations

from scripts.render_manifests import CHART
from tests.cluster.helm import Helm

from .installing import Place, split

NAME = "mahavishnu-operator"
TIMEOUT = 300.0


class Release:
    """The release in its place, in the hands of helm."""

    def __init__(self, helm: Helm, place: Place, images: tuple[str, str]) -> None:
        self._helm, self._place = helm, place
        self._images = images

    def run(self, command: str, *arguments: str) -> str:
        """helm COMMAND of the release, in its namespace, to its end."""
        where = ("--namespace", self._place.system, "--timeout", f"{TIMEOUT:g}s")
        return self._helm.run(command, NAME, *arguments, *where, timeout=2 * TIMEOUT).stdout

    def put(self, command: str, *options: str, **values: str) -> None:
        """`helm install` or `helm upgrade` of the chart with the images of the tests; it returns when all is ready."""
        chosen = values | {"persistence.storageClassName": self._place.storage_class}
        for name, reference in zip(("image", "workerImage"), self._images, strict=True):
            parts = dict(zip(("registry", "repository", "tag"), split(reference), strict=True))
            chosen = {f"{name}.{part}": value for part, value in parts.items()} | chosen
        sets = [part for name, value in chosen.items() for part in ("--set-string", f"{name}={value}")]
        self.run(command, str(CHART), "--wait", *options, *sets)
