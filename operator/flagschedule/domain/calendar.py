"""The calendar of plans: when a cron step starts and ends, as instants.

Used by the service that plans rows; instants come as arguments, and nothing here reads a clock. The parsers take what
stands in an object, so any value, and their messages follow the name of a field, as those of `schedule` do.
The processor must not import it.

One rule decides everything: times are compared by the wall clock first, and become instants last.

- A step that names times of day, and every step with `until`, starts once for each matching local time: at the first
  instant after a gap if the clocks skip it, at the first of two in an overlap. If several fall on one instant, the
  last local time stays, so there is one start.
- A step without `until` whose minute or hour begins with `*` follows the clock: not in a gap, twice in an overlap.
- A window ends at the next local time `until` after its local start; a full day later if both are equal.

Because a later local time never becomes an earlier instant, two windows of one step overlap only if they do so by the
wall clock. `Recurrence` therefore judges that once, exactly, for all years up to 2099.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise, takewhile
from typing import Final
from zoneinfo import ZoneInfo

from flagschedule.domain import zones
from flagschedule.domain.cron import Cron

_DAY: Final = timedelta(days=1)
_MIDNIGHT: Final = datetime(2000, 1, 1)  # noqa: DTZ001 -- of any day, in any zone
_LAST_OF_DAY: Final = _DAY - timedelta.resolution
# A day, and what the clocks may be set back meanwhile, even over the date line.
_LONGEST_WINDOW: Final = 2 * _DAY
_END_OF_TIME: Final = date(2100, 1, 1)
_LONGEST_DURATION: Final = timedelta(days=366)

_DURATION: Final = re.compile(r"(?=.)(?:(\d{1,8})h)?(?:(\d{1,8})m)?(?:(\d{1,8})s)?", re.ASCII)
_TIME: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_DATE: Final = re.compile(r"20\d{2}-\d{2}-\d{2}", re.ASCII)


def parse_duration(text: object) -> timedelta:
    """Read a length of time that passes on every clock, such as a step's `after`: `90s`, `24h`, `1h30m`.

    A day is no unit: it can have 23 or 25 hours.

    Raises:
        ValueError: not whole hours, minutes and seconds in this order, or longer than 366 days.
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is not None:
        hours, minutes, seconds = (int(number or 0) for number in match.groups())
        length = timedelta(hours=hours, minutes=minutes, seconds=seconds)
        if length <= _LONGEST_DURATION:
            return length
    raise ValueError(
        'must be whole hours, minutes and seconds in this order, at most 8784h, for example "90s", "24h" or "1h30m"; '
        'write "48h" for two days'
    )


def parse_until(text: object) -> time:
    """Read the `until` of a cron step, a local time of day.

    Raises:
        ValueError: not HH:MM from 00:00 to 23:59.
    """
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError('must be a local time from "00:00" to "23:59" with two digits each, for example "17:00"')
    return time(int(match[1]), int(match[2]))


def parse_date(text: object) -> date:
    """Read one of `exceptDates`, a local date on which no step starts.

    Raises:
        ValueError: not a date YYYY-MM-DD in the years 2000 to 2099.
    """
    try:
        if isinstance(text, str) and _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:  # 2027-02-30
        pass
    raise ValueError('must be a local date of the years 2000 to 2099, for example "2027-12-24"')


@dataclass(frozen=True, kw_only=True)
class Occurrence:
    """One start of a step, and the end of its window.

    `local` is the start that the expression names, without a zone; in a gap no clock shows it. `fold` is 1 for the
    second of two equal local times. `start` and `end` are in UTC; `end` is None for a step without `until`.
    """

    local: datetime
    fold: int
    start: datetime
    end: datetime | None

    @property
    def identity(self) -> str:
        """What identifies it among the occurrences of its step, for example `2027-10-31T02:30 fold 0`.

        It is made of what the expression names, not of instants, so that new time zone data moves an occurrence
        and does not make another one of it.
        """
        return f"{self.local.isoformat(timespec='minutes')} fold {self.fold}"

    @staticmethod
    def local_of(identity: str) -> datetime:
        """Return the local start that an identity names."""
        return datetime.fromisoformat(identity.partition(" ")[0])


