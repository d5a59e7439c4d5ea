"""Every test of the store that does not know which one it has, once more on PostgreSQL."""

from __future__ import annotations

import inspect
from types import ModuleType

from tests.unit.store import test_blobs, test_counting_once, test_epochs, test_forgetting, test_keeping, test_sources


def _tests_of_any_store(module: ModuleType) -> dict[str, object]:
    """Those that take the store and not its folder."""
    topic = module.__name__.rpartition(".test_")[2]
    return {
        f"{name}__{topic}": test
        for name, test in vars(module).items()
        if name.startswith("test_") and {"held", "tmp_path"} & inspect.signature(test).parameters.keys() == {"held"}
    }


for _module in (test_blobs, test_counting_once, test_epochs, test_forgetting, test_keeping, test_sources):
    globals().update(_tests_of_any_store(_module))
