"""A small tree with something for each of the six tools, and jobs that look at it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mahavishnu_operator.control.embedded import EmbeddedEngine
from mahavishnu_operator.resources.protocol import SCAN_JOB, Key, Obj
from mahavishnu_operator.scan.archives import make_archive
from mahavishnu_operator.store.records import SourceRecord
from tests.unit.scan.trees import git

from .engine_tools import POOL, ended, manifest

TOOLS = ("bandit", "codespell", "complexipy", "mypy", "ruff", "vulture")
_BRANCH = "    if n == {0}:\n        for i in range(n):\n            if i:\n                n += 1\n"
_BRANCHES = "".join(_BRANCH.format(number) for number in range(9))
_SHELL = "    subprocess.call('ls', shell=True)\n    return n\n"
FILES = {
    ".gitignore": "*.log\n",
    "notes.txt": "teh tree\n",
    "pkg/__init__.py": "",
    "pkg/used.py": "import os\n\nVALUE: int = 'text'\n",
    "pkg/deep/run.py": f"import subprocess\n\n\ndef unused(n):\n{_BRANCHES}{_SHELL}",
    "pkg/noise.log": "teh\n",
}


def make_tree(root: Path) -> Path:
    """A repository with these files committed, and one that git ignores."""
    root.mkdir(parents=True)
    git(root, "init", "-q", "-b", "main")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    commit(root)
    return root


def commit(root: Path) -> str:
    """Commit everything; the commit."""
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", "change")
    return git(root, "rev-parse", "HEAD").decode().strip()


def job(name: str, source: dict[str, Any], tools: Sequence[str] = ("ruff",), **spec: Any) -> tuple[Key, Obj]:
    key = Key("default", name)
    fields = {"poolRef": {"name": POOL.name}, "source": source, "scan": {"tools": list(tools), "failOn": "none"}}
    return key, manifest("ScanJob", key, fields | spec)


async def run_job(made: EmbeddedEngine, key: Key, obj: Obj) -> dict[str, Any]:
    """The status at its end."""
    await made.resources.create(SCAN_JOB, obj)
    return await ended(made, key)


async def bring(made: EmbeddedEngine, tree: Path) -> dict[str, Any]:
    """Put the archive of a tree where jobs of the namespace `default` find it; spec.source of such a job."""
    return await bring_bytes(made, archive_of(tree))


async def bring_bytes(made: EmbeddedEngine, data: bytes, *, namespace: str = "default") -> dict[str, Any]:
    """The same with any bytes."""
    dispatch, store = made.dispatch, made.store
    digest = await store.put_blob(dispatch.epoch, data)
    await store.put_source(dispatch.epoch, SourceRecord(f"brought-{digest}", namespace, digest, len(data), 1.0))
    assert digest == hashlib.sha256(data).hexdigest()
    return {"archive": {"sha256": digest}}


def archive_of(tree: Path) -> bytes:
    """The bytes of its archive."""
    out = io.BytesIO()
    make_archive(tree, out)
    return out.getvalue()


async def findings(made: EmbeddedEngine, key: Key) -> dict[str, list[tuple[Any, ...]]]:
    """What each tool found, with fingerprints, and what it could not read."""
    obj = await made.resources.get(SCAN_JOB, key)
    report = await made.report(obj["metadata"]["uid"])
    assert report is not None, obj["status"]
    assert all(each.outcome == "ok" for each in report.reports), report.reports
    return {
        each.tool: sorted((f.rule, f.path, f.line, f.message, f.fingerprint) for f in each.findings)
        + sorted((u.path, u.reason) for u in each.unread)
        for each in report.reports
    }
