"""How to reach an API server: its address, whom to trust, who we are. A value; nothing is opened here.

The three ways in are a URL (the embedded server), a kubeconfig, and a Pod's own service account. What must
stay true: certificates are always verified; a secret never shows in a repr.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from mahavishnu_operator.support.errors import InvalidInput

from .credentials import Credential, ExecPlugin, parse_plugin
from .kubeconfig import default_files, inline_or_file, read_context

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True)
class Connection:
    """An API server and the credentials for it.

    Attributes:
        server: http(s)://host[:port][/path], without a slash at the end.
        ca_data: PEM of the authorities to trust; None: those of the system.
        token_file: a file with the bearer token, read again as it changes; wins over `token`.
        tls_server_name: the name that the server's certificate must have, if not that of the URL.
        namespace: where its user works unless told otherwise; empty: not said.

    """

    server: str
    ca_data: bytes | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    client_cert: bytes | None = field(default=None, repr=False)
    client_key: bytes | None = field(default=None, repr=False)
    exec_plugin: ExecPlugin | None = None
    tls_server_name: str | None = None
    namespace: str = field(default="", compare=False)

    @classmethod
    def from_url(cls, url: str, token: str | None = None) -> Connection:
        """A server by its URL."""
        try:
            parts = urlsplit(url)
            _ = parts.port  # raises when it is no number
        except ValueError as error:
            raise InvalidInput(
                f"{url!r} is no address of a server: {error}", hint="write it as http://127.0.0.1:8680"
            ) from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise InvalidInput(f"{url!r} is no address of a server", hint="write it as http://127.0.0.1:8680")
        if parts.username is not None or parts.password is not None:
            raise InvalidInput("an address with a password in it is not accepted", hint="give a token instead")
        return cls(url.rstrip("/"), token=token)

    @classmethod
    def from_kubeconfig(cls, path: Path | str | None = None, context: str | None = None) -> Connection:
        """A context of a kubeconfig; without a path, of the files that kubectl would read."""
        entry = read_context([Path(path)] if path else default_files(), context)
        cluster, user = entry.cluster, entry.user
        plugin = user.get("exec")
        token_file = user.get("tokenFile")
        return cls(
            server=str(cluster["server"]).rstrip("/"),
            ca_data=inline_or_file(cluster, "certificate-authority", entry.cluster_file),
            token=user.get("token"),
            token_file=entry.user_file.parent / str(token_file) if token_file else None,
            client_cert=inline_or_file(user, "client-certificate", entry.user_file),
            client_key=inline_or_file(user, "client-key", entry.user_file),
            exec_plugin=parse_plugin(plugin, file=entry.user_file, cluster=cluster) if plugin else None,
            tls_server_name=cluster.get("tls-server-name"),
            namespace=entry.namespace,
        )

    @classmethod
    def in_cluster(cls, folder: Path = SERVICE_ACCOUNT, environ: Mapping[str, str] = os.environ) -> Connection:
        """The API server of the cluster that this Pod runs in, as its service account."""
        host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
        if not host or not port:
            raise InvalidInput("this is no Pod: KUBERNETES_SERVICE_HOST is not set", hint="name a kubeconfig")
        try:
            ca_data = (folder / "ca.crt").read_bytes()
        except OSError as error:
            raise InvalidInput(
                f"cannot read {folder / 'ca.crt'}: {error.strerror}",
                hint="the Pod must mount its service account",
            ) from None
        address = f"[{host}]" if ":" in host else host
        return cls(f"https://{address}:{port}", ca_data=ca_data, token_file=folder / "token")

    def ssl_context(self, credential: Credential) -> ssl.SSLContext | None:
        """A strict TLS context with the client certificate of now; None for a plain http server."""
        if not self.server.startswith("https:"):
            return None
        try:
            trusted = self.ca_data.decode() if self.ca_data else None
            context = ssl.create_default_context(cadata=trusted)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            cert, key = credential.client_cert or self.client_cert, credential.client_key or self.client_key
            if cert and key:
                _load_pair(context, cert, key)
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise InvalidInput(f"the certificates for {self.server} cannot be used: {error}") from None
        return context


def _load_pair(context: ssl.SSLContext, cert: bytes, key: bytes) -> None:
    """Load a pair that is held in memory; the library reads files alone, so a private one exists for a moment."""
    with tempfile.TemporaryDirectory() as folder:  # mode 0700
        pair = Path(folder) / "pair.pem"
        pair.write_bytes(cert + b"\n" + key)
        context.load_cert_chain(pair)
