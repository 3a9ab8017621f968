"""What a benchmark finds, and the form that each part of the suite has."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Result:
    """One row of the table: what was measured, in each round, and the median of it.

    Args:
        name: what was measured, and against what.
        unit: `ratio`, or the unit of the figures.
        rounds: a figure for each round, or for each single measurement.
        series: the plot that it is a point or a line of, where there is one.
        at: its place on the x axis of that plot.
    """

    name: str
    unit: str
    rounds: list[float]
    series: str | None = None
    at: float | None = None

    @property
    def median(self) -> float:
        """The figure to compare."""
        return statistics.median(self.rounds)

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON values; each figure keeps four digits."""
        return {**vars(self), "rounds": [float(f"{each:.4g}") for each in self.rounds], "median": self.median}


class Part(Protocol):
    """A module of the suite: `python -m benchmarks NAME` runs it with one of its two sizes."""

    QUICK: Any
    FULL: Any

    def run(self, size: Any, say: Callable[[str], None]) -> Iterator[Result]:
        """Measure, show progress, and yield each result as soon as it is there."""
