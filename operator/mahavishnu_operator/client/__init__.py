"""The client library: what the gateway and programs of others use to drive pools and jobs.

    async with Client.connect("http://127.0.0.1:8680") as client:
        pool = await client.pools.spawn("scanners", max_workers=4)
        job = await client.jobs.submit(scan_spec(["ruff"], path="/srv/code", pool=pool.key))
        job = await client.jobs.wait(job.key, timeout=600)
        answers = await client.jobs.report(job.key)

Every call is a WorkerPool or a ScanJob that is created, patched, read or watched (docs/adr/0020): the same on a cluster
and beside `mahavishnu up`.
"""

from .client import Client
from .events import Happened, Happening
from .ids import new_name, parse_id
from .jobs import Job, Jobs
from .pools import Pool, Pools, PoolState
from .specs import command_spec, scan_spec

__all__ = [
    "Client",
    "Happened",
    "Happening",
    "Job",
    "Jobs",
    "Pool",
    "PoolState",
    "Pools",
    "command_spec",
    "new_name",
    "parse_id",
    "scan_spec",
]
