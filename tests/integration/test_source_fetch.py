"""The first program of a source Job, against real git servers and folders."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from mahavishnu_operator.api.source_outcome import SourceOutcome
from mahavishnu_operator.worker.source_fetch import ARCHIVE, SAID, FetchWanted, Prepared, run_fetch
from tests.cluster.pki import Authority

from .git_servers import PASSWORD, USERNAME, Repository, Sshd, as_mounted, https_git

pytestmark = pytest.mark.usefixtures("spared_children")

BASIC = {"username": USERNAME, "password": PASSWORD}


class Server:
    """An https server with three commits, and what a Secret for it holds."""

    def __init__(self, url: str, repository: Repository, ca: str, commits: list[str]) -> None:
        self.url, self.repository, self.ca, self.commits = url, repository, ca, commits

    @property
    def secret(self) -> dict[str, str]:
        return BASIC | {"ca.crt": self.ca}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def server(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    authority = Authority(tmp_path_factory.mktemp("pki"))
    first = repository.commit({"a.py": "import os\n", ".gitignore": "build/\n", "build/kept.py": "x = 1\n"})
    second = repository.commit({"a.py": "import sys\n"})
    with https_git(repository, authority) as url:
        yield Server(url, repository, authority.pair.certificate.read_text(), [first, second])


class Fetch:
    """Runs the program in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.into, self.log = folder / "archive", folder / "termination"
        self.into.mkdir()

    def run(self, secret: Mapping[str, str] | None = None, **wanted: str | Path) -> int:
        credentials = None if secret is None else as_mounted(self._folder / "secret", secret)
        request = replace(FetchWanted(self.into, credentials=credentials, secret="key"), **wanted)  # type: ignore[arg-type]
        return run_fetch(request, log_level="info", termination_log=self.log)

    @property
    def prepared(self) -> Prepared:
        return msgspec.json.decode((self.into / SAID).read_bytes(), type=Prepared)

    @property
    def files(self) -> dict[str, str]:
        with tarfile.open(self.into / ARCHIVE) as archive:
            opened = {member.name: archive.extractfile(member) for member in archive}
            return {name: file.read().decode() for name, file in opened.items() if file is not None}

    @property
    def said(self) -> SourceOutcome:
        return msgspec.json.decode(self.log.read_bytes(), type=SourceOutcome)


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    return Fetch(tmp_path)


def test_a_private_repository_is_packed_as_a_checkout_of_it_would_be_listed(fetch: Fetch, server: Server) -> None:
    assert fetch.run(server.secret, url=server.url) == 0
    assert fetch.files == {"a.py": "import sys\n", ".gitignore": "build/\n", "build/kept.py": "x = 1\n"}
    assert fetch.prepared.commits.revision == server.commits[1]


