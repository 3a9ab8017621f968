"""The neighbours' matrix: for each trouble of A, how long B waits for each operation."""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.neighbours.operations import BOUNDS, prepare, run_all
from tests.neighbours.troubles import Trouble
from tests.neighbours.world import world


@dataclass
class Line:
    """One trouble, and the figures of every operation."""

    trouble: str
    figures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def outside(self) -> list[str]:
        """Return the operations whose p99 is out of bounds."""
        return [
            operation for operation, bound in BOUNDS.items() if self.figures and p99(self.figures[operation]) > bound
        ]


def p99(figures: Sequence[float]) -> float:
    """Return the figure that 99 of 100 do not exceed; of less than a hundred, the greatest."""
    return sorted(figures)[math.ceil(0.99 * len(figures)) - 1]


def measure(trouble: Trouble, rounds: int, say: Callable[[str], None]) -> Line:
    """Let A have its trouble and B do every operation, so many times."""
    line = Line(trouble.name)
    with world(cache_rules=trouble.cache_rules) as found:
        prepare(found, rounds)
        with trouble.begin(found) as disturb:
            for number in range(rounds):
                disturb(number)
                for operation, seconds in run_all(found, number, trouble.free_at):
                    line.figures[operation].append(seconds)
    say(f"{trouble.name}, out of bounds: {', '.join(line.outside()) or 'none'}")
    return line


def keep(file: Path, lines: Sequence[Line]) -> None:
    """Write all figures for programs; after each trouble, because the whole takes long."""
    found = {line.trouble: line.figures for line in lines}
    file.write_text(json.dumps(found, default=dict).replace("Infinity", "null") + "\n")


def shown(figures: Sequence[float]) -> str:
    """p99 and the greatest, for the table."""
    return f"{_seconds(p99(figures))} / {_seconds(max(figures))}"


def _seconds(figure: float) -> str:
    return "lost" if math.isinf(figure) else f"{figure:.2f}"


def table(lines: Sequence[Line]) -> str:
    """Return the table in Markdown; figures out of bounds are bold."""
    rows = [
        "| A's trouble | " + " | ".join(BOUNDS) + " |",
        "|---|" + "---|" * len(BOUNDS),
        "| *bound, s* | " + " | ".join(f"*{bound:g}*" for bound in BOUNDS.values()) + " |",
    ]
    for line in lines:
        cells = [
            f"**{shown(line.figures[operation])}**" if operation in line.outside() else shown(line.figures[operation])
            for operation in BOUNDS
        ]
        rows.append(f"| {line.trouble} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"
