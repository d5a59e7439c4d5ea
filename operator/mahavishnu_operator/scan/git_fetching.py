"""Fetching one revision of a repository into a work tree, without letting the repository or its server run anything.

The pressure: a server chooses what it sends and where it redirects to, a repository names programs in its attributes
and submodules, and git reads configuration from many places. What must stay true: git is told everything by us and
nothing by files of the machine (no helper, hook, filter, template, submodule, other transport); no argument that an
author wrote is taken for an option; no credential is in an argument, nor in what a failure says; it all ends in time.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mahavishnu_operator.api.reasons import Reason
from mahavishnu_operator.api.source_outcome import Failure
from mahavishnu_operator.support.errors import MahavishnuError
from mahavishnu_operator.support.text import printable

from .git_hardening import ENVIRONMENT, SETTINGS
from .git_names import is_commit

HTTPS = re.compile(r"https://[^/@\s\x00-\x1f?#-][^@\s\x00-\x1f?#]*")
SSH = re.compile(r"ssh://(?:[A-Za-z0-9._][A-Za-z0-9._-]*@)?[A-Za-z0-9\[][A-Za-z0-9.:\[\]-]*/[^\s\x00-\x1f]+")
SCP = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^-\s\x00-\x1f][^\s\x00-\x1f]*")
REVISION = re.compile(r"(?!.*(\.\.|@\{|//|\.lock$))[^-+:~^*?\[\\\s\x00-\x1f\x7f][^:~^*?\[\\\s\x00-\x1f\x7f]*")
SAID_LINES = 3
# What git and ssh say, in their own words, and what it means.
_MEANINGS = (
    (r"host key verification failed|host identification has changed", Reason.HOST_KEY_REFUSED, Failure.FINAL),
    (
        r"authentication failed|could not read (username|password)|permission denied|error: 40[13]|invalid credentials",
        Reason.AUTHENTICATION_REFUSED,
        Failure.FINAL,
    ),
    (
        r"couldn't find remote ref|not our ref|unadvertised object|no such remote ref",
        Reason.REVISION_NOT_FOUND,
        Failure.FINAL,
    ),
    (r"repository '.*' not found|does not appear to be a git repository", Reason.SOURCE_FAILED, Failure.FINAL),
)


class SourceFailed(MahavishnuError):
    """The files could not be had; `failure` says whether it may go better another time."""

    def __init__(self, reason: Reason, message: str, failure: Failure, *, hint: str = "") -> None:
        super().__init__(message, hint=hint, reason=reason.value)
        self.why, self.failure = reason, failure


@dataclass(frozen=True)
class GitAccess:
    """What git needs beside the address. `secrets`: words that no message may hold."""

    config: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class CheckedOut:
    """The commits that the revisions named."""

    commit: str
    base_commit: str = ""


def transport_of(url: str) -> str:
    """`https` or `ssh`. SourceFailed: the address is neither, or holds a password."""
    if HTTPS.fullmatch(url):
        return "https"
    if SSH.fullmatch(url) or SCP.fullmatch(url):
        return "ssh"
    raise SourceFailed(
        Reason.INVALID,
        f"spec.source.git.url {printable(url[:200])} is no address that files are fetched from",
        Failure.FINAL,
        hint="write https://HOST/PATH without a user name, ssh://USER@HOST/PATH or USER@HOST:PATH",
    )


def check_out(
    url: str, into: Path, *, revision: str, base_revision: str = "", access: GitAccess, scratch: Path, seconds: float
) -> CheckedOut:
    """Fetch `revision` into the work tree `into`, which does not exist yet. SourceFailed.

    `scratch` is a private folder, for git's HOME.
    """
    git = _Git(into, access, transport_of(url), scratch, time.monotonic() + seconds)
    for each in (revision, base_revision):
        if each and not REVISION.fullmatch(each):
            raise SourceFailed(
                Reason.REVISION_NOT_FOUND,
                f"{printable(each[:200])} is no branch, tag or commit",
                Failure.FINAL,
                hint="an expression such as main~2 is not resolved: write a name or a commit in full",
            )
    git.run("init", "--quiet", "--template=", str(into), where=None)
    commit = git.fetch(url, revision, "refs/mahavishnu/revision")
    base = git.fetch(url, base_revision, "refs/mahavishnu/base") if base_revision else ""
    git.run("checkout", "--quiet", "--detach", "--force", commit)
    return CheckedOut(commit, base)


class _Git:
    """git in one work tree, until a moment of the monotonic clock."""

    def __init__(self, tree: Path, access: GitAccess, transport: str, scratch: Path, ends_at: float) -> None:
        self._tree, self._access, self._ends_at = tree, access, ends_at
        kept = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
        own = {"HOME": str(scratch), "TMPDIR": str(scratch), "GIT_ALLOW_PROTOCOL": transport}
        settings = (*SETTINGS, *access.config)
        for number, setting in enumerate(settings):
            name, _, value = setting.partition("=")
            own |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        own["GIT_CONFIG_COUNT"] = str(len(settings))
        self._environment = kept | dict(ENVIRONMENT) | own | dict(access.environment)

    def fetch(self, url: str, revision: str, ref: str) -> str:
        """The commit that a revision names, with its files."""
        flags = ("--quiet", "--no-tags", "--depth=1", "--no-write-fetch-head", "--no-recurse-submodules")
        try:
            self.run("fetch", *flags, "--", url, f"+{revision}:{ref}")
        except SourceFailed as failed:
            if failed.why is not Reason.REVISION_NOT_FOUND:
                raise
            raise SourceFailed(
                Reason.REVISION_NOT_FOUND,
                f"{printable(url)} has no branch, tag or commit {printable(revision)}",
                Failure.FINAL,
                hint="" if is_commit(revision) else "an abbreviated commit is not resolved: write it in full",
            ) from None
        return self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}").strip()

    def run(self, *arguments: str, where: Path | None = Path()) -> str:
        """What a command printed. SourceFailed."""
        left = self._ends_at - time.monotonic()
        process = subprocess.Popen(
            ("git", "--no-pager", *(("-C", str(self._tree)) if where is not None else ()), *arguments),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=max(0.0, left))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the transport that it started
            process.communicate()
            raise SourceFailed(Reason.SOURCE_FAILED, "fetching took longer than it may", Failure.PASSES) from None
        if process.returncode != 0:
            raise self._failed(arguments[0], process.returncode, err)
        return out.decode("utf-8", "replace")

    def _failed(self, command: str, code: int, err: bytes) -> SourceFailed:
        text = err.decode("utf-8", "replace")
        for secret in self._access.secrets:
            text = text.replace(secret, "***")
        lines = [line.strip() for line in text.splitlines() if line.strip().strip("@")]
        said = printable("; ".join(lines[-SAID_LINES:])[:600]) or f"exit code {code}"
        for pattern, reason, failure in _MEANINGS:
            if re.search(pattern, text, re.IGNORECASE):
                return SourceFailed(reason, f"git {command}: {said}", failure)
        return SourceFailed(Reason.SOURCE_FAILED, f"git {command}: {said}", Failure.PASSES)
