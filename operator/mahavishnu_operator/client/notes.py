"""Short notes that agents keep for each other: annotations of one suspended WorkerPool, which has no workers.

The pressure: published clients store what they found out under a key, and expect it after a restart and through any
replica; there is no third kind for that, and no store of the gateway's own. What must stay true: a note is there until
its time is over or until newer ones need its room, and whoever stores one is told which went for it; the object stays
small enough for any API server.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mahavishnu_operator.api.reasons import API_VERSION, Label
from mahavishnu_operator.resources.protocol import WORKER_POOL, Key, Obj, Resources
from mahavishnu_operator.support.errors import Conflict, InvalidInput, MahavishnuError, NotFound

from .making import Maker
from .pools import MEMORY

MAX_NOTE_BYTES = 16 * 1024
MAX_BYTES = 192 * 1024  # of all notes; annotations of an object may have 256 KiB
TRIES = 30


@dataclass(frozen=True)
class Note:
    """One note. Times are seconds since 1970; `value` is anything that JSON can say."""

    namespace: str
    key: str
    value: Any
    by: str
    stored_at: float
    until: float

    @property
    def name(self) -> str:
        """The annotation that has it."""
        digest = hashlib.sha256(f"{self.namespace}\0{self.key}".encode("utf-8", "surrogatepass")).hexdigest()
        return f"{Label.NOTE.value}{digest[:32]}"


class Notes:
    """`client.notes`, in one namespace of the cluster. Errors are those of resources.protocol.Resources."""

    def __init__(self, resources: Resources, *, namespace: str, me: Maker, backend: str) -> None:
        self._resources, self._backend, self._me = resources, backend, me
        self.pool = Key(namespace, MEMORY)

    async def store(self, namespace: str, key: str, value: Any, *, seconds: float) -> tuple[Note, Sequence[Note]]:
        """Keep a note so long, in the place of one with that namespace and key; which others went for it.

        InvalidInput: it is too large.
        """
        now = time.time()
        note = Note(namespace, key, value, self._me.value, now, now + seconds)
        size = len(_written(note))
        if size > MAX_NOTE_BYTES:
            raise InvalidInput(
                f"the value has {size} bytes as JSON with its key; at most {MAX_NOTE_BYTES}", hint="store where it is"
            )
        for _ in range(TRIES):
            try:
                obj = await self._resources.get(WORKER_POOL, self.pool)
            except NotFound:
                await self._make_pool()
                continue
            there = _notes_of(obj)
            kept, gone = make_room(there, note, now=now)
            changes = {name: None for name in there if name not in kept}
            version = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            metadata = {**version, "annotations": {**changes, note.name: _written(note)}}
            try:
                await self._resources.merge(WORKER_POOL, self.pool, {"metadata": metadata})
            except (Conflict, NotFound):
                continue
            return note, gone
        raise MahavishnuError(f"WorkerPool {self.pool} changed {TRIES} times while a note was to be kept", hint="again")

    async def all(self) -> Sequence[Note]:
        """Notes whose time is not over, newest first."""
        try:
            obj = await self._resources.get(WORKER_POOL, self.pool)
        except NotFound:
            return ()
        now = time.time()
        living = (note for note in _notes_of(obj).values() if note.until > now)
        return sorted(living, key=lambda note: -note.stored_at)

    async def _make_pool(self) -> None:
        obj: Obj = {
            "apiVersion": API_VERSION,
            "kind": WORKER_POOL.kind,
            "metadata": {
                "name": self.pool.name,
                "namespace": self.pool.namespace,
                "labels": self._me.labels,
                "annotations": self._me.annotations,
            },
            "spec": {"backend": self._backend, "minWorkers": 0, "maxWorkers": 0, "replicas": 0, "suspend": True},
        }
        try:
            await self._resources.create(WORKER_POOL, obj)
        except Conflict:
            return  # another caller made it


def make_room(
    there: Mapping[str, Note], note: Note, *, now: float, most: int = MAX_BYTES
) -> tuple[Mapping[str, Note], Sequence[Note]]:
    """What stays beside a new note, and what goes before its time: the oldest, until there is room."""
    living = {name: each for name, each in there.items() if each.until > now and name != note.name}
    room = most - len(_written(note))
    gone = []
    for name, each in sorted(living.items(), key=lambda item: -item[1].stored_at):
        room -= len(_written(each))
        if room < 0:
            gone.append(each)
            del living[name]
    return living, gone


def _notes_of(obj: Obj) -> dict[str, Note]:
    """All notes by annotation; what somebody else wrote there is no note, and gives way to the next one."""
    annotations = obj["metadata"].get("annotations") or {}
    return {name: _read(text) for name, text in annotations.items() if name.startswith(Label.NOTE.value)}


def _written(note: Note) -> str:
    return json.dumps(asdict(note), ensure_ascii=True, separators=(",", ":"))


def _read(text: str) -> Note:
    try:
        found = json.loads(text)
        return Note(
            str(found["namespace"]),
            str(found["key"]),
            found["value"],
            str(found["by"]),
            float(found["stored_at"]),
            float(found["until"]),
        )
    except (ValueError, TypeError, KeyError):
        return Note("", "", None, "", 0.0, 0.0)
