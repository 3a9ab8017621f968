"""One run of the processor: bring everything that is due to its outcome, batch by batch, some at the same time.

Called by the processor's entry point. It must not decide what is due or who wins (the statement does), and it
must not lose a cache key: the outbox keeps it until Redis has said yes.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Final, Self
from uuid import UUID

import structlog

from flagschedule import logs
from flagschedule.domain import backoff
from flagschedule.domain.errors import (
    DependencyUnavailableError,
    FlagScheduleError,
    RowRefusedError,
    StatementRefusedError,
    UnexpectedRefusalError,
)
from flagschedule.domain.outcome import Reason
from flagschedule.ports import Batch, Cache, Claimable, Handled, ProcessStore

_log: Final = structlog.get_logger()
_LEFTOVERS: Final = 1000
_BUSY_WAIT: Final = 0.02  # seconds until rows that another transaction holds are looked at again
_BUSY_LOOKS: Final = 50
_RETRIES_EVERY: Final = 10  # rounds, where the last look found none
_LOOK_EVERY: Final = 1.0  # seconds between looks while lingering, at most
_MOST_SET_ASIDE: Final = 100  # with more of them it is not the rows
_FEWER: Final = "Fewer database connections than wanted"
_ADVICE: Final = "run `flagschedule migrate`, and check the database and the rights of its role"


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How a run spends its time: schedules per batch, batches at the same time, and seconds."""

    batch_size: int = 100
    concurrency: int = 2
    time_budget: float = 50.0
    linger: float = 0.0


@dataclass(kw_only=True)
class Summary:
    """What a run did; `failed`, `retried` and `superseded` are parts of `processed`."""

    processed: int = 0
    failed: int = 0
    retried: int = 0
    superseded: int = 0
    set_aside: int = 0
    duration: float = 0.0

    def add(self, handled: Sequence[Handled]) -> None:
        """Count the schedules of one batch."""
        self.processed += len(handled)
        for each in handled:
            if each.retried or each.reason != Reason.APPLIED:  # seldom; what failed has another reason
                self.failed += each.state == "failed"
                self.retried += each.retried
                self.superseded += each.reason == Reason.SUPERSEDED


