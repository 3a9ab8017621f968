"""One run of the cleaner: delete what is past its time, a few pages at a time. Called by the cleaner's entry point.

It must not decide what is past its time (the store's statements do), and must never be in anybody's way: every
transaction is short, and rows that somebody holds are left to the next run.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

import structlog

from flagschedule.domain.errors import DependencyUnavailableError, StatementRefusedError
from flagschedule.ports import CleanupStore, Leftover

_log: Final = structlog.get_logger()
# What bounds a transaction: 32 pages of 8 KiB hold 1,400 to 3,200 rows, which are deleted in a fraction of a second.
_PAGES: Final = 32
# The schedules come last: they are the most work, and only they can be refused by a rule of the host.
_ORDER: Final[tuple[Leftover, ...]] = ("runs", "records", "attempts", "schedules")
TIME_BUDGET: Final = 1800.0
_PROGRESS_EVERY: Final = 30.0
_MOST_REFUSED: Final = 10  # with more of them it is not the rows
_ADVICE: Final = "run `flagschedule migrate`, and check the database and the rights of its role"


@dataclass(kw_only=True)
class Summary:
    """What a run deleted, or would delete if it is dry.

    `refused` counts the windows of pages that the database refused to purge; `complete` tells that every table was
    walked to its end.
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
        dry_run: bool = False,
        stopping: Callable[[], bool] = lambda: False,
        time_budget: float = TIME_BUDGET,
    ) -> None:
        self._store = store
        self._stopping = stopping
        self._time_budget = time_budget
        self._summary = Summary(dry_run=dry_run)
        self._refusal: StatementRefusedError | None = None
        self._started = time.monotonic()
        self._told = self._started

    def run(self) -> Summary:
        """Walk every table once, or until the time is spent or the program is told to stop.

        Raises:
            DependencyUnavailableError: the database cannot serve, or refuses; what was deleted stays deleted.
        """
        self._summary.complete = all(self._walk(kind) for kind in _ORDER)
        self._summary.duration = round(self._spent(), 3)
        _log.info("Cleanup finished", **asdict(self._summary))
        if self._refusal and not self._summary.rows:
            raise DependencyUnavailableError(f"{self._refusal}; {_ADVICE}")
        return self._summary

    def _spent(self) -> float:
        return time.monotonic() - self._started

    def _walk(self, kind: Leftover) -> bool:
        """Purge one table; whether its end was reached."""
        pages = self._store.pages(kind)
        for first in range(0, pages, _PAGES):
            if self._stopping() or self._spent() >= self._time_budget:
                return False
            self._purge(kind, first)
            self._tell(kind, first, pages)
        return True

    def _purge(self, kind: Leftover, first: int) -> None:
        try:
            counts = self._store.purge(kind, first, _PAGES, dry_run=self._summary.dry_run)
        except StatementRefusedError as error:
            self._refused(kind, first, error)
            return
        for name, count in counts.items():
            setattr(self._summary, name, getattr(self._summary, name) + count)

    def _refused(self, kind: Leftover, first: int, error: StatementRefusedError) -> None:
        """A rule of the host protects some row, or somebody was in the way: the other pages are purged all the same."""
        self._refusal = error
        self._summary.refused += 1
        _log.error("Pages left to the next run", kind=kind, firstPage=first, error=str(error))
        if self._summary.refused >= _MOST_REFUSED:
            raise DependencyUnavailableError(f"{error}, {_MOST_REFUSED} times; {_ADVICE}")

    def _tell(self, kind: Leftover, first: int, pages: int) -> None:
        if time.monotonic() - self._told < _PROGRESS_EVERY:
            return
        self._told = time.monotonic()
        _log.info("Cleanup goes on", kind=kind, page=first, pages=pages, rows=self._summary.rows)
