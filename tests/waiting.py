"""Waits for conditions: the one way in which tests wait. Used by all of them.

The limits only end a test that has failed. They say nothing about speed: a machine may be busy with other work.
"""

import signal
import time
from collections.abc import Callable
from typing import Final, TypeVar

PATIENCE: Final = 120.0  # seconds
_POLL: Final = 0.02  # seconds
_T = TypeVar("_T")


def eventually(condition: Callable[[], _T], what: str = "the condition holds", seconds: float = PATIENCE) -> _T:
    """Wait until the condition returns something true.

    Returns:
        What the condition returned.

    Raises:
        TimeoutError: it never held.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(_POLL)
    return found


def restore_signals() -> None:
    """Give SIGINT and SIGTERM their default action in this process, and so in the programs that it starts.

    A shell without job control starts its background commands with SIGINT ignored, and some CI agents ignore more.
    Children inherit that, so a test that sends the signal would wait without end.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
