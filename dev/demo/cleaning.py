"""The end of the demo, and that there is only one at a time. Called by the command."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dev.demo.commands import DemoError
from dev.demo.narrator import Narrator
from dev.localkind import cache


@contextmanager
def alone() -> Iterator[Path]:
    """Hold the lock of this user's only demo; yield an empty folder for its files, readable by this user only.

    Raises:
        DemoError: another one runs.
    """
    folder = cache.cache_dir() / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    with cache.tried_lock(folder) as is_alone:
        if not is_alone:
            raise DemoError("Another `make demo` is running on this machine; end that one with Ctrl-C first.")
        files = folder / "files"
        shutil.rmtree(files, ignore_errors=True)  # of a demo that was killed
        files.mkdir(mode=0o700)
        try:
            yield files
        finally:
            shutil.rmtree(files)


def clean(narrator: Narrator, cleanup: ExitStack) -> bool:
    """Undo all steps, also after an error in one of them. Returns: whether all of it worked."""
    if narrator.has_begun:
        narrator.headline("Cleaning up")
    try:
        cleanup.close()
    except Exception as error:  # noqa: BLE001 -- the rest of the cleanup has been done by the stack
        narrator.error(f"Not everything could be removed: {error}")
        return False
    if narrator.has_begun:
        narrator.plain(f"Nothing is left of it. It took {narrator.elapsed()} in all.")
    return True
