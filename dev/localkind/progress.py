"""What a person sees while something takes long: one line rewritten on a terminal, a line now and then elsewhere.

Called by the builder and the launcher. Prints to stderr only, because stdout belongs to the commands' results.
"""

import sys
import time
from typing import TextIO


def say(text: str) -> None:
    """Print one line for the person who waits."""
    print(text, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Return `45s` or `3m20s`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


class Progress:
    """The progress of one long step.

    Args:
        stream: where to print; stderr by default.
        interval: seconds between two lines where the stream is not a terminal.
    """

    def __init__(self, stream: TextIO | None = None, interval: float = 15.0) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._interval = interval
        self._last = time.monotonic() - interval
        self._shown = ""

    def update(self, text: str) -> None:
        """Show the newest state, if it is time to."""
        if text == self._shown:
            return
        if self._terminal:
            self._write(f"\r\x1b[2K{text}", text)
        elif time.monotonic() - self._last >= self._interval:
            self._last = time.monotonic()
            self._write(f"{text}\n", text)

    def finish(self, text: str) -> None:
        """Show the last line, always and for good."""
        self._write(f"\r\x1b[2K{text}\n" if self._terminal else f"{text}\n", text)

    def _write(self, output: str, text: str) -> None:
        self._shown = text
        self._stream.write(output)
        self._stream.flush()
