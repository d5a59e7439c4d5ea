"""Reading and writing kubeconfig files: which server, which credentials, for one context.

The pressure: people's files come from a dozen cloud tools. What we can honour (certificates, tokens, token
files, exec plugins) is honoured exactly; what we cannot (proxies, skipped verification, passwords, old
auth-providers, impersonation) is refused in words, because leaving it out would talk to the wrong server
or as the wrong user. What must stay true: files that we write are readable by their owner alone.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mahavishnu_operator.support.errors import InvalidInput

REFUSED_CLUSTER = ("insecure-skip-tls-verify", "proxy-url")
REFUSED_USER = ("username", "password", "auth-provider", "as", "as-uid", "as-groups", "as-user-extra")


@dataclass(frozen=True)
class ContextEntry:
    """The two halves of one context, with the file that each is from (relative paths in it start there)."""

    context: str
    cluster: Mapping[str, Any]
    cluster_file: Path
    user: Mapping[str, Any]
    user_file: Path
    namespace: str = ""


def default_files(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Where kubectl would look: the files of $KUBECONFIG, else ~/.kube/config."""
    if listed := environ.get("KUBECONFIG"):
        return [Path(name) for name in listed.split(os.pathsep) if name]
    return [Path.home() / ".kube" / "config"]


def read_context(files: Sequence[Path], context: str | None = None) -> ContextEntry:
    """The named or current context. Of an entry in several files the first counts, as with kubectl."""
    configs = [(path, _load(path)) for path in files if path.exists()]
    where = ", ".join(map(str, files))
    if not configs:
        raise InvalidInput(f"there is no kubeconfig: {where}", hint="name one with --kubeconfig or KUBECONFIG")
    name = context or next((str(c["current-context"]) for _, c in configs if c.get("current-context")), "")
    if not name:
        raise InvalidInput(f"{where} has no current context", hint="name one with --context")
    chosen, _ = _named(configs, "contexts", "context", name, where)
    cluster, cluster_file = _named(configs, "clusters", "cluster", str(chosen.get("cluster", "")), where)
    user: tuple[Mapping[str, Any], Path] = ({}, cluster_file)
    if chosen.get("user"):
        user = _named(configs, "users", "user", str(chosen["user"]), where)
    _refuse(name, cluster, REFUSED_CLUSTER)
    _refuse(name, user[0], REFUSED_USER)
    if not cluster.get("server"):
        raise InvalidInput(f"context {name!r} of {where} names no server")
    return ContextEntry(name, cluster, cluster_file, user[0], user[1], str(chosen.get("namespace") or ""))


def inline_or_file(entry: Mapping[str, Any], name: str, file: Path) -> bytes | None:
    """The content of `NAME-data` (base64), or of the file that NAME names; None when neither is set."""
    if data := entry.get(f"{name}-data"):
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise InvalidInput(f"{file}: {name}-data is no base64") from None
    if not entry.get(name):
        return None
    path = file.parent / str(entry[name])
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file}: cannot read its {name} {path}: {error.strerror}") from None


def write_kubeconfig(path: Path, *, server: str, token: str | None = None, name: str = "mahavishnu") -> Path:
    """Write a kubeconfig (mode 0600, whole or not at all) for one server with one context; answers its path.

    kubectl sends a token to https servers alone; our own client sends it to any.
    """
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "users": [{"name": name, "user": {"token": token} if token else {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
        "current-context": name,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, 0o600)
        json.dump(config, file, indent=2)
    partial.replace(path)
    return path


def _load(path: Path) -> Mapping[str, Any]:
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput(f"cannot read the kubeconfig {path}: {error}") from None
    if not isinstance(config, dict):
        raise InvalidInput(f"{path} is no kubeconfig")
    return config


def _named(
    configs: Sequence[tuple[Path, Mapping[str, Any]]], many: str, one: str, name: str, where: str
) -> tuple[Mapping[str, Any], Path]:
    for path, config in configs:
        for entry in config.get(many) or ():
            if isinstance(entry, dict) and entry.get("name") == name:
                return entry.get(one) or {}, path
    raise InvalidInput(f"{where} has no {one} {name!r}")


def _refuse(context: str, entry: Mapping[str, Any], names: Sequence[str]) -> None:
    if found := [name for name in names if entry.get(name)]:
        raise InvalidInput(
            f"context {context!r} uses {', '.join(found)}, which this program does not support",
            hint="use a context with certificates, a token or an exec plugin",
        )
