"""Where a gateway listens and whom it lets in; checked before anything is opened.

The pressure: whoever reaches a gateway starts programs. What must stay true: off loopback nobody is let in without a
token, and no token goes over a network in the clear unless somebody said so.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mahavishnu_operator.support.addresses import is_loopback
from mahavishnu_operator.support.errors import InvalidInput

SHORTEST_TOKEN = 16
HOW_TO_BE_LET_IN = "send `Authorization: Bearer ...` with the token of this gateway, as its --token-file has it"


class Auth(StrEnum):
    """Values of --auth."""

    SHARED_TOKEN = "shared-token"  # noqa: S105 (a word, no secret)
    TOKEN_REVIEW = "token-review"  # noqa: S105


AuthOption = Annotated[
    Auth,
    typer.Option(
        "--auth",
        help="Who calls: whoever has the token of --token-file, all as one user; or, on a cluster, each the user whose"
        " token the API server reviews, with that user's own rights.",
    ),
]
AudienceOption = Annotated[
    str,
    typer.Option("--audience", metavar="NAME", help="With token-review: what callers' tokens must be made for."),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="Ask callers for this token.  [env: MAHAVISHNU_MCP_TOKEN]"),
]
AllowedHostOption = Annotated[
    list[str] | None,
    typer.Option("--allowed-host", metavar="NAME", help="Name by which it is called besides loopback's (repeat)."),
]
TlsCertOption = Annotated[
    Path | None, typer.Option("--tls-cert", metavar="FILE", help="Serve by TLS with this certificate.")
]
TlsKeyOption = Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="The key of that certificate.")]
PlainOption = Annotated[
    bool,
    typer.Option("--allow-plain-http", help="Off loopback without TLS: the network between is trusted with tokens."),
]


@dataclass(frozen=True)
class Entrance:
    """As the options say. `token`: of all callers; empty: none is asked for, or each has their own."""

    host: str
    port: int
    auth: Auth
    audience: str
    token: str
    allowed_hosts: tuple[str, ...]
    certificate: Path | None
    key: Path | None
    allow_plain_http: bool

    @property
    def scheme(self) -> str:
        """Of its address."""
        return "https" if self.certificate is not None else "http"

    @property
    def shown_host(self) -> str:
        """The host as in a URL."""
        return f"[{self.host}]" if ":" in self.host else self.host

    def check(self) -> None:
        """InvalidInput when it would let in whom nobody meant, or what was said contradicts itself."""
        reviewing = self.auth is Auth.TOKEN_REVIEW
        if reviewing and self.token:
            raise InvalidInput(
                "--auth token-review and a shared token exclude each other", hint="leave one of them out"
            )
        if reviewing and not self.audience:
            raise InvalidInput("--audience is empty", hint="a word that only tokens for this gateway are made for")
        if (self.certificate is None) != (self.key is None):
            raise InvalidInput("--tls-cert and --tls-key belong together", hint="give both, or neither")
        for option, file in (("--tls-cert", self.certificate), ("--tls-key", self.key)):
            if file is not None and not file.is_file():
                raise InvalidInput(f"{option} {file} is no file", hint="name a file of PEM text")
        if self.token:
            _refuse_short(self.token)
        if is_loopback(self.host):
            return
        if not reviewing and not self.token:
            raise InvalidInput(
                f"--host {self.host} lets others reach the gateway, and whoever reaches it runs commands",
                hint="name a --token-file that only you can read, or on a cluster --auth token-review, or stay on "
                "127.0.0.1",
            )
        if self.certificate is None and not self.allow_plain_http:
            raise InvalidInput(
                f"--host {self.host} would have tokens go over the network in the clear",
                hint="give --tls-cert and --tls-key, or --allow-plain-http where something in front does TLS",
            )


def read_token(file: Path) -> str:
    """The one line of a file that nobody else can read. InvalidInput: it protects nothing."""
    try:
        mode = file.stat().st_mode
        text = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the token in {file} cannot be read: {error}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise InvalidInput(f"others can read the token in {file}", hint=f"chmod 600 {file}")
    if not text:
        raise InvalidInput(f"there is no token in {file}", hint="write one line into it")
    _refuse_short(text)
    return text


def _refuse_short(token: str) -> None:
    if len(token) < SHORTEST_TOKEN:
        raise InvalidInput(f"the token has {len(token)} characters", hint=f"take {SHORTEST_TOKEN} or more, at random")
