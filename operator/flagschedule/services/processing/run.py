"""One run of the processor: bring everything that is due to its outcome, batch by batch, some at the same time.

Called by the processor's entry point. It must not decide what is due or which schedule wins: the statement does.
It must not lose a cache key: the outbox keeps it until Redis has confirmed the deletion.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final

import structlog

from flagschedule.domain.errors import (
    ADVICE,
    ConnectionLostError,
    DependencyUnavailableError,
    FlagScheduleError,
    StatementRefusedError,
    UnexpectedRefusalError,
)
from flagschedule.ports.processing import Cache, Due, ProcessStore
from flagschedule.services.processing.cache import CacheKeys
from flagschedule.services.processing.refusals import ISOLATION, LONGEST_TRY, Refusals
from flagschedule.services.processing.report import Report, Summary
from flagschedule.services.processing.worker import FEWER, Lane, WorkerPool

_log: Final = structlog.get_logger()
_BUSY_WAIT: Final = 0.02  # seconds until rows that another transaction holds are looked at again
_BUSY_LOOKS: Final = 50  # after so many looks in a row that found only locked rows, they are left
_LOOKS_OF_A_CONFLICT: Final = 25  # a batch that waited in vain for a table's lock counts as so many looks
_RETRIES_EVERY: Final = 10  # batches, after one without retries
_LOOK_EVERY: Final = 1.0  # seconds between looks while lingering, at most
_SET_ASIDE_EVERY: Final = 5.0  # seconds between looks for schedules that are set aside, while none is known
_STOPPING: Final = 1.0  # seconds that a run that must stop waits for a slow row, which is rolled back after that
_CONNECTING: Final = 6.0  # seconds that a run waits at its end for a connection that is being opened


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How a run spends its time: schedules per batch, batches at the same time, and seconds."""

    batch_size: int
    concurrency: int
    time_budget: float
    linger: float


