"""Build the Kubernetes and etcd binaries that the tests run, from Go modules.

A cluster image is not always to be had: a laptop without Docker, a build machine that reaches nothing but package
proxies. The Go module proxy serves the same sources that the released binaries are made of, and `go.sum` pins every
one of them, so the tests can always have a real control plane.

A cold build takes minutes and tests are started all the time, therefore:
- binaries are kept in `${MAHAVISHNU_CACHE:-~/.cache/mahavishnu}/cluster/KEY/bin`, where KEY is made from all that
  decides their content (go.mod, go.sum, sources of our own, compiler, platform, flags): a changed input is another
  folder, never a stale binary; one folder per Go module, so that a new kind does not rebuild Kubernetes;
- a binary appears under its final name complete or not at all, and of several builders one builds and the others wait.

As a program (`python -m tests.cluster.build [NAME...]`) it builds and prints where things are. Standard library only:
it also has to run before anything is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

GO_MODULES = Path(__file__).resolve().parent / "go"
MINIMUM_GO = (1, 25)
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
FLAGS = ("-mod=readonly", "-buildvcs=false", "-trimpath")
VERSION_PACKAGE = "k8s.io/component-base/version"


class BuildError(Exception):
    """The binaries cannot be built; the message says what is missing and what to do."""


@dataclass(frozen=True)
class Tool:
    """One binary: the folder under `go/` whose go.mod pins it, and its package there."""

    module: str
    package: str

    @property
    def go_output(self) -> str:
        """The file name that `go build -o FOLDER/` gives it: the last path element that is no major version."""
        return next(part for part in reversed(self.package.split("/")) if not re.fullmatch(r"v\d+", part))


TOOLS: Mapping[str, Tool] = {
    "etcd": Tool("etcd", "go.etcd.io/etcd/server/v3"),
    "kube-apiserver": Tool("kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"),
    "kube-controller-manager": Tool("kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    "kube-scheduler": Tool("kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler"),
    "kubectl": Tool("kubernetes", "k8s.io/kubernetes/cmd/kubectl"),
    "kubelet": Tool("kubernetes", "k8s.io/kubernetes/cmd/kubelet"),
    "kube-proxy": Tool("kubernetes", "k8s.io/kubernetes/cmd/kube-proxy"),
    "coredns": Tool("coredns", "mahavishnu.dev/tests/cluster/coredns"),
    "metrics-server": Tool("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server"),
    "kwok": Tool("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    "helm": Tool("helm", "helm.sh/helm/v3/cmd/helm"),
    "kubeconform": Tool("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform"),
    "pause": Tool("pause", "mahavishnu.dev/tests/cluster/pause"),
    "kind": Tool("kind", "sigs.k8s.io/kind"),
}


def cache_root(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder for all of this project's cached files that tests and tools make."""
    return Path(environ.get("MAHAVISHNU_CACHE") or Path.home() / ".cache" / "mahavishnu")


def linker_flags(go_mod: str) -> str:
    """`-ldflags`: no symbol tables, and the version that Kubernetes binaries report (unset, they say v0.0.0)."""
    flags = "-s -w"
    if match := re.search(r"^\s*(?:require )?k8s\.io/kubernetes v((\d+)\.(\d+)\.\S+)", go_mod, re.MULTILINE):
        version, major, minor = match.groups()
        stamps = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}
        flags += "".join(f" -X {VERSION_PACKAGE}.{name}={value}" for name, value in stamps.items())
    return flags


def cache_key(
    *, module: str, go_mod: str, go_sum: str, go: str, flags: Iterable[str], sources: Iterable[str] = ()
) -> str:
    """The cache folder's name: the module's name and a digest of everything that decides the binaries' content."""
    digest = hashlib.sha256()
    for part in (go_mod, go_sum, go, *flags, *sources):
        digest.update(f"{len(part)}:".encode() + part.encode())
    return f"{module}-{digest.hexdigest()[:16]}"


