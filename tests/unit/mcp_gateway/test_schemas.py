from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from mahavishnu_operator.mcp_gateway.answers import Batch, JobRow, PoolClosed, PoolMeasures, PoolRow
from mahavishnu_operator.mcp_gateway.schemas import Schema, answer_of, list_of, mapping_of
from mahavishnu_operator.mcp_gateway.shapes import failure

CLOSED = {"pool_id": "ns/p", "status": "closed", "success": True}
FAILED = failure("it is not there")
MEASURES = dict.fromkeys(PoolMeasures.model_fields, 0) | {"status": "running", "message": ""}


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        (answer_of(PoolClosed), CLOSED),
        (answer_of(PoolClosed), FAILED),
        (answer_of(PoolClosed), {**FAILED, "pool_id": "p"}),
        (answer_of(PoolClosed), {**CLOSED, "more": 1}),
        (answer_of(Batch), {"result": [FAILED], "0": FAILED}),
        (mapping_of(PoolMeasures, or_one=True), MEASURES),
        (mapping_of(PoolMeasures, or_one=True), {"ns/p": MEASURES, "gone": FAILED}),
        (mapping_of(PoolMeasures, or_one=True), FAILED),
        (mapping_of(None), {"ns/w": "running"}),
        (mapping_of(None), FAILED),
        (list_of(PoolRow), {"result": []}),
    ],
)
def test_a_success_and_a_failure_are_as_promised(schema: Schema, answer: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(answer, schema)


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        (answer_of(PoolClosed), {"pool_id": "ns/p"}),
        (answer_of(PoolClosed), {**CLOSED, "pool_id": 7}),
        (answer_of(PoolClosed), {"status": "failed", "success": True, "error": "x"}),
        (answer_of(Batch), {"result": [{}]}),
        (mapping_of(PoolMeasures, or_one=True), {"ns/p": {"status": "running"}}),
        (mapping_of(None), {"ns/w": 1}),
        (list_of(JobRow), {"result": [{"job_id": "ns/j"}]}),
        (list_of(JobRow), FAILED),
    ],
)
def test_what_was_not_promised_is_found_out(schema: Schema, answer: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(answer, schema)


def test_a_schema_has_descriptions_and_no_names_of_our_code() -> None:
    text = str(answer_of(JobRow))
    assert "passed, failed or incomplete" in text
    assert "title" not in text
    assert "scan_status, scan_wait" not in text
