"""Merge patch and JSON patch do what their RFCs say."""

from __future__ import annotations

from typing import Any

import pytest

from mahavishnu_operator.resources.patching import json_patch, merge_patch, same_json
from mahavishnu_operator.support.errors import InvalidInput


@pytest.mark.parametrize(  # the examples of RFC 7386, appendix A
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_merges(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


def test_a_merge_patch_leaves_its_target_alone() -> None:
    target = {"a": {"b": 1}}
    merge_patch(target, {"a": {"b": 2}})
    assert target == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("operations", "result"),
    [
        ([{"op": "add", "path": "/b", "value": 1}], {"a": {"x": [1, 2]}, "b": 1}),
        ([{"op": "add", "path": "/a/x/-", "value": 3}], {"a": {"x": [1, 2, 3]}}),
        ([{"op": "add", "path": "/a/x/0", "value": 0}], {"a": {"x": [0, 1, 2]}}),
        ([{"op": "remove", "path": "/a/x/0"}], {"a": {"x": [2]}}),
        ([{"op": "replace", "path": "/a/x", "value": None}], {"a": {"x": None}}),
        ([{"op": "copy", "from": "/a/x", "path": "/y"}], {"a": {"x": [1, 2]}, "y": [1, 2]}),
        ([{"op": "move", "from": "/a/x", "path": "/y"}], {"a": {}, "y": [1, 2]}),
        ([{"op": "test", "path": "/a/x/1", "value": 2}], {"a": {"x": [1, 2]}}),
        ([{"op": "add", "path": "/m~1n~0", "value": 1}], {"a": {"x": [1, 2]}, "m/n~": 1}),
        ([{"op": "replace", "path": "", "value": {}}], {}),
    ],
)
def test_a_json_patch_is_performed(operations: Any, result: Any) -> None:
    assert json_patch({"a": {"x": [1, 2]}}, operations) == result


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/nothing"},
        {"op": "replace", "path": "/nothing", "value": 1},
        {"op": "test", "path": "/a/x/0", "value": True},
        {"op": "add", "path": "/a/x/7", "value": 1},
        {"op": "add", "path": "/a/x/01", "value": 1},
        {"op": "add", "path": "/a/x/0/deep", "value": 1},
        {"op": "add", "path": "no-slash", "value": 1},
        {"op": "move", "from": "/a", "path": "/a/b"},
        {"op": "sing", "path": "/a"},
        {"path": "/a"},
        "remove",
    ],
)
def test_a_json_patch_that_cannot_be_performed_is_refused(operation: Any) -> None:
    with pytest.raises(InvalidInput, match="operation 0"):
        json_patch({"a": {"x": [1, 2]}}, [operation])


def test_true_is_not_one() -> None:
    assert not same_json({"a": [True]}, {"a": [1]})
    assert same_json({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]})


def test_copies_that_double_without_end_are_refused() -> None:
    doubling = [{"op": "copy", "from": "", "path": f"/{n}"} for n in range(60)]
    with pytest.raises(InvalidInput, match="all copies together have over 3145728 bytes"):
        json_patch({"a": "b"}, doubling)
