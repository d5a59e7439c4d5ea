"""The chart's gateway as an agent outside of the cluster reaches it: by a port-forward and a TLS that is checked."""

from __future__ import annotations

import base64
import re
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .helm_release import NAME
from .installing import Place
from .pods import WAIT

SERVICE = f"{NAME}-gateway"


def trust(place: Place) -> ssl.SSLContext:
    """What proves the gateway."""
    secret = place.cluster.json("get", "secret", f"{SERVICE}-tls", "-n", place.system)
    return ssl.create_default_context(cadata=base64.b64decode(secret["data"]["ca.crt"]).decode())


@contextmanager
def forwarded(place: Place, folder: Path) -> Iterator[str]:
    """The gateway's address on this machine, under a name that its certificate has."""
    log = folder / "port-forward.log"
    forward = ("port-forward", f"service/{SERVICE}", ":8680", "-n", place.system)
    command = [str(place.cluster.kubectl_binary), f"--kubeconfig={place.cluster.kubeconfig}", *forward]
    with log.open("w") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        try:
            deadline = time.monotonic() + WAIT
            while not (found := re.search(r"Forwarding from 127\.0\.0\.1:(\d+)", log.read_text())):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
            yield f"https://localhost:{found[1]}"
        finally:
            process.terminate()


def status_without_token(url: str, trusted: ssl.SSLContext) -> int:
    """What is answered to a call that shows none."""
    try:
        with urllib.request.urlopen(f"{url}/mcp", data=b"{}", timeout=WAIT, context=trusted) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
