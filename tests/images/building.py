"""Build the images that tests run in Pods, as archives that containerd and kind can load.

Where no registry can be reached, a public base image is made from Debian's packages instead (`STAND_IN`); the
Containerfiles are the same. A cold build takes minutes, therefore an archive is kept under a name made from all that
decides its content: `${MAHAVISHNU_CACHE:-~/.cache/mahavishnu}/images/NAME-KEY.tar`; those of earlier builds go after a
time. Of several builders one builds and the others wait. An image's reference carries the same key, so a Pod can never
run an older build by mistake.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.build import cache_root, ensure

from .buildah import Buildah, ImageError, say
from .pruning import decide_prune

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = (
    "--variant=minbase",
    "--include=python3,python3-venv,ca-certificates",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)
STAND_IN_SUITE = "trixie"
# Since this, in seconds: every file of the wheel carries it, so that equal sources make an equal wheel.
WHEEL_DATE = "1735689600"


@dataclass(frozen=True)
class Recipe:
    """One image: its Containerfile's folder under `images/`, the target there, and the locks it copies."""

    folder: str
    target: str
    locks: tuple[str, ...]


RECIPES: Mapping[str, Recipe] = {
    "worker": Recipe("worker", "worker", ("worker.lock", "scanners.lock")),
    "worker-base": Recipe("worker", "worker-base", ("worker.lock", "scanners.lock")),
    "operator": Recipe("operator", "operator", ("operator.lock",)),
    "gateway": Recipe("gateway", "gateway", ("gateway.lock",)),
}


@dataclass(frozen=True)
class Image:
    """An image: the reference that a Pod names, and the docker-archive that holds it."""

    reference: str
    archive: Path


def ensure_image(name: str, *, base: str | None = None) -> Image:
    """The image of that name in RECIPES, built when the cache lacks it. Raises ImageError.

    `base` is the reference of the image to build on; by default the stand-in made from Debian's packages.
    """
    recipe = RECIPES[name]
    with tempfile.TemporaryDirectory(prefix="mahavishnu-image-") as folder:
        context = Path(folder)
        _fill_context(context, recipe)
        containerfile = ROOT / "images" / recipe.folder / "Containerfile"
        key = digest(str(base or STAND_IN), recipe.target, _tree(context), containerfile.read_text())
        image = _image(name, key)
        if _is_there(image):
            return image
        with _Exclusive(name):
            if _is_there(image):
                return image
            buildah = Buildah(_folder())
            began = time.monotonic()
            say(f"building {name} (minutes the first time)")
            buildah.build(
                context=context,
                containerfile=containerfile,
                target=recipe.target,
                name=image.reference,
                arguments={"BASE": base or _ensure_stand_in(buildah), "VERSION": _version(), "REVISION": key},
            )
            _export(buildah, image)
            _prune(buildah, name)
            say(f"built {name} in {time.monotonic() - began:.1f} s")
    return image


def ensure_image_on(base: Image, *, name: str, containerfile: str, files: Mapping[str, str]) -> Image:
    """An image that somebody builds on one of ours. Raises ImageError.

    `containerfile` has one target, `name`, and an argument BASE; `files` are what it copies, by name, all executable.
    """
    key = digest(base.reference, containerfile, *(part for item in sorted(files.items()) for part in item))
    image = Image(f"localhost/{name}:{key}", _folder() / f"{name}-{key}.tar")
    with _Exclusive(name), tempfile.TemporaryDirectory(prefix="mahavishnu-image-") as folder:
        if _is_there(image):
            return image
        context = Path(folder)
        for file, text in files.items():
            (context / file).write_text(text)
            (context / file).chmod(0o755)
        (context / "Containerfile").write_text(containerfile)
        buildah = Buildah(_folder())
        if not buildah.has(base.reference):
            buildah.run("pull", "--quiet", f"docker-archive:{base.archive}")
        buildah.build(
            context=context,
            containerfile=context / "Containerfile",
            target=name,
            name=image.reference,
            arguments={"BASE": base.reference},
        )
        _export(buildah, image)
        _prune(buildah, name)
    return image