@dataclass(frozen=True, kw_only=True)
class Occurrences:
    """What starts in a span of time, each in the order of the starts.

    `dropped` are windows without a length, because the clocks skip all of it: their end is their start. No row is
    planned for them, and the status reports them. What `exceptDates` or `endsAt` exclude is in neither.
    """

    planned: tuple[Occurrence, ...]
    dropped: tuple[Occurrence, ...]


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """The times of one cron step.

    Args:
        cron: the step's `cron`.
        zone: the plan's `timeZone`, from `zones.parse_zone`.
        until: the local time at which each window ends; None if the step has no windows.
        except_dates: no occurrence has its local start on these dates; a window that began the day before still ends.
        ends_at: no start after this instant; a window that is open then still ends.

    Raises:
        ValueError: windows overlap; the message says which.
    """

    cron: Cron
    zone: ZoneInfo
    until: time | None = None
    except_dates: frozenset[date] = frozenset()
    ends_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.until is not None:
            _refuse_overlap(self.cron, self.until)

    def between(self, after: datetime, to: datetime) -> Occurrences:
        """Return what starts later than `after` and not later than `to`.

        A span that is cut in two has the same occurrences as the two parts together.
        """
        to = to if self.ends_at is None else min(to, self.ends_at)
        dropped: list[Occurrence] = []
        planned: dict[datetime, Occurrence] = {}
        for local, offset in self._local_starts(after, to):
            for found in self._occurrences(local, offset):
                if not after < found.start <= to:
                    continue
                if found.end == found.start:
                    dropped.append(found)
                else:
                    planned[found.start] = found  # of several at one instant the last local time stays
        return Occurrences(planned=tuple(planned[start] for start in sorted(planned)), dropped=tuple(dropped))

    def next_after(self, instant: datetime) -> Occurrence | None:
        """Return the first occurrence that starts later than `instant`; None if there is none before 2100."""
        days = self.cron.dates(instant.astimezone(self.zone).date())
        for day in takewhile(lambda day: day < _END_OF_TIME, days):
            end_of_day = zones.first_instant(datetime.combine(day + _DAY, time()), self.zone)
            if found := self.between(instant, end_of_day).planned:
                return found[0]
            if self.ends_at is not None and self.ends_at < end_of_day:
                return None
            instant = max(instant, end_of_day)
        return None

    def open_at(self, instant: datetime) -> Occurrence | None:
        """Return the occurrence whose window is open: it has started, also at `instant` itself, and not ended."""
        recent = self.between(instant - _LONGEST_WINDOW, instant).planned
        return next((found for found in recent if found.end is not None and instant < found.end), None)

    def _local_starts(self, after: datetime, to: datetime) -> Iterator[tuple[datetime, timedelta | None]]:
        """Yield the local starts that may lie between two instants, each with the offset of its time zone.

        The offset is None near a change of the clocks, where each time is looked up.
        """
        # A day more on both sides: a local time in a gap or an overlap lies beyond the local times of the bounds.
        first, last = after.astimezone(self.zone).date() - _DAY, to.astimezone(self.zone).date() + _DAY
        after, to = (each.astimezone(UTC).replace(tzinfo=None) for each in (after, to))
        for day in _dates(self.cron, first, last):
            if day in self.except_dates:
                continue
            least, greatest = zones.offsets_about(day, self.zone)
            midnight = datetime.combine(day, time())
            begin, end = (_time_of_day(each - midnight) for each in (after + least, to + greatest))
            for at in self.cron.times[bisect_left(self.cron.times, begin) : bisect_right(self.cron.times, end)]:
                yield datetime.combine(day, at), least if least == greatest else None

    def _occurrences(self, local: datetime, offset: timedelta | None) -> Iterator[Occurrence]:
        end = None if self.until is None else _end(local, self.until)
        if offset is not None:
            ends_at = None if end is None else (end - offset).replace(tzinfo=UTC)
            yield Occurrence(local=local, fold=0, start=(local - offset).replace(tzinfo=UTC), end=ends_at)
        elif end is not None:
            start, end = (zones.first_instant(each, self.zone) for each in (local, end))
            yield Occurrence(local=local, fold=0, start=start, end=end)
        elif self.cron.follows_clock:
            for fold, start in enumerate(zones.instants(local, self.zone)):
                yield Occurrence(local=local, fold=fold, start=start, end=None)
        else:
            yield Occurrence(local=local, fold=0, start=zones.first_instant(local, self.zone), end=None)


def _time_of_day(since_midnight: timedelta) -> time:
    """Return a time of a day by what has passed since midnight; its first or last one for what is not of the day."""
    return (_MIDNIGHT + min(max(since_midnight, timedelta(0)), _LAST_OF_DAY)).time()


@lru_cache(maxsize=1024)  # a plan is planned at each outcome, and most expressions stand in many plans
def _dates(cron: Cron, first: date, last: date) -> tuple[date, ...]:
    """Return the dates of an expression from `first` to `last`."""
    return tuple(takewhile(lambda day: day <= last, cron.dates(first)))


def _end(local: datetime, until: time) -> datetime:
    """Return the next local time `until` after a local start, by the wall clock."""
    day = local.date() if until > local.time() else local.date() + _DAY
    return datetime.combine(day, until)


def _refuse_overlap(cron: Cron, until: time) -> None:
    """Refuse windows that are still open at the next start.

    A window is at most a day long, so only starts of one date or of two consecutive dates can meet. Both are
    known exactly: the times of a date, and whether any two dates up to 2099 are consecutive.

    Raises:
        ValueError: says which starts.
    """
    some_day = date(2000, 1, 1)
    starts = [datetime.combine(some_day, at) for at in cron.times]
    if cron.closest_dates == 1:
        starts.append(starts[0] + _DAY)
    for start, following in pairwise(starts):
        if _end(start, until) > following:
            raise ValueError(
                f"has windows that overlap: the one from {start:%H:%M} until {until:%H:%M} is open when the next one "
                f'starts at {following:%H:%M}; choose an earlier "until" or fewer starts'
            )
