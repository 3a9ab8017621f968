"""Time zones: which names exist, and which instants a local time is.

Used by the calendar of plans. The data is that of the package tzdata, never the machine's own, so that all replicas,
clusters and machines of developers agree; a newer package changes TZDATA_VERSION, and the operator plans again.
The processor must not import it: it works with instants, and has to start quickly.
"""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

import tzdata

TZDATA_VERSION: Final[str] = tzdata.__version__
"""The version of the time zone data, for example 2026.6; another one may move occurrences."""

_ROOT: Final = resources.files(tzdata)  # a folder, or a part of the archive that the plugin for kubectl is
_NO_ZONE: Final = "Factory"  # the database's mark of a machine that has not been set up
_SECOND: Final = timedelta(seconds=1)
_LONGEST_SHOWN: Final = 64


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """Return the names that `parse_zone` accepts: those of the IANA database, with its links such as US/Eastern."""
    return frozenset(_ROOT.joinpath("zones").read_text("utf-8").split()) - {_NO_ZONE}


def parse_zone(name: object) -> ZoneInfo:
    """Read a step's `timeZone`.

    Returns:
        the zone; the same object for the same name.

    Raises:
        ValueError: tzdata does not list this name. Paths, `localtime`, `posix/...` and `right/...` are no names.
    """
    # A name becomes a part of a path below, so it has to be one of the list first.
    if not isinstance(name, str) or name not in names():
        shown = f"{str(name)[:_LONGEST_SHOWN]!r} is not in tzdata {TZDATA_VERSION}"
        raise ValueError(f'must be a time zone of the IANA database, for example "Europe/Oslo"; {shown}')
    return _load(name)


@lru_cache(maxsize=1024)
def _load(name: str) -> ZoneInfo:
    with _ROOT.joinpath("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


def instants(local: datetime, zone: ZoneInfo) -> tuple[datetime, ...]:
    """Return when a clock of this zone shows this local time, in UTC.

    Returns:
        one instant; none if the clocks skip it (gap); two, in their order, if they show it twice (overlap).
    """
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first == second:
        return (first,)
    # Python puts a skipped time after the gap for fold 0 and before it for fold 1.
    return (first, second) if first < second else ()


@lru_cache(maxsize=4096)
def offsets_about(day: date, zone: ZoneInfo) -> tuple[timedelta, timedelta]:
    """Return the least and the greatest offset from UTC of a date and of the one after it.

    They are equal where the clocks are not changed. No zone has changed its clocks twice within a day, so that each
    change shows in a look for each midnight.
    """
    midnights = (datetime.combine(day + timedelta(days=days), time(), zone) for days in (0, 1, 2))
    found = [offset for at in midnights for fold in (0, 1) if (offset := at.replace(fold=fold).utcoffset()) is not None]
    return min(found), max(found)


def first_instant(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the one instant, in UTC, at which something of this local time happens.

    A later local time never has an earlier instant, so an order of local times is kept.

    Returns:
        the instant; the first one after the gap if the clocks skip the time, the first of two in an overlap.
    """
    found = instants(local, zone)
    return found[0] if found else _end_of_gap(local, zone)


def _end_of_gap(local: datetime, zone: ZoneInfo) -> datetime:
    """Find the second from which the zone has its new offset, between what fold 1 and fold 0 make of the time."""
    before, after = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (1, 0))
    old = before.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // _SECOND // 2 * _SECOND
        if middle.astimezone(zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after
