"""SIGTERM and SIGINT for programs that finish what they are at and then end. Used by processor and cleaner."""

import signal
from collections.abc import Callable


def on_signals() -> Callable[[], bool]:
    """Handle the signals from now on. Returns a function that returns whether to stop."""
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: signals.append(received))
    return lambda: bool(signals)
