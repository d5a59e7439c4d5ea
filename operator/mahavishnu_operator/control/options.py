"""How an engine is started."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mahavishnu_operator.backends.kubernetes.settings import KubernetesSettings


@dataclass(frozen=True)
class EngineOptions:
    """How an engine is started. `path_roots` None: any folder may be scanned (one user's own machine).

    `store_url` empty: SQLite in `data_dir`; else PostgreSQL, with blobs in it or, if named, in `blob_dir`.
    `git_ca`: certificates (PEM) that prove git servers to workers; empty: the machine's. `namespaces` empty: all.
    `resync_seconds`: how often complete lists are compared.
    """

    data_dir: Path
    store_url: str = field(default="", repr=False)  # may hold a password
    blob_dir: Path | None = None
    dispatch_host: str = "127.0.0.1"
    dispatch_port: int = 8681
    dispatch_certificate: Path | None = None
    dispatch_key: Path | None = None
    dispatch_plain_http: bool = False
    enable_local_process: bool = False
    git_ca: str = ""
    kubernetes: KubernetesSettings | None = None
    path_roots: tuple[Path, ...] | None = ()
    namespaces: tuple[str, ...] = ()
    lease_seconds: float = 15.0
    resync_seconds: float = 120.0
    shutdown_seconds: float = 10.0
    concurrency: int = 8
    log_level: str = "info"
