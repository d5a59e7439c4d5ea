"""What git said, for the person who gets it, and whether another try may go better: pure.

What must stay true: what a server is out of for a while is tried again (failed); what only a person can change is not
(refused); a word that we do not know is tried again.
"""

from __future__ import annotations

import re

from mahavishnu_operator.api.wire import ResultStatus

from .commands import stopped
from .supervising import Ended

WORDS = 300  # characters of git's own in a message
_TABLE: tuple[tuple[str, ResultStatus, str, str], ...] = (
    (
        r"couldn't find remote ref",
        "refused",
        "RevisionNotFound",
        "there is no such branch or tag (or no commit at all yet); a commit must be given in full",
    ),
    (
        r"not our ref|unadvertised object|no such remote ref|did not send all necessary objects",
        "refused",
        "RevisionNotFound",
        "the server has no such commit, or does not hand out commits by their id: name a branch or tag",
    ),
    (
        r"could not read Username|Authentication failed|terminal prompts disabled|error: 40[13]|HTTP 40[13]",
        "refused",
        "AuthenticationRefused",
        "the server wants credentials, or there is no such repository: set source.git.credentialsSecretRef",
    ),
    (
        r"repository '.*' not found|not found: did you run|error: 404|HTTP 404|not valid: is this a git repository",
        "refused",
        "RepositoryNotFound",
        "there is no git repository at that URL",
    ),
    (
        r"certificate|SSL: no alternative|self-signed|self signed",
        "refused",
        "CertificateUntrusted",
        "the server's certificate is not trusted; name its authority's in MAHAVISHNU_GIT_CA",
    ),
    (
        r"[Pp]rotocol .* not supported|[Pp]rotocol .* disabled|transport '.*' not allowed|[Uu]nsupported protocol",
        "refused",
        "RedirectRefused",
        "the server leads to another protocol than https",
    ),
    (
        r"mismatched algorithms|object format",
        "refused",
        "SourceUnreadable",
        "its commits are of another kind than SHA-1, which is not supported: use source.archive",
    ),
    (r"File name too long|invalid path|unable to create", "refused", "SourceUnreadable", "a file cannot be written"),
    (
        r"[Cc]ould not resolve|[Ff]ailed to connect|[Cc]ouldn't connect|timed out|refused|reset|unreachable|: 5\d\d",
        "failed",
        "SourceUnreachable",
        "the server cannot be reached now; in a cluster, does a NetworkPolicy keep workers from it?",
    ),
)


class Failed(Exception):
    """The files cannot be had: the fields of a worker.messages.Done."""

    def __init__(self, status: ResultStatus, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


def explain(ended: Ended, *, what: str, url: str) -> Failed:
    """Why git did not do it."""
    if ended.stopped_by:
        status, words = stopped(ended.stopped_by, what=f"git (to {what})", timeout_seconds=ended.seconds)
        return Failed(status, ended.stopped_by, words)
    said = said_by(ended.stderr)
    for pattern, status, reason, words in _TABLE:
        if re.search(pattern, said):
            return Failed(status, reason, f"cannot {what}: {words} (git: {said})")
    return Failed("failed", "SourceUnreadable", f"cannot {what}: git: {said or f'exit code {ended.exit_code}'}")


def said_by(stderr: bytes) -> str:
    """The last lines that matter, on one, without control characters."""
    lines = stderr.decode("utf-8", "replace").splitlines()
    mattering = [line for line in lines if re.match(r"(fatal|error|remote|warning):", line)] or lines
    joined = " ".join("".join(c if c.isprintable() else " " for c in line).strip() for line in mattering[-3:])
    return joined[-WORDS:]
