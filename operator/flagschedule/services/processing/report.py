"""What a run reports: its counts, its log lines, and the cache keys that follow a commit.

Used by every connection of a run; owns the lock of what they share. It must not decide anything.
"""

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

    def add(self, handled: Sequence[ProcessedSchedule]) -> None:
        """Count the schedules of one batch."""
        self.processed += len(handled)
        for each in handled:
            if each.retried or each.reason != Reason.APPLIED:  # the exception; what failed has another reason
                self.failed += each.state == "failed"
                self.retried += each.retried
                self.superseded += each.reason == Reason.SUPERSEDED

    @property
    def counts(self) -> dict[str, Any]:
        """Everything but the duration."""
        return {name: count for name, count in asdict(self).items() if name != "duration"}


class Report:
    """Counts and logs what became of schedules."""

    def __init__(self, keys: CacheKeys) -> None:
        self.summary = Summary()
        self._keys = keys
        self._lock = Lock()

    def finish(self, batch: Batch) -> None:
        """Count and report a batch, while the database is at work on another one.

        The cache comes after the commit, so that no program caches the old value again.
        """
        with self._lock:
            self.summary.add(batch.handled)
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