class Processor:
    """Runs once; any number of them may run at the same time."""

    def __init__(
        self,
        store: ProcessStore,
        cache: Cache | None,
        pace: Pace,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._cache = cache
        self._cache_answers = True
        self._pace = pace
        self._stopping = stopping
        self._summary = Summary()
        self._set_aside: list[UUID] = []
        self._systemic: str | None = None
        self._failed = False
        self._started = time.monotonic()
        self._lock = Lock()  # of what the connections' threads share
        self._helpers = _Helpers(store, pace.concurrency - 1, self._help)
        self._invalidated: list[int] = []

    def run(self) -> Summary:
        """Apply until nothing is due, the time budget is spent or the program is told to stop.

        Raises:
            DependencyUnavailableError: the database cannot serve; what was committed stays.
        """
        self._store.start_run()
        self._store.prune_status_entries()
        self._drain_cache()
        with self._helpers:
            self._drain(busy_looks=_BUSY_LOOKS)
            while self._spent() + _LOOK_EVERY < self._pace.linger and not self._stopping():
                # In time for what is known to come, and often enough for what is made or moved meanwhile. Asked before
                # the look: what comes due between the two is found by the look, and not passed by both.
                soon = self._store.seconds_until_due()
                if not self._store.is_anything_due(self._set_aside) or not self._drain(busy_looks=1):
                    time.sleep(soon or _LOOK_EVERY)
        self._summary.duration = round(self._spent(), 3)
        counts = asdict(self._summary)
        self._store.finish_run({name: count for name, count in counts.items() if name != "duration"})
        _log.info("Run finished", **counts)
        if self._systemic and not self._summary.processed:
            raise DependencyUnavailableError(f"{self._systemic}; {_ADVICE}")
        return self._summary

    def _spent(self) -> float:
        return time.monotonic() - self._started

    def _out_of_time(self) -> bool:
        # A lingering run has the time it lingers; its CronJob's deadline bounds it.
        spent = self._spent() >= max(self._pace.time_budget, self._pace.linger)
        return spent or self._failed or self._stopping()

    def _drain(self, *, busy_looks: int) -> bool:
        """Bring to its outcome what is due, and report it to the end; whether there was any."""
        before = self._summary.processed
        try:
            self._apply_until_empty(self._store, busy_looks, self._helpers.call)
        except BaseException:
            self._failed = True  # the helpers end with the batch at hand
            raise
        if not self._helpers.wait():
            # What it had claimed is due again; or was committed, and nobody has heard of it.
            self._drain_cache()
            self._apply_until_empty(self._store, busy_looks)
        if self._invalidated:
            self._store.forget_cache_entries(self._invalidated)
            self._invalidated = []
        return self._summary.processed > before

    def _help(self, store: ProcessStore) -> bool:
        """The same on one more connection, until nothing is left that it could claim; whether it can go on helping."""
        try:
            self._apply_until_empty(store, busy_looks=1)
        except DependencyUnavailableError as error:
            if len(self._set_aside) < _MOST_SET_ASIDE:  # if the database is away, our own connection finds out, too
                _log.warning(_FEWER, error=str(error))
                return False
            self._failed = True
            raise
        except BaseException:
            self._failed = True
            raise
        return True

    def _apply_until_empty(
        self, store: ProcessStore, busy_looks: int, when_full: Callable[[], None] = lambda: None
    ) -> None:
        """Batch by batch, retries and first attempts alike, until both are empty."""
        looks = 0
        pause = 0  # rounds until retries are looked for again, because they are seldom and each look takes its time
        while not self._out_of_time():
            # Both as long as there are both: retries alone, when they keep failing, would starve the rest.
            retried = 0 if pause else self._batch(store, retries=True)
            applied = self._batch(store, retries=False)
            pause = 0 if retried or not applied else (pause or _RETRIES_EVERY) - 1
            if max(retried, applied) >= self._pace.batch_size:
                when_full()
            looks = 0 if retried or applied else looks + 1
            # Rows that are due and that nobody could claim are held by another transaction, likely not for long.
            if looks and (looks >= busy_looks or not store.is_anything_due(self._set_aside)):
                return
            if looks:
                time.sleep(_BUSY_WAIT)

    def _batch(self, store: ProcessStore, *, retries: bool) -> int:
        """One batch; how many came to an outcome or were put aside."""
        size = self._pace.batch_size
        try:
            batch = store.apply(retries=retries, limit=size, set_aside=self._set_aside)
        except StatementRefusedError:
            return self._bisect(store, store.claimable(retries=retries, limit=size, set_aside=self._set_aside))
        self._finish(batch)
        return len(batch.handled)

    def _bisect(self, store: ProcessStore, rows: Sequence[Claimable]) -> int:
        """Find by halves the rows that the database refuses, so that none blocks another; how many were done."""
        if not rows or self._out_of_time():
            return 0
        try:
            batch = store.apply_only([row.schedule_id for row in rows])
        except StatementRefusedError as error:
            if len(rows) == 1:
                return self._refused(store, rows[0], error)
            middle = len(rows) // 2
            return self._bisect(store, rows[:middle]) + self._bisect(store, rows[middle:])
        self._finish(batch)
        return len(batch.handled)

    def _refused(self, store: ProcessStore, row: Claimable, error: StatementRefusedError) -> int:
        if isinstance(error, RowRefusedError):
            try:
                batch = store.record_failure(row, error=str(error), delays=backoff.delays(), jitter=backoff.JITTER)
            except StatementRefusedError as refusal:  # not even the failure may be recorded
                error = refusal
            else:
                self._finish(batch)
                return len(batch.handled)
        self._put_aside(row.schedule_id, error)
        return 1

    def _put_aside(self, schedule_id: UUID, error: StatementRefusedError) -> None:
        """Leave a row to the next run: what it provokes is no outcome of a change, so no attempt is consumed."""
        with self._lock:
            if schedule_id in self._set_aside:  # two connections met it at the same time
                return
            self._set_aside.append(schedule_id)
            self._summary.set_aside += 1
        _log.error("Schedule set aside for this run", scheduleId=str(schedule_id), error=str(error))
        if isinstance(error, UnexpectedRefusalError) and error.systemic:
            self._systemic = str(error)
        if len(self._set_aside) >= _MOST_SET_ASIDE:
            raise DependencyUnavailableError(f"{error}, for {_MOST_SET_ASIDE} schedules; {_ADVICE}")

    def _finish(self, batch: Batch) -> None:
        """Count and report a batch, while the database is at work on another one.

        The cache comes after the commit, so that nobody caches the old value again.
        """
        with self._lock:
            self._summary.add(batch.handled)
            if batch.cache_entries and self._invalidate(sorted(set(batch.cache_entries.values()))):
                self._invalidated.extend(batch.cache_entries)  # forgotten together: each time costs a commit
            logs.write(_lines(batch.handled))

    def _drain_cache(self) -> None:
        """What an earlier run could not finish: its cache was away, or it was killed."""
        try:
            while self._store.drain_cache(_LEFTOVERS, self._invalidate_or_raise) == _LEFTOVERS:
                pass
        except DependencyUnavailableError:
            if self._cache_answers:
                raise  # it was the database

    def _invalidate(self, environments: Sequence[str]) -> bool:
        try:
            self._invalidate_or_raise(environments)
        except DependencyUnavailableError:
            return False
        return True

    def _invalidate_or_raise(self, environments: Sequence[str]) -> None:
        if self._cache is None:
            return
        if not self._cache_answers:
            raise DependencyUnavailableError
        try:
            self._cache.invalidate(environments)
        except DependencyUnavailableError as error:
            # Each further try would cost its time-out again; the entries stay for the next run.
            self._cache_answers = False
            _log.warning("Cache keys left to the next run", error=str(error), environments=list(environments))
            raise


class _Helpers:
    """Further connections of a run: opened the first time that a batch is full, and kept to its end."""

    def __init__(self, store: ProcessStore, number: int, work: Callable[[ProcessStore], bool]) -> None:
        self._store = store
        self._number = number
        self._work = work
        self._called = False
        self._idle: SimpleQueue[ProcessStore] = SimpleQueue()
        self._pool = ThreadPoolExecutor(max(number, 1), thread_name_prefix="apply")
        self._at_work: list[Future[bool]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        while not self._idle.empty():
            self._idle.get().close()

    def call(self) -> None:
        """Let those work along that are connected and idle."""
        if not self._called:
            self._called = True
            for _ in range(self._number):
                # Nobody waits for them: behind a pooler without a free connection it may take minutes.
                Thread(target=self._connect, daemon=True).start()
        for _ in range(self._idle.qsize()):  # only once each: they may come back at once
            self._at_work.append(self._pool.submit(self._help, self._idle.get()))

    def wait(self) -> bool:
        """Until those at work have nothing left to do; whether all of them could do it. Raises what they raised."""
        at_work, self._at_work = self._at_work, []
        done = [helper.result() for helper in at_work]
        return all(done)

    def _connect(self) -> None:
        try:
            self._idle.put(self._store.beside())
        except FlagScheduleError as error:
            _log.warning(_FEWER, error=str(error))

    def _help(self, store: ProcessStore) -> bool:
        done = self._work(store)
        if done:
            self._idle.put(store)
        else:
            store.close()
        return done


def _lines(handled: Sequence[Handled]) -> list[logs.Line]:
    """What is logged of the schedules of one batch."""
    lines = []
    for each in handled:
        line: logs.Line = {
            "scheduleId": each.schedule_id,
            "flagKey": each.flag_key,
            "environment": each.environment,
            "reason": each.reason,
            "event": "Schedule applied",
            "level": "info",
        }
        lines.append(line)
        if each.state == "applied":
            if each.retried:
                line |= {"event": "Schedule applied on retry", "retryCount": each.retry_count}
            continue
        line |= {"event": "Failed to apply schedule", "level": "warning"}
        line |= {"error": each.error, "retryCount": each.retry_count}
        if each.next_retry_at is not None:
            line["nextRetryAt"] = each.next_retry_at.isoformat()
        if each.reason == Reason.RETRIES_EXHAUSTED:
            lines.append(line | {"event": "Retry limit exceeded", "level": "error"})
    return lines
