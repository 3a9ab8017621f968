"""Makes the table of values in the chart's README. Called by `python -m dev.chart`."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from dev.chart.values import Value

BEGIN: Final = "<!-- values: made by `make generate` from values.yaml -->\n"
END: Final = "<!-- /values -->\n"
_LONGEST: Final = 60


def filled(readme: str, values: Sequence[Value]) -> str:
    """Return the README with a new table between its marks."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + table(values) + "\n" + END + after


def table(values: Sequence[Value]) -> str:
    """Return all values, each with its description and default."""
    rows = ["| value | meaning | default |", "|---|---|---|"]
    rows += [row for value in values for row in _rows(value)]
    return "\n".join(rows) + "\n"


def _rows(value: Value) -> Iterator[str]:
    if value.description or not value.children:
        default = "" if value.children else _default(value.default)
        yield f"| `{value.dotted}` | {_cell(value.description)} | {default} |"
    for child in value.children:
        yield from _rows(child)


def _default(default: Any) -> str:
    text = json.dumps(default, ensure_ascii=False)
    return f"`{_cell(text)}`" if len(text) <= _LONGEST else "see values.yaml"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
