"""What is in an image: its configuration, and the files that a container of it sees."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

GONE, ALL_GONE = ".wh.", ".wh..wh..opq"  # how a layer says that a file of one below is not there


@dataclass(frozen=True)
class Content:
    """The configuration as the builder wrote it, and the sizes of regular files by path, without a leading slash."""

    config: dict[str, Any]
    files: dict[str, int]


def read_content(archive: Path) -> Content:
    """Read a docker-archive."""
    with tarfile.open(archive) as outer:

        def member(name: str) -> IO[bytes]:
            return cast("IO[bytes]", outer.extractfile(outer.getmember(name)))

        (image,) = json.load(member("manifest.json"))
        files: dict[str, int] = {}
        for layer in image["Layers"]:
            with tarfile.open(fileobj=member(layer)) as inner:
                _lay_over(files, inner)
        return Content(json.load(member(image["Config"]))["config"], files)


def _lay_over(files: dict[str, int], layer: tarfile.TarFile) -> None:
    for entry in layer:
        path = entry.name.removeprefix("./").strip("/")
        folder, _, name = path.rpartition("/")
        if name.startswith(GONE):
            gone = folder if name == ALL_GONE else f"{folder}/{name.removeprefix(GONE)}".strip("/")
            for each in [each for each in files if each == gone or each.startswith(f"{gone}/")]:
                del files[each]
        elif entry.isfile() or entry.islnk():
            files[path] = entry.size
        elif not entry.isdir():
            files[path] = 0  # a link, which is a name to find a program by
