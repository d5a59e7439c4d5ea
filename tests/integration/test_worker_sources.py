"""ScanJobs whose files a worker fetches or unpacks: real git over https, real workers, real tools."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mahavishnu_operator.control.embedded import EmbeddedEngine
from mahavishnu_operator.resources.protocol import WORKER_POOL
from tests.unit.scan.trees import git, write

from .engine_tools import condition, engine, pool
from .git_server import GitServer, git_server
from .source_tools import TOOLS, archive_of, bring, bring_bytes, findings, job, make_tree, run_job


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with git_server(tmp_path / "git") as made:
        yield made


@pytest.fixture
async def made(tmp_path: Path, server: GitServer) -> AsyncIterator[EmbeddedEngine]:
    async with engine(tmp_path / "data", git_ca=server.ca) as made:
        await made.resources.create(WORKER_POOL, pool(maxWorkers=1, slotsPerWorker=2))
        yield made


async def test_git_and_archive_give_the_findings_of_a_local_scan(
    tmp_path: Path, made: EmbeddedEngine, server: GitServer
) -> None:
    tree = make_tree(tmp_path / "tree")
    first = git(tree, "rev-parse", "HEAD").decode().strip()
    url = server.publish(tree)
    local, local_job = job("local", {"path": str(tree)}, TOOLS)
    await run_job(made, local, local_job)
    expected = await findings(made, local)
    assert set(expected) == set(TOOLS)
    assert all(expected.values()), expected

    source = {"git": {"url": url, "revision": "main", "baseRevision": first}}
    fetched, fetched_job = job("fetched", source, TOOLS)
    status = await run_job(made, fetched, fetched_job)
    assert await findings(made, fetched) == expected
    assert status["source"] == {"commit": first, "baseCommit": first}
    assert sum("info/refs" in path for path in server.asked) == 2, "the tasks of a job share one checkout"

    archive = await bring(made, tree)
    packed, packed_job = job("packed", archive, TOOLS)
    status = await run_job(made, packed, packed_job)
    assert await findings(made, packed) == expected
    assert status["source"] == {"archiveSha256": archive["archive"]["sha256"]}


async def test_what_cannot_be_fetched_ends_the_job_in_words(
    tmp_path: Path, made: EmbeddedEngine, server: GitServer
) -> None:
    tree = make_tree(tmp_path / "tree")
    url = server.publish(tree)
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    for name, source, words in (
        ("unknown", {"url": url, "revision": "nosuch"}, "RevisionNotFound"),
        ("expression", {"url": url, "revision": "HEAD~1"}, "SourceRefused"),
        ("short", {"url": url, "revision": "abc1234"}, "RevisionNotFound"),
        ("nobody", {"url": f"{server.url}/none.git"}, "RepositoryNotFound"),
        ("empty", {"url": server.publish(empty, "empty.git")}, "RevisionNotFound"),
        ("unreachable", {"url": "https://127.0.0.1:1/r.git"}, "SourceUnreachable"),
    ):
        status = await run_job(made, *job(name, {"git": source}, maxAttempts=1))
        assert (status["phase"], condition(status, "Failed")) == ("Failed", ("True", "PlanFailed")), name
        failed = next(each for each in status["conditions"] if each["type"] == "Failed")
        assert words in failed["message"], failed


async def test_an_archive_that_is_hostile_or_none_ends_the_job_in_words(tmp_path: Path, made: EmbeddedEngine) -> None:
    write(tmp_path / "tree", "a.py")
    good = archive_of(tmp_path / "tree")
    for name, data in (("cut", good[:-10]), ("text", b"no archive")):
        status = await run_job(made, *job(name, await bring_bytes(made, data)))
        assert condition(status, "Failed") == ("True", "PlanFailed"), name
        assert any("ArchiveRefused" in each["message"] for each in status["conditions"])


async def test_an_archive_of_another_namespace_is_not_had_by_its_digest(tmp_path: Path, made: EmbeddedEngine) -> None:
    write(tmp_path / "tree", "a.py")
    source = await bring_bytes(made, archive_of(tmp_path / "tree"), namespace="other")
    status = await run_job(made, *job("thief", source, timeoutSeconds=3, taskTimeoutSeconds=3))
    assert status["phase"] == "Failed"
    assert status["tasks"]["total"] == 0
