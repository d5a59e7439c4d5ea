"""Selectors select what they say, and refuse what they cannot read."""

from __future__ import annotations

import pytest

from mahavishnu_operator.resources.selectors import parse_fields, parse_labels
from mahavishnu_operator.support.errors import InvalidInput

LABELS = {"app": "scan", "tier": "back", "mahavishnu.dev/pool": "fast", "empty": ""}


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("", True),
        ("app=scan", True),
        ("app == scan", True),
        ("app=other", False),
        ("app!=other", True),
        ("absent!=x", True),
        ("app=scan,tier=front", False),
        ("app in (scan, other), tier notin (front)", True),
        ("absent in (a)", False),
        ("absent notin (a)", True),
        ("app", True),
        ("!app", False),
        ("!absent", True),
        ("mahavishnu.dev/pool=fast", True),
        ("empty=", True),
        ("app=", False),
    ],
)
def test_a_label_selector_selects(selector: str, selected: bool) -> None:
    assert parse_labels(selector).matches(LABELS) is selected


@pytest.mark.parametrize("selector", ["a=b,", ",", "a=b c", "a in b", "a in (b", "=b", "a=b;c=d", "a>1", "a=b=c"])
def test_an_unreadable_label_selector_is_refused(selector: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        parse_labels(selector)


def test_a_field_selector_selects_by_path() -> None:
    selector = parse_fields("metadata.name=a,metadata.namespace!=b", ("metadata.name", "metadata.namespace"))
    assert selector.matches_fields({"metadata": {"name": "a", "namespace": "c"}})
    assert not selector.matches_fields({"metadata": {"name": "a", "namespace": "b"}})


def test_a_field_that_cannot_be_selected_by_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"spec\.backend.*metadata\.name"):
        parse_fields("spec.backend=local-process", ("metadata.name",))
