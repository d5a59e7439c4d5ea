from __future__ import annotations

from pathlib import Path

import pytest

from mahavishnu_operator.api.implemented import unsupported_fields
from mahavishnu_operator.api.validation import admit
from mahavishnu_operator.cli.manifests import read_manifests

EXAMPLES = sorted((Path(__file__).resolve().parents[3] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_every_example_is_accepted_and_acted_on(file: Path) -> None:
    for manifest in read_manifests(str(file), namespace="default"):
        stored, warnings = admit(manifest.kind.kind, manifest.obj)
        assert warnings == []
        assert unsupported_fields(manifest.kind.kind, stored["spec"]) == []
