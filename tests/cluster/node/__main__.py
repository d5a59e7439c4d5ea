"""`python -m tests.cluster.node up|down`: the tests' cluster for people to try things on.

`up` leaves a process behind that holds the cluster and prints how to use it; `down` ends that process, and the cluster
with it. The folder has a lock that the holder keeps, so a holder that was killed, or a pid that now means something
else, is never taken for a cluster.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import yaml

from tests.cluster.build import BuildError, ensure
from tests.cluster.client import KubectlError
from tests.cluster.process import ClusterError
from tests.images.buildah import ImageError
from tests.images.building import RECIPES, Image, ensure_image, ensure_pause_image

from .cluster import NODE_CLUSTER, NodeCluster
from .configuration import PAUSE_IMAGE
from .node import METRICS, missing_for_node

READY_TIMEOUT = 600.0
DOWN_TIMEOUT = 120.0


def up(folder: Path, *, images: list[str]) -> int:
    """Start a cluster whose files are in `folder`, with images of this project, and say how to use it.

    `images`: names in RECIPES. It writes a file for the shell, and one of values for the chart with those images.
    """
    if (missing := missing_for_node()) is not None:
        raise ClusterError(f"no cluster can be started here: {missing} (`make packages` installs what it can)")
    if _lock(folder) is None:
        raise ClusterError(f"a cluster runs already in {folder}: `make cluster-down` ends it")
    ensure((*NODE_CLUSTER, METRICS))
    ensure_pause_image(PAUSE_IMAGE)
    built = {name: ensure_image(name) for name in images}
    tools = ensure(("kubectl", "helm"))
    shutil.rmtree(folder)
    folder.mkdir(parents=True)
    log = folder / "log"
    with log.open("ab") as output:
        holder = subprocess.Popen(
            [sys.executable, "-m", __package__, "hold", str(folder), *(str(image.archive) for image in built.values())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + READY_TIMEOUT
    while not _kubeconfig(folder).exists():
        if holder.poll() is not None or time.monotonic() > deadline:
            holder.terminate()
            raise ClusterError(f"the cluster did not start:\n{log.read_text(errors='replace')[-4000:]}")
        time.sleep(0.1)
    path = os.pathsep.join(dict.fromkeys(str(tool.parent) for tool in tools.values()))
    shell = {"KUBECONFIG": str(_kubeconfig(folder)), "PATH": f"{path}{os.pathsep}$PATH"}
    (folder / "environment").write_text("".join(f'export {name}="{value}"\n' for name, value in shell.items()))
    (folder / "values.yaml").write_text(yaml.safe_dump(_values(built)))
    for image in built.values():
        print(f"image for Pods: {image.reference}")
    print(f"in this shell, kubectl and helm use it after: . {_short(folder / 'environment')}")
    print(f"values of the chart with these images: {_short(folder / 'values.yaml')}")
    return 0


def down(folder: Path) -> int:
    """End the cluster in `folder` and wait until nothing of it runs; its logs stay."""
    if not folder.exists() or _lock(folder) is not None:
        print(f"no cluster runs in {folder}", file=sys.stderr)
        return 0
    os.kill(int((folder / "pid").read_text()), signal.SIGTERM)
    deadline = time.monotonic() + DOWN_TIMEOUT
    while _lock(folder) is None:
        if time.monotonic() > deadline:
            raise ClusterError(f"the cluster in {folder} still runs {DOWN_TIMEOUT:g} s after it was told to end")
        time.sleep(0.1)
    return 0


def hold(folder: Path, *, archives: list[Path]) -> int:
    """Run a cluster until SIGTERM."""
    lock = _lock(folder)
    if lock is None:
        raise ClusterError(f"a cluster runs already in {folder}")
    (folder / "pid").write_text(str(os.getpid()))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    (folder / "cluster").mkdir()
    pause = ensure_pause_image(PAUSE_IMAGE).archive
    with lock, NodeCluster(folder / "cluster", binaries=ensure(NODE_CLUSTER), pause_image=pause) as cluster:
        cluster.start_metrics(ensure((METRICS,))[METRICS])
        for archive in archives:
            cluster.node.import_image(archive)
        try:
            unfinished = folder / "kubeconfig.unfinished"
            shutil.copy2(cluster.cluster.kubeconfig, unfinished)
            unfinished.replace(_kubeconfig(folder))
            while True:
                signal.pause()
        finally:
            _kubeconfig(folder).unlink(missing_ok=True)


def _values(built: Mapping[str, Image]) -> dict[str, Any]:
    """Values of the chart: the images, and no volume, since nothing here makes one for a claim."""
    values: dict[str, Any] = {"persistence": {"enabled": False}}
    for name, value in (("operator", "image"), ("worker", "workerImage")):
        if name in built:
            registry, repository, tag = re.split("[/:]", built[name].reference)
            values[value] = {"registry": registry, "repository": repository, "tag": tag}
    if "gateway" in built:
        registry, repository, tag = re.split("[/:]", built["gateway"].reference)
        values["gateway"] = {
            "enabled": True,
            "image": {"registry": registry, "repository": repository, "tag": tag},
        }
    return values


def _short(path: Path) -> Path:
    """The path as one would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _kubeconfig(folder: Path) -> Path:
    return folder / "kubeconfig"


def _lock(folder: Path) -> IO[str] | None:
    """The folder's lock, kept until it is closed; None when a holder has it. Makes the folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    # Beside the folder's contents, which `up` clears.
    lock = (folder.parent / f".{folder.name}.lock").open("a")
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lock
    lock.close()
    return None


def main() -> int:
    """Do what the first argument says."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.node", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "down", "hold"):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path)
        if name == "up":
            command.add_argument("--image", choices=sorted(RECIPES), action="append", default=[])
        if name == "hold":
            command.add_argument("archives", type=Path, nargs="*")
    args = parser.parse_args()
    folder = args.folder.resolve()
    try:
        match args.command:
            case "up":
                return up(folder, images=args.image)
            case "down":
                return down(folder)
            case _:
                return hold(folder, archives=args.archives)
    except (ClusterError, KubectlError, BuildError, ImageError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
