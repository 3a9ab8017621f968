"""What the local servers have in common: a folder, a port, a password, and an end that leaves nothing behind.

`postgres.Postgres` and `redis.Redis` build on it.
"""

import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from dev.localkind.servers import guard, wheels

_READY_WITHIN: Final = 180.0  # seconds; 2 on an idle machine
_STOP_WITHIN: Final = 90.0  # seconds
# Below the range that Linux takes outgoing connections' ports from, and below Kubernetes' node ports: a port
# that is free once stays free across a restart.
_PORTS: Final = range(15_000, 30_000)


class Server(ABC):
    """A server in a temporary folder, from `with` or `start()` until `close()` or the end of this process.

    Args:
        listen: the addresses of this machine to listen on; the first one stands in the URL.
    """

    program: ClassVar[str]
    quit_signal: ClassVar[signal.Signals]  # the quickest orderly end, for when the data does not matter

    def __init__(self, *, listen: Sequence[str] = ("127.0.0.1",)) -> None:
        self.listen = tuple(listen)
        self.port = _free_port(self.listen)
        self.password = secrets.token_urlsafe(24)
        self.folder = Path(tempfile.mkdtemp(prefix=f"flagschedule-{self.program}-")).resolve()
        self.data = self.folder / "data"
        self._hand_over(self.folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._guard = subprocess.Popen(
            [sys.executable, "-IS", guard.__file__, self.folder, self.program, str(int(self.quit_signal))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C belongs to the owner, who may still need the server
            cwd="/",
        )

    @abstractmethod
    def _prepare(self) -> None:
        """Create the data folder. Called once, before the first start."""

    @abstractmethod
    def _command(self) -> list[str | Path]:
        """Return the server's command line; some word of it must name a path inside of the folder."""

    @abstractmethod
    def _answers(self, address: str) -> bool:
        """Return whether the server takes commands at this address."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the server and wait until it takes commands.

        Raises:
            PartError: it did not start.
        """
        if not self.data.exists():
            self._prepare()
        with self.log.open("ab") as log:
            self._process = self._run(self._command(), log.fileno())
        guard.wait_until(self._ready_or_ended, _READY_WITHIN)
        if not self._ready():
            raise wheels.PartError(f"{self.program} does not start. The end of its log:\n{self._tail()}")

    def stop(self, how: signal.Signals | None = None) -> None:
        """End the server and keep its data, for a later `start()`."""
        if self._process is not None:
            self._process.send_signal(how or self.quit_signal)
            self._process.wait(_STOP_WITHIN)

    def kill(self) -> None:
        """End the server like a crash: SIGKILL to it and all of its children."""
        if self._process is not None:
            family = guard.children([self._process.pid])
            self._process.kill()
            self._process.wait(_STOP_WITHIN)
            # Postgres' children notice by themselves, but a start in between would find them still at work.
            guard.wait_until(lambda: not any(map(guard.is_running, family)), _STOP_WITHIN)

    def close(self) -> None:
        """End the server and remove everything it had. May be called twice."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard.wait(_STOP_WITHIN)
        guard.erase(self.folder, self.program, self.quit_signal)  # in case the guard was killed
        if self._process is not None:
            self._process.wait(_STOP_WITHIN)

    @property
    def log(self) -> Path:
        """Where the server writes its log."""
        return self.folder / "log"

    @property
    def pid(self) -> int:
        """The server's process id.

        Raises:
            PartError: it was never started.
        """
        if self._process is None:
            raise wheels.PartError(f"{self.program} was not started")
        return self._process.pid

    def _run(self, command: Sequence[str | Path], log: int) -> subprocess.Popen[bytes]:
        user = wheels.runner()
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=self.folder,
            start_new_session=True,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )

    def _hand_over(self, path: Path) -> None:
        if user := wheels.runner():
            os.chown(path, user.pw_uid, user.pw_gid)

    def _ready(self) -> bool:
        return self._runs() and all(self._answers(address) for address in self.listen)

    def _runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _ready_or_ended(self) -> bool:
        return not self._runs() or self._ready()

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def _free_port(addresses: Sequence[str]) -> int:
    for port in random.sample(_PORTS, len(_PORTS)):
        if all(_is_free(address, port) for address in addresses):
            return port
    raise wheels.PartError(f"no free port on {', '.join(addresses)}")


def _is_free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
