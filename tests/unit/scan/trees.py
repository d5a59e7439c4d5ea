"""Trees and repositories that the tests scan."""

from __future__ import annotations

import subprocess
from pathlib import Path


def write(root: Path, *names: str, content: bytes = b"x = 1\n") -> None:
    """Files of that content, with the folders above them."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def git(root: Path, *arguments: str) -> bytes:
    """Run git in the repository as its owner would, without the configuration of whoever runs the tests."""
    who = ("-c", "user.email=tests@example.org", "-c", "user.name=tests")
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(("git", *who, *arguments), cwd=root, env=environment, capture_output=True, check=True).stdout


def repository(root: Path, *names: str) -> Path:
    """A repository in `root` with these files committed."""
    root.mkdir(parents=True, exist_ok=True)
    git(root, "init", "-q")
    write(root, *names)
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", "start")
    return root


def script(path: Path, *, mark: Path) -> Path:
    """A program that leaves a mark when it is started."""
    path.write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    path.chmod(0o755)
    return path
