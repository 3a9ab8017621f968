"""What a series of cases found. Each command prints its seed first and its counts at the end."""

import sys
from collections import Counter
from dataclasses import dataclass, field

_SHOWN = 60


@dataclass
class Report:
    """Counts of cases, and the sentences of those that failed."""

    name: str
    tried: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def case(self, kind: str, failure: str | None) -> None:
        """Count a case of this kind; with a sentence, it failed."""
        self.tried[kind] += 1
        if failure is not None:
            self.failures.append(f"{kind}: {failure}")

    def many(self, kind: str, number: int, failure: str | None) -> None:
        """Count cases that were tried together; with a sentence, one of them failed."""
        self.tried[kind] += number
        if failure is not None:
            self.failures.append(f"{kind}: {failure}")

    def skip(self, why: str) -> None:
        """Count something that is no case."""
        self.skipped[why] += 1

    def text(self) -> str:
        """The counts, and the first failures."""
        lines = [f"{self.name}: {self.tried.total()} cases tried, {len(self.failures)} failures"]
        lines += [f"  {kind}: {count}" for kind, count in sorted(self.tried.items())]
        lines += [f"  no case: {why}: {count}" for why, count in sorted(self.skipped.items())]
        lines += [f"  FAILED {failure}" for failure in self.failures[:_SHOWN]]
        return "\n".join(lines)

    def show(self) -> int:
        """Print it; the exit code."""
        sys.stdout.write(self.text() + "\n")
        return 1 if self.failures else 0