def ensure_pause_image(reference: str) -> Image:
    """The image whose one program holds a Pod's namespaces, named `reference`. Raises ImageError, BuildError."""
    binary = ensure(["pause"])["pause"]
    image = Image(reference, _folder() / f"pause-{binary.parents[1].name}.tar")
    if image.archive.exists():
        return image
    with _Exclusive("pause"), tempfile.TemporaryDirectory(prefix="mahavishnu-image-") as folder:
        if image.archive.exists():
            return image
        context = Path(folder)
        shutil.copy2(binary, context / "pause")
        containerfile = context / "Containerfile"
        containerfile.write_text('FROM scratch AS pause\nCOPY pause /pause\nUSER 65532:65532\nENTRYPOINT ["/pause"]\n')
        buildah = Buildah(_folder())
        buildah.build(context=context, containerfile=containerfile, target="pause", name=reference, arguments={})
        _export(buildah, image)
    return image


def digest(*parts: str) -> str:
    """A short name for everything in `parts`, in their order."""
    made = hashlib.sha256()
    for part in parts:
        made.update(f"{len(part)}:".encode() + part.encode())
    return made.hexdigest()[:16]


def _ensure_stand_in(buildah: Buildah) -> str:
    """The reference of the base image made from Debian's packages."""
    name = f"localhost/python-stand-in:{digest(STAND_IN_SUITE, *STAND_IN)}"
    with _Exclusive("stand-in"):
        if not buildah.has(name):
            _make_stand_in(buildah, name)
    return name


def _make_stand_in(buildah: Buildah, name: str) -> None:
    program = shutil.which("mmdebstrap")
    if program is None:
        raise ImageError("the base image is made with mmdebstrap, which is not installed: apt-get install mmdebstrap")
    say(f"making the base image of Debian {STAND_IN_SUITE} packages")
    with tempfile.TemporaryDirectory(prefix="mahavishnu-base-") as folder:
        archive = Path(folder) / "base.tar"
        made = subprocess.run(
            [program, *STAND_IN, STAND_IN_SUITE, str(archive)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise ImageError(f"mmdebstrap failed:\n{made.stderr[-4000:].strip()}")
        container = buildah.run("from", "scratch").strip()
        buildah.run("add", container, str(archive), "/")
        buildah.run("commit", "--quiet", "--rm", container, name)


def _fill_context(context: Path, recipe: Recipe) -> None:
    (context / "requirements").mkdir()
    for lock in recipe.locks:
        shutil.copy2(ROOT / "requirements" / lock, context / "requirements")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(context / "wheel")],
        cwd=ROOT,
        env={**os.environ, "SOURCE_DATE_EPOCH": WHEEL_DATE},
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0:
        raise ImageError(f"the wheel cannot be built:\n{built.stderr[-4000:].strip()}")


def _tree(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "\n".join(f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files)


def _version() -> str:
    text = (ROOT / "operator" / "mahavishnu_operator" / "__init__.py").read_text()
    match = re.search(r'__version__ = "([^"]+)"', text)
    if match is None:
        raise ImageError("operator/mahavishnu_operator/__init__.py holds no __version__")
    return match[1]


def _image(name: str, key: str) -> Image:
    return Image(f"localhost/mahavishnu-{name}:{key}", _folder() / f"{name}-{key}.tar")


def _is_there(image: Image) -> bool:
    """Whether it was built before; then it counts as just used."""
    try:
        os.utime(image.archive)
    except FileNotFoundError:
        return False
    return True


def _prune(buildah: Buildah, name: str) -> None:
    """Delete the archives of earlier builds, and what buildah's storage holds for them alone. Its lock is held."""
    found = {archive: archive.stat().st_mtime for archive in _folder().glob(f"{name}-*.tar") if _key_of(archive, name)}
    held = set(buildah.names())
    for archive in decide_prune(found, now=time.time()):
        archive.unlink()
        references = {f"localhost/{prefix}{name}:{_key_of(archive, name)}" for prefix in ("mahavishnu-", "")}
        for reference in references & held:
            try:
                buildah.run("rmi", reference)
            except ImageError as error:  # another image is built on it: it goes some time after that one
                say(f"{reference} stays: {error}")


def _key_of(archive: Path, name: str) -> str:
    """Its key, if it is of that name and not of one that begins so."""
    key = archive.stem.removeprefix(f"{name}-")
    return key if re.fullmatch(r"[0-9a-f]{16}", key) else ""


def _export(buildah: Buildah, image: Image) -> None:
    unfinished = image.archive.with_suffix(".unfinished")
    buildah.export(image.reference, unfinished)
    unfinished.replace(image.archive)


def _folder() -> Path:
    folder = cache_root() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class _Exclusive:
    """Holds the lock of one image's name; the kernel lets go of it when the holder dies, however it dies."""

    def __init__(self, name: str) -> None:
        self._file = (_folder() / f"{name}.lock").open("a")

    def __enter__(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()
