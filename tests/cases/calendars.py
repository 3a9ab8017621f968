"""Cron steps in ten time zones, over whole years. `python -m tests.cases calendars --cases 1000`.

Starts, ends, dropped windows and identities are compared with a slow calendar that looks at a clock each minute.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, time
from itertools import product
from typing import Final, NamedTuple

import hypothesis
from hypothesis import strategies as st

from flagschedule.domain import cron, zones
from flagschedule.domain.calendar import Recurrence
from tests.cases import fuzz
from tests.cases.report import Report
from tests.support import cron_expressions, wall_clock

YEARS: Final = range(2026, 2031)
_Step = tuple[str, time | None]


class Year(NamedTuple):
    """A zone and a year of it."""

    zone: str
    year: int

    def __str__(self) -> str:
        return f"{self.zone} {self.year}"


def cases(only: str) -> list[Year]:
    """Return each zone with each year."""
    found = [Year(zone, year) for zone, year in product(wall_clock.ZONES, YEARS)]
    return [each for each in found if only in str(each)]


def run(found: Report, years: Sequence[Year], steps: int, seed: int) -> None:
    """Try so many steps in all of these years, as many in each."""
    number = max(1, steps // max(1, len(years)))
    for year in found.progress(years):
        found.many(year.zone, number, failure(year, number, seed))


def failure(year: Year, number: int, seed: int) -> str | None:
    """Return a step that starts or ends at other instants than the clock shows, or None."""
    after, to = datetime(year.year, 1, 1, tzinfo=UTC), datetime(year.year + 1, 1, 1, tzinfo=UTC)
    walk = wall_clock.Walk(year.zone, after, to)
    zone = zones.parse_zone(year.zone)

    def a_step_is_what_the_clock_shows(given: _Step) -> None:
        expression, until = given
        try:
            step = Recurrence(cron=cron.parse_cron(expression), zone=zone, until=until)
        except ValueError:
            hypothesis.reject()
        made = step.between(after, to)
        shown = walk.starts(expression, until)
        assert [wall_clock.start(each) for each in made.planned] == [each for each in shown if each.end != each.start]
        assert [wall_clock.start(each) for each in made.dropped] == [each for each in shown if each.end == each.start]

    steps = st.tuples(cron_expressions.expressions, st.none() | cron_expressions.untils)
    return fuzz.failure(fuzz.Property(a_step_is_what_the_clock_shows, steps, 1.0), number, seed, None)
