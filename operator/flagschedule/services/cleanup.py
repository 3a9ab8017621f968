"""One run of the cleaner: delete what is past its time, a few pages at a time. Called by the cleaner's entry point.

It must not decide what is past its time (the store's statements do), and must not delay other transactions: every
transaction is short, and locked rows are left to the next run. All other rows are deleted where the database refuses
to delete one.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

import structlog

from flagschedule.domain.errors import (
    ADVICE,
    ConnectionLostError,
    DependencyUnavailableError,
    StatementRefusedError,
)
from flagschedule.ports.cleanup import CleanupStore, Place, Table

_log: Final = structlog.get_logger()
# What bounds a transaction: 32 pages of 8 KiB hold 1,400 to 3,200 rows, which are deleted in a fraction of a second.
_PAGES: Final = 32
# The schedules come last: they are the most work, and only they can be refused by a rule of the host.
_ORDER: Final[tuple[Table, ...]] = (
    "runs",
    "records",
    "changes",
    "notices",
    "plan_rows",
    "plans",
    "lineages",
    "attempts",
    "schedules",
)
TIME_BUDGET: Final = 1800.0
_PROGRESS_EVERY: Final = 30.0
_ROWS: Final = 2048  # no page has more
_MOST_REFUSED: Final = 100  # rows of a table; after so many, pages with another one are left to the next run as a whole
_START: Final = (0, 0)


@dataclass(kw_only=True)
class Summary:
    """What a run deleted, or would delete if it is dry.

    `failed` counts rows of plans, the only failed ones that are ever deleted; `records` also those of plans, and what
    identifies their changes. `refused` counts the rows that the database refused to delete, and the ranges of pages
    that were left to the next run because of such a row. `complete` is whether every table was walked to its end.
    """

    applied: int = 0
    cancelled: int = 0
    failed: int = 0
    attempts: int = 0
    records: int = 0
    changes: int = 0
    notices: int = 0
    runs: int = 0
    refused: int = 0
    dry_run: bool = False
    complete: bool = False
    duration: float = 0.0

    @property
    def rows(self) -> int:
        """All rows together."""
        finished = self.applied + self.cancelled + self.failed + self.attempts
        return finished + self.records + self.changes + self.notices + self.runs


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
        self._last_refusal: StatementRefusedError | None = None
        self._started = time.monotonic()
        self._logged_at = self._started

    def run(self) -> Summary:
        """Walk every table once, or until the time is spent or the program must stop.

        Raises:
            DependencyUnavailableError: the database cannot serve, or refuses; what was deleted stays deleted.
        """
        self._summary.complete = all(self._walk(table) for table in _ORDER)
        self._summary.duration = round(self._spent(), 3)
        _log.info("Cleanup finished", **asdict(self._summary))
        if self._last_refusal and not self._summary.rows:
            raise DependencyUnavailableError(f"{self._last_refusal}; {ADVICE}")
        return self._summary

    def _spent(self) -> float:
        return time.monotonic() - self._started

    def _walk(self, table: Table) -> bool:
        """Purge one table. Returns: whether its end was reached."""
        pages = self._store.pages(table)
        for first in range(0, pages, _PAGES):
            if self._stopping() or self._spent() >= self._time_budget:
                return False
            self._purge(table, (first, 0), (first + _PAGES, 0))
            self._log_progress(table, first, pages)
        return True

    def _purge(self, table: Table, start: Place, end: Place) -> None:
        try:
            counts = self._store.purge(table, start, end, dry_run=self._summary.dry_run)
        except ConnectionLostError as error:
            raise DependencyUnavailableError(f"{error}; {ADVICE}") from error
        except StatementRefusedError as error:
            self._isolate(table, start, end, error)
            return
        for name, count in counts.items():
            setattr(self._summary, name, getattr(self._summary, name) + count)

    def _isolate(self, table: Table, start: Place, end: Place, error: StatementRefusedError) -> None:
        """Find the row that a rule of the host protects by halving the range, and purge all others.

        A range that is locked or takes too long is not halved: each half would wait as long again.
        """
        self._check(table)
        middle = _middle(start, end)
        gives_up = self._refused[table] >= _MOST_REFUSED
        if middle is not None and not error.momentary and not gives_up and not self._stopping():
            self._purge(table, start, middle)
            self._purge(table, middle, end)
            return
        if gives_up:
            self._last_refusal = error
        self._refused[table] += 1
        self._summary.refused += 1
        where = {"firstPage": start[0], "row": start[1]} if middle is None else {"firstPage": start[0]}
        event = "Row left to the next run" if middle is None else "Pages left to the next run"
        _log.error(event, kind=table, error=str(error), **where)

    def _check(self, table: Table) -> None:
        """Run the statement over no row, to distinguish a refusal of one row from a refusal of all.

        Raises:
            DependencyUnavailableError: the database refuses the statement for any row.
        """
        try:
            self._store.purge(table, _START, _START, dry_run=self._summary.dry_run)
        except StatementRefusedError as error:
            raise DependencyUnavailableError(f"{error}; {ADVICE}") from error

    def _log_progress(self, table: Table, first: int, pages: int) -> None:
        if time.monotonic() - self._logged_at < _PROGRESS_EVERY:
            return
        self._logged_at = time.monotonic()
        _log.info("Cleanup goes on", kind=table, page=first, pages=pages, rows=self._summary.rows)


def _middle(start: Place, end: Place) -> Place | None:
    """Return a place between the two; None if there is only one row between them."""
    pages = end[0] - start[0]
    if pages > 1:
        return start[0] + pages // 2, 0
    first, last = start[1], end[1] or _ROWS
    return (start[0], (first + last) // 2) if last - first > 1 else None
