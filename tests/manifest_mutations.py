"""Random changes of manifests that are taken: what no author of a case table thinks of.

Most mutants are nearly right, because they are made from the schema; one in a few gets a value of any kind.
Reproducible: the same seed gives the same mutants.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

from mahavishnu_operator.api.schema import kind_schema
from tests.manifest_cases import CASES, Case

ODD: tuple[Any, ...] = (
    *(None, 0, 1, -1, 3.0, 2.5, True, False, 10**7, 2**63, 1e30),
    *("", "a", "A", "a\n", "x" * 64, "x" * 1025, "..", "../a", "/a", "é", "-x", "True", "1Gi"),
    *([], {}, ["a"], ["a", "a"], [None], [{}], {"a": 1}, {"name": "a"}),
)
TEXTS = ("a", "b", "a.b", "/srv/x", "main", "https://h/r", "x" * 63, "-x", "0123456789abcdef" * 4, "A")


def mutants(seed: int, count: int) -> Iterator[Case]:
    """So many cases without a verdict, each a taken manifest with one to three changes in its spec."""
    rng = random.Random(seed)
    taken = [c for c in CASES if not c.says and c.old is None and len(json.dumps(c.manifest)) < 5000]
    for number in range(count):
        case = rng.choice(taken)
        manifest = copy.deepcopy(case.manifest)
        for _ in range(rng.randint(1, 3)):
            _mutate(manifest, kind_schema(case.kind)["properties"]["spec"], rng)
        yield Case(f"mutant {number} of {case.name}", manifest)


def _mutate(manifest: dict[str, Any], schema: Mapping[str, Any], rng: random.Random) -> None:
    holder, name, place = rng.choice(list(_places(manifest, "spec", schema)))
    value = holder[name]
    if rng.random() < 0.25:
        holder[name] = copy.deepcopy(rng.choice(ODD))
    elif rng.random() < 0.1 and isinstance(holder, dict) and name != "spec":
        del holder[name]
    elif rng.random() < 0.5 and isinstance(value, dict) and place.get("properties"):
        member = rng.choice([*place["properties"], "unheardOf"])
        value[member] = _value(place["properties"].get(member, {"type": "string"}), rng)
    else:
        holder[name] = _value(place, rng)


def _places(holder: Any, name: Any, schema: Mapping[str, Any]) -> Iterator[tuple[Any, Any, Mapping[str, Any]]]:
    yield holder, name, schema
    value = holder[name]
    if isinstance(value, dict):
        for member in value:
            inner = schema.get("properties", {}).get(member) or schema.get("additionalProperties") or {}
            yield from _places(value, member, inner)
    elif isinstance(value, list):
        for index in range(min(len(value), 3)):
            yield from _places(value, index, schema.get("items", {}))


def _value(schema: Mapping[str, Any], rng: random.Random) -> Any:
    if rng.random() < 0.06:
        return copy.deepcopy(rng.choice(ODD))
    if "enum" in schema:
        return rng.choice(schema["enum"])
    match schema.get("type"):
        case "string":
            return rng.choice(TEXTS)
        case "integer":
            return rng.choice((schema.get("minimum", 0), schema.get("maximum", 9), 1, 2, 5))
        case "boolean":
            return rng.random() < 0.5
        case "array":
            return [_value(schema["items"], rng) for _ in range(rng.randint(0, 2))]
        case "object" if "properties" in schema:
            required = schema.get("required", ())
            return {
                name: _value(child, rng)
                for name, child in schema["properties"].items()
                if rng.random() < (0.97 if name in required else 0.3)
            }
        case "object":
            return {key: _value(schema.get("additionalProperties", {}), rng) for key in rng.sample("abc", 2)}
    return rng.choice((1, "1", "1Gi", "x", 2.5, None))
