"""Cron expressions as a set of dates and a set of times of day, and the rules that refuse some of them.

Used by the calendar of plans. The library cronsim reads the fields and finds the matching dates. It is called without
time zones only: with one, it leaves out times on Lord Howe's days of change, starts at times that a clock never
shows, and returns the past from within an overlap. What a local time means in a zone is decided in `calendar`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise, takewhile
from typing import Final

from cronsim import CronSim, CronSimError

_LONGEST: Final = 256
_DAY: Final = timedelta(days=1)
# Name, what cronsim is shown instead of the other fields, number of values, what may be written.
_FIELDS: Final = (
    ("minute", "{} 0 * * *", 60, "0 to 59"),
    ("hour", "0 {} * * *", 24, "0 to 23"),
    ("day of month", "0 0 {} * *", 31, "1 to 31, L for the last day, LW for the last working day"),
    ("month", "0 0 1 {} *", 12, "1 to 12 or JAN to DEC"),
    ("day of week", "0 0 * * {}", 7, "0 to 7 or SUN to SAT, 1#2 for the second Monday, 5L for the last Friday"),
)
# Within the years 1901 to 2099 dates and days of the week repeat after 28 years. A month more covers the pairs of
# dates over the end of the cycle.
_CYCLE: Final = (date(2000, 1, 1), date(2028, 2, 1))
_CYCLE_DAYS: Final = 28 * 365 + 7


@dataclass(frozen=True, kw_only=True)
class Cron:
    """A cron expression: every date of `dates` together with every one of `times`, in local time.

    `follows_clock` is cron's old difference: an expression whose minute or hour begins with `*` starts whenever a
    clock shows a matching time, so not in a gap and twice in an overlap. Every other one names times of day and starts
    once for each.
    `closest_dates` is the smallest number of days between two dates, over all years up to 2099; `shortest_interval`
    the shortest time between two starts by the wall clock, where no clock is changed.
    """

    expression: str
    times: tuple[time, ...]
    follows_clock: bool
    closest_dates: int
    shortest_interval: timedelta

    def dates(self, first: date) -> Iterator[date]:
        """Yield the matching dates from `first` on; there is always another one."""
        return _dates(" ".join(self.expression.split()[2:]), first)


def parse_cron(text: object) -> Cron:
    """Read a step's `cron`.

    Raises:
        ValueError: not five fields that cron knows, or dates that never come. The message says what to write.
    """
    if not isinstance(text, str) or len(text) > _LONGEST or not text.isascii():
        raise ValueError(f'must be a cron expression of at most {_LONGEST} characters, for example "0 9 * * 1-5"')
    fields = text.upper().split()
    if fields and "=" in fields[0]:
        raise ValueError('must not set a time zone: remove the prefix, and set "timeZone"')
    if fields and fields[0].startswith("@"):
        raise ValueError('must not be a macro such as @daily: write the five fields, for example "0 0 * * *"')
    if len(fields) != len(_FIELDS):
        raise ValueError(
            f"must have the five fields minute, hour, day of month, month, day of week, and has {len(fields)}; "
            "there is no field for seconds or years"
        )
    return _parse(" ".join(fields))


def require_interval(cron: Cron, shortest: timedelta) -> None:
    """Refuse an expression that starts too often.

    Only the wall clock counts: that a change of the clocks brings two starts closer together refuses nothing.

    Raises:
        ValueError: two starts are closer than `shortest`.
    """
    if cron.shortest_interval < shortest:
        raise ValueError(
            f"starts twice within {_minutes(cron.shortest_interval)}, and the shortest interval allowed is "
            f"{_minutes(shortest)}: name fewer times"
        )


@lru_cache(maxsize=4096)
def _parse(expression: str) -> Cron:
    fields = expression.split()
    for field, (name, alone, size, allowed) in zip(fields, _FIELDS, strict=True):
        _check(field, name, alone, size, allowed)
    if fields[2] != "*" and fields[4] != "*":
        raise ValueError(
            "must not set both day of month and day of week, because cron starts on days that match either of them: "
            "write * for one, or two steps"
        )
    closest = _closest_dates(" ".join(fields[2:]))
    if closest is None:
        raise ValueError("never starts, because no year has such a date: correct day of month and month")
    midnight = datetime.combine(_CYCLE[0], time())
    of_one_day = CronSim(f"{fields[0]} {fields[1]} * * *", midnight - timedelta(seconds=1))
    times = [*takewhile(lambda at: at.date() == midnight.date(), of_one_day)]
    return Cron(
        expression=expression,
        times=tuple(at.time() for at in times),
        follows_clock=fields[0].startswith("*") or fields[1].startswith("*"),
        closest_dates=closest,
        shortest_interval=min(later - at for at, later in pairwise([*times, times[0] + closest * _DAY])),
    )


def _check(field: str, name: str, alone: str, size: int, allowed: str) -> None:
    """Refuse a field that is not valid, and steps that cronsim accepts and reads as something else.

    Raises:
        ValueError: says which values are allowed.
    """
    try:
        CronSim(alone.format(field), datetime.combine(_CYCLE[0], time()))
    except CronSimError as error:
        raise ValueError(
            f'has a {name} that is not valid, "{field}": write {allowed}; '
            "lists 1,2, ranges 1-5 and steps */2 are allowed, too"
        ) from error
    for term in field.split(","):
        base, _, step = term.partition("/")
        first, dash, last = base.partition("-")
        of_one_value = base in {"L", "LW"} or (dash and first.lstrip("0") == last.lstrip("0"))
        # cronsim drops a step after L and reads 5-5/10 as 5/10; */90 starts every 60 minutes, and not every 90.
        if step and (of_one_value or int(step) > size):
            raise ValueError(f'has a {name} whose step has no effect, "{term}": list the values instead')


@lru_cache(maxsize=4096)
def _closest_dates(date_fields: str) -> int | None:
    """Return the smallest number of days between two dates; None if there are no dates."""
    found = takewhile(lambda day: day < _CYCLE[1], _dates(date_fields, _CYCLE[0]))
    closest, previous = None, None
    for day in found:
        apart = _CYCLE_DAYS if previous is None else (day - previous).days
        closest, previous = min(apart, closest or apart), day
        if closest == 1:
            break  # no two dates are closer, and most expressions end here
    return closest


def _dates(date_fields: str, first: date) -> Iterator[date]:
    just_before = datetime.combine(first, time()) - timedelta(seconds=1)
    try:
        matching = CronSim(f"0 0 {date_fields}", just_before)
    except CronSimError:  # its way to say that no month has so many days
        return
    for at in matching:
        yield at.date()


def _minutes(length: timedelta) -> str:
    return f"{length / timedelta(minutes=1):g} minutes"
