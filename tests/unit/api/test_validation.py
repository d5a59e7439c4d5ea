"""Embedded validation gives each manifest of the case table its verdict, in words that help."""

from __future__ import annotations

import copy

import pytest

from mahavishnu_operator.api.rules import RULES
from mahavishnu_operator.api.scanjob import ScanJobSpec
from mahavishnu_operator.api.validation import Refused, admit
from mahavishnu_operator.api.workerpool import WorkerPoolSpec
from tests.manifest_cases import CASES, Case


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_manifest_gets_its_verdict(case: Case) -> None:
    given = copy.deepcopy(case.manifest)
    if not case.says:
        admitted, warnings = admit(case.kind, given, old=case.old)
        model = WorkerPoolSpec if case.kind == "WorkerPool" else ScanJobSpec
        model.model_validate(admitted["spec"])  # what is taken can be read
        assert warnings == []
    else:
        with pytest.raises(Refused) as refusal:
            admit(case.kind, given, old=case.old)
        assert case.says in str(refusal.value)
    assert given == case.manifest, "the manifest given was changed"


def test_every_rule_is_kept_by_one_case_and_broken_by_another() -> None:
    names = {rule.name for rule in RULES}
    assert len(names) == len(RULES) >= 15
    assert {case.keeps for case in CASES if not case.says} - {""} == names
    assert {case.breaks for case in CASES if case.breaks} == names


def test_the_names_of_cases_tell_them_apart() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60
