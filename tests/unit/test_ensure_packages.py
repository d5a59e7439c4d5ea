"""Who is not root is told what to install, and nothing is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "ensure-packages"


def test_without_root_the_command_is_printed_and_the_run_stops(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    for name, does in (("id", "echo 1000"), ("apt-get", f"touch {tmp_path}/called")):
        (tmp_path / name).write_text(f"#!{bash}\n{does}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run([bash, SCRIPT], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "install them with: sudo apt-get install --no-install-recommends git npm gcc" in done.stderr
    assert "containerd" not in done.stderr  # a node needs root: without, its tests say themselves what is left out
    assert not (tmp_path / "called").exists()
