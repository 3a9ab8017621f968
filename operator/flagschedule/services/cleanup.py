"""One run of the cleaner: delete what is past its time, a few pages at a time. Called by the cleaner's entry point.

It must not decide what is past its time (the store's statements do), and must not delay other transactions: every
transaction is short, and locked rows are left to the next run. A row that the database refuses to delete
keeps no other one.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

import structlog

from flagschedule.domain.errors import (
    ConnectionLostError,
    DependencyUnavailableError,
    StatementRefusedError,
    UnexpectedRefusalError,
)
from flagschedule.ports.cleanup import CleanupStore, Place, Table

_log: Final = structlog.get_logger()
# What bounds a transaction: 32 pages of 8 KiB hold 1,400 to 3,200 rows, which are deleted in a fraction of a second.
_PAGES: Final = 32
# The schedules come last: they are the most work, and only they can be refused by a rule of the host.
_ORDER: Final[tuple[Table, ...]] = ("runs", "records", "attempts", "schedules")
TIME_BUDGET: Final = 1800.0
_PROGRESS_EVERY: Final = 30.0
_ROWS: Final = 2048  # no page has more
_MOST_REFUSED: Final = 100  # rows of a table that are looked for, before what holds one is left whole
_START: Final = (0, 0)
_ADVICE: Final = "run `flagschedule migrate`, and check the database and the rights of its role"


@dataclass(kw_only=True)
class Summary:
    """What a run deleted, or would delete if it is dry.

    `refused` counts the rows that the database refused to delete, and the windows of pages that were left whole because
    of one; `complete` means that every table was walked to its end.
    """

    applied: int = 0
    cancelled: int = 0
    attempts: int = 0
    records: int = 0
    runs: int = 0
    refused: int = 0
    dry_run: bool = False
    complete: bool = False
    duration: float = 0.0

    @property
    def rows(self) -> int:
        """All rows together."""
        return self.applied + self.cancelled + self.attempts + self.records + self.runs


class Cleaner:
    """Runs once; runs that overlap do no harm."""

    def __init__(
        self,
        store: CleanupStore,
        *,
        dry_run: bool,
        stopping: Callable[[], bool],
        time_budget: float = TIME_BUDGET,
    ) -> None:
        self._store = store
        self._stopping = stopping
        self._time_budget = time_budget
        self._summary = Summary(dry_run=dry_run)
        self._refused: Counter[Table] = Counter()
        self._gave_up: StatementRefusedError | None = None
        self._started = time.monotonic()
        self._logged_at = self._started

    def run(self) -> Summary:
        """Walk every table once, or until the time is spent or the program must stop.

        Raises:
            DependencyUnavailableError: the database cannot serve, or refuses; what was deleted stays deleted.
        """
        self._summary.complete = all(self._walk(kind) for kind in _ORDER)
        self._summary.duration = round(self._spent(), 3)
        _log.info("Cleanup finished", **asdict(self._summary))
        if self._gave_up and not self._summary.rows:
            raise DependencyUnavailableError(f"{self._gave_up}; {_ADVICE}")
        return self._summary

    def _spent(self) -> float:
        return time.monotonic() - self._started

    def _walk(self, kind: Table) -> bool:
        """Purge one table; whether its end was reached."""
        pages = self._store.pages(kind)
        for first in range(0, pages, _PAGES):
            if self._stopping() or self._spent() >= self._time_budget:
                return False
            self._purge(kind, (first, 0), (first + _PAGES, 0))
            self._log_progress(kind, first, pages)
        return True

    def _purge(self, kind: Table, start: Place, end: Place) -> None:
        try:
            counts = self._store.purge(kind, start, end, dry_run=self._summary.dry_run)
        except ConnectionLostError as error:
            raise DependencyUnavailableError(f"{error}; {_ADVICE}") from error
        except StatementRefusedError as error:
            self._isolate(kind, start, end, error)
            return
        for name, count in counts.items():
            setattr(self._summary, name, getattr(self._summary, name) + count)

    def _isolate(self, kind: Table, start: Place, end: Place, error: StatementRefusedError) -> None:
        """A rule of the host protects some row: find it by halves, so that the others are purged all the same.

        What is locked or took too long is left whole: each half would wait as long again.
        """
        self._check(kind)
        middle = _middle(start, end)
        passing = isinstance(error, UnexpectedRefusalError) and error.passing
        gives_up = self._refused[kind] >= _MOST_REFUSED
        if middle is not None and not passing and not gives_up and not self._stopping():
            self._purge(kind, start, middle)
            self._purge(kind, middle, end)
            return
        if gives_up:
            self._gave_up = error
        self._refused[kind] += 1
        self._summary.refused += 1
        where = {"firstPage": start[0], "row": start[1]} if middle is None else {"firstPage": start[0]}
        event = "Row left to the next run" if middle is None else "Pages left to the next run"
        _log.error(event, kind=kind, error=str(error), **where)

    def _check(self, kind: Table) -> None:
        """Purge no row: what the database refuses now concerns all of them.

        Raises:
            DependencyUnavailableError: it refuses.
        """
        try:
            self._store.purge(kind, _START, _START, dry_run=self._summary.dry_run)
        except StatementRefusedError as error:
            raise DependencyUnavailableError(f"{error}; {_ADVICE}") from error

    def _log_progress(self, kind: Table, first: int, pages: int) -> None:
        if time.monotonic() - self._logged_at < _PROGRESS_EVERY:
            return
        self._logged_at = time.monotonic()
        _log.info("Cleanup goes on", kind=kind, page=first, pages=pages, rows=self._summary.rows)


def _middle(start: Place, end: Place) -> Place | None:
    """A place between the two; None where there is one row."""
    pages = end[0] - start[0]
    if pages > 1:
        return start[0] + pages // 2, 0
    first, last = start[1], end[1] or _ROWS
    return (start[0], (first + last) // 2) if last - first > 1 else None
