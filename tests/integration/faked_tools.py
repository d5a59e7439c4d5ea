"""The command from an environment in which a scanner is another program: what hostile or broken tools do, done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .cli_tools import DEADLINE_SECONDS, environment

VERSION = "import sys\nif '--version' in sys.argv:\n    print('{tool} 99.1')\n    raise SystemExit\n"


def make_environment(folder: Path, **tools: str) -> Path:
    """Programs like this environment's, but for these: Python code that tells its version, then does as given."""
    programs, mine = folder / "bin", Path(sys.executable).parent
    programs.mkdir(parents=True)
    for program in mine.iterdir():
        if program.name not in tools:
            (programs / program.name).symlink_to(program)
    for tool, code in tools.items():
        (programs / tool).write_text(f"#!{sys.executable}\n{VERSION.format(tool=tool)}{code}\n")
        (programs / tool).chmod(0o755)
    (folder / "pyvenv.cfg").write_text((mine.parent / "pyvenv.cfg").read_text())
    (folder / "lib").symlink_to(mine.parent / "lib")
    return programs / "python"


def scan(folder: Path, tree: Path, *arguments: str, **tools: str) -> subprocess.CompletedProcess[str]:
    """`mahavishnu scan` of the tree with those tools; its scratch folders are below `folder`."""
    python = make_environment(folder / "environment", **tools)
    scratch = folder / "tmp"
    scratch.mkdir()
    return subprocess.run(
        [str(python), "-m", "mahavishnu_operator.cli", "scan", str(tree), "--workers", "1", *arguments],
        env=environment(PATH="/usr/bin:/bin", TMPDIR=str(scratch)),
        capture_output=True,
        text=True,
        check=False,
        timeout=5 * DEADLINE_SECONDS,
    )