def test_a_server_is_proved_by_what_the_installation_knows_unless_the_secret_does(
    fetch: Fetch, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other").pair.certificate.read_text()
    assert fetch.run(BASIC, url=server.url, git_ca=server.ca) == 0
    (tmp_path / "again").mkdir()
    assert Fetch(tmp_path / "again").run(server.secret, url=server.url, git_ca=other) == 0
    (tmp_path / "wrong").mkdir()
    assert Fetch(tmp_path / "wrong").run(BASIC, url=server.url, git_ca=other) == 1


def test_a_commit_and_what_it_is_compared_with_are_resolved(fetch: Fetch, server: Server) -> None:
    assert fetch.run(server.secret, url=server.url, revision=server.commits[0], base_revision="main") == 0
    assert (fetch.prepared.commits.revision, fetch.prepared.commits.base_revision) == tuple(server.commits)
    assert fetch.files["a.py"] == "import os\n"


def test_a_wrong_password_is_final_and_is_not_repeated_in_words(
    fetch: Fetch, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fetch.run(server.secret | {"password": "wr0ng&secret"}, url=server.url) == 1
    assert (fetch.said.reason, fetch.said.failure) == ("AuthenticationRefused", "final")
    shown = fetch.log.read_text() + capfd.readouterr().err
    assert "wr0ng" not in shown
    assert USERNAME not in shown


def test_a_missing_secret_is_waited_for(fetch: Fetch, server: Server) -> None:
    assert fetch.run({}, url=server.url) == 1
    assert (fetch.said.reason, fetch.said.failure) == ("CredentialsMissing", "waits")
    assert "Secret key" in fetch.said.message


@pytest.mark.parametrize("revision", ["nosuch", "0" * 40])
def test_a_revision_that_nobody_knows_is_final(fetch: Fetch, server: Server, revision: str) -> None:
    assert fetch.run(server.secret, url=server.url, revision=revision) == 1
    assert (fetch.said.reason, fetch.said.failure) == ("RevisionNotFound", "final")


@pytest.mark.parametrize("revision", ["--upload-pack=touch /tmp/owned", "main:refs/heads/x", "main~1", "a..b", "+main"])
def test_a_revision_is_never_an_option_nor_an_expression(fetch: Fetch, server: Server, revision: str) -> None:
    assert fetch.run(server.secret, url=server.url, revision=revision) == 1
    assert "is no branch, tag or commit" in fetch.said.message


@pytest.mark.parametrize(
    "url", ["ext::sh -c true", "file:///etc", "-u", "https://user:pw@h/x", "http://h/x", "ssh://-oProxyCommand=x/y"]
)
def test_other_addresses_are_refused(fetch: Fetch, url: str) -> None:
    assert fetch.run(BASIC, url=url) == 1
    assert (fetch.said.reason, fetch.said.failure) == ("Invalid", "final")


def test_a_server_that_is_not_there_may_come_back(fetch: Fetch) -> None:
    assert fetch.run(BASIC, url="https://127.0.0.1:1/project.git") == 1
    assert (fetch.said.reason, fetch.said.failure) == ("SourceFailed", "passes")


def test_nothing_that_a_repository_names_is_run(fetch: Fetch, server: Server, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    server.repository.commit(
        {
            ".gitattributes": "*.py filter=evil diff=evil\n",
            ".gitmodules": f'[submodule "x"]\n\tpath = x\n\turl = ext::touch {mark}\n',
            "evil.py": "x = 1\n",
        },
        branch="evil",
    )
    assert fetch.run(server.secret, url=server.url, revision="evil") == 0
    assert fetch.files["evil.py"] == "x = 1\n"
    assert not mark.exists()


def test_a_repository_is_fetched_by_ssh(fetch: Fetch, server: Server, tmp_path: Path) -> None:
    with Sshd(server.repository, tmp_path / "sshd") as sshd:
        assert fetch.run(sshd.secret, url=sshd.url, revision="main") == 0, fetch.log.read_text()
    assert fetch.prepared.commits.revision == server.commits[1]


@pytest.mark.parametrize(
    ("secret", "reason"), [("wrong_host", "HostKeyRefused"), ("wrong_key", "AuthenticationRefused")]
)
def test_an_ssh_server_that_is_not_known_or_knows_us_not_is_final(
    fetch: Fetch, server: Server, tmp_path: Path, secret: str, reason: str
) -> None:
    with Sshd(server.repository, tmp_path / "sshd") as sshd:
        assert fetch.run(getattr(sshd, secret), url=sshd.url) == 1
    assert (fetch.said.reason, fetch.said.failure) == (reason, "final")


def test_ssh_without_known_hosts_is_refused(fetch: Fetch) -> None:
    assert fetch.run({"ssh-privatekey": "key"}, url="git@host.invalid:project.git") == 1
    assert (fetch.said.reason, fetch.said.failure) == ("CredentialsMissing", "waits")
    assert "known_hosts" in fetch.said.message


def test_a_folder_of_a_volume_is_packed(fetch: Fetch, tmp_path: Path) -> None:
    (tmp_path / "volume/sub").mkdir(parents=True)
    (tmp_path / "volume/sub/a.py").write_text("import os\n")
    (tmp_path / "volume/other.py").write_text("")
    assert fetch.run(folder=tmp_path / "volume", sub_path="sub") == 0
    assert fetch.files == {"a.py": "import os\n"}


def test_a_sub_path_leads_out_of_no_volume(fetch: Fetch, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/link").symlink_to("/etc")
    assert fetch.run(folder=tmp_path / "volume", sub_path="link") == 1
    assert (fetch.said.reason, fetch.said.failure) == ("PathNotFound", "final")
    assert fetch.run(folder=tmp_path / "volume", sub_path="../archive") == 1


def test_the_archive_holds_no_credential_and_no_git_folder(fetch: Fetch, server: Server) -> None:
    assert fetch.run(server.secret, url=server.url) == 0
    assert not [name for name in fetch.files if ".git/" in name]
    assert sorted(os.listdir(fetch.into)) == [ARCHIVE, SAID]
