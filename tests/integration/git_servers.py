"""Real git servers: https with a password (git's own http-backend), and OpenSSH's sshd as this user."""

from __future__ import annotations

import base64
import getpass
import hmac
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.cluster.pki import Authority
from tests.cluster.ports import PortReservation
from tests.cluster.process import Program, ServerProcess

USERNAME, PASSWORD = "scanner", "p@ss/w:rd"
SSHD = "/usr/sbin/sshd"
BACKEND_VARIABLES = ("CONTENT_TYPE", "CONTENT_LENGTH", "HTTP_CONTENT_ENCODING", "HTTP_GIT_PROTOCOL")


def git(*arguments: str, cwd: Path) -> str:
    """git as a person runs it."""
    names = {f"GIT_{who}_{what}": "tests" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "GIT_CONFIG_NOSYSTEM": "1", **names}
    ran = subprocess.run(("git", *arguments), cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


class Repository:
    """A work tree to commit in, and the bare one that servers serve, `project.git` below `served`."""

    def __init__(self, folder: Path) -> None:
        self.tree, self.served = folder / "tree", folder / "served"
        self.tree.mkdir(parents=True)
        self.served.mkdir()
        git("init", "--quiet", "--initial-branch=main", cwd=self.tree)
        git("init", "--quiet", "--bare", "--initial-branch=main", str(self.served / "project.git"), cwd=folder)

    @property
    def head(self) -> str:
        """The last commit."""
        return git("rev-parse", "HEAD", cwd=self.tree)

    def commit(self, files: Mapping[str, str], *, branch: str = "main") -> str:
        """Write and publish files; the commit."""
        for name, text in files.items():
            path = self.tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        git("add", "--all", "--force", cwd=self.tree)
        git("commit", "--quiet", "--message=change", cwd=self.tree)
        git("push", "--quiet", str(self.served / "project.git"), f"HEAD:{branch}", cwd=self.tree)
        return self.head


@contextmanager
def https_git(
    repository: Repository, authority: Authority, *, host: str = "127.0.0.1", public: bool = False
) -> Iterator[str]:
    """The address of `project.git`, which wants USERNAME and PASSWORD unless it is public."""
    pair = authority.issue(f"git-{host}", common_name="git", hosts=[host])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    wanted = "Basic " + base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not public and not hmac.compare_digest(self.headers.get("Authorization", ""), wanted):
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._serve()

        do_POST = do_GET

        def _serve(self) -> None:
            path, _, query = self.path.partition("?")
            given = {name: self.headers.get(name.removeprefix("HTTP_").replace("_", "-")) for name in BACKEND_VARIABLES}
            environment = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(repository.served),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REMOTE_USER": USERNAME,
                **{name: value for name, value in given.items() if value is not None},
            }
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            ran = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=False)
            head, _, payload = ran.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: object) -> None:
            """Nothing: the tests look at what git says."""

    server = ThreadingHTTPServer((host, 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield f"https://{host}:{server.server_port}/project.git"
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


class Sshd:
    """OpenSSH's server as this user. `url` of `project.git`; `secret`: the keys of a Secret that opens it."""

    def __init__(self, repository: Repository, folder: Path, *, host: str = "127.0.0.1") -> None:
        folder.mkdir(mode=0o700)
        self._reservation = PortReservation(1)
        (port,) = self._reservation.ports
        for name in ("host", "client", "other"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / name)]
            subprocess.run(command, check=True)
        (folder / "authorized").write_text((folder / "client.pub").read_text())
        config = folder / "config"
        config.write_text(
            f"ListenAddress {host}\nPort {port}\nHostKey {folder / 'host'}\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {folder / 'authorized'}\nPasswordAuthentication no\nStrictModes no\n"
        )
        Path("/run/sshd").mkdir(exist_ok=True) if os.getuid() == 0 else None
        program = Program("sshd", (SSHD, "-D", "-e", "-f", str(config)), lambda: _not_listening(host, port))
        self.process = ServerProcess(program, folder / "sshd.log")
        path = repository.served / "project.git"
        self.url = f"ssh://{getpass.getuser()}@{host}:{port}{path}"
        host_key = (folder / "host.pub").read_text().strip()
        other_key = (folder / "other.pub").read_text().strip()
        self.secret = {
            "ssh-privatekey": (folder / "client").read_text(),
            "known_hosts": f"[{host}]:{port} {host_key}\n",
        }
        self.wrong_host = self.secret | {"known_hosts": f"[{host}]:{port} {other_key}\n"}
        self.wrong_key = self.secret | {"ssh-privatekey": (folder / "other").read_text()}

    def __enter__(self) -> Sshd:
        self.process.start()
        self.process.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self._reservation.release()


def _not_listening(host: str, port: int) -> str | None:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        return str(error)
    return None


def as_mounted(folder: Path, keys: Mapping[str, str]) -> Path:
    """A Secret's keys as the kubelet mounts them."""
    folder.mkdir()
    for name, value in keys.items():
        (folder / name).write_text(value)
    return folder
