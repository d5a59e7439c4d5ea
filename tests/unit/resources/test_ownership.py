"""Server-side apply as pure values: what is merged, removed, refused, and who owns it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mahavishnu_operator.resources import managed_fields
from mahavishnu_operator.resources.ownership import (
    ApplyConflict,
    ListTypes,
    Manager,
    apply_leaves,
    leaves_of,
    object_of,
    path_in_words,
    update_managers,
)

TYPES = ListTypes(keyed={("spec", "tasks"): ("id",)}, sets=frozenset({("spec", "tools")}))
NOW = "2026-01-01T00:00:00Z"


def applied(
    live: dict[str, Any],
    spec: dict[str, Any],
    managers: tuple[Manager, ...] = (),
    *,
    manager: str = "me",
    force: bool = False,
) -> tuple[dict[str, Any], tuple[Manager, ...]]:
    leaves, owners = apply_leaves(
        leaves_of({"spec": live}, TYPES),
        leaves_of({"spec": spec}, TYPES),
        managers,
        manager=manager,
        force=force,
        now=NOW,
    )
    return object_of(leaves).get("spec", {}), owners


def test_what_a_manager_no_longer_applies_is_removed() -> None:
    spec, owners = applied({}, {"a": 1, "b": {"c": 2}})
    spec, owners = applied(spec, {"a": 1}, owners)
    assert spec == {"a": 1}
    assert [m.name for m in owners] == ["me"]


def test_what_another_manager_also_applies_stays() -> None:
    spec, owners = applied({}, {"a": 1, "b": 2})
    spec, owners = applied(spec, {"b": 2}, owners, manager="other")
    spec, owners = applied(spec, {"a": 1}, owners)
    assert spec == {"a": 1, "b": 2}


def test_what_nobody_applied_is_left_alone() -> None:
    spec, _ = applied({"replicas": 3}, {"a": 1})
    assert spec == {"replicas": 3, "a": 1}


def test_another_managers_value_is_a_conflict_that_names_both() -> None:
    spec, owners = applied({}, {"a": {"b": 1}}, manager="gitops")
    with pytest.raises(ApplyConflict, match=r'conflict with "gitops" on \.spec\.a\.b'):
        applied(spec, {"a": {"b": 2}}, owners)


def test_the_same_value_is_shared_without_conflict() -> None:
    spec, owners = applied({}, {"a": 1}, manager="gitops")
    _, owners = applied(spec, {"a": 1}, owners)
    assert {m.name for m in owners} == {"gitops", "me"}


def test_force_takes_the_field_over() -> None:
    spec, owners = applied({}, {"a": 1, "b": 1}, manager="gitops")
    spec, owners = applied(spec, {"a": 2}, owners, force=True)
    assert spec == {"a": 2, "b": 1}
    assert next(m for m in owners if m.name == "gitops").paths == {("f:spec", "f:b")}


def test_items_of_a_keyed_list_are_owned_one_by_one() -> None:
    spec, owners = applied({}, {"tasks": [{"id": "a", "command": ["x"]}]}, manager="one")
    spec, owners = applied(spec, {"tasks": [{"id": "b", "command": ["y"]}]}, owners, manager="two")
    assert [t["id"] for t in spec["tasks"]] == ["a", "b"]
    spec, owners = applied(spec, {"x": 1}, owners, manager="one")
    assert [t["id"] for t in spec["tasks"]] == ["b"]


def test_an_item_that_nobody_applies_any_more_goes_with_what_others_wrote_in_it() -> None:
    spec, owners = applied({}, {"tasks": [{"id": "a", "priority": 1}]}, manager="one")
    spec, owners = applied(spec, {"tasks": [{"id": "a", "files": ["f"]}]}, owners, manager="two")
    spec, owners = applied(spec, {"x": 1}, owners, manager="two")
    assert spec == {"tasks": [{"id": "a", "priority": 1}], "x": 1}


def test_members_of_a_set_are_owned_one_by_one() -> None:
    spec, owners = applied({}, {"tools": ["ruff"]}, manager="one")
    spec, owners = applied(spec, {"tools": ["bandit"]}, owners, manager="two")
    assert spec["tools"] == ["ruff", "bandit"]
    spec, _ = applied(spec, {"x": 1}, owners, manager="one")
    assert spec["tools"] == ["bandit"]


def test_any_other_list_is_one_value() -> None:
    spec, owners = applied({}, {"files": ["a", "b"]})
    spec, _ = applied(spec, {"files": ["c"]}, owners)
    assert spec["files"] == ["c"]


def test_a_branch_replaces_a_single_value_and_the_other_way_round() -> None:
    assert applied({"a": 1}, {"a": {"b": 2}})[0] == {"a": {"b": 2}}
    assert applied({"a": {"b": 2}}, {"a": 1})[0] == {"a": 1}


def test_an_update_takes_what_it_changes_from_its_owners() -> None:
    _, owners = applied({}, {"a": 1, "b": 1}, manager="gitops")
    before = leaves_of({"spec": {"a": 1, "b": 1}}, TYPES)
    after = leaves_of({"spec": {"a": 5, "b": 1}}, TYPES)
    owners = update_managers(before, after, owners, manager="kubectl", now=NOW)
    assert {m.name: m.paths for m in owners} == {
        "gitops": {("f:spec", "f:b")},
        "kubectl": {("f:spec", "f:a")},
    }


def test_an_update_that_changes_nothing_changes_no_owner() -> None:
    _, owners = applied({}, {"a": 1})
    leaves = leaves_of({"spec": {"a": 1}}, TYPES)
    assert update_managers(leaves, leaves, owners, manager="kubectl", now=NOW) == owners


def test_status_is_nobodys() -> None:
    assert leaves_of({"spec": {"a": 1}, "status": {"phase": "x"}}, TYPES) == {("f:spec", "f:a"): 1}


def test_a_path_reads_as_kubectl_shows_it() -> None:
    path = ("f:spec", "f:tasks", 'k:{"id":"a"}', "f:command")
    assert path_in_words(path) == '.spec.tasks[id="a"].command'


def test_managed_fields_survive_their_wire_form() -> None:
    _, owners = applied({}, {"tasks": [{"id": "a", "command": ["x"]}], "tools": ["ruff"], "b": {"c": 1}})
    assert managed_fields.decode(managed_fields.encode(owners)) == owners


def test_list_types_are_read_from_a_schema() -> None:
    item = {"properties": {"env": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}}}
    tasks = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"], "items": item}
    tools = {"x-kubernetes-list-type": "set"}
    types = ListTypes.of_schema({"properties": {"spec": {"properties": {"tasks": tasks, "tools": tools}}}})
    assert types.keyed[("spec", "tasks")] == ("id",)
    assert types.keyed[("spec", "tasks", "*", "env")] == ("name",)
    assert ("spec", "tools") in types.sets


names = st.sampled_from(["a", "b", "tasks", "tools"])
scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(names, v, max_size=3), max_leaves=8)
specs = st.dictionaries(names, values, max_size=4)


@given(specs)
def test_leaves_are_the_whole_object(spec: dict[str, Any]) -> None:
    assert object_of(leaves_of({"spec": spec}, TYPES)) == {"spec": spec}


@given(specs, specs)
def test_after_an_apply_all_that_was_applied_is_there(live: dict[str, Any], spec: dict[str, Any]) -> None:
    result, _ = applied(live, spec, force=True)
    again, _ = applied(result, spec, force=True)
    assert again == result
    have = leaves_of({"spec": result}, TYPES)
    for path, value in leaves_of({"spec": spec}, TYPES).items():
        assert have.get(path, "branch") == value or value in ({}, [])
