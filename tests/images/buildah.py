"""buildah with a storage of this project's own: what it does never touches the images of whoever runs the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class ImageError(Exception):
    """An image cannot be built; the message says what is missing, or holds the end of what buildah said."""


class Buildah:
    """buildah as root, building in chroot isolation: it needs no daemon and no container runtime."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, *args: str) -> str:
        """The output of `buildah ARGS`. Raises ImageError."""
        program = shutil.which("buildah")
        if program is None:
            raise ImageError("images are built with buildah, which is not installed: apt-get install buildah")
        if os.geteuid() != 0:
            raise ImageError("images are built as root, which this user is not")
        storage = ("--root", str(self._folder / "storage"), "--runroot", str(self._folder / "run"))
        done = subprocess.run(
            [program, *storage, *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "BUILDAH_ISOLATION": "chroot"},
        )
        if done.returncode != 0:
            raise ImageError(f"`buildah {' '.join(args)}` failed:\n{(done.stdout + done.stderr)[-4000:].strip()}")
        return done.stdout

    def has(self, name: str) -> bool:
        """Whether the storage holds the image. Raises ImageError."""
        return name in self.names()

    def names(self) -> list[str]:
        """The references that the storage holds. Raises ImageError."""
        return self.run("images", "--format", "{{.Name}}:{{.Tag}}").split()

    def build(self, *, context: Path, containerfile: Path, target: str, name: str, arguments: dict[str, str]) -> None:
        """Build one target of a Containerfile under `name`. Raises ImageError."""
        # The machine's authorities, for package proxies that have one of their own; they do not stay in the image.
        trust = (f"--volume={CERTIFICATES}:{CERTIFICATES}:ro",) if CERTIFICATES.exists() else ()
        self.run(
            "build",
            "--network=host",
            "--layers",
            *trust,
            *(f"--env={each}={CERTIFICATES}" for each in ("PIP_CERT",) if trust),
            *(f"--build-arg={key}={value}" for key, value in arguments.items()),
            f"--file={containerfile}",
            f"--target={target}",
            f"--tag={name}",
            str(context),
        )

    def export(self, name: str, archive: Path) -> None:
        """Write a docker-archive: it says the whole name, and its layers are not compressed. Raises ImageError."""
        archive.unlink(missing_ok=True)  # it would be added to
        self.run("push", "--quiet", name, f"docker-archive:{archive}:{name}")


def say(message: str) -> None:
    print(f"images: {message}", file=sys.stderr, flush=True)
