"""Runs a program in a network of its own, in which some ports of this machine can be reached and nothing else.

As a pod under a NetworkPolicy sees the world. The program `ip` and user or network namespaces are needed.
As a module it is the part inside: it passes connections on, through files, and runs the program.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_LISTENS: Final = re.compile(r"^ *\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:0000 0A ", re.MULTILINE)
_CHUNK: Final = 65536


def is_possible() -> bool:
    """Return whether this machine lets us make such networks."""
    tools = [shutil.which(tool) for tool in ("unshare", "ip")]
    return all(tools) and subprocess.run([*_unshare(), "true"], capture_output=True, check=False).returncode == 0


class Network:
    """A network in which these ports of 127.0.0.1 are the machine's.

    Args:
        ports: the ports.

    Attributes:
        used: the ports to which there were connections.
    """

    def __init__(self, ports: Iterable[int]) -> None:
        self.used: set[int] = set()
        self._ports = list(ports)
        self._made = tempfile.TemporaryDirectory(prefix="net-")  # pytest's folders are too long for the files
        self._folder = Path(self._made.name)
        self._listeners: list[socket.socket] = []

    def __enter__(self) -> Self:
        for port in self._ports:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(self._folder / str(port)))
            self._listeners.append(_serve(listener, lambda port=port: self._connect(port)))  # type: ignore[misc]  # bound at once
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for listener in self._listeners:
            listener.close()
        self._made.cleanup()

    def start(self, command: list[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
        """Start a command there; SIGTERM is passed on to it."""
        inside = [sys.executable, "-m", "tests.support.isolation", str(self._folder), *command]
        return subprocess.Popen(
            [*_unshare(), *inside],
            cwd=Path(__file__).parents[2],
            env={"PATH": os.environ["PATH"], **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _connect(self, port: int) -> socket.socket:
        self.used.add(port)
        return socket.create_connection(("127.0.0.1", port))


def _unshare() -> list[str]:
    return ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]


def _serve(listener: socket.socket, connect: Callable[[], socket.socket]) -> socket.socket:
    """Pass every connection on to another one that is made for it."""

    def accept() -> None:
        with suppress(OSError):  # closed
            while True:
                near, _ = listener.accept()
                threading.Thread(target=_join, args=(near, connect()), daemon=True).start()

    listener.listen()
    threading.Thread(target=accept, daemon=True).start()
    return listener


def _join(near: socket.socket, far: socket.socket) -> None:
    """Pass on what comes from both ends, until both have ended."""
    with near, far:
        back = threading.Thread(target=_copy, args=(far, near), daemon=True)
        back.start()
        _copy(near, far)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def _inside(folder: Path, command: list[str]) -> int:
    """Run the command. Writes the ports that it listens on when it is ended. Returns: its exit code."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    ports = {int(file.name) for file in folder.iterdir()}
    for port in ports:
        _serve(socket.create_server(("127.0.0.1", port)), lambda port=port: _through(folder / str(port)))  # type: ignore[misc]  # bound at once
    process = subprocess.Popen(command)

    def end(number: int, _: object) -> None:
        tables = "".join(Path(f"/proc/self/net/{name}").read_text() for name in ("tcp", "tcp6"))
        listening = {int(port, 16) for port in _LISTENS.findall(tables)} - ports
        sys.stdout.write(json.dumps({"listening": sorted(listening)}) + "\n")
        sys.stdout.flush()
        process.send_signal(number)

    signal.signal(signal.SIGTERM, end)
    return process.wait()


def _through(file: Path) -> socket.socket:
    found = socket.socket(socket.AF_UNIX)
    found.connect(str(file))
    return found


if __name__ == "__main__":
    sys.exit(_inside(Path(sys.argv[1]), sys.argv[2:]))
