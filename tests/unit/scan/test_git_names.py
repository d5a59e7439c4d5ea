"""Which URLs and revisions are taken."""

from __future__ import annotations

import pytest

from mahavishnu_operator.scan.git_names import is_commit, revision_problem, url_problem


@pytest.mark.parametrize("url", ["https://h/r.git", "https://h:8443/group/r", "https://[::1]:1/r", "https://h/%20"])
def test_an_https_url_is_taken(url: str) -> None:
    assert url_problem(url) == ""


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://h/r", "https alone"),
        ("git://h/r", "https alone"),
        ("ssh://git@h/r", "https alone"),
        ("git@h:r", "https alone"),
        ("file:///etc", "https alone"),
        ("ext::sh -c x", "space"),
        ("--upload-pack=x", "https alone"),
        ("https://token@h/r", "credentials"),
        ("https://u:p@h/r", "credentials"),
        ("https://-oProxyCommand=x/", "no host"),
        ("https:///r", "no host"),
        ("https://h/r\nx", "space"),
        ("https://[::1/r", "no URL"),
        ("https://h:99999/r", "no URL"),
    ],
)
def test_any_other_is_refused_in_words(url: str, words: str) -> None:
    assert words in url_problem(url)


@pytest.mark.parametrize("revision", ["HEAD", "main", "v1.0", "feature/x-1", "refs/heads/main", "a" * 40, "ümlaut"])
def test_a_name_is_taken(revision: str) -> None:
    assert revision_problem(revision) == ""


@pytest.mark.parametrize(
    "revision",
    ["", "-x", "--upload-pack=x", "+main", "a:b", "main~1", "HEAD^", "@", "@{1}", "a..b", "a b", "a\n", "*", "x.lock"],
)
def test_an_option_a_refspec_or_an_expression_is_not(revision: str) -> None:
    assert revision_problem(revision)


def test_a_commit_is_given_in_full() -> None:
    assert [is_commit(text) for text in ("a" * 40, "a" * 64, "a" * 39, "A" * 40, "a" * 40 + "\n")] == [
        *(True, True, False, False, False)
    ]
