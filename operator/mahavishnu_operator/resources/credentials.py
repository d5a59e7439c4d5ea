"""Credentials that change while we run: token files that are rewritten, exec plugins whose tokens expire.

The pressure: a service-account token is replaced every hour, a cloud token sooner, and a reconciler runs
for months. So each request asks for the header of now; reading a file or running a plugin is done only
when the last answer is due. What must stay true: a plugin runs without a shell, with a deadline, and its
output is never logged; a failure says which plugin and what it said on stderr.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from mahavishnu_operator.support.errors import InvalidInput

from .protocol import Forbidden

TOKEN_FILE_SECONDS = 30.0
EXEC_TIMEOUT = 60.0
EXPIRY_MARGIN = 30.0  # seconds before its expiry that a credential is no longer used
EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


@dataclass(frozen=True)
class ExecPlugin:
    """A program that prints an ExecCredential. `env` comes on top of our own environment."""

    command: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    api_version: str = EXEC_VERSIONS[0]
    cluster_info: str = ""  # JSON of the cluster for KUBERNETES_EXEC_INFO, where the plugin wants it
    install_hint: str = ""


@dataclass(frozen=True)
class Credential:
    """What to prove who we are with, right now."""

    token: str | None = field(default=None, repr=False)
    client_cert: bytes | None = field(default=None, repr=False)
    client_key: bytes | None = field(default=None, repr=False)


class TokenFile:
    """A token in a file, read again when its last reading is older than 30 s or was refused."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at = float("-inf")
        self._token = ""

    async def current(self) -> Credential:
        """The token. Forbidden when the file cannot be read."""
        if time.monotonic() - self._read_at > TOKEN_FILE_SECONDS:
            try:
                self._token = await asyncio.to_thread(self._path.read_text)
            except OSError as error:
                raise Forbidden(f"cannot read the token in {self._path}: {error.strerror}") from None
            self._read_at = time.monotonic()
        return Credential(self._token.strip())

    def forget(self) -> None:
        """The server refused it: read the file at the next request."""
        self._read_at = float("-inf")


class ExecCredentials:
    """The credential of an exec plugin, kept until it is due. Of many that ask at once, one runs the plugin."""

    def __init__(self, plugin: ExecPlugin, *, timeout: float = EXEC_TIMEOUT) -> None:
        self._plugin = plugin
        self._timeout = timeout
        self._credential: Credential | None = None
        self._good_until: float | None = None
        self._running = asyncio.Lock()

    async def current(self) -> Credential:
        """The credential. Forbidden when the plugin fails or prints something else."""
        async with self._running:
            due = self._good_until is not None and time.time() > self._good_until
            if self._credential is None or due:
                self._credential, self._good_until = read_credential(self._plugin, await self._run())
            return self._credential

    def forget(self) -> None:
        """The server refused it: run the plugin at the next request."""
        self._credential = None

    async def _run(self) -> bytes:
        plugin = self._plugin
        try:
            process = await asyncio.create_subprocess_exec(
                plugin.command,
                *plugin.args,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, **dict(plugin.env), "KUBERNETES_EXEC_INFO": _exec_info(plugin)},
            )
        except OSError as error:
            raise Forbidden(
                f"cannot run the credential plugin {plugin.command}: {error.strerror}", hint=plugin.install_hint
            ) from None
        try:
            async with asyncio.timeout(self._timeout):
                out, err = await process.communicate()
        except TimeoutError:
            raise Forbidden(f"the credential plugin {plugin.command} gave no answer in {self._timeout:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            words = err.decode("utf-8", "replace").strip()[-1000:]
            raise Forbidden(f"the credential plugin {plugin.command} ended with {process.returncode}: {words}")
        return out


def parse_plugin(entry: Mapping[str, Any], *, file: Path, cluster: Mapping[str, Any]) -> ExecPlugin:
    """The `exec` entry of a kubeconfig's user; a command with a slash is relative to the file."""
    version = entry.get("apiVersion")
    if version not in EXEC_VERSIONS or not isinstance(entry.get("command"), str) or not entry["command"]:
        raise InvalidInput(f"{file}: exec needs a command and an apiVersion of {' or '.join(EXEC_VERSIONS)}")
    if entry.get("interactiveMode") == "Always":
        raise InvalidInput(f"{file}: the exec plugin {entry['command']} must talk to a person, which we cannot offer")
    command = str(entry["command"])
    if "/" in command:
        command = str(file.parent / command)
    info = ""
    if entry.get("provideClusterInfo"):
        shown = ("server", "tls-server-name", "certificate-authority-data")
        info = json.dumps({name: cluster[name] for name in shown if name in cluster})
    return ExecPlugin(
        command,
        tuple(str(arg) for arg in entry.get("args") or ()),
        tuple((str(pair["name"]), str(pair["value"])) for pair in entry.get("env") or ()),
        str(version),
        info,
        str(entry.get("installHint") or ""),
    )


def read_credential(plugin: ExecPlugin, output: bytes) -> tuple[Credential, float | None]:
    """The credential in an ExecCredential and the time (epoch seconds) until which to use it; None: to the end."""
    try:
        status = json.loads(output)["status"]
        expiry = status.get("expirationTimestamp")
        until = datetime.fromisoformat(expiry).timestamp() - EXPIRY_MARGIN if expiry else None
        cert, key = status.get("clientCertificateData"), status.get("clientKeyData")
        credential = Credential(status.get("token"), cert and cert.encode(), key and key.encode())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Forbidden(f"the credential plugin {plugin.command} printed no ExecCredential") from None
    if credential.token is None and credential.client_cert is None:
        raise Forbidden(f"the credential plugin {plugin.command} gave neither a token nor a certificate")
    return credential, until


def _exec_info(plugin: ExecPlugin) -> str:
    spec: dict[str, Any] = {"interactive": False}
    if plugin.cluster_info:
        spec["cluster"] = json.loads(plugin.cluster_info)
    return json.dumps({"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec})
