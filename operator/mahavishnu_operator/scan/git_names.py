"""Which URLs and revisions of git repositories are taken: pure.

The pressure: both come from whoever may write a ScanJob, and end up on git's command line, where a leading dash is an
option, a plus or a colon a refspec, and `ext::` a program. What must stay true: what passes here is a name and
nothing else to git.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_URL = re.compile(r"[!-~]+")  # visible ASCII
_NO_NAME = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|^[-+./@]|[/.]$")


def is_commit(text: str) -> bool:
    """Whether it is a commit's id in full."""
    return COMMIT.fullmatch(text) is not None


def url_problem(url: str) -> str:
    """Why a worker does not fetch from that URL; empty: it may."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return f"it is no URL: {error}"
    if not _URL.fullmatch(url):
        return "it has a space, a control character or a letter that is not ASCII; write such as %XX"
    if parts.scheme != "https":
        return f"workers fetch over https alone, not over {parts.scheme or 'that'}"
    if "@" in parts.netloc:
        return "credentials do not belong into the URL, where everybody can read them; use credentialsSecretRef"
    if not host or port == 0 or host.startswith("-"):
        return "it names no host"
    return ""


def revision_problem(revision: str) -> str:
    """Why that is no branch, tag or full commit; empty: it can be one."""
    if not _NO_NAME.search(revision) and revision:
        return ""
    return "a branch, a tag or a commit in full is needed; expressions such as HEAD~1 are not looked up"
