"""Reading manifests: files, folders or standard input, YAML or JSON, many documents each.

Bad input is refused before anything is sent, with the file, the document's number and the reason, so
that a folder is applied wholly or not at all as far as we can know beforehand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mahavishnu_operator.api.reasons import API_VERSION
from mahavishnu_operator.resources.protocol import KINDS, Key, Kind, Obj
from mahavishnu_operator.support.errors import InvalidInput
from mahavishnu_operator.support.json_text import Unreadable
from mahavishnu_operator.support.yaml_text import read_documents

MAX_BYTES = 1024 * 1024  # a manifest over this is a mistake: objects themselves end at 256 KiB
STANDARD_INPUT = "standard input"
SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Manifest:
    """One object as written, and where it was written."""

    origin: str
    kind: Kind
    obj: Obj


def read_manifests(source: str, *, namespace: str) -> list[Manifest]:
    """All objects in a file, a folder (not its subfolders) or `-`; those without a namespace get this one."""
    found = [_to_manifest(origin, doc, namespace) for origin, doc in _documents(source)]
    if not found:
        raise InvalidInput(
            f"{STANDARD_INPUT if source == '-' else source} holds no object",
            hint="a manifest starts with apiVersion and kind",
        )
    return found


def find_kind(word: str) -> Kind:
    """The kind that a person means by its kind, plural, singular or short name, in any case."""
    for kind in KINDS:
        if word.lower() in (kind.kind.lower(), kind.plural, kind.singular, kind.short):
            return kind
    known = ", ".join(f"{k.plural} ({k.short})" for k in KINDS)
    raise InvalidInput(f"there is no kind {word!r}", hint=f"known: {known}")


def _documents(source: str) -> Iterator[tuple[str, object]]:
    for name, text in _texts(source):
        try:
            documents = read_documents(text)
        except Unreadable as error:
            raise InvalidInput(f"{name} cannot be read: {error}") from None
        for number, doc in enumerate(documents, start=1):
            if doc is not None:
                yield f"{name}, document {number}", doc


def _texts(source: str) -> Iterator[tuple[str, str]]:
    if source == "-":
        yield STANDARD_INPUT, _decode(STANDARD_INPUT, sys.stdin.buffer.read(MAX_BYTES + 1))
        return
    for file in _files(Path(source)):
        try:
            with file.open("rb") as handle:
                data = handle.read(MAX_BYTES + 1)
        except OSError as error:
            raise InvalidInput(f"cannot read {file}: {error.strerror}") from None
        yield str(file), _decode(str(file), data)


def _files(source: Path) -> list[Path]:
    """The file itself, or what a folder has; there only regular files: nobody named a pipe to wait for."""
    try:
        if not source.is_dir():
            return [source]
        found = sorted(file for file in source.iterdir() if file.suffix in SUFFIXES and not file.is_dir())
        odd = next((file for file in found if not file.is_file()), None)
    except OSError as error:
        raise InvalidInput(f"cannot read {source}: {error.strerror}") from None
    if odd is not None and not odd.is_symlink():
        raise InvalidInput(f"cannot read {odd}: it is no regular file", hint="take it out of the folder")
    return found


def _decode(name: str, data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise InvalidInput(
            f"{name} is over {MAX_BYTES} bytes", hint="larger inputs go by reference, not into a manifest"
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name} is not UTF-8 text: {error.reason} at byte {error.start}") from None


def _to_manifest(origin: str, doc: object, namespace: str) -> Manifest:
    if not isinstance(doc, dict) or not isinstance(doc.get("metadata", {}), dict):
        raise InvalidInput(f"{origin}: not an object with apiVersion, kind and metadata")
    version, word = doc.get("apiVersion"), doc.get("kind")
    if not version or not word:
        raise InvalidInput(f"{origin}: it has not both of apiVersion and kind", hint="a manifest starts with them")
    kind = next((k for k in KINDS if k.kind == word), None)
    if version != API_VERSION or kind is None:
        known = " or ".join(k.kind for k in KINDS)
        raise InvalidInput(f"{origin}: {version} {word} is not known here", hint=f"expected {API_VERSION} {known}")
    metadata = {"namespace": namespace, **doc.get("metadata", {})}
    for member in ("name", "namespace"):
        given = metadata.get(member)
        if given is None:
            raise InvalidInput(f"{origin}: metadata.{member} is missing", hint="objects are told apart by it")
        if not isinstance(given, str):
            raise InvalidInput(f"{origin}: metadata.{member} is {given!r}; a text is needed: put it into quotes")
    return Manifest(origin, kind, {**doc, "metadata": metadata})


def refuse_doubles(manifests: Sequence[Manifest]) -> None:
    """InvalidInput when one object is given twice: only the last one would count."""
    seen: dict[tuple[str, Key], Manifest] = {}
    for manifest in manifests:
        key = Key.of(manifest.obj)
        before = seen.setdefault((manifest.kind.kind, key), manifest)
        if before is not manifest:
            raise InvalidInput(
                f"{manifest.kind.kind} {key} is there twice: {before.origin}, and {manifest.origin}",
                hint="take one of them out, or give it another name",
            )
