"""Which cron expressions are accepted, and how often they start."""

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from flagschedule.domain import cron
from flagschedule.domain.defaults import SHORTEST_INTERVAL
from tests.support import cron_expressions, wall_clock

MINUTES = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("expression", "advice"),
    [
        ("TZ=Europe/Oslo 0 9 * * 1-5", 'remove the prefix, and set "timeZone"'),
        ("CRON_TZ=UTC 0 9 * * *", 'remove the prefix, and set "timeZone"'),
        ("@daily", "write the five fields"),
        ("@every 5m", "write the five fields"),
        ("0 0 9 * * *", "has 6; there is no field for seconds or years"),
        ("0 9 * *", "has 4"),
        ("", "has 0"),
        ("0 9 13 * 5", "write [*] for one, or two steps"),
        ("0 9 1-31 * 0-7", "write [*] for one, or two steps"),
        ("0 9 */2 * 1", "write [*] for one, or two steps"),
        ("0 9 30 2 *", "no year has such a date"),
        ("0 9 31 4,6,9,11 *", "no year has such a date"),
        ("60 9 * * *", 'minute that is not valid, "60": write 0 to 59'),
        ("0 24 * * *", "write 0 to 23"),
        ("0 9 15W * *", "write 1 to 31"),
        ("0 9 ? * *", "write 1 to 31"),
        ("0 9 * 13 *", "write 1 to 12"),
        ("0 9 * * 8", "write 0 to 7"),
        ("0 9 * * FRI-MON", "write 0 to 7"),
        ("0 9 * * 1#6", "write 0 to 7"),
        ("H 9 * * *", "write 0 to 59"),
        ("*/90 * * * *", "list the values"),
        ("5-5/10 * * * *", "list the values"),
        ("0 9 L/2 * *", "list the values"),
        ("0,5" * 200 + " 9 * * *", "at most 256 characters"),
        ("0 9 * * \u017fun", "for example"),  # its upper case is SUN
        (None, "for example"),
        (5, "for example"),
    ],
)
def test_what_is_refused_says_what_to_write(expression: object, advice: str) -> None:
    """A refused expression has a sentence that says what to write instead."""
    with pytest.raises(ValueError, match=advice):
        cron.parse_cron(expression)


@pytest.mark.parametrize(
    ("expression", "minutes"),
    [
        ("0 9 * * *", 24 * 60),
        ("*/5 * * * *", 5),
        ("*/7 * * * *", 4),  # 56 and 60
        ("*/7 9 * * *", 7),
        ("2,58 0,23 * * *", 4),  # over midnight
        ("2,58 0,23 * * 1", 56),  # over midnight, but there is no Tuesday
        ("2,58 0,23 28,1 * *", 4),  # over midnight in February, where it has 28 days
        ("2,58 0,23 29,1 2 *", 56),  # 29 February is followed by 1 March
        ("2,58 0,23 31,1 12,1 *", 4),  # over New Year
        ("0 0 L 2 *", 365 * 24 * 60),
        ("0 0 29 2 *", 1461 * 24 * 60),
        ("30 2 * * *", 24 * 60),  # by the wall clock: 23 hours on one day
        ("0,20,40 2 * * *", 20),  # by the wall clock: all at once on one day
    ],
)
def test_the_shortest_interval(expression: str, minutes: int) -> None:
    """The shortest interval is that between any two starts of all years, by the wall clock."""
    assert cron.parse_cron(expression).shortest_interval == minutes * MINUTES


@settings(max_examples=15)
@given(cron_expressions.expressions)
@example("0 0 * * 6#5,0#1")
def test_the_shortest_interval_is_that_of_all_starts_of_28_years(expression: str) -> None:
    """Neither a date that comes rarely nor midnight hides two starts that are close."""
    try:
        parsed = cron.parse_cron(expression)
    except ValueError:
        assume(False)
        raise
    assume(len(parsed.times) < 10)
    starts = list(wall_clock.Fields(expression).local_starts(date(2030, 1, 1), date(2058, 1, 31)))

    assert parsed.shortest_interval == min((b - a for a, b in pairwise(starts)), default=10227 * 24 * 60 * MINUTES)


def test_too_short_an_interval_is_refused() -> None:
    """An expression that starts more often than the setting allows is refused, with both intervals."""
    cron.require_interval(cron.parse_cron("*/5 * * * *"), SHORTEST_INTERVAL)

    with pytest.raises(ValueError, match="within 4 minutes, and the shortest interval allowed is 5 minutes"):
        cron.require_interval(cron.parse_cron("*/4 * * * *"), SHORTEST_INTERVAL)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | cron_expressions.expressions)
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text raises anything but ValueError, and what is read has a date."""
    try:
        parsed = cron.parse_cron(text)
    except ValueError:
        return
    assert parsed.times
    assert next(parsed.dates(date(2026, 1, 1))) >= date(2026, 1, 1)
