"""Blobs: whole or not there, checked when read. The folder of the SQLite store, on a real file system."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mahavishnu_operator.store.blob_folder import BlobFolder
from mahavishnu_operator.store.protocol import BlobDamaged
from mahavishnu_operator.support.errors import InvalidInput

from .conftest import Holder


async def test_a_blob_comes_back_whole(held: Holder) -> None:
    for data in (b"", b"data", bytes(range(256)) * 4096):
        assert await held.store.blob(await held.store.put_blob(held.epoch, data)) == data


async def test_a_blob_that_was_never_stored_is_none(held: Holder) -> None:
    assert await held.store.blob("0" * 64) is None


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "0" * 63, "0" * 64 + "\n"])
async def test_a_name_that_is_no_digest_is_refused(held: Holder, name: str) -> None:
    with pytest.raises(InvalidInput, match="not a SHA-256"):
        await held.store.blob(name)


@pytest.fixture
def folder(tmp_path: Path) -> BlobFolder:
    return BlobFolder(tmp_path / "blobs")


def file_of(folder: BlobFolder, tmp_path: Path, digest: str) -> Path:
    assert folder.has(digest)
    return tmp_path / "blobs" / digest[:2] / digest


@pytest.mark.parametrize("damage", [b"", b"dat", b"atad", b"data and more"])
def test_a_damaged_blob_is_an_error_and_never_other_data(folder: BlobFolder, tmp_path: Path, damage: bytes) -> None:
    digest = folder.put(b"data")
    file_of(folder, tmp_path, digest).write_bytes(damage)
    with pytest.raises(BlobDamaged, match=digest):
        folder.get(digest)


@pytest.mark.parametrize("damage", [b"", b"atad"])
def test_storing_the_same_bytes_again_repairs_a_damaged_blob(folder: BlobFolder, tmp_path: Path, damage: bytes) -> None:
    digest = folder.put(b"data")
    file_of(folder, tmp_path, digest).write_bytes(damage)
    assert folder.put(b"data") == digest
    assert folder.get(digest) == b"data"


def test_the_same_bytes_again_are_not_written_again(folder: BlobFolder, tmp_path: Path) -> None:
    digest = folder.put(b"data")
    file = file_of(folder, tmp_path, digest)
    inode = file.stat().st_ino
    folder.put(b"data")
    assert file.stat().st_ino == inode


def test_a_blob_is_on_disk_before_it_has_its_name_and_its_name_before_it_is_answered(
    folder: BlobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor: int) -> None:
        steps.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        fsync(descriptor)

    def watched_replace(source: str, target: Path) -> None:
        steps.append("name")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    folder.put(b"data")
    assert steps == ["sync file", "name", "sync folder"]


def test_only_blobs_put_before_the_given_time_are_dropped(folder: BlobFolder, tmp_path: Path) -> None:
    digest = folder.put(b"data")
    put_at = file_of(folder, tmp_path, digest).stat().st_mtime
    folder.drop([digest, "0" * 64], before=put_at)
    assert folder.has(digest)
    folder.drop([digest], before=put_at + 1)
    assert not folder.has(digest)


def test_what_a_killed_writer_left_is_no_blob_and_is_cleared_away(folder: BlobFolder, tmp_path: Path) -> None:
    digest = folder.put(b"data")
    half = tmp_path / "blobs" / "00" / ".new-abc"
    half.write_bytes(b"da")
    later = half.stat().st_mtime + 1
    assert folder.put_before(later) == [digest]
    assert not half.exists()


FULL = """
import asyncio, resource, sys
from pathlib import Path
from mahavishnu_operator.store.protocol import StoreFull
from mahavishnu_operator.store.records import JobRecord, OutputPiece, TaskKey, TaskRecord
from mahavishnu_operator.store.sqlite import SqliteStore

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    epoch = await store.take_epoch("writer")
    key = TaskKey("u1", "t0")
    await store.add_job(epoch, JobRecord("u1", "ns", "j", "ns/p"), [TaskRecord(key, 0, b"{}")])
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    large = b"x" * (2 << 20)
    for call in (store.put_blob(epoch, large), store.append_output(epoch, [OutputPiece(key, 1, "stdout", 0, large)])):
        try:
            await call
        except StoreFull as error:
            print("full:", error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert await store.output(key, attempt=1) == b""
    await store.append_output(epoch, [OutputPiece(key, 1, "stdout", 0, b"small")])
    assert await store.output(key, attempt=1) == b"small"
    await store.close()

asyncio.run(main())
"""


def test_a_disk_that_takes_no_more_is_said_in_words_and_spoils_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("full: cannot ") == 2
    assert list((tmp_path / "blobs").glob("*/*")) == []
