"""Finding and ending the processes of a node.

Called by the launcher, and by tests that inject faults.
A process belongs to a cluster when it is in the cluster's network namespace: the kernel
itself vouches for that, so no PID is stored that could meanwhile be another program's.
"""

import os
import select
import signal
import time
from contextlib import suppress
from pathlib import Path

_END_SECONDS = 10.0
_POLL_SECONDS = 0.02


def in_namespace(namespace: Path) -> list[int]:
    """Return the processes whose network namespace is the one that a file keeps."""
    try:
        wanted = namespace.stat()
    except OSError:
        return []
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in numbers if _is_in(pid, wanted)]


def first_process(namespace: Path) -> int | None:
    """Return the node's process 1 as the host numbers it, or None if the node does not run."""
    return next((pid for pid in in_namespace(namespace) if _is_first(pid)), None)


def enter(pid: int) -> list[str]:
    """Return the command that runs what follows it inside the node whose process 1 that is."""
    return ["nsenter", f"--target={pid}", "--mount", "--pid", "--net", "--wd=/", "--"]


def crash(daemon: str) -> tuple[str, ...]:
    """Return the command that ends a node's daemon by SIGKILL, inside the node; it fails if there is none."""
    each = f"grep -qz '/{daemon}$' $p/cmdline && kill -9 ${{p#/proc/}} && code=0"
    return ("bash", "-c", f"code=1; for p in /proc/[0-9]*; do {each}; done; exit $code")


def end_all(namespace: Path) -> list[int]:
    """Kill a node and everything in it; return what is still there after 10 seconds.

    The kernel ends all processes of a PID namespace with its process 1, containers included.
    """
    deadline = time.monotonic() + _END_SECONDS
    if (first := first_process(namespace)) is not None:
        _kill(first, namespace, deadline)
    while left := in_namespace(namespace):
        if time.monotonic() > deadline:
            return left
        for pid in left:
            _kill(pid, namespace, deadline)
        time.sleep(_POLL_SECONDS)
    return []


def _kill(pid: int, namespace: Path, deadline: float) -> None:
    with suppress(ProcessLookupError, FileNotFoundError):
        descriptor = os.pidfd_open(pid)
        try:
            # Checked again now that the descriptor holds the process: its PID cannot be another's any more.
            if _is_in(pid, namespace.stat()):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        finally:
            os.close(descriptor)


def _is_in(pid: int, wanted: os.stat_result) -> bool:
    try:
        found = Path(f"/proc/{pid}/ns/net").stat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)


def _is_first(pid: int) -> bool:
    """Return whether a process is number 1 in a PID namespace directly below ours (a pod's would be further below)."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return line.split()[2:] == ["1"]
    return False
