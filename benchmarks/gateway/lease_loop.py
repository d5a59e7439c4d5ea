"""A worker that does nothing but lease no-op tasks and answer them, small enough for a hundred of them on one machine.

It stands in for `python -m mahavishnu_operator.worker` (fleet_server.py), and is configured as that is: by the first
line of its standard input. It ends with the connection to its server.
"""

from __future__ import annotations

import http.client
import json
import sys
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from mahavishnu_operator.api.wire import (
    PROTOCOL,
    LeaseRequest,
    LeaseResponse,
    RegisterRequest,
    RegisterResponse,
    ResultsRequest,
    TaskResult,
)

T = TypeVar("T")


class Server:
    """Calls to a dispatcher over one connection."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        self._connection = http.client.HTTPConnection(where.hostname or "", where.port)

    def post(self, call: str, request: object, bearer: str, answer: type[T]) -> T:
        """RuntimeError: it was refused."""
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
        self._connection.request("POST", f"/v1/{call}", msgspec.json.encode(request), headers)
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise RuntimeError(f"/v1/{call} was answered {response.status}: {body[:300]!r}")
        return msgspec.json.decode(body, type=answer)


def main() -> None:
    """Work until told to leave."""
    config = json.loads(sys.stdin.readline())
    server = Server(config["server"])
    me = RegisterRequest(
        protocol=PROTOCOL,
        pool=config["pool"],
        worker=config["worker"],
        incarnation=config["worker"],
        slots=1,
        agent_version="lease-loop",
    )
    session = server.post("register", me, config["token"], RegisterResponse)
    wait = session.poll_seconds
    while True:
        answer = server.post("lease", LeaseRequest(max=1, wait_seconds=wait), session.session, LeaseResponse)
        if answer.drain and not answer.grants:
            return
        results = tuple(TaskResult(each.task, each.attempt, "succeeded", "Completed") for each in answer.grants)
        if results:
            server.post("results", ResultsRequest(results), session.session, msgspec.Raw)


if __name__ == "__main__":
    main()
