"""Everything the reader sees: headings, commands with their output, what was checked, and that time passes.

Called by the story and the commands. Colours and lines that are rewritten are for terminals; elsewhere the same is
printed in plain lines.
"""

import itertools
import shlex
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TextIO

_WIDTH = 110
_QUIET_SECONDS = 2.0  # a shorter wait needs no explanation
_TERMINAL_SECONDS = 0.2
_PLAIN_SECONDS = 10.0
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_BOLD, _DIM, _RED, _GREEN, _CYAN = "1", "2", "31", "32", "36"
_CLEAR = "\r\x1b[2K"


class Narrator:
    """Prints the story, and remembers the steps that ended otherwise than expected.

    Attributes:
        failures: the sentences of `expect` that were not true.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._terminal = self._stream.isatty()
        self._began = time.monotonic()
        self._steps = 0
        self._lock = threading.Lock()
        self.failures: list[str] = []

    def headline(self, title: str, why: str = "") -> None:
        """Begin a step."""
        self._steps += 1
        self._print(f"\n{self._style(f'{self._steps}. {title}', _BOLD)}")
        if why:
            self.say(why)

    def say(self, text: str) -> None:
        """Print a sentence or a few."""
        self._print(self._style(textwrap.fill(text, _WIDTH), _DIM))

    def plain(self, text: str) -> None:
        """Print lines unchanged."""
        self._print(text.rstrip("\n"))

    def command(self, *words: str) -> None:
        """Print a command that is about to run, as one would type it."""
        self._print(self._style(f"$ {' '.join(map(_quoted, words))}", _CYAN))

    def expect(self, truth: bool, sentence: str) -> None:  # noqa: FBT001 -- it is called like an assertion
        """Something that has just been shown, checked."""
        if truth:
            self._print(f"{self._style('✓', _GREEN)} {sentence}")
        else:
            self.failures.append(sentence)
            self._print(self._style(f"✗ Not so: {sentence}", _RED))

    def error(self, text: str) -> None:
        """Print an error."""
        self._print(self._style(f"\n{text}", _RED))

    @contextmanager
    def waiting(self, text: str, left: Callable[[], str] = str) -> Iterator[None]:
        """Show that and how long something goes on.

        Args:
            text: what.
            left: called again and again for what to add.
        """
        over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(text, left, over), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    @property
    def has_begun(self) -> bool:
        """Whether there was a step yet."""
        return self._steps > 0

    def elapsed(self) -> str:
        """Return how long all of it has taken."""
        return _duration(time.monotonic() - self._began)

    def _watch(self, text: str, left: Callable[[], str], over: threading.Event) -> None:
        began, frames = time.monotonic(), itertools.cycle(_SPINNER)
        pause = _QUIET_SECONDS
        while not over.wait(pause):
            passed = f"{text} … {_duration(time.monotonic() - began)}{left()}"
            line = f"{_CLEAR}{next(frames)} {passed}" if self._terminal else f"  {passed}\n"
            self._write(line)
            pause = _TERMINAL_SECONDS if self._terminal else _PLAIN_SECONDS
        if self._terminal and pause != _QUIET_SECONDS:
            self._write(_CLEAR)

    def _style(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._terminal else text

    def _print(self, text: str) -> None:
        self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        with self._lock:
            self._stream.write(text)
            self._stream.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(timedelta(seconds=seconds).total_seconds()), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _quoted(word: str) -> str:
    """Return the word as a person would quote it; in double quotes if it holds single ones."""
    if shlex.quote(word) == word:
        return word
    option, equals, value = word.partition("=")
    if option.startswith("--") and equals:
        return f"{option}={_quoted(value)}"
    if "'" in word and not set(word) & set('"$`\\!'):
        return f'"{word}"'
    return shlex.quote(word)
