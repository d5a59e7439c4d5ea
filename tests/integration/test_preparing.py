"""How a runner gets the files of a task: real git over https, archives in pieces, trees that somebody altered."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from mahavishnu_operator.api.wire import ArchiveSource, GitSource, PlanTask, ScanTask, SourceSpec
from mahavishnu_operator.worker.descendants import spare_children
from mahavishnu_operator.worker.git_words import Failed
from mahavishnu_operator.worker.messages import Piece, Place, Prepared, Start
from mahavishnu_operator.worker.sources import Files, Preparing
from mahavishnu_operator.worker.supervising import Limits, supervise
from tests.unit.scan.trees import git, repository, write

from .git_server import GitServer, git_server
from .source_tools import archive_of

pytestmark = pytest.mark.usefixtures("spared_children")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with git_server(tmp_path / "git") as made:
        yield made


class Bench:
    """Prepares one task after another, as an agent would have a runner do."""

    def __init__(self, folder: Path, *, ca: str = "") -> None:
        self.folder, self.ca, self.count = folder, ca, 0
        self.asked, self.told = 0, list[Prepared]()
        self.cancel: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def prepare(
        self,
        source: SourceSpec,
        *pieces: Piece,
        plan: bool = True,
        ready: Prepared | None = None,
        seconds: float = 60.0,
    ) -> Files:
        self.count += 1
        scratch = self.folder / f"scratch-{self.count}"
        scratch.mkdir(parents=True)
        place = Place(
            str(self.folder / "sources" / str(self.count)), ready.folder if ready else "", ready.seal if ready else ""
        )
        spec = PlanTask("", ("ruff",), source=source) if plan else ScanTask("ruff", "", "", 0, source=source)
        waiting = iter(pieces)

        async def next_piece() -> Piece:
            self.asked += 1
            return next(waiting)

        start = Start(spec, seconds, str(scratch), place=place, git_ca=self.ca)
        return await Preparing(start, cancel=self.cancel, next_piece=next_piece, tell=self.told.append).run(spec)

    async def refused(self, source: SourceSpec, *pieces: Piece, seconds: float = 60.0) -> tuple[str, str]:
        with pytest.raises(Failed) as refused:
            await self.prepare(source, *pieces, seconds=seconds)
        assert not (self.folder / "sources" / str(self.count)).exists()
        return refused.value.status, refused.value.reason


@pytest.fixture
async def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Bench:
    ca = request.getfixturevalue("server").ca if "server" in request.fixturenames else ""
    return Bench(tmp_path / "work", ca=ca)


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    write(tmp_path / "tree", "a.py", "pkg/b.py")
    return archive_of(tmp_path / "tree")


def named(data: bytes) -> ArchiveSource:
    return ArchiveSource(hashlib.sha256(data).hexdigest())


# --- archives -------------------------------------------------------------------------------------


async def test_an_archive_is_unpacked_once_and_used_again(bench: Bench, archive: bytes) -> None:
    files = await bench.prepare(named(archive), Piece(archive, first=True), Piece(last=True))
    assert (Path(files.root) / "pkg/b.py").read_bytes() == b"x = 1\n"
    again = await bench.prepare(named(archive), plan=False, ready=bench.told[0])
    assert (again.root, bench.asked) == (files.root, 2)


async def test_a_tree_that_a_tool_altered_is_not_used_again(bench: Bench, archive: bytes) -> None:
    files = await bench.prepare(named(archive), Piece(archive, first=True, last=True))
    altered = Path(files.root) / "a.py"
    altered.chmod(0o644)
    altered.write_bytes(b"y = 2\n")
    altered.chmod(0o444)
    again = await bench.prepare(named(archive), Piece(archive, first=True, last=True), ready=bench.told[0])
    assert again.root != files.root
    assert (Path(again.root) / "a.py").read_bytes() == b"x = 1\n"


async def test_a_connection_that_breaks_begins_the_archive_anew(bench: Bench, archive: bytes) -> None:
    half = len(archive) // 2
    pieces = (Piece(archive[:half], first=True), Piece(archive[:half], first=True), Piece(archive[half:], last=True))
    assert (await bench.prepare(named(archive), *pieces)).unpacked


async def test_other_bytes_than_the_task_names_are_not_unpacked(bench: Bench, archive: bytes) -> None:
    assert await bench.refused(named(b"other"), Piece(archive, first=True, last=True)) == ("failed", "ArchiveDamaged")


async def test_an_archive_that_cannot_be_had_is_not_asked_for_again(bench: Bench, archive: bytes) -> None:
    assert await bench.refused(named(archive), Piece(error="gone")) == ("refused", "ArchiveMissing")


async def test_no_archive_leaves_half_a_tree(bench: Bench) -> None:
    assert await bench.refused(named(b"rubbish"), Piece(b"rubbish", last=True)) == ("refused", "ArchiveRefused")


# --- git ------------------------------------------------------------------------------------------


async def test_a_branch_a_tag_and_a_commit_are_the_same_commit(bench: Bench, tmp_path: Path, server: GitServer) -> None:
    work = repository(tmp_path / "work-tree", "a.py")
    git(work, "tag", "-a", "v1", "-m", "one")
    url, commit = server.publish(work), git(work, "rev-parse", "HEAD").decode().strip()
    branch = git(work, "branch", "--show-current").decode().strip()
    for revision in ("HEAD", branch, "v1", "refs/tags/v1", commit):
        files = await bench.prepare(GitSource(url, revision))
        assert files.origin is not None
        assert files.origin.commit == commit
    assert "Authorization" not in "".join(server.headers)


async def test_nothing_that_a_repository_names_is_started(bench: Bench, tmp_path: Path, server: GitServer) -> None:
    work = repository(tmp_path / "work-tree", "a.bin")
    (work / ".gitattributes").write_text("*.bin filter=evil diff=evil merge=evil\n")
    (work / ".gitmodules").write_text(f'[submodule "s"]\n path = s\n url = {server.url}/other.git\n')
    git(work, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},s")
    (work / "away").symlink_to("/etc/passwd")
    git(work, "add", "-A", ".gitattributes", ".gitmodules", "away")
    git(work, "commit", "-q", "-m", "hostile")
    url = server.publish(work)
    root = Path((await bench.prepare(GitSource(url, "HEAD"))).root)
    assert (root / "a.bin").read_bytes() == b"x = 1\n"
    assert list((root / "s").iterdir()) == []
    assert not [path for path in server.asked if "other" in path]
    assert not (root / ".git/hooks").exists()


async def test_a_server_that_leads_to_http_is_not_followed(bench: Bench, server: GitServer) -> None:
    def lead_away(request: BaseHTTPRequestHandler) -> bool:
        request.send_response(302)
        request.send_header("Location", f"http://127.0.0.1:1{request.path}")
        request.send_header("Content-Length", "0")
        request.end_headers()
        return True

    server.answer = lead_away
    assert await bench.refused(GitSource(f"{server.url}/r.git", "main")) == ("refused", "RedirectRefused")


@pytest.mark.parametrize(
    ("code", "expected"),
    [(401, ("refused", "AuthenticationRefused")), (503, ("failed", "SourceUnreachable"))],
)
async def test_what_a_server_answers_decides_whether_it_is_asked_again(
    bench: Bench, server: GitServer, code: int, expected: tuple[str, str]
) -> None:
    def answer(request: BaseHTTPRequestHandler) -> bool:
        request.send_response(code)
        request.send_header("WWW-Authenticate", "Basic realm=x")
        request.send_header("Content-Length", "0")
        request.end_headers()
        return True

    server.answer = answer
    assert await bench.refused(GitSource(f"{server.url}/r.git", "main")) == expected


async def test_a_server_of_an_unknown_authority_is_not_believed(bench: Bench, server: GitServer) -> None:
    bench.ca = ""
    assert await bench.refused(GitSource(f"{server.url}/r.git", "main")) == ("refused", "CertificateUntrusted")


async def test_a_server_that_hangs_costs_no_more_than_the_task_s_time(bench: Bench, server: GitServer) -> None:
    server.answer = lambda request: request.rfile.read(1) == b"never"
    assert await bench.refused(GitSource(f"{server.url}/r.git", "main"), seconds=2.0) == ("timed-out", "TimedOut")


async def test_what_runs_a_program_stays_in_its_own_folder(tmp_path: Path) -> None:
    before = Path.cwd()
    limits = Limits(timeout_seconds=20, output_bytes=1000)
    environment = {"TMPDIR": str(tmp_path)}
    cancel: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    ended = await supervise(("/bin/pwd",), cwd=str(tmp_path), environment=environment, limits=limits, cancel=cancel)
    assert (Path(ended.stdout.decode().strip()), Path.cwd()) == (tmp_path.resolve(), before)


async def test_what_ran_before_in_the_same_program_is_left_alone(tmp_path: Path) -> None:
    cancel: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    limits, environment = Limits(timeout_seconds=20, output_bytes=1000), {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            with spare_children():
                await supervise(
                    ("/bin/true",), cwd=str(tmp_path), environment=environment, limits=limits, cancel=cancel
                )
            assert other.poll() is None
        finally:
            other.kill()
