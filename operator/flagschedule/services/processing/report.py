"""What a run reports: its counts, its log lines, and the cache keys that follow a commit.

Used by every connection of a run; owns the lock of what they share. It must not decide anything.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from threading import Lock
from typing import Any, Final

import structlog

from flagschedule import logs
from flagschedule.domain.outcome import Reason
from flagschedule.ports.processing import Batch, ClaimedRow, ProcessedSchedule, SetAside, Skipped
from flagschedule.services.processing.cache import CacheKeys

_log: Final = structlog.get_logger()
_MOST_ATTEMPTS: Final = 11  # of a FlagSchedule; another program's row may have any number


@dataclass(kw_only=True)
class Summary:
    """What a run did; `failed`, `retried` and `superseded` are parts of `processed`.

    `set_aside` counts how often a schedule stepped aside, `skipped` the due schedules that the run left.
    """

    processed: int = 0
    failed: int = 0
    retried: int = 0
    superseded: int = 0
    set_aside: int = 0
    skipped: int = 0
    refused_cache_keys: int = 0
    duration: float = 0.0

    def add(self, processed: int, others: Sequence[ProcessedSchedule]) -> None:
        """Count the schedules of one batch.

        Args:
            processed: how many there are.
            others: those of them that were not applied at the first attempt.
        """
        self.processed += processed
        for each in others:
            self.failed += each.state == "failed"
            self.retried += each.retried
            self.superseded += each.reason == Reason.SUPERSEDED

    @property
    def counts(self) -> dict[str, Any]:
        """Everything but the duration."""
        return {name: count for name, count in asdict(self).items() if name != "duration"}


class Attempts:
    """Counts attempts by number, outcome and condition, as the column `attempts` of a run has them."""

    def __init__(self) -> None:
        self._total = 0
        self._others: Counter[str] = Counter()

    def add(self, processed: int, others: Sequence[ProcessedSchedule], condition: str | None) -> None:
        """Count the attempts of one batch.

        Args:
            processed: how many there are.
            others: those of them that were not applied at the first attempt.
            condition: why the database refused them; None where the reason says it.
        """
        self._total += processed
        self._others.update(_kind_of(each, condition) for each in others)

    def counts(self) -> dict[str, int]:
        """The number of attempts by kind."""
        first = self._total - self._others.total()
        return {"1 applied": first} | self._others if first else dict(self._others)


def _others(handled: Sequence[ProcessedSchedule]) -> list[ProcessedSchedule]:
    """Return those that were not applied at the first attempt: few, mostly. What failed has another reason."""
    applied = Reason.APPLIED.value
    return [each for each in handled if each.retried or each.reason != applied]


def _kind_of(each: ProcessedSchedule, condition: str | None) -> str:
    # A failed attempt that another one follows has been counted on the row already.
    number = each.retry_count + (each.reason != Reason.ATTEMPT_FAILED)
    attempt = str(number) if number <= _MOST_ATTEMPTS else "more"
    if each.state == "failed":
        return f"{attempt} failed {condition or each.reason}"
    return f"{attempt} {'superseded' if each.reason == Reason.SUPERSEDED else each.state}"


class Report:
    """Counts and logs what became of schedules."""

    def __init__(self, keys: CacheKeys) -> None:
        self.summary = Summary()
        self.attempts = Attempts()
        self._keys = keys
        self._lock = Lock()

    def finish(self, batch: Batch, condition: str | None = None) -> None:
        """Count and report a batch, while the database is at work on another one.

        The cache comes after the commit, so that no program caches the old value again.

        Args:
            batch: what was processed.
            condition: why the database refused it, if it did.
        """
        processed, others = len(batch.handled), _others(batch.handled)
        with self._lock:
            self.summary.add(processed, others)
            self.attempts.add(processed, others, condition)
            if batch.cache_entries:
                self._keys.delete(batch.cache_entries)
            logs.write(_lines(batch.handled))

    def set_aside(self, row: ClaimedRow, aside: SetAside, error: str) -> None:
        """Report that a schedule is set aside for a time."""
        with self._lock:
            self.summary.set_aside += 1
        _log.error(
            "Schedule set aside",
            scheduleId=str(row.schedule_id),
            flagKey=aside.flag_key,
            environment=aside.environment,
            error=error,
            setAsideCount=aside.times,
            setAsideUntil=aside.until,
        )

    def stuck(self, row: ClaimedRow, error: str) -> None:
        """Report that a schedule is left to later runs, and that the database refused to record it as set aside."""
        with self._lock:
            self.summary.set_aside += 1
        _log.error("Schedule set aside for this run", scheduleId=str(row.schedule_id), error=error)

    def skipped(self, found: Sequence[Skipped]) -> None:
        """Report schedules that are due and were left."""
        for each in found:
            self.summary.skipped += each.schedules
            _log.warning(
                "Due schedules left", reason=each.reason, schedules=each.schedules, scheduleIds=list(each.schedule_ids)
            )

    def finished(self, duration: float) -> Summary:
        """Complete the summary at the end of the run, and return it."""
        self.summary.refused_cache_keys = len(self._keys.refused)
        self.summary.duration = round(duration, 3)
        return self.summary


def _lines(handled: Sequence[ProcessedSchedule]) -> list[logs.Line]:
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
            line["nextRetryAt"] = each.next_retry_at
        if each.reason == Reason.RETRIES_EXHAUSTED:
            lines.append(line | {"event": "Retry limit exceeded", "level": "error"})
    return lines
