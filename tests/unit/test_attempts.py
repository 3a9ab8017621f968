"""Attempts are counted by number, outcome and condition, from the run to the scrape."""

from dataclasses import fields

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flagschedule.adapters.prometheus import PrometheusTelemetry
from flagschedule.domain.errors import ChangeNotMadeError, RowRefusedError
from flagschedule.domain.outcome import Reason
from flagschedule.ports.measuring import Backlog
from flagschedule.ports.processing import Batch, ProcessedSchedule
from flagschedule.services.processing.cache import CacheKeys
from flagschedule.services.processing.report import Attempts, Report


def processed(state: str, reason: Reason, retry_count: int = 0, *, retried: bool = False) -> ProcessedSchedule:
    """Return one schedule as a batch returns it."""
    return ProcessedSchedule("id", "flag", "production", state, reason, retry_count, None, retried)


def batch(*handled: ProcessedSchedule) -> Batch:
    """Return a batch without cache keys."""
    return Batch(handled=handled, cache_entries={})


def test_a_run_counts_its_attempts() -> None:
    """First attempts and retries, each with its outcome; of failed ones the condition, or the reason."""
    report = Report(CacheKeys(None))

    report.finish(batch(*[processed("applied", Reason.APPLIED)] * 5, processed("applied", Reason.SUPERSEDED)))
    report.finish(batch(processed("failed", Reason.ATTEMPT_FAILED, 1)), "check_violation")
    report.finish(batch(processed("failed", Reason.RETRIES_EXHAUSTED, 3, retried=True)), "check_violation")
    report.finish(batch(processed("applied", Reason.APPLIED, 3, retried=True)))
    report.finish(batch(processed("failed", Reason.INVALID_UPDATES), processed("cancelled", Reason.SKIPPED)))
    report.finish(batch(processed("applied", Reason.APPLIED, 11, retried=True)))

    assert report.attempts.counts() == {
        "1 applied": 5,
        "1 superseded": 1,
        "1 failed check_violation": 1,
        "4 failed check_violation": 1,
        "4 applied": 1,
        "1 failed InvalidUpdates": 1,
        "1 cancelled": 1,
        "more applied": 1,
    }


def test_a_run_that_did_nothing_counts_nothing() -> None:
    """An idle run stores no kind of attempt."""
    assert Attempts().counts() == {}


@pytest.mark.parametrize(
    ("error", "condition"),
    [
        (RowRefusedError("23514", "check_violation"), "check_violation"),
        (RowRefusedError("P0777", "SQLSTATE P0777"), "other"),
        (ChangeNotMadeError("FSNOT", "left the flag as it was"), "change_not_made"),
    ],
)
def test_conditions_are_bounded(error: RowRefusedError, condition: str) -> None:
    """A code of an application's own is `other`, because any number of them may be made."""
    assert error.condition == condition


def test_a_scrape_shows_attempts() -> None:
    """Counts of two looks add up; a failed attempt is in both counters, and the usual series begin with 0."""
    telemetry = PrometheusTelemetry()
    empty = dict.fromkeys((field.name for field in fields(Backlog)), 0)
    counts = ("processed", "failed", "retried", "superseded", "set_aside", "skipped", "refused_cache_keys")
    runs = dict.fromkeys(counts, 0)
    for attempts in ({"1 applied": 2, "2 failed check_violation": 1}, {"2 failed check_violation": 2}):
        backlog = Backlog(**{**empty, "runs": runs, "attempts": attempts})  # type: ignore[arg-type]  # all are 0

        text = telemetry.text(backlog, leads=True).decode()

    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["flagschedule_attempts_total", "1", "applied"] == 2
    assert found["flagschedule_attempts_total", "2", "failed"] == 3
    assert found["flagschedule_failed_attempts_total", "check_violation"] == 3
    assert found["flagschedule_attempts_total", "3", "superseded"] == 0
