"""The published SARIF 2.1.0 schema, from the npm package that carries it, pinned by package-lock.json.

The pressure: the schema is in no Python package, and a test must not fetch it over the network each time. So it is
kept under `${MAHAVISHNU_CACHE:-~/.cache/mahavishnu}/sarif/KEY`, where KEY is made of the lock file; a folder appears
complete or not at all, whoever else is installing it. Nothing of the package is run.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.cluster.build import cache_root

HERE = Path(__file__).resolve().parent
PINS = ("package.json", "package-lock.json")
SCHEMA = "node_modules/@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json"
INSTALL_SECONDS = 90.0


class SchemaMissing(Exception):
    """The schema cannot be had; the message says why and what to do."""


def load_schema(*, npm: str = "npm") -> dict[str, Any]:
    """The schema; installed first when the cache lacks it. SchemaMissing."""
    key = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in PINS)).hexdigest()[:16]
    folder = cache_root() / "sarif" / key
    if not (folder / SCHEMA).is_file():
        _install(npm, folder)
    schema: dict[str, Any] = json.loads((folder / SCHEMA).read_bytes())
    return schema


def _install(npm: str, folder: Path) -> None:
    program = shutil.which(npm)
    if program is None:
        raise SchemaMissing(
            f"the SARIF schema comes from an npm package and there is no `{npm}` on PATH: "
            "install npm (Debian: apt-get install npm) or run `make packages`"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="install-", dir=folder.parent) as temporary:
        work = Path(temporary) / folder.name
        work.mkdir()
        for name in PINS:
            shutil.copy(HERE / name, work)
        done = subprocess.run(
            (program, "ci", "--ignore-scripts", "--no-audit", "--no-fund"),
            cwd=work,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_SECONDS,
        )
        if done.returncode != 0 or not (work / SCHEMA).is_file():
            words = (done.stderr or done.stdout).strip()[-2000:]
            raise SchemaMissing(f"`npm ci` of the SARIF schema failed with exit code {done.returncode}:\n{words}")
        try:
            work.rename(folder)
        except OSError:
            if not (folder / SCHEMA).is_file():  # otherwise somebody else was first, with the same content
                raise
