"""Putting results together when some of them cannot be read."""

from __future__ import annotations

from pathlib import Path

from mahavishnu_operator.api.reasons import Verdict
from mahavishnu_operator.api.scanjob import ScanJobSpec
from mahavishnu_operator.api.wire import ScanTask, TaskResult
from mahavishnu_operator.control.aggregation import Aggregator
from mahavishnu_operator.dispatch.dispatcher import Dispatcher
from mahavishnu_operator.resources.protocol import Key
from mahavishnu_operator.store.sqlite import SqliteStore
from tests.unit.dispatch.harness import Agent, job, tasks

SPEC = ScanJobSpec.model_validate(
    {"poolRef": {"name": "pool"}, "source": {"path": "/src"}, "scan": {"tools": ["ruff"]}}
)


async def test_a_damaged_result_is_an_answer_that_is_missing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    async with Dispatcher(store, holder="test") as dispatcher:
        body = ScanTask(tool="ruff", root="/src", files_sha256="", file_count=1)
        await dispatcher.submit(job(), tasks(spec=body))
        agent = await Agent(dispatcher).register()
        [task] = await agent.lease()
        digest = await store.put_blob(dispatcher.epoch, b"{}")
        await agent.deliver(TaskResult(str(task.key), task.attempts, "succeeded", payload_sha256=digest))
        (tmp_path / "blobs" / digest[:2] / digest).write_bytes(b"damaged")
        found = await Aggregator(dispatcher, store).aggregate("job-1", Key("default", "job-1"), SPEC)
    await store.close()
    assert found.verdict is Verdict.INCOMPLETE
    assert "t0" in found.problems[0]
    assert found.report is not None
