"""The operator with its store in PostgreSQL: nothing that counts is on its own disk."""

from __future__ import annotations

import json
from pathlib import Path

import psutil

from tests.cluster.client import Cluster
from tests.postgres.server import PostgresServer

from .operator_tools import GATED, NOTE, OperatorProcess, Site, account, counts, poll, python, written


async def test_another_operator_with_an_empty_disk_goes_on_where_the_first_was_killed(
    site: Site, deployed: Cluster, tmp_path: Path, database: str
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    more = ("--store-url", database)
    with OperatorProcess(account(deployed), tmp_path / "first", root=root, more=more) as first:
        await site.pool()
        tasks = python(NOTE, root / "before"), python(GATED, root / "during", root / "gate")
        await site.commands("job", *tasks, python(NOTE, root / "after"))
        await written(root / "during")
        workers = psutil.Process(first.process.pid).children(recursive=True)
        first.process.kill()
        await poll(lambda: not any(process.is_running() for process in workers))
    (root / "gate").touch()
    with OperatorProcess(account(deployed), tmp_path / "second", root=root, more=more):
        status = await site.ended("job")
    assert {name: count for name, count in counts(status).items() if name != "retried"} == {"total": 3, "succeeded": 3}
    assert (root / "before").read_text().count("ran") == 1


async def test_a_scan_ends_with_its_report_though_the_database_is_killed_meanwhile(
    site: Site, deployed: Cluster, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for number in range(40):
        (root / f"dirty_{number}.py").write_text("import os\nx = undefined_name\n")
    with (
        PostgresServer() as server,
        OperatorProcess(
            account(deployed), tmp_path, root=root, more=("--store-url", server.make_database())
        ) as operator,
    ):
        await site.pool()
        await site.scan("job", root, "ruff", "codespell")
        server.restart()
        status = await site.ended("job")
        report = json.loads(operator.get(status["report"]["uri"]))
    results = [result for run in report["runs"] for result in run["results"]]
    assert (status["phase"], status["verdict"]) == ("Succeeded", "Failed")
    assert status["findings"]["total"] == len(results)
    assert [result["ruleId"] for result in results].count("F821") == 40


async def test_a_database_that_is_not_there_ends_the_start_in_words(deployed: Cluster, tmp_path: Path) -> None:
    operator = OperatorProcess(
        account(deployed), tmp_path, root=None, more=("--store-url", "postgresql://u:se-cret@127.0.0.1:1/x")
    )
    operator.process.start()
    await poll(lambda: not operator.process.running)
    log = operator.process.log_tail()
    operator.close()
    assert "cannot use PostgreSQL at 127.0.0.1:1" in log
    assert "se-cret" not in log
    assert "Traceback" not in log
