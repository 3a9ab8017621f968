"""SIGTERM and SIGINT for programs that end in order. Used by processor, cleaner and migration."""

import signal
import sys
from collections.abc import Callable


def on_signals() -> Callable[[], bool]:
    """Handle the signals from now on. Returns a function that returns whether to stop."""
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: signals.append(received))
    return lambda: bool(signals)


def exit_on_sigterm() -> None:
    """Handle SIGTERM from now on: end the program by an exception, so that transactions are rolled back."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
