"""Archives of strangers."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import resource
import stat
import tarfile
import tempfile
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mahavishnu_operator.scan.tar_stream import ArchiveLimits
from mahavishnu_operator.scan.unpacking import unpack
from mahavishnu_operator.support.errors import InvalidInput

from .trees import git, repository

MIB = 1024 * 1024


def entry(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def tar(*entries: tuple[tarfile.TarInfo, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind, errors="surrogateescape") as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.SYMTYPE, linkname=target)


def put(tmp_path: Path, data: bytes, limits: ArchiveLimits | None = None) -> Path:
    folder = tmp_path / "out"
    folder.mkdir(parents=True)
    unpack(io.BytesIO(data), folder, limits=limits)
    return folder


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([entry("/etc/x")], "absolute name"),
        ([entry("../x")], "leads out"),
        ([entry("a/../../x")], "leads out"),
        ([link("a", "/etc")], "absolute path"),
        ([link("a", "../out")], "leaves the tree"),
        ([link("a", "b/../..")], "behind a name"),
        ([link("d", "."), entry("d/x")], "a symbolic link in the archive, and a folder"),
        ([entry("d/x"), link("d", ".")], "more than once"),
        ([entry("a"), entry("a/b")], "a file in the archive, and a folder"),
        ([entry("a"), entry("./a")], "more than once"),
        ([link("a", "b"), entry("a")], "more than once"),
        ([entry(".")], "the archive's own folder"),
        ([entry("a", type=tarfile.LNKTYPE, linkname="/etc/passwd")], "a hard link"),
        ([entry("a", type=tarfile.CHRTYPE)], "a device"),
        ([entry("a", type=tarfile.BLKTYPE)], "a device"),
        ([entry("a", type=tarfile.FIFOTYPE)], "a pipe"),
        ([entry("a", type=b"Z")], "of a kind of its own"),
        ([entry("a", type=tarfile.GNUTYPE_SPARSE)], "a sparse file"),
        ([entry("x" * 256)], "too long"),
        ([entry("/".join(["a" * 100] * 11))], "too long"),
        ([entry("a/" * 101 + "b")], "deeper than"),
        ([entry("sub/.GIT/config")], "belongs to a repository"),
        ([entry("a", pax_headers={"path": "a\0b"})], "NUL"),
        ([link("a", "b"), entry("c", type=tarfile.SYMTYPE, pax_headers={"linkpath": "a\0b"})], "null"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_leads_out_or_is_no_file_is_refused(
    tmp_path: Path, entries: list[tuple[tarfile.TarInfo, bytes]], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        put(tmp_path, tar(*entries))
    assert sorted(os.listdir(tmp_path)) == ["out"]


def test_rights_owners_and_times_are_not_taken_over(tmp_path: Path) -> None:
    tree = put(
        tmp_path, tar(entry("a", b"x", mode=0o6777, uid=1234, mtime=5), entry("d", type=tarfile.DIRTYPE, mode=0))
    )
    status = (tree / "a").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o555, os.geteuid())
    assert status.st_mtime > 5
    assert stat.S_IMODE((tree / "d").stat().st_mode) == 0o555


def test_names_that_are_not_utf8_come_back(tmp_path: Path) -> None:
    for kind in (tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        tree = put(tmp_path / str(kind), tar(entry(os.fsdecode(b"caf\xe9.py")), kind=kind))
        assert os.listdir(os.fsencode(tree)) == [b"caf\xe9.py"]


def test_an_archive_of_git_itself_is_taken(tmp_path: Path) -> None:
    root = repository(tmp_path / "root", "a.py", "pkg/b.py")
    tree = put(tmp_path, git(root, "archive", "--format=tar.gz", "HEAD"))
    assert (tree / "pkg/b.py").read_bytes() == b"x = 1\n"


@pytest.mark.parametrize(
    ("limits", "entries", "words"),
    [
        (ArchiveLimits(unpacked_bytes=MIB), [entry("a", b"\0" * MIB)], "more than 1 MiB"),
        (ArchiveLimits(entries=2), [entry("a"), entry("b"), entry("c")], "more than 2 entries"),
        (ArchiveLimits(name_bytes=5), [entry("abcdef")], "take more than 5 bytes"),
        (ArchiveLimits(entries=3), [entry("a/b/c/d/e/f/g/h")], "take more than"),
    ],
)
def test_limits_hold(
    tmp_path: Path, limits: ArchiveLimits, entries: list[tuple[tarfile.TarInfo, bytes]], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        put(tmp_path, tar(*entries), limits)


def test_a_bomb_is_stopped_by_its_ratio(tmp_path: Path) -> None:
    bomb = gzip.compress(tar(entry("a", b"\0" * (8 * MIB))))
    with pytest.raises(InvalidInput, match="200 times its size"):
        put(tmp_path, bomb, ArchiveLimits(free_bytes=2 * MIB))
    assert (tmp_path / "out/a").stat().st_size < 3 * MIB


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_of_gigabytes_takes_no_memory(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("header")
    info.type, info.size = kind, 8 * 1024**3
    packer = zlib.compressobj(wbits=31)
    data = packer.compress(info.tobuf(tarfile.GNU_FORMAT)) + packer.compress(b"\0" * (8 * MIB)) + packer.flush()
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match="header of more than"):
            put(tmp_path, data)
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()


def test_headers_without_end_are_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("header")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    one = info.tobuf(tarfile.GNU_FORMAT) + b"x" + b"\0" * 511
    with pytest.raises(InvalidInput, match=r"header of more than|cannot be read"):
        put(tmp_path, one * 5000)


def test_a_sparse_map_without_end_is_refused(tmp_path: Path) -> None:
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a", "GNU.sparse.realsize": "1"}
    with pytest.raises(InvalidInput):
        put(tmp_path, tar(entry("a", b"99999999\n" + b"1\n" * MIB, pax_headers=headers)))


def test_a_large_file_is_written_in_pieces(tmp_path: Path) -> None:
    data = tar(entry("a", os.urandom(8 * MIB)))
    tracemalloc.start()
    try:
        tree = put(tmp_path, data)
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()
    assert (tree / "a").stat().st_size == 8 * MIB


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cannot be read"),
        (b"no archive at all" * 100, "cannot be read"),
        (b"BZh91AY&SY", "packed by bzip2"),
        (b"PK\x03\x04....", "packed by zip"),
        (gzip.compress(tar(entry("a", b"x" * 5000)))[:-20], "cannot be read"),
        (tar(entry("a", b"x" * 5000))[:2000], "cannot be read"),
        (tar(entry("a", b"x"))[:1024], "no end mark"),
        (tar(entry("a", b"x"))[:1024] + b"rubbish" * 200, "no end mark"),
    ],
    ids=["empty", "text", "bzip2", "zip", "gzip-cut", "cut-in-file", "no-end", "rubbish-at-end"],
)
def test_what_is_cut_off_or_no_archive_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        put(tmp_path, data)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_damaged_archives_are_unpacked_or_refused_in_words(data: st.DataObject) -> None:
    good = tar(entry("a/b", b"x" * 700), link("l", "a"), entry("n" * 150, b"y"), entry("d", type=tarfile.DIRTYPE))
    raw = bytearray(good)
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    for start in range(0, len(raw), 512):  # as a stranger would: with a checksum that is right
        block = raw[start : start + 512]
        if data.draw(st.booleans()):
            block[148:156] = b" " * 8
            raw[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        out.mkdir()
        with contextlib.suppress(InvalidInput):
            unpack(io.BytesIO(bytes(raw)), out)
        assert os.listdir(folder) == ["out"]
        for path in out.rglob("*"):
            assert path.is_symlink() or stat.S_ISREG(path.lstat().st_mode) or stat.S_ISDIR(path.lstat().st_mode)
            assert not path.is_symlink() or str(path.resolve()).startswith(str(out.resolve()))


def test_the_process_keeps_few_files_open(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        tree = put(tmp_path, tar(*(entry(f"f{number}") for number in range(600))))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(os.listdir(tree)) == 600
