"""What a test holds of a cluster, whichever kind it is: a kubeconfig, kubectl, and the way to become a service account.

Everything goes through kubectl and a kubeconfig, so that a test says the same to an existing cluster, to kind and to
the control plane built here. Each client has a folder of its own for what kubectl caches: the default one is keyed by
address and port, and would offer a test the API of an earlier cluster on the same port.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .requests import Requests

KUBECTL_TIMEOUT = 60.0


class KubectlError(Exception):
    """kubectl ended with an error; the message holds the command and what it said."""


@dataclass(frozen=True)
class Cluster:
    """A reachable cluster, seen as one user.

    Attributes:
        kubeconfig: the file whose current context names the server and the user.
        kubectl_binary: the kubectl to run.
        folder: an existing folder for kubectl's caches and for kubeconfigs made for other users.

    """

    kubeconfig: Path
    kubectl_binary: Path
    folder: Path

    def kubectl(
        self, *args: str, input: str | None = None, check: bool = True, timeout: float = KUBECTL_TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as this user, with `input` on its standard input.

        Raises KubectlError when it fails, unless `check` is off, and subprocess.TimeoutExpired after `timeout` seconds.
        """
        done = subprocess.run(
            [str(self.kubectl_binary), *args],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env={
                **os.environ,
                "KUBECONFIG": str(self.kubeconfig),
                "KUBECACHEDIR": str(self.folder / "kubectl-cache"),
                "KUBECTL_KUBERC": "false",  # no aliases or defaults of whoever runs the tests
            },
        )
        if check and done.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(args)}: exit code {done.returncode}\n{done.stderr.strip()}")
        return done

    @functools.cached_property
    def requests(self) -> Requests:
        """Requests as this user without a kubectl each: for what every test does."""
        return Requests(self.kubeconfig, self.kubectl_binary)

    def json(self, *args: str) -> Any:
        """What `kubectl ARGS -o json` prints, parsed. Raises KubectlError."""
        return json.loads(self.kubectl(*args, "-o", "json").stdout)

    def install_kinds(self, manifests: Path) -> None:
        """Apply CustomResourceDefinitions and return when the API server serves them. Raises KubectlError.

        `kubectl wait` gives up on a definition whose conditions are still null, as they are for its first moments.
        """
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(manifests))
        deadline = time.monotonic() + KUBECTL_TIMEOUT
        while missing := [
            item["metadata"]["name"]
            for item in self.json("get", "-f", str(manifests))["items"]
            if ("Established", "True") not in _conditions(item)
        ]:
            if time.monotonic() > deadline:
                raise KubectlError(f"not served after {KUBECTL_TIMEOUT} s: {', '.join(missing)}")
            time.sleep(0.05)

    @functools.cached_property
    def server(self) -> str:
        """The API server's URL."""
        return str(self._connection["server"])

    @functools.cached_property
    def _connection(self) -> dict[str, Any]:
        """The `cluster` part of the current context, with its authority's certificate inlined."""
        config = self.json("config", "view", "--raw", "--minify", "--flatten")
        connection: dict[str, Any] = config["clusters"][0]["cluster"]
        return connection

    def as_service_account(self, *, namespace: str, name: str, seconds: int = 3600) -> Cluster:
        """The same cluster as that service account sees it: with exactly its rights, and its namespace as default.

        The token comes from the API server (TokenRequest), is bound to the account, and is valid for `seconds` (at
        least 600; a cluster may shorten it). Raises KubectlError when there is no such account.
        """
        token = self.kubectl("create", "token", name, "--namespace", namespace, f"--duration={seconds}s").stdout
        kubeconfig = write_kubeconfig(
            self.folder / f"{namespace}.{name}.kubeconfig",
            connection=self._connection,
            user={"token": token.strip()},
            namespace=namespace,
        )
        return replace(self, kubeconfig=kubeconfig)


def _conditions(obj: dict[str, Any]) -> set[tuple[str, str]]:
    return {(each["type"], each["status"]) for each in obj.get("status", {}).get("conditions") or ()}


def write_kubeconfig(
    path: Path, *, connection: dict[str, Any], user: dict[str, Any], namespace: str = "default"
) -> Path:
    """Write a kubeconfig with one context, readable by its owner alone; JSON, which every YAML reader takes.

    `connection` and `user` are the contents of its `cluster` and `user` entries.
    """
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": connection}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
        "current-context": "test",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1))
    return path
