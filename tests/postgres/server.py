"""A real PostgreSQL server for the tests: Debian's package, run without privileges, on loopback, gone with the run.

PostgreSQL refuses to run as root, so a run of the tests by root starts it as the package's own user. Its files are in a
folder of their own below the system's temporary folder, because that user may not enter pytest's.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
from psycopg import sql

from tests.cluster.ports import PortReservation
from tests.cluster.process import Program, ServerProcess

SUPERUSER = "tests"


class PostgresNotInstalled(Exception):
    """There is no PostgreSQL server on this machine."""


def find_binaries() -> Path:
    """The folder of `initdb` and `postgres`, of the newest version that is installed."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if found:
        return max(found, key=lambda folder: int(folder.parent.name))
    if binary := shutil.which("postgres"):
        return Path(binary).parent
    raise PostgresNotInstalled("no PostgreSQL server here: `make packages` installs it, or prints the command")


class PostgresServer:
    """`with PostgresServer() as server`. Ready when entered; may be killed, stopped and started again in between.

    `settings`: of the server, beside its own. `host`, `clients`: a further address to listen at, and the ranges from
    which one connects there, with a password.
    """

    def __init__(
        self, *, host: str = "", clients: Sequence[str] = (), settings: Mapping[str, str] | None = None
    ) -> None:
        self._host, self._clients = host, clients
        self._binaries = find_binaries()
        self._user = _unprivileged()
        self._folder = Path(tempfile.mkdtemp(prefix="mahavishnu-postgres-"))
        self._ports = PortReservation(1)
        self.port = self._ports.ports[0]
        self._made = 0
        all_settings = {
            "listen_addresses": ",".join(("127.0.0.1", host) if host else ("127.0.0.1",)),
            "port": str(self.port),
            "unix_socket_directories": str(self._folder),
            "max_connections": "100",
            "log_min_messages": "warning",
            **(settings or {}),
        }
        argv = [str(self._binaries / "postgres"), "-D", str(self._folder / "data")]
        for name, value in all_settings.items():
            argv += ["-c", f"{name}={value}"]
        program = Program("postgres", tuple(argv), self._check_ready, self._user)
        self.process = ServerProcess(program, self._folder / "log")

    def __enter__(self) -> PostgresServer:
        try:
            self._initialize()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it and wait until it serves."""
        self.process.start()
        self.process.wait_ready()

    def kill(self) -> None:
        """kill -9 of the server and of the processes of its sessions, which else live on for a moment."""
        sessions = psutil.Process(self.process.pid).children()
        self.process.kill()
        for session in sessions:
            with suppress(psutil.NoSuchProcess):
                session.kill()
        psutil.wait_procs(sessions)

    def restart(self) -> None:
        """kill -9 and start: the server recovers from its log."""
        self.kill()
        self.start()

    def close(self) -> None:
        """End it and remove its files."""
        if self.process.running:
            self.kill()
        self._ports.release()
        shutil.rmtree(self._folder)

    def url(self, database: str) -> str:
        """How a client connects."""
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/{database}"

    def make_database(self) -> str:
        """A fresh, empty database; its URL."""
        self._made += 1
        name = f"test_{self._made}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def make_database_for(self, user: str, *, password: str) -> str:
        """A fresh, empty database of a new user; its URL for clients elsewhere, with the password."""
        name = urlsplit(self.make_database()).path[1:]
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            role = sql.Identifier(user)
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password)))
            connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(name), role))
        return f"postgresql://{user}:{password}@{self._host}:{self.port}/{name}"

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One of PostgreSQL's own programs (pg_dump, pg_restore, psql), to its end."""
        command = [str(self._binaries / program), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    def _initialize(self) -> None:
        if self._user is not None:
            os.chown(self._folder, *self._user)
        uid, gid = self._user or (None, None)
        done = subprocess.run(
            [
                str(self._binaries / "initdb"),
                *("-D", str(self._folder / "data"), "-U", SUPERUSER),
                *("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"),
            ],
            cwd=self._folder,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode != 0:
            raise RuntimeError(f"initdb: exit code {done.returncode}\n{done.stderr}")
        with (self._folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.writelines(f"host all all {clients} scram-sha-256\n" for clients in self._clients)

    def _check_ready(self) -> str | None:
        reason = "it does not answer"
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
            return None
        return reason


def _unprivileged() -> tuple[int, int] | None:
    """Who the server runs as, where that is not who runs the tests."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return entry.pw_uid, entry.pw_gid
