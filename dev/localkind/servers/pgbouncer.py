"""PgBouncer from the Debian package, in front of a local Postgres. For the tests."""

import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import psycopg

from dev.localkind.servers import debian, server
from dev.localkind.servers.postgres import Postgres
from dev.localkind.system import which

_LIBRARIES = r"libevent-\S+|libc-ares\S+"


class PgBouncer(server.Server):
    """A pooler that requires no password of clients, so that every user of the server can be pooled.

    Args:
        postgres: the server behind it.
        mode: when a server session is lent to another client.
        size: how many server sessions there are for each database and user.
        settings: further lines of its configuration.
        passwords: of the users who have another one than the superuser.
    """

    program: ClassVar = "pgbouncer"
    quit_signal: ClassVar = signal.SIGTERM

    def __init__(
        self,
        postgres: Postgres,
        mode: Literal["transaction", "session", "statement"],
        *,
        size: int = 5,
        settings: str = "",
        passwords: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._postgres = postgres
        self._mode = mode
        self._size = size
        self._settings = settings
        self._passwords = passwords or {}

    def url(self, of_postgres: str) -> str:
        """Return the URL of the same database and user through the pooler."""
        return of_postgres.replace(f":{self._postgres.port}/", f":{self.port}/")

    def _prepare(self) -> None:
        self.data.mkdir()
        with psycopg.connect(self._postgres.url) as session:
            names = [name for (name,) in session.execute("SELECT rolname FROM pg_roles WHERE rolcanlogin")]
        users = self.data / "users"
        passwords = {**dict.fromkeys(names, self._postgres.password), **self._passwords}
        users.write_text("".join(f'"{name}" "{password}"\n' for name, password in passwords.items()))
        configuration = self.data / "pgbouncer.ini"
        configuration.write_text(
            f"[databases]\n* = host=127.0.0.1 port={self._postgres.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = plain\nauth_file = {users}\npool_mode = {self._mode}\ndefault_pool_size = {self._size}\n"
            f"{self._settings}\n"
        )
        for path in (self.data, users, configuration):
            self._hand_over(path)

    def _command(self) -> list[str | Path]:
        configuration = self.data / "pgbouncer.ini"
        if installed := which("pgbouncer"):
            return [installed, configuration]
        # Copied, because the unprivileged user who runs it may not look into the cache.
        package = self.folder / "package"
        if not package.exists():
            shutil.copytree(debian.files("pgbouncer", _LIBRARIES), package)
            for path in (package, *package.rglob("*")):
                self._hand_over(path)
        libraries = ":".join(str(path) for path in (package / "usr" / "lib").iterdir())
        return ["env", f"LD_LIBRARY_PATH={libraries}", package / "usr" / "sbin" / "pgbouncer", configuration]

    def _answers(self, _: str) -> bool:
        try:
            psycopg.connect(self.url(self._postgres.url), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True