def go_environment(folder: Path) -> tuple[str, str]:
    """The Go command and "VERSION OS ARCHITECTURE" as it is in effect for the go.mod in `folder`.

    Raises BuildError when Go is missing or older than MINIMUM_GO.
    """
    wanted = f"Go {MINIMUM_GO[0]}.{MINIMUM_GO[1]} or newer"
    go = shutil.which("go")
    if go is None:
        raise BuildError(
            f"The tools of the test cluster are built from Go modules and there is no `go` on PATH: install {wanted}, "
            'or leave out the tests that need a cluster with `-m "not cluster"`.'
        )
    asked = subprocess.run(
        [go, "env", "GOVERSION", "GOOS", "GOARCH"], cwd=folder, capture_output=True, text=True, check=False
    )
    answer = " ".join(asked.stdout.split())
    version = re.match(r"(?:devel )?go(\d+)\.(\d+)", answer)
    if asked.returncode != 0 or version is None:
        raise BuildError(f"`{go} env` failed in {folder}; {wanted} is needed.\n{asked.stderr.strip() or answer}")
    if (int(version[1]), int(version[2])) < MINIMUM_GO:
        raise BuildError(f"{go} is {answer.split()[0]}, too old to build the test cluster: install {wanted}.")
    return go, answer


def ensure(names: Iterable[str] = CONTROL_PLANE) -> dict[str, Path]:
    """The paths of the named binaries, keys of TOOLS, building those that the cache lacks.

    A second call costs a few milliseconds. Progress goes to standard error. Raises BuildError.
    """
    names = tuple(names)
    paths: dict[str, Path] = {}
    for module in dict.fromkeys(TOOLS[name].module for name in names):
        paths |= _ensure_module(module, [name for name in names if TOOLS[name].module == module])
    return paths


def _ensure_module(module: str, names: list[str]) -> dict[str, Path]:
    source = GO_MODULES / module
    go, environment = go_environment(source)
    go_mod, go_sum = (source / "go.mod").read_text(), (source / "go.sum").read_text()
    flags = (*FLAGS, "-ldflags", linker_flags(go_mod))
    sources = [path.read_text() for path in sorted(source.glob("*.go"))]
    key = cache_key(module=module, go_mod=go_mod, go_sum=go_sum, go=environment, flags=flags, sources=sources)
    folder = cache_root() / "cluster" / key
    binaries = folder / "bin"
    binaries.mkdir(parents=True, exist_ok=True)
    paths = {name: binaries / name for name in names}
    if all(path.exists() for path in paths.values()):
        return paths
    with _exclusive(folder / "lock"):
        missing = [name for name, path in paths.items() if not path.exists()]
        if missing:
            for leftover in folder.glob("build-*"):  # of a builder that was killed: we hold its lock
                shutil.rmtree(leftover)
            _compile([go, "build", *flags], source=source, names=missing, folder=folder)
    return paths


def _compile(command: list[str], *, source: Path, names: list[str], folder: Path) -> None:
    """Build all of them in one `go build`, so that what they share is compiled once, and move them to folder/bin."""
    _say(f"building {', '.join(names)} into {folder / 'bin'} (minutes the first time)")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as output:
        done = subprocess.run(
            [*command, "-o", f"{output}/", *(TOOLS[name].package for name in names)],
            cwd=source,
            env={**os.environ, "CGO_ENABLED": "0"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise BuildError(f"`go build` of {', '.join(names)} failed in {source}:\n{done.stderr[-4000:].strip()}")
        for name in names:
            (Path(output) / TOOLS[name].go_output).replace(folder / "bin" / name)
    _say(f"built {', '.join(names)} in {time.monotonic() - began:.1f} s")


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file; the kernel lets go of it when the holder dies, however it dies."""
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"another process is building in {path.parent}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(message: str) -> None:
    print(f"test cluster: {message}", file=sys.stderr, flush=True)


def main() -> int:
    """Build the named binaries, by default those of the control plane, and print their paths."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.build", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(TOOLS)}")
    names = parser.parse_args().names or CONTROL_PLANE
    if unknown := set(names) - TOOLS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(TOOLS)}")
    began = time.monotonic()
    try:
        paths = ensure(names)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    for path in paths.values():
        print(path)
    _say(f"{len(paths)} binaries ready after {time.monotonic() - began:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
