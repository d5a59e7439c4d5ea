"""The generated files: complete, bounded, structural, and in step with the models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from mahavishnu_operator.api import crd as crds
from mahavishnu_operator.api import docs
from mahavishnu_operator.api.base import ApiModel
from mahavishnu_operator.api.crd import crd
from mahavishnu_operator.api.generated import main
from mahavishnu_operator.api.rules import RULES
from mahavishnu_operator.api.schema import MODELS, InexpressibleError, Schema, kind_schema, model_schema

ROOT = Path(__file__).resolve().parents[3]
RE2_LACKS = re.compile(r"\(\?[=!<]|\\[dwsDWSbBzZ]|\\[1-9]")


def fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from fields(child, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if inner in schema:
            yield from fields(schema[inner], f"{path}[]")


@pytest.mark.parametrize("kind", MODELS)
def test_every_field_is_described(kind: str) -> None:
    paths = [p for p, s in fields(kind_schema(kind)) if not s.get("description") and not p.endswith("[]")]
    assert paths == [".metadata"]


@pytest.mark.parametrize("kind", MODELS)
def test_everything_an_author_writes_is_bounded(kind: str) -> None:
    unbounded = [path for path, node in fields(kind_schema(kind)["properties"]["spec"]) if not is_bounded(node)]
    assert unbounded == []


def is_bounded(node: Schema) -> bool:
    match node.get("type"):
        case "string":
            return "enum" in node or "maxLength" in node
        case "integer":
            return "minimum" in node and "maximum" in node
        case "array":
            return "maxItems" in node
        case "object":
            return "properties" in node or "maxProperties" in node
    return node.get("type") == "boolean" or "x-kubernetes-int-or-string" in node


@pytest.mark.parametrize("kind", MODELS)
def test_patterns_mean_the_same_to_every_engine(kind: str) -> None:
    patterns = [node["pattern"] for _, node in fields(kind_schema(kind)) if "pattern" in node]
    assert patterns
    for pattern in patterns:
        assert pattern.startswith("^")
        assert pattern.endswith("$")
        assert not RE2_LACKS.search(pattern)


@pytest.mark.parametrize("kind", MODELS)
def test_every_column_has_a_value_in_a_new_object(kind: str) -> None:
    version = crd(kind)["spec"]["versions"][0]
    new = version["schema"]["openAPIV3Schema"]["properties"]["status"]["default"]
    for column in version["additionalPrinterColumns"]:
        where, *steps = column["jsonPath"].removeprefix(".").split(".", maxsplit=1)
        if where == "status" and not steps[0].startswith("conditions"):
            value: Any = new
            for step in steps[0].split("."):
                value = value[step]
            assert value not in (None, "")


def test_every_rule_is_in_the_crd_of_its_kind() -> None:
    for kind in MODELS:
        found = [rule for _, node in fields(kind_schema(kind)) for rule in node.get("x-kubernetes-validations", ())]
        assert sorted(rule["message"] for rule in found) == sorted(r.message for r in RULES if r.kind == kind)


def test_the_committed_files_are_in_step_with_the_models() -> None:
    assert main("crd", crds.files(), ["--check", str(ROOT / "crds")]) == 0
    assert main("docs", docs.files(), ["--check", str(ROOT / "docs" / "reference")]) == 0


def test_a_check_names_the_file_that_drifted_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main("crd", crds.files(), ["--write", str(tmp_path)])
    drifted = tmp_path / "scanjobs.mahavishnu.dev.yaml"
    drifted.write_text("edited by hand\n")
    assert main("crd", crds.files(), ["--check", str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines()[0].startswith(f"{drifted} is not what the models say: run `make crds`")
    assert drifted.read_text() == "edited by hand\n"


def test_a_missing_file_is_a_drift(tmp_path: Path) -> None:
    assert main("crd", crds.files(), ["--check", str(tmp_path)]) == 1


def test_a_model_that_a_structural_schema_cannot_say_is_an_error() -> None:
    class Odd(ApiModel):
        """Two types at one place."""

        value: Annotated[int | str, Field(description="Odd.")]

    with pytest.raises(InexpressibleError, match=r"Odd\.value: 2 types at one place"):
        model_schema(Odd)


def test_each_call_gives_a_crd_of_its_own() -> None:
    crd("ScanJob")["spec"]["versions"].clear()
    assert crd("ScanJob")["spec"]["versions"]


@pytest.mark.parametrize("kind", MODELS)
def test_the_definitions_are_far_from_the_size_that_etcd_and_kubectl_apply_take(kind: str) -> None:
    annotation = 262_144  # where a client-side apply keeps a copy of all that was applied
    assert len(json.dumps(crd(kind))) < annotation / 4
