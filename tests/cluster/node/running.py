"""Run one command of the machine's administration and say what it said when it fails."""

from __future__ import annotations

import subprocess

from tests.cluster.process import ClusterError

COMMAND_TIMEOUT = 300.0


def run(*command: str, tolerate: str | None = None, timeout: float = COMMAND_TIMEOUT) -> str:
    """Its standard output, or its error output where that contains `tolerate`. Raises ClusterError."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=timeout
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"`{' '.join(command)}` did not end within {timeout:g} s") from error
    if done.returncode == 0:
        return done.stdout
    if tolerate is not None and tolerate in done.stderr:
        return done.stderr
    raise ClusterError(f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
