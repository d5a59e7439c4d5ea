"""Who is who in one throw-away cluster: certificates of its own authority, and kubeconfigs made of them."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Sequence
from pathlib import Path

from .client import write_kubeconfig
from .pki import Authority, KeyPair, write_signing_key

ADMINISTRATORS = "system:masters"  # may do everything, whatever RBAC says


class Identities:
    """Issues what the components of one cluster show each other; writes to `folder`, an existing empty one."""

    def __init__(self, folder: Path, *, server: str) -> None:
        self._folder = folder
        self._server = server
        self._pki = folder / "pki"
        self._pki.mkdir()
        self._authority = Authority(self._pki)
        self.authority: KeyPair = self._authority.pair
        self.token_key = write_signing_key(self._pki / "service-accounts.key")  # of service accounts
        self.admin = self.issue("admin", common_name="admin", organizations=(ADMINISTRATORS,))
        self.admin_kubeconfig = self._write_kubeconfig("admin", self.admin)

    def issue(
        self, file: str, *, common_name: str, organizations: Sequence[str] = (), hosts: Sequence[str] = ()
    ) -> KeyPair:
        """A certificate and its key; see Authority.issue."""
        return self._authority.issue(file, common_name=common_name, organizations=organizations, hosts=hosts)

    def kubeconfig(self, file: str, *, common_name: str, organizations: Sequence[str] = ()) -> Path:
        """A kubeconfig for a new user of that name and those groups: FILE.kubeconfig."""
        return self._write_kubeconfig(file, self.issue(file, common_name=common_name, organizations=organizations))

    def admin_tls(self) -> ssl.SSLContext:
        """For requests to every component, as the administrator."""
        tls = ssl.create_default_context(cafile=self.authority.certificate)
        tls.load_cert_chain(self.admin.certificate, self.admin.key)
        return tls

    def _write_kubeconfig(self, file: str, user: KeyPair) -> Path:
        return write_kubeconfig(
            self._folder / f"{file}.kubeconfig",
            connection={
                "server": self._server,
                "certificate-authority-data": _base64(self.authority.certificate),
            },
            user={"client-certificate-data": _base64(user.certificate), "client-key-data": _base64(user.key)},
        )


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
