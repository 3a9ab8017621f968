"""What a series of cases found. Each command prints its seed first and its counts at the end."""

import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

_SHOWN: Final = 60
_SPEAK_EVERY: Final = 30.0  # seconds
_Case = TypeVar("_Case")


def some(cases: Sequence[_Case], number: int | None, seed: int, only: str) -> list[_Case]:
    """Choose cases whose text holds `only`: all of them or a random `number`, in their order."""
    found = [case for case in cases if only in str(case)]
    if number is None or number >= len(found):
        return found
    chance = random.Random(seed)  # noqa: S311 -- a choice, no secret
    return [found[place] for place in sorted(chance.sample(range(len(found)), number))]


@dataclass
class Report:
    """Counts of cases, and the sentences of those that failed.

    Of several `parts`, which run at the same time, this one tries every so-manieth case, from the `part`-th on.
    """

    name: str
    seed: int = 1
    part: int = 0
    parts: int = 1
    seconds: float = 0.0
    tried: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def case(self, kind: str, failure: str | None) -> None:
        """Count a case of this kind; with a sentence, it failed."""
        self.many(kind, 1, failure)

    def many(self, kind: str, number: int, failure: str | None) -> None:
        """Count cases that were tried together; with a sentence, one of them failed."""
        self.tried[kind] += number
        if failure is not None:
            self.failures.append(f"{kind}: {failure}")
            sys.stderr.write(f"FAILED {failure}\n")  # at once: the rest may take long

    def skip(self, why: str) -> None:
        """Count something that is no case."""
        self.skipped[why] += 1

    def add(self, other: "Report") -> None:
        """Count what another part has found."""
        self.tried += other.tried
        self.skipped += other.skipped
        self.failures += other.failures

    def progress(self, cases: Sequence[_Case]) -> Iterator[_Case]:
        """Yield each case of this part; print the progress at times."""
        next_words = time.monotonic() + _SPEAK_EVERY
        for number in range(self.part, len(cases), self.parts):
            yield cases[number]
            if time.monotonic() > next_words:
                next_words = time.monotonic() + _SPEAK_EVERY
                sys.stderr.write(f"... {number + 1} of {len(cases)}, {len(self.failures)} failures in this part\n")

    def text(self) -> str:
        """Return the counts, and the first failures."""
        lines = [f"{self.name}: {self.tried.total()} cases tried, {len(self.failures)} failures, {self.seconds:.0f} s"]
        lines += [f"  {kind}: {count}" for kind, count in sorted(self.tried.items())]
        lines += [f"  no case: {why}: {count}" for why, count in sorted(self.skipped.items())]
        lines += [f"  FAILED {failure}" for failure in self.failures[:_SHOWN]]
        return "\n".join(lines)

    def row(self) -> str:
        """Return the counts as a line of the table."""
        what = ", ".join(f"{kind} {count:,}" for kind, count in sorted(self.tried.items()))
        cells = [
            self.name,
            f"{self.tried.total():,}",
            f"{len(self.failures):,}",
            what,
            self.seed,
            f"{self.seconds:.0f}",
        ]
        return f"| {' | '.join(map(str, cells))} |"


def keep(page: Path, report: Report) -> None:
    """Replace the line of this series in the table of a page.

    Raises:
        ValueError: the page has none.
    """
    lines = page.read_text().splitlines()
    places = [place for place, line in enumerate(lines) if line.startswith(f"| {report.name} |")]
    if not places:
        raise ValueError(f"{page} has no line for {report.name}")
    lines[places[0]] = report.row()
    page.write_text("\n".join(lines) + "\n")
