"""SIGTERM and SIGINT for programs that end in order. Used by processor, cleaner and migration."""

import os
import signal
from collections.abc import Callable


def on_signals() -> Callable[[], bool]:
    """Handle the signals from now on. Returns a function that returns whether to stop."""
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: signals.append(received))
    return lambda: bool(signals)


def end_on_signals(give_up: Callable[[], None]) -> None:
    """Handle the signals from now on: give up the work at hand, and end the program at once.

    No exception: Python drops one that is raised in a destructor, a library's or the collector's, and the program would
    go on. The server rolls back what a connection leaves when it ends.
    """

    def end(number: int, _: object) -> None:
        try:
            give_up()
        finally:
            os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
