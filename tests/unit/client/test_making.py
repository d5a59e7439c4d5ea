from __future__ import annotations

import re

import pytest

from mahavishnu_operator.api.reasons import Label
from mahavishnu_operator.client.making import Maker, maker_named_on

NAMES = (
    "alice",
    "Alice",
    "system:serviceaccount:a:b-c",
    "system:serviceaccount:a-b:c",
    "serviceaccount:a:b-c",
    "a@example.com",
    "a-example.com",
    "-",
    "日本",
    "x" * 1000,
    "\n",
    "\ud800",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_user_of_any_name_is_the_value_of_a_label(name: str) -> None:
    value = Maker.proven(name).value
    assert len(value) <= 63
    assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", value)


def test_two_users_never_have_one_value() -> None:
    assert len({Maker.proven(name).value for name in NAMES}) == len(NAMES)


def test_who_only_says_who_they_are_owns_nothing_of_who_was_proven() -> None:
    alice = Maker.proven("alice")
    liar = Maker.said(alice.value, embedded=False)
    for one, other in ((alice, liar), (liar, alice)):
        assert not one.made({"metadata": {"labels": other.labels}})
        assert one.made({"metadata": {"labels": one.labels}})
    assert liar.annotations == {}


def test_a_proven_name_is_told_before_one_that_was_said() -> None:
    labels = {Label.CLAIMED_BY.value: "liar", Label.CREATED_BY.value: "alice"}
    assert maker_named_on({"metadata": {"labels": labels}}) == "alice"
    assert maker_named_on({"metadata": {}}) == ""
