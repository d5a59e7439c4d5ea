"""helm as tests run it: with folders of its own, so that no plugin or repository of whoever runs the tests is used."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HELM_TIMEOUT = 120.0
# What to render for where there is no server to ask: a helm that is built from source thinks of 1.20.
KUBERNETES = ("--kube-version", "1.35.0")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class HelmError(Exception):
    """helm ended with an error; the message holds the command and what it said."""


@dataclass(frozen=True)
class Helm:
    """A helm binary, the folder for its caches, and the cluster it speaks to, if any."""

    binary: Path
    folder: Path
    kubeconfig: Path | None = None

    def run(self, *args: str, check: bool = True, timeout: float = HELM_TIMEOUT) -> subprocess.CompletedProcess[str]:
        """Run `helm ARGS`. HelmError when it fails, unless `check` is off."""
        homes = {f"HELM_{kind}_HOME": str(self.folder / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        done = subprocess.run(
            [str(self.binary), *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env={**os.environ, **homes, "KUBECONFIG": str(self.kubeconfig or os.devnull)},
        )
        if check and done.returncode != 0:
            raise HelmError(f"helm {' '.join(args)}: exit code {done.returncode}\n{done.stderr.strip()}")
        return done

    def template(self, chart: Path, *args: str, release: str = "test", namespace: str = "default") -> str:
        """What the chart renders to, as one text. HelmError."""
        return self.run("template", release, str(chart), "--namespace", namespace, *KUBERNETES, *args).stdout


def objects(text: str) -> list[dict[str, Any]]:
    """The objects of a YAML text."""
    return [each for each in yaml.load_all(text, LOADER) if each is not None]
