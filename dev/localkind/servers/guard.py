"""Ends a local server and erases its folder as soon as the process that started it is gone.

`server.Server` starts this file as a program of its own and holds its standard input open. End of file means
that the owner wants to close the server, or was killed. It must not import anything beyond the standard
library, so that it starts in a few milliseconds.
"""

import ctypes
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

_PATIENCE = 5.0  # seconds that a server gets to end by itself
_IPC_RMID = 0


def servers(folder: Path, program: str) -> list[int]:
    """Return the processes that run `program` on `folder`.

    By their command lines, since a pid in a file may belong to another process by now, and since even root may
    not look at other users' working directories in a container.
    """
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        words = _read(process / "cmdline").split("\0")
        if Path(words[0]).name == program and any(word.startswith(f"{folder}/") for word in words[1:]):
            found.append(int(process.name))
    return found


def children(parents: Iterable[int]) -> list[int]:
    """Return the direct children of these processes."""
    wanted = {str(parent) for parent in parents}
    return [int(process.name) for process in Path("/proc").glob("[0-9]*") if _parent(process) in wanted]


def is_running(pid: int) -> bool:
    """Return whether the process exists and is not a zombie that waits for its parent."""
    return _state_and_parent(Path(f"/proc/{pid}"))[0] not in {"", "Z", "X"}


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition. Returns: whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def end(folder: Path, program: str, quit_signal: int) -> None:
    """Request the servers of this folder to end; kill them and their children when they do not."""
    mine = servers(folder, program)
    family = [*mine, *children(mine)]
    _signal(mine, quit_signal)
    if not wait_until(lambda: not any(map(is_running, family)), _PATIENCE):
        _signal(family, signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, family)), _PATIENCE)


def erase(folder: Path, program: str, quit_signal: int) -> None:
    """End the servers of this folder and remove everything they leave. Does nothing the second time."""
    end(folder, program, quit_signal)
    _release_shared_memory(folder / "data" / "postmaster.pid")
    shutil.rmtree(folder, ignore_errors=True)


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _release_shared_memory(pid_file: Path) -> None:
    """Remove the System V segment that a killed Postgres leaves; line 7 of its pid file names it."""
    lines = _read(pid_file).splitlines()
    if len(lines) > 6:  # noqa: PLR2004 -- the seventh line
        segment = int(lines[6].split()[1])
        ctypes.CDLL(None).shmctl(segment, _IPC_RMID, None)


def _parent(process: Path) -> str:
    return _state_and_parent(process)[1]


def _state_and_parent(process: Path) -> tuple[str, str]:
    # "pid (name) state ppid …", where the name may hold spaces and parentheses
    words = _read(process / "stat").rpartition(")")[2].split()
    return (words[0], words[1]) if words else ("", "")


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def main() -> None:
    """Wait for the end of standard input, then erase the folder named by the first argument."""
    for harmless in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(harmless, signal.SIG_IGN)
    sys.stdin.read()
    erase(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))


if __name__ == "__main__":
    main()
