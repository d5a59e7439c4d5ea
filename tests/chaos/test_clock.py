"""The stepped clock steps what it shall, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from .clock import SteppedClock

READ = """
import datetime, time
time.sleep(0.001)
print(time.time(), datetime.datetime.now().timestamp(), time.monotonic())
"""


def test_a_step_moves_the_wall_clock_alone(tmp_path: Path) -> None:
    clock = SteppedClock(tmp_path / "clock")
    clock.step_to(-7200)
    before = time.time(), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", READ], env={**os.environ, **clock.environment}, capture_output=True, check=True
    )
    after = time.time(), time.monotonic()
    wall, date, monotonic = map(float, done.stdout.split())
    assert before[0] - 7200 <= wall <= date <= after[0] - 7200
    assert before[1] <= monotonic <= after[1]
