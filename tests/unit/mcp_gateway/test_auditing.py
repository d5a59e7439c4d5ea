from __future__ import annotations

from typing import Any

import pytest

from mahavishnu_operator.mcp_gateway.auditing import objects_of


@pytest.mark.parametrize(
    ("given", "answer", "objects"),
    [
        ({"pool_id": "p", "prompt": "secret"}, {"pool_id": "ns/p", "task_id": "ns/run-1"}, "ns/p ns/run-1 p"),
        ({"key": "k", "value": "secret", "path": "/secret"}, {"output": "secret"}, ""),
        ({"worker_ids": ["ns/a", "ns/b"]}, {}, "ns/a ns/b"),
        ({"worker_ids": "x", "pool_id": {"a": 1}, "pool_ids": [1, "ns/p"]}, {}, "ns/p"),
        ({"pool_ids": [f"p{number}" for number in range(20)]}, {}, "p0 p1 p2 p3 p4 p5 p6 p7 and 12 more"),
        ({"pool_id": "a\n\x1b[31m"}, {}, "a\\n\\x1b[31m"),
        ({"pool_id": "x" * 200}, {}, "x" * 128 + "..."),
    ],
)
def test_objects_are_named_and_nothing_else_that_was_given(
    given: dict[str, Any], answer: dict[str, Any], objects: str
) -> None:
    assert objects_of(given, answer) == objects
