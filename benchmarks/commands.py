"""A real `true` process a task, through the dispatcher and two workers, next to bare loops that only start `true`.

The bare loops run one process a core, each starting one `true` after another with both streams captured: by
`subprocess.run`, which is the fastest way that the standard library has, and by `asyncio.create_subprocess_exec`, which
is what a program that does anything else meanwhile would use. Ours also leases, bounds, cleans up, and has each grant
and result on disk. Rounds alternate, so that a neighbour's load falls on all of them; the processor time of a command,
with that of `true` itself, is what a neighbour changes least.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import psutil

from mahavishnu_operator.api.wire import CommandTask

from .engine import two_workers
from .figures import print_line

TASKS, ROUNDS = 1_000, 5
TRUE = "true"


def loop_of_subprocess(count: int) -> None:
    """One after another, by the synchronous module."""
    for _ in range(count):
        subprocess.run([TRUE], stdin=subprocess.DEVNULL, capture_output=True, check=True)


def loop_of_asyncio(count: int) -> None:
    """One after another, in an event loop."""

    async def run() -> None:
        pipe = asyncio.subprocess.PIPE
        for _ in range(count):
            process = await asyncio.create_subprocess_exec(
                TRUE, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
            )
            await process.communicate()

    asyncio.run(run())


LOOPS: dict[str, Callable[[int], None]] = {"subprocess": loop_of_subprocess, "asyncio": loop_of_asyncio}


@dataclass(frozen=True)
class Turn:
    """One round of a contender. `cpu_seconds`: of all its processes and of what they started."""

    per_second: float
    cpu_seconds: float


def run_bare(loop: str) -> Turn:
    """That loop in one process a core, from the first start to the last end."""
    cores = os.cpu_count() or 1
    command = [sys.executable, "-m", __name__, loop, str(TASKS // cores)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(cores)
    ]
    for process in processes:
        read_line(process)
    begun = time.perf_counter()
    for process in processes:
        if process.stdin is not None:
            process.stdin.close()
    cpu = sum(float(read_line(process)) for process in processes)
    seconds = time.perf_counter() - begun
    for process in processes:
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    return Turn(TASKS / seconds, cpu)


def read_line(process: subprocess.Popen[str]) -> str:
    """What a bare loop says next."""
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise RuntimeError(f"a bare loop ended with {process.wait()}")
    return line


def run_child(loop: str, count: int) -> None:
    """Be a bare loop: say when it is ready, wait for the start, and say what processor time it took."""
    print("ready", flush=True)
    sys.stdin.read()
    begun = own_cpu_seconds()
    LOOPS[loop](count)
    print(own_cpu_seconds() - begun, flush=True)


def own_cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def engine_cpu_seconds() -> float:
    """Of the dispatcher, which is this process, of the workers below it, and of all that those have reaped."""
    total = time.process_time()
    for process in psutil.Process().children(recursive=True):
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


async def measure() -> None:
    """A line a contender with the median of its rounds, then the ratios, each of one round."""
    turns: dict[str, list[Turn]] = {"mahavishnu": [], **{name: [] for name in LOOPS}}
    async with two_workers(CommandTask((TRUE,), allowed=("any",))) as contender:
        for _ in range(ROUNDS):
            for name in LOOPS:
                turns[name].append(await asyncio.to_thread(run_bare, name))
            cpu = engine_cpu_seconds()
            per_second = TASKS / await contender.run_job(TASKS)
            turns["mahavishnu"].append(Turn(per_second, engine_cpu_seconds() - cpu))
    for name, found in turns.items():
        print_line(
            "commands",
            contender=name,
            commands_per_second=median(turn.per_second for turn in found),
            cpu_ms_a_command=1000 * median(turn.cpu_seconds for turn in found) / TASKS,
        )
    for name in LOOPS:
        pairs = list(zip(turns["mahavishnu"], turns[name], strict=True))
        speed = [ours.per_second / bare.per_second for ours, bare in pairs]
        print_line(
            "commands, ratios to a bare loop",
            loop=name,
            throughput=median(speed),
            least=min(speed),
            most=max(speed),
            cpu=median(ours.cpu_seconds / bare.cpu_seconds for ours, bare in pairs),
        )


def main() -> None:
    """Measure."""
    asyncio.run(measure())


if __name__ == "__main__":
    run_child(sys.argv[1], int(sys.argv[2]))
