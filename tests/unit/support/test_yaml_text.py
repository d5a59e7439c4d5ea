"""Text of manifests: what Kubernetes reads is read alike, everything else is refused in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mahavishnu_operator.support.json_text import MAX_DEPTH, Unreadable, read_json
from mahavishnu_operator.support.yaml_text import MAX_VALUES, read_documents, read_yaml

BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
)
MERGE_BOMB = "\n".join(
    ["a0: &a0 {k: v}"] + [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 12)]
)
CHAIN = "\n".join(["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 2 * MAX_DEPTH)])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": 1}),
        (
            "a: 0x1F\nb: 010\nc: 0o10\nd: -0b11\ne: 1_000\nf: +5\ng: 0",
            {"a": 31, "b": 8, "c": 8, "d": -3, "e": 1000, "f": 5, "g": 0},
        ),
        ("a: 1.5\nb: 1e3\nc: .5\nd: -2.5E-1", {"a": 1.5, "b": 1000.0, "c": 0.5, "d": -0.25}),
        ("a: on\nb: No\nc: true\nd: y", {"a": True, "b": False, "c": True, "d": "y"}),
        ("a: ~\nb: null\nc:", {"a": None, "b": None, "c": None}),
        ("a: 2024-01-02\nb: 12:30:45\nc: =\nd: 1.2.3\ne: 2024-13-45", None),
        ("a: '1'\nb: !!str 1", {"a": "1", "b": "1"}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}", {"a": {"k": 1, "l": 2}, "b": {"k": 3, "l": 2}}),
        ("a: &x {k: 1}\nb: &y {k: 2, l: 3}\nc: {<<: [*x, *y]}", None),
        ("\ufeffa: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        ('a: "\\0 \\u00e9"', {"a": "\0 é"}),
    ],
)
def test_what_json_can_say_is_read_as_kubernetes_reads_it(text: str, value: Any) -> None:
    (found,) = read_documents(text)
    if value is None:
        expected: dict[str, Any] = {
            "a: 2": {"a": "2024-01-02", "b": "12:30:45", "c": "=", "d": "1.2.3", "e": "2024-13-45"},
            "a: &": {"a": {"k": 1}, "b": {"k": 2, "l": 3}, "c": {"k": 1, "l": 3}},
        }
        value = expected[text[:4]]
    assert json.dumps(found) == json.dumps(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: a is given twice"),
        ('{"a": 1, "a": 2}', "a is given twice"),
        ("1: a", "line 1: a key must be a text; put it into quotes"),
        ("on: a", "a key must be a text"),
        ("[a]: b", "a key must be a text"),
        ("a: .nan", "no number of JSON"),
        ("a: -.inf", "no number of JSON"),
        ("a: 1e400", "1e400 is no number of JSON"),
        ('{"a": 1e400}', "1e400 is no number of JSON"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        (f"a: {'9' * 5000}", "no number of JSON"),
        (f'{{"a": {"9" * 5000}}}', "no number of JSON"),
        ("a: !!int x", "line 1: 'x' is no int"),
        ("a: 0b_", "line 1: '0b_' is no int"),
        ("a: !!timestamp 2024-99-99", "type timestamp has no place in JSON"),
        ("a: !!binary aGk=", "type binary"),
        ("a: !!set {x}", "type set"),
        ("a: !!python/object/apply:os.system [x]", "type python/object"),
        ("a: !mine x", "type !mine"),
        ("a: &x [*x]", "an alias to itself"),
        ("a: &x {<<: *x}", "an alias to itself"),
        ("a: {<<: 1}", "only a mapping can be merged"),
        ("a: *gone", "no YAML"),
        ("a: [\n}", "line 2"),
        ("a: 1\n---\n}", "no YAML"),
        ("a: \0", "no YAML"),
        ("a: '\\ud800'\nb: \"\\ud800\"", "no YAML"),
        (BOMB, f"more than {MAX_VALUES} values once its aliases are unfolded"),
        (MERGE_BOMB, f"more than {MAX_VALUES} values once its aliases are unfolded"),
        (CHAIN, "nested deeper than"),
        ("[" * 500_000, "nested deeper than"),
        ("a: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested deeper than"),
        ("{" * 500_000, "nested deeper than"),
        ('{"a":' * 500_000, "nested deeper than"),
        ("- " * 100_000 + "a", "nested deeper than"),
        ("? " * 100_000 + "a", "nested deeper than"),
        ("[" + "x," * 500_000 + "]", f"more than {MAX_VALUES} values"),
    ],
    ids=lambda value: value[:30].encode("unicode_escape").decode(),
)
def test_what_json_cannot_say_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(Unreadable) as refused:
        read_documents(text)
    assert words in str(refused.value)
    assert len(str(refused.value)) < 500


def test_a_depth_at_the_bound_is_taken() -> None:
    text = "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH
    assert read_yaml(text) == [read_json(text)]


def test_json_objects_one_after_the_other_are_read_whatever_their_strings_are_written_like() -> None:
    text = json.dumps({"a": "\N{PILE OF POO}"}) + "\n\t" + json.dumps({"b": "\t"}, indent="\t")
    assert read_documents(text) == [{"a": "\N{PILE OF POO}"}, {"b": "\t"}]


def test_half_a_surrogate_pair_is_replaced_as_the_api_server_does() -> None:
    assert read_json(b'{"\\ud800": "x\\udfff"}') == {"\ufffd": "x\ufffd"}


def test_a_flow_mapping_is_yaml() -> None:
    assert read_documents("{a: b, c: [d]}\n---\n{e: 1}") == [{"a": "b", "c": ["d"]}, {"e": 1}]


def test_aliases_can_be_refused() -> None:
    with pytest.raises(Unreadable, match="line 2: YAML aliases are not taken here"):
        read_yaml("a: &x [1]\nb: *x", aliases=False)


def test_no_document_is_read_when_one_of_them_is_broken() -> None:
    with pytest.raises(Unreadable):
        read_documents("a: 1\n---\nb: [\n---\nc: 1")
