"""The first program of a source Job: makes the archive of a private repository or of a volume.

It has the credentials or the volume, and no token of the dispatcher. What must stay true: nothing of what it fetches
is run; it leaves an archive and what is to be said of it, or says why not in the message that its container ends with.
"""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from mahavishnu_operator.api.reasons import Reason
from mahavishnu_operator.api.source_outcome import Failure, cut
from mahavishnu_operator.api.wire import Commits
from mahavishnu_operator.scan.archives import MadeArchive, make_archive
from mahavishnu_operator.scan.git_fetching import SourceFailed, check_out
from mahavishnu_operator.support.errors import InvalidInput
from mahavishnu_operator.support.logs import configure_logging

from .source_credentials import git_access

log = structlog.get_logger(__name__)

ARCHIVE, SAID = "archive.tar.gz", "source.json"
FETCH_SECONDS = 800.0  # under the Job's own deadline, so that it is us who say what took so long


class Prepared(msgspec.Struct, frozen=True):
    """What the upload says of the archive."""

    sha256: str
    size: int
    commits: Commits


@dataclass(frozen=True)
class FetchWanted:
    """`url` empty: the folder is packed. `credentials`: a Secret's keys as files.

    `git_ca`: certificates (PEM) that prove git servers, unless the Secret has some; empty: the image's.
    """

    into: Path
    url: str = ""
    revision: str = "HEAD"
    base_revision: str = ""
    credentials: Path | None = None
    secret: str = ""
    folder: Path | None = None
    sub_path: str = ""
    git_ca: str = ""


def run_fetch(wanted: FetchWanted, *, log_level: str, termination_log: Path) -> int:
    """The exit code: 0, the archive is there; 1, the termination log says why not."""
    configure_logging(level=log_level)
    try:
        prepared = _prepare(wanted)
    except SourceFailed as error:
        return leave(error, termination_log)
    (wanted.into / SAID).write_bytes(msgspec.json.encode(prepared))
    log.info("archive made", bytes=prepared.size, sha256=prepared.sha256, commit=prepared.commits.revision)
    return 0


def leave(error: SourceFailed, termination_log: Path) -> int:
    """Say why to whoever looks at the Pod, and to the operator."""
    log.error("the files could not be brought", reason=error.reason, error=str(error))
    termination_log.write_bytes(msgspec.json.encode(cut(error.why, str(error), error.failure)))
    return 1


def _prepare(wanted: FetchWanted) -> Prepared:
    with tempfile.TemporaryDirectory(prefix="source-") as private, tempfile.TemporaryDirectory(dir=wanted.into) as room:
        if not wanted.url:
            made = _pack(_folder_of(wanted), wanted.into / ARCHIVE)
            return Prepared(made.sha256, made.size, Commits())
        access = git_access(
            wanted.url, wanted.credentials, secret=wanted.secret, git_ca=wanted.git_ca, scratch=Path(private)
        )
        tree = Path(room) / "tree"
        found = check_out(
            wanted.url,
            tree,
            revision=wanted.revision,
            base_revision=wanted.base_revision,
            access=access,
            scratch=Path(private),
            seconds=FETCH_SECONDS,
        )
        made = _pack(tree, wanted.into / ARCHIVE)
        return Prepared(made.sha256, made.size, Commits(found.commit, found.base_commit))


def _pack(root: Path, file: Path) -> MadeArchive:
    try:
        with file.open("wb") as out:
            made = make_archive(root, out)
    except InvalidInput as error:
        too_large = "is larger than" in error.message
        reason = Reason.ARCHIVE_TOO_LARGE if too_large else Reason.SOURCE_FAILED
        raise SourceFailed(reason, error.message, Failure.FINAL if too_large else Failure.PASSES) from None
    log.info("files packed", files=made.files, left_out=len(made.skipped))
    return made


def _folder_of(wanted: FetchWanted) -> Path:
    """The folder of the volume, which no link in `sub_path` leads out of."""
    if wanted.folder is None:
        raise ValueError("neither an address nor a folder")
    path = wanted.folder
    for step in [part for part in wanted.sub_path.split("/") if part not in ("", ".")]:
        path = path / step
        try:
            status = os.lstat(path)
        except OSError as error:
            raise _no_folder(wanted, error.strerror or str(error), Failure.WAITS) from None
        if step == ".." or not stat.S_ISDIR(status.st_mode):
            raise _no_folder(wanted, f"{step!r} is no folder, or a link", Failure.FINAL)
    return path


def _no_folder(wanted: FetchWanted, why: str, failure: Failure) -> SourceFailed:
    return SourceFailed(Reason.PATH_NOT_FOUND, f"the volume has no folder {wanted.sub_path!r}: {why}", failure)
