"""What git says, in words of ours, and whether it is tried again."""

from __future__ import annotations

import pytest

from mahavishnu_operator.worker.git_fetch import check_size
from mahavishnu_operator.worker.git_words import Failed, explain
from mahavishnu_operator.worker.supervising import Ended, StoppedBy


def failed(said: str, stopped_by: StoppedBy = "") -> Failed:
    ended = Ended(128, b"", said.encode(), 0, len(said), 1.0, stopped_by)
    return explain(ended, what="fetch main", url="https://h/r")


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        ("fatal: couldn't find remote ref main", "refused", "RevisionNotFound"),
        ("fatal: remote error: upload-pack: not our ref abc", "refused", "RevisionNotFound"),
        (
            "fatal: could not read Username for 'https://h'",
            "refused",
            "AuthenticationRefused",
        ),
        (
            "fatal: The requested URL returned error: 403",
            "refused",
            "AuthenticationRefused",
        ),
        ("fatal: repository 'https://h/r/' not found", "refused", "RepositoryNotFound"),
        ("fatal: unable to access: server certificate verification failed", "refused", "CertificateUntrusted"),
        (
            "fatal: SSL certificate problem: self-signed certificate",
            "refused",
            "CertificateUntrusted",
        ),
        (
            'fatal: Protocol "http" not supported or disabled',
            "refused",
            "RedirectRefused",
        ),
        ("fatal: unable to access 'https://h/r/': Could not resolve host: h", "failed", "SourceUnreachable"),
        ("fatal: unable to access: Failed to connect to h port 443", "failed", "SourceUnreachable"),
        ("fatal: unable to access: The requested URL returned error: 503", "failed", "SourceUnreachable"),
        ("fatal: something new", "failed", "SourceUnreadable"),
        ("", "failed", "SourceUnreadable"),
    ],
)
def test_what_only_a_person_can_change_is_not_tried_again(said: str, status: str, reason: str) -> None:
    told = failed(said)
    assert (told.status, told.reason) == (status, reason)
    assert "cannot fetch main" in told.message


def test_a_time_out_and_a_cancel_are_what_they_are() -> None:
    assert (failed("", "TimedOut").status, failed("", "Cancelled").status) == ("timed-out", "cancelled")


def test_no_control_character_of_a_server_reaches_a_person() -> None:
    assert "\x1b" not in failed("remote: \x1b[2Jhello").message


def tree(*files: tuple[str, int]) -> bytes:
    return b"".join(f"100644 blob {'a' * 40} {size:>7}\t{name}".encode() + b"\0" for name, size in files)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([("a", 900 * 1024**2), ("b", 200 * 1024**2)], "at most"),
        ([("x" * 256, 1)], "too long"),
        ([("d/" * 600 + "x", 1)], "too long"),
    ],
)
def test_a_commit_that_is_too_large_is_refused_before_it_is_written(files: list[tuple[str, int]], words: str) -> None:
    with pytest.raises(Failed, match=words) as refused:
        check_size(tree(*files), what="c")
    assert refused.value.status == "refused"


def test_an_ordinary_commit_is_written() -> None:
    check_size(tree(("a.py", 1), ("pkg/b.py", 2)) + b"160000 commit " + b"a" * 40 + b"       -\tsub\0", what="c")
