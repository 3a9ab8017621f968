"""Where built programs, images and running clusters live: outside the repository, one folder per user.

Called by every module that keeps something on disk. Decides on folders and locks only, never on contents.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def cache_dir() -> Path:
    """Return `$FLAGSCHEDULE_CACHE`, else `flagschedule` in the user's cache folder."""
    if chosen := os.environ.get("FLAGSCHEDULE_CACHE"):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "flagschedule"


def state_dir() -> Path:
    """Return the folder that holds one folder for each cluster: `$FLAGSCHEDULE_STATE` or one in the cache."""
    if chosen := os.environ.get("FLAGSCHEDULE_STATE"):
        return Path(chosen).expanduser().absolute()
    return cache_dir() / "clusters"


@contextmanager
def locked(path: Path, *, wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the exclusive lock on `path`: a folder that exists, or a lock file that is made.

    Args:
        path: what to lock. The kernel drops the lock when this process ends, however it ends.
        wait: called again and again while another process holds the lock; without it the call just blocks.
    """
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        while wait and not _try_lock(descriptor):
            wait()
        if not wait:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def tried_lock(folder: Path) -> Iterator[bool]:
    """Hold the lock on a folder unless another process has it; yield whether it is held."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
