"""Instants as the API writes them: RFC 3339."""

import re
from datetime import UTC, datetime
from typing import Final

# Python's own parser accepts week dates, a blank for the T and more; RFC 3339 section 5.6 does not.
_RFC3339: Final = re.compile(
    r"(?P<start>\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?P<fraction>\.\d+)?(?P<offset>Z|[+-]\d{2}:\d{2})",
    re.ASCII,
)
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)


def parse_any_time(text: object) -> datetime:
    """Read an RFC 3339 instant with an offset. It is returned in UTC, cut to microseconds, as Postgres stores it.

    Raises:
        ValueError: not such an instant.
    """
    match = _RFC3339.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError('must be an RFC 3339 time with an offset, for example "2026-12-01T09:00:00Z"')
    fraction = (match["fraction"] or ".0")[:7]
    offset = "+00:00" if match["offset"] == "Z" else match["offset"]
    try:
        return datetime.fromisoformat(match["start"] + fraction.ljust(7, "0") + offset).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("is not a time that the calendar knows") from error


def parse_time(text: object) -> datetime:
    """Read an instant that a schedule may name.

    Raises:
        ValueError: not an RFC 3339 instant, or outside of the years 2000-2099.
    """
    instant = parse_any_time(text)
    if not _EARLIEST < instant < _LATEST:
        raise ValueError("must lie in the years 2000 to 2099")
    return instant


def rfc3339(instant: datetime) -> str:
    """Return the instant in UTC and in whole seconds, so that texts have the order of their times."""
    return instant.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
