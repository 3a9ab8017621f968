"""A slow calendar to compare ours with: it looks at a clock once a minute, and reads cron fields in its own way.

It converts instants to local times only, never back, and knows nothing of gaps and overlaps but what the clock shows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

from flagschedule.domain.calendar import Occurrence

ZONES: Final = (
    "Africa/Cairo",  # the gap at midnight, the overlap before it
    "Africa/Casablanca",  # around Ramadan, and from a year on none
    "America/Havana",  # the gap at midnight, the overlap after it
    "America/New_York",
    "America/Santiago",  # the southern half, at midnight
    "Antarctica/Troll",  # two hours at once
    "Asia/Beirut",  # the gap at midnight
    "Australia/Lord_Howe",  # half an hour
    "Europe/Oslo",
    "Pacific/Chatham",  # 45 minutes from a full hour
)

_MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)
_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


def _clock(zone: str) -> ZoneInfo:
    with resources.files("tzdata").joinpath("zoneinfo", *zone.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data)


def _number(text: str) -> int:
    if text in _MONTHS:
        return _MONTHS.index(text) + 1
    return _DAYS.index(text) if text in _DAYS else int(text)


def _values(field: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for term in field.split(","):
        base, _, step = term.partition("/")
        if base == "*":
            first, last = low, high
        elif "-" in base:
            first, last = (_number(bound) for bound in base.split("-"))
        else:
            first = _number(base)
            last = high if step else first
        found.update(range(first, last + 1, int(step or 1)))
    return found


def _is_last(day: date) -> bool:
    return (day + _DAY).day == 1


def _is_last_working_day(day: date) -> bool:
    rest = [day + number * _DAY for number in range(1, 4)]
    of_month = [each for each in rest if each.month == day.month]
    return len(of_month) < 3 and day.weekday() < 5 and all(each.weekday() >= 5 for each in of_month)


def _day(term: str) -> Callable[[date], bool]:
    if term == "L":
        return _is_last
    if term == "LW":
        return _is_last_working_day
    days = _values(term, 1, 31)
    return lambda day: day.day in days


def _weekday(term: str) -> Callable[[date], bool]:
    name, _, number = term.partition("#")
    weekdays = {value % 7 for value in _values(name.removesuffix("L"), 0, 7)}
    if number:
        return lambda day: day.isoweekday() % 7 in weekdays and (day.day - 1) // 7 + 1 == int(number)
    if name.endswith("L"):
        return lambda day: day.isoweekday() % 7 in weekdays and (day + 7 * _DAY).month != day.month
    return lambda day: day.isoweekday() % 7 in weekdays


class Fields:
    """The five fields of an expression that our parser accepts."""

    def __init__(self, expression: str) -> None:
        minute, hour, day, month, weekday = expression.upper().split()
        self.follows_clock = minute[0] == "*" or hour[0] == "*"
        self.minutes, self.hours = _values(minute, 0, 59), _values(hour, 0, 23)
        self.months = _values(month, 1, 12)
        self.day, self.weekday = (
            [_day(term) for term in day.split(",")],
            [_weekday(each) for each in weekday.split(",")],
        )
        self._dates: dict[date, bool] = {}

    def has_date(self, day: date) -> bool:
        """Return whether the expression starts on this date."""
        if day not in self._dates:
            self._dates[day] = (
                day.month in self.months
                and any(matches(day) for matches in self.day)
                and any(matches(day) for matches in self.weekday)
            )
        return self._dates[day]

    def has(self, local: datetime) -> bool:
        """Return whether the expression names this local time."""
        return local.minute in self.minutes and local.hour in self.hours and self.has_date(local.date())

    def local_starts(self, first: date, last: date) -> Iterator[datetime]:
        """Yield the local times that the expression names, up to the end of `last`."""
        for number in range((last - first).days + 1):
            if self.has_date(day := first + number * _DAY):
                for hour in sorted(self.hours):
                    yield from (datetime.combine(day, time(hour, minute)) for minute in sorted(self.minutes))


@dataclass(frozen=True)
class Start:
    """What the clock gave: a window without a length has an end that is its start."""

    local: datetime
    fold: int
    start: datetime
    end: datetime | None


def start(occurrence: Occurrence) -> Start:
    """Return what our calendar computed in the same form."""
    return Start(occurrence.local, occurrence.fold, occurrence.start, occurrence.end)


class Walk:
    """What the clock of a zone shows in each minute: from a day before `after` to two days after `to`."""

    def __init__(self, zone: str, after: datetime, to: datetime) -> None:
        clock = _clock(zone)
        self.after, self.to = after, to
        self._first = after - _DAY
        number = (to + 2 * _DAY - self._first) // _MINUTE
        self._shown = [
            (self._first + place * _MINUTE).astimezone(clock).replace(tzinfo=None, fold=0) for place in range(number)
        ]

    def starts(self, expression: str, until: time | None = None) -> list[Start]:
        """Return what an expression starts."""
        fields = Fields(expression)
        rule = self._by_clock(fields) if fields.follows_clock and until is None else self._by_times(fields, until)
        return [found for found in rule if self.after < found.start <= self.to]

    def _by_clock(self, fields: Fields) -> Iterator[Start]:
        latest = self._shown[0]
        for place, shown in enumerate(self._shown):
            if fields.has(shown):
                yield Start(shown, int(shown < latest), self._first + place * _MINUTE, None)
            latest = max(latest, shown)

    def _by_times(self, fields: Fields, until: time | None) -> Iterator[Start]:
        """At each minute, look at the local times that the clock reaches or passes for the first time."""
        latest = self._shown[0]
        for place, shown in enumerate(self._shown):
            if shown <= latest:
                continue
            passed = [latest + number * _MINUTE for number in range(1, (shown - latest) // _MINUTE + 1)]
            latest = shown
            named = [local for local in passed if fields.has(local)]
            start = self._first + place * _MINUTE
            found = [Start(local, 0, start, self._end(place, local, until)) for local in named]
            yield from (each for each in found[:-1] if each.end == start)
            yield from found[-1:]

    def _end(self, place: int, local: datetime, until: time | None) -> datetime | None:
        if until is None:
            return None
        target = datetime.combine(local, until)
        if target <= local:
            target += _DAY
        while place < len(self._shown) and self._shown[place] < target:
            place += 1
        return self._first + place * _MINUTE


@lru_cache(maxsize=128)
def walk(zone: str, after: datetime, to: datetime) -> Walk:
    """Return the walk of a span, made once."""
    return Walk(zone, after, to)


@lru_cache(maxsize=16)
def days_of_change(zone: str) -> tuple[datetime, ...]:
    """Return the days, from noon to noon UTC, within which the clock of a zone is changed in 2026 to 2030."""
    clock = _clock(zone)
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    days = [noon + number * _DAY for number in range(5 * 365)]
    return tuple(day for day in days if day.astimezone(clock).time() != (day + _DAY).astimezone(clock).time())
