"""Real git over https on loopback: `git http-backend` behind a small server, with an authority of its own."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from tests.cluster.pki import Authority
from tests.unit.scan.trees import git

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_HTTP_EXPORT_ALL": "1", "GIT_CONFIG_NOSYSTEM": "1"}
Answer = Callable[[BaseHTTPRequestHandler], bool]


@dataclass
class GitServer:
    """Serves the bare repositories below `root`. `asked`: the paths; `answer` may answer in git's place."""

    root: Path
    ca: str
    url: str = ""
    asked: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    answer: Answer | None = None

    def publish(self, work: Path, name: str = "repo.git") -> str:
        """A bare copy of a repository; its URL."""
        bare = self.root / name
        git(work, "clone", "-q", "--bare", str(work), str(bare))
        git(bare, "config", "http.receivepack", "false")
        return f"{self.url}/{name}"


@contextmanager
def git_server(folder: Path) -> Iterator[GitServer]:
    """A server on a free port."""
    root = folder / "repositories"
    root.mkdir(parents=True)
    authority = Authority(folder)
    pair = authority.issue("server", common_name="127.0.0.1", hosts=("127.0.0.1",))
    made = GitServer(root, authority.pair.certificate.read_text())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def log_message(self, format: str, *args: object) -> None:
            return

        def do_GET(self) -> None:
            self._serve(b"")

        def do_POST(self) -> None:
            self._serve(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

        def _serve(self, body: bytes) -> None:
            made.asked.append(self.path)
            made.headers.append(str(self.headers))
            if made.answer is not None and made.answer(self):
                return
            parts = urlsplit(self.path)
            environment = ENVIRONMENT | {
                "GIT_PROJECT_ROOT": str(root),
                "HOME": str(root),
                "PATH_INFO": parts.path,
                "QUERY_STRING": parts.query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            }
            ran = subprocess.run(("git", "http-backend"), input=body, env=environment, capture_output=True, check=False)
            head, _, content = ran.stdout.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
            self.send_response(int(fields.pop("Status", "200 OK").split()[0]))
            for name, value in (fields | {"Content-Length": str(len(content))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    made.url = f"https://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def head_of(work: Path, revision: str = "HEAD") -> str:
    return git(work, "rev-parse", revision).decode().strip()
