"""The command from an environment in which a scanner is another program: what hostile or broken tools do, done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .cli_tools import DEADLINE_SECONDS, environment
from .forked_command import CommandServer

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


class FakedTools:
    """An environment with those tools faked, and the command in it; what a tool does is given with each scan."""

    def __init__(self, folder: Path, *tools: str) -> None:
        self._folder = folder
        code = {tool: f"exec(open({str(self._code(tool))!r}).read())" for tool in tools}
        python = make_environment(folder / "environment", **code)
        self.programs = python.parent
        self._server = CommandServer(str(python), env=environment(PATH="/usr/bin:/bin"))

    def _code(self, tool: str) -> Path:
        return self._folder / f"{tool}.py"

    def scan(self, folder: Path, tree: Path, *arguments: str, **tools: str) -> subprocess.CompletedProcess[str]:
        """`mahavishnu scan` of the tree with tools that do that; its scratch folders are below `folder`."""
        for tool, code in tools.items():
            self._code(tool).write_text(code)
        scratch = folder / "tmp"
        scratch.mkdir()
        return self._server.run(
            ["scan", str(tree), "--workers", "1", *arguments],
            cwd=str(folder),
            env=environment(PATH="/usr/bin:/bin", TMPDIR=str(scratch)),
            seconds=5 * DEADLINE_SECONDS,
        )

    def close(self) -> None:
        """No command is run after this."""
        self._server.close()
