"""When a watch counts as silent, and which paths are watched."""

from __future__ import annotations

import pytest

from mahavishnu_operator.control.kopf_feed import quiet_settings, watched_paths
from mahavishnu_operator.control.kopf_session import LastHeard

POOLS, JOBS = "/apis/mahavishnu.dev/v1alpha1/workerpools", "/apis/mahavishnu.dev/v1alpha1/scanjobs"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("quiet_for", "answering_for", "silent"),
    [
        (0.0, 500.0, False),
        (180.0, 500.0, False),
        (181.0, 500.0, True),
        (181.0, 59.0, False),  # the server came back a moment ago: kopf finds its way by itself
        (181.0, 60.0, True),
        (9999.0, None, False),  # the server is down: no fault of the watch
    ],
)
def test_a_watch_is_silent_when_the_server_answers_everything_else(
    quiet_for: float, answering_for: float | None, silent: bool
) -> None:
    clock = Clock()
    heard = LastHeard([POOLS, JOBS], clock)
    clock.now += quiet_for
    heard.note(JOBS)
    since = None if answering_for is None else clock.now - answering_for
    assert bool(heard.silent(answering_since=since)) is silent
    if silent:
        assert f"the watch of {POOLS} has been silent for 181 s" in heard.silent(answering_since=since)


def test_other_paths_are_not_noted() -> None:
    clock = Clock()
    heard = LastHeard([POOLS], clock)
    clock.now += 200
    heard.note("/version")
    assert heard.silent(answering_since=0.0)


def test_the_whole_cluster_is_watched_unless_namespaces_are_named() -> None:
    assert list(watched_paths("https://host", ())) == [POOLS, JOBS]
    assert list(watched_paths("https://host/prefix/", ("a", "b"))) == [
        "/prefix/apis/mahavishnu.dev/v1alpha1/namespaces/a/workerpools",
        "/prefix/apis/mahavishnu.dev/v1alpha1/namespaces/b/workerpools",
        "/prefix/apis/mahavishnu.dev/v1alpha1/namespaces/a/scanjobs",
        "/prefix/apis/mahavishnu.dev/v1alpha1/namespaces/b/scanjobs",
    ]


def test_kopf_may_not_kill_the_process_nor_look_for_kinds() -> None:
    settings = quiet_settings()
    assert settings.process.ultimate_exiting_timeout is None
    assert settings.scanning.disabled
    assert settings.peering.standalone
    assert not settings.posting.enabled