class Processor:
    """Runs once; any number of them may run at the same time."""

    def __init__(
        self,
        store: ProcessStore,
        cache: Cache | None,
        pace: Pace,
        stopping: Callable[[], bool],
        *,
        show_host_texts: bool,
    ) -> None:
        self._store = store
        self._pace = pace
        self._stopping = stopping
        self._failed = False
        self._is_cache_behind = False
        self._conflict: str | None = None  # the last one, until a batch succeeds
        self._left_something = True
        self._is_set_aside_due: bool | None = None  # None: no schedule is set aside
        self._looked_for_set_aside = -math.inf
        self._started = time.monotonic()
        self._keys = CacheKeys(cache)
        self._report = Report(self._keys)
        self._workers = WorkerPool(store, pace.concurrency - 1, self._run_worker)
        self._refusals = Refusals(self._report, self._time_left, self._wake_lane, show_host_texts=show_host_texts)
        self._lane = Lane(store, self._refusals.try_suspects)

    def run(self) -> Summary:
        """Apply until nothing is due, the time budget is spent or the program must stop.

        Raises:
            DependencyUnavailableError: the database cannot serve; what was committed stays.
        """
        may_be_hidden = self._store.start_run()
        while self._store.prune_status_entries():
            pass
        self._keys.drain(self._store)
        with self._workers:
            self._drain(busy_looks=_BUSY_LOOKS)
            while self._spent() + _LOOK_EVERY < self._pace.linger and not self._stopping():
                self._linger()
        self._lane.finish(_CONNECTING, lambda: _STOPPING if self._stopping() else LONGEST_TRY)
        self._keys.forget(self._store)
        self._count_skipped()
        if may_be_hidden and not self._report.summary.processed:
            _log.warning("Schedules may be hidden by row-level security")
        summary = self._report.finished(self._spent())
        self._store.finish_run({**summary.counts, "attempts": self._report.attempts.counts()})
        _log.info("Run finished", **asdict(summary))
        blocked = self._conflict or self._refusals.blocked
        if blocked and not summary.processed:
            raise DependencyUnavailableError(blocked)
        return summary

    def _linger(self) -> None:
        """Look once, and sleep until the next look."""
        soon = None
        try:
            # Before the look, which then finds what comes due between the two queries. The other way round the run
            # would sleep past it.
            soon = self._store.seconds_until_due()
            is_due = self._is_anything_due(self._store)
            if (is_due or self._refusals.has_quarantine) and self._drain(busy_looks=1):
                return
        except UnexpectedRefusalError as error:
            self._go_on_after(error)
        time.sleep(soon or _LOOK_EVERY)

    def _spent(self) -> float:
        return time.monotonic() - self._started

    def _wake_lane(self) -> None:
        self._lane.wake()

    def _time_left(self) -> float:
        # A lingering run may use all the time that it lingers; the deadline of its CronJob is longer.
        if self._failed or self._stopping():
            return 0.0
        return max(self._pace.time_budget, self._pace.linger) - self._spent()

    def _go_on_after(self, error: UnexpectedRefusalError) -> None:
        """Remember a lock, a conflict or a timeout that no single row caused, and go on.

        Raises:
            UnexpectedRefusalError: it is another error.
        """
        if not error.momentary:
            raise error
        self._conflict = f"{error}; {ADVICE}"

    def _is_anything_due(self, store: ProcessStore) -> bool:
        due = store.what_is_due(self._refusals.left_out)
        if store is self._store:
            self._left_something = due is not Due.NOTHING
            self._look_for_set_aside()
        if self._is_set_aside_due or self._refusals.suspects:
            self._wake_lane()
        return due is Due.NOW

    def _look_for_set_aside(self) -> None:
        """Look for schedules that were set aside, less often while there are none: most looks would find nothing."""
        interval = _SET_ASIDE_EVERY if self._is_set_aside_due is None else _LOOK_EVERY
        if time.monotonic() - self._looked_for_set_aside >= interval:
            self._looked_for_set_aside = time.monotonic()
            self._is_set_aside_due = self._store.is_aside_due()

    def _drain(self, *, busy_looks: int) -> bool:
        """Apply everything that is due.

        Args:
            busy_looks: after how many looks in a row that find only locked rows to give up.

        Returns:
            whether any schedule was processed.
        """
        before = self._report.summary.processed
        try:
            self._apply_until_empty(self._store, busy_looks, self._workers.call)
        except BaseException:
            self._failed = True  # the workers end with the batch at hand
            raise
        all_succeeded = self._workers.wait()
        if not all_succeeded or self._refusals.has_quarantine:
            # The last batch of a worker that lost its connection is due again. Or it was committed without an answer,
            # and its cache keys are still in the outbox.
            self._is_cache_behind |= not all_succeeded
            self._apply_until_empty(self._store, busy_looks)
        if self._is_cache_behind:
            self._is_cache_behind = False
            self._keys.drain(self._store)
        self._keys.forget(self._store)
        return self._report.summary.processed > before

    def _run_worker(self, store: ProcessStore) -> bool:
        """Apply on one more connection until nothing is left to claim.

        Returns:
            whether the connection can be used again.
        """
        try:
            self._apply_until_empty(store, busy_looks=1)
        except DependencyUnavailableError as error:  # if the database is away, the first connection fails, too
            _log.warning(FEWER, error=str(error))
            return False
        except BaseException:
            self._failed = True
            raise
        return True

    def _apply_until_empty(
        self, store: ProcessStore, busy_looks: int, when_full: Callable[[], None] = lambda: None
    ) -> None:
        """Apply batch by batch, retries and first attempts alike, until both are empty.

        Refused rows are isolated between two batches, and on the first connection only: two connections might change
        the order of one flag's rows.
        """
        looks = 0  # in a row that found nothing to apply
        skip_retries = 0  # for so many batches: most looks for retries find none, and each takes time
        while self._time_left() > 0:
            try:
                # In turns: retries that keep failing must not keep first attempts waiting.
                retried = 0 if skip_retries else self._batch(store, retries=True)
                applied = self._batch(store, retries=False)
                isolated = store is self._store and self._refusals.isolate(store)
                self._conflict = None
                skip_retries = 0 if retried or not applied else (skip_retries or _RETRIES_EVERY) - 1
                if max(retried, applied) >= self._pace.batch_size:
                    when_full()
                looks = 0 if retried or applied or isolated else looks + 1
                # Due rows that could not be claimed are locked by another transaction, most likely for a short time.
                if looks and (looks >= busy_looks or not self._is_anything_due(store)):
                    return
            except UnexpectedRefusalError as error:
                self._go_on_after(error)
                looks += _LOOKS_OF_A_CONFLICT
                if looks >= busy_looks:
                    return
            if looks:
                time.sleep(_BUSY_WAIT)
            elif self._refusals.has_quarantine and not (retried or applied):
                time.sleep(ISOLATION)  # hundreds of refused rows must not take a core from others

    def _batch(self, store: ProcessStore, *, retries: bool) -> int:
        """Apply one batch. If it is refused, put its rows in quarantine and apply the next one, and so on.

        Returns:
            how many schedules came to an outcome or into quarantine.
        """
        size, refused = self._pace.batch_size, 0
        while True:
            left_out = self._refusals.left_out
            try:
                batch = store.apply(retries=retries, limit=size, left_out=left_out)
            except StatementRefusedError as error:
                self._is_cache_behind |= isinstance(error, ConnectionLostError)  # it may have been committed
                rows = partial(store.claimable, retries=retries, limit=size, left_out=left_out)
                new = self._refusals.quarantine(store, error, rows)
                refused += new
                if not new:
                    return refused
            else:
                self._report.finish(batch)
                return refused + len(batch.handled)

    def _count_skipped(self) -> None:
        """Report what is due and was left."""
        if not self._left_something and self._is_set_aside_due is None and not self._refusals.left_out:
            return  # the last look found nothing that could have been left
        try:
            self._report.skipped(self._store.skipped())
        except FlagScheduleError as error:
            _log.warning("Due schedules could not be counted", error=str(error))
