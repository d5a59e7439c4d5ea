"""The folder of one agent or runner host, with the scratch folders of its tasks below it.

What must stay true: what a dead process left, the others on the same folder remove: when they start, and when they
end, for what a dead agent's runner that was still to hear of it made anew in between.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from mahavishnu_operator.support.errors import InvalidInput

from .scratch import remove_scratch

log = structlog.get_logger(__name__)


@contextmanager
def scratch_space(work_dir: Path) -> Iterator[Path]:
    """A folder of this process below `work_dir`, removed at the end; those of dead agents go first and last."""
    base = work_dir / "scratch"
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_those_of_the_dead(base)
        own = base / str(os.getpid())
        remove_scratch(own)  # of a dead agent that had our number
        own.mkdir(mode=0o700)
    except OSError as error:
        raise InvalidInput(
            f"the work folder {work_dir} cannot be used: {error.strerror}",
            hint="give the worker a folder that it may write to",
        ) from error
    try:
        yield own
    finally:
        if not remove_scratch(own):
            log.warning("the scratch folder could not be removed", folder=str(own))
        try:
            _remove_those_of_the_dead(base)
        except OSError as error:  # the next one tries again
            log.warning(
                "the scratch folders of dead agents could not be looked for", folder=str(base), error=str(error)
            )


def _remove_those_of_the_dead(base: Path) -> None:
    for left in base.iterdir():
        if left.name.isdecimal() and not Path(f"/proc/{left.name}").exists():
            remove_scratch(left)
