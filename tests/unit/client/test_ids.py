from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mahavishnu_operator.client.ids import label_value, name_of, new_name, parse_id
from mahavishnu_operator.resources.protocol import Key
from mahavishnu_operator.support.errors import InvalidInput


def test_an_id_is_namespace_and_name_and_a_bare_name_is_of_the_default_namespace() -> None:
    assert parse_id("team/pool-1", namespace="default") == Key("team", "pool-1")
    assert parse_id("pool", namespace="here") == Key("here", "pool")


@pytest.mark.parametrize(
    "text",
    ["", "/", "a/", "/a", "a/b/c", "A", "a b", "..", ".", "a/..", "../a", "-a", "a-", "ä", "a\n", "a%2fb", "a" * 64],
)
def test_what_can_be_no_id_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"can be no name|is not namespace/name"):
        parse_id(text, namespace="default")


@given(st.text(max_size=300))
def test_no_id_leads_out_of_its_place_in_a_path(text: str) -> None:
    with suppress(InvalidInput):
        key = parse_id(text, namespace="default")
        assert not set(f"{key.namespace}{key.name}") & set("/%?#\\ ")
        assert key.name not in (".", "..")


@given(st.text(max_size=300))
def test_an_id_of_a_callers_choice_is_one_name_whenever_it_is_given(text: str) -> None:
    assert name_of("workflow", text) == name_of("workflow", text)
    assert parse_id(name_of("workflow", text), namespace="default").name == name_of("workflow", text)


def test_a_new_name_is_used_once() -> None:
    assert new_name("run") != new_name("run")


@pytest.mark.parametrize(
    ("who", "label"), [("alice", "alice"), ("system:serviceaccount:a:b", "system-serviceaccount-a-b"), ("", "unknown")]
)
def test_who_somebody_is_fits_a_label(who: str, label: str) -> None:
    assert label_value(who) == label
