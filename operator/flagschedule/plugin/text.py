"""Text for a terminal: what others wrote is made harmless, columns are aligned, colours are for terminals only.

Flag keys, reasons, user names and messages come from objects that others may write. A control character in one of them
could clear the screen, hide a line or pretend a prompt, so everything that is printed passes `clean`.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TextIO

_COLOURS: Final = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "dim": "2"}


def clean(text: object) -> str:
    """Return a text in one line, in which what is not printable is escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in str(text)
    )


def lines(text: object) -> list[str]:
    """Return the lines of a text, each of them clean."""
    return [clean(line) for line in str(text).splitlines()]


def values(changes: Mapping[str, object] | None) -> str:
    """Return the values of a flag in one line, as the status of an object shows them."""
    return ", ".join(f"{clean(name)}={_value(value)}" for name, value in sorted((changes or {}).items()))


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else clean(value)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table as kubectl prints them; a cell without a text is shown as `-`."""
    cells = [list(head), *([clean(cell) or "-" for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["   ".join(map(str.ljust, row, widths)).rstrip() for row in cells]


class Style:
    """Colours, where the stream is a terminal that wants them."""

    def __init__(self, stream: TextIO, environment: Mapping[str, str] = os.environ) -> None:
        """Decide for a stream, by https://no-color.org and the kind of the terminal."""
        wanted = not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
        self._is_on = wanted and stream.isatty()

    def __call__(self, text: str, *colours: str) -> str:
        """Return the text in these colours."""
        if not self._is_on or not colours:
            return text
        return f"\x1b[{';'.join(_COLOURS[colour] for colour in colours)}m{text}\x1b[0m"
