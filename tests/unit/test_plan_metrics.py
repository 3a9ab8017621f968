"""What the metrics say of plans."""

from dataclasses import replace
from datetime import timedelta

from prometheus_client.parser import text_string_to_metric_families

from flagschedule.adapters.prometheus import PrometheusTelemetry
from flagschedule.domain.plan import Done, Phase, PlanStatus
from flagschedule.domain.plan_status import PlanTransition
from tests.unit.builders import HOUR, NOW

ACTIVE = PlanStatus(phase=Phase.ACTIVE, planned_until=NOW + timedelta(days=7))


def scraped(telemetry: PrometheusTelemetry) -> dict[str, float]:
    """Return every sample by its name and labels."""
    text = telemetry.text(None, leads=True).decode()
    return {
        sample.name + "".join(f"[{value}]" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_plan_with_the_fewest_rows_counts() -> None:
    """What is suspended, finished or cancelled needs no more rows, and says nothing of how far is planned."""
    telemetry = PrometheusTelemetry()
    assert scraped(telemetry)["flagschedule_planned_until_timestamp_seconds"] == float("inf")
    ended = [replace(ACTIVE, phase=phase, planned_until=NOW) for phase in (Phase.SUSPENDED, Phase.FINISHED)]

    telemetry.plans_compared([ACTIVE, replace(ACTIVE, planned_until=NOW + HOUR), *ended, PlanStatus()])

    found = scraped(telemetry)
    assert found["flagschedule_planned_until_timestamp_seconds"] == (NOW + HOUR).timestamp()
    assert (found["flagschedule_plans[Active]"], found["flagschedule_plans[Failed]"]) == (2, 0)


def test_windows_that_are_open_past_their_end_are_counted() -> None:
    """The figure goes back to none when the ends were made."""
    telemetry = PrometheusTelemetry()
    telemetry.plans_compared([ACTIVE, replace(ACTIVE, window_open_past_end=True)])
    assert scraped(telemetry)["flagschedule_open_windows_past_end"] == 1

    telemetry.plans_compared([ACTIVE, ACTIVE])

    assert scraped(telemetry)["flagschedule_open_windows_past_end"] == 0


def test_only_a_step_that_failed_is_counted_as_not_made() -> None:
    """An exception that wins over a plan is as planned; the counter of the alert exists before its first count."""
    telemetry = PrometheusTelemetry()
    assert scraped(telemetry)["flagschedule_transitions_total[StepNotMade]"] == 0

    for outcome in ("Applied", "Superseded", "Skipped", "NotStarted", "Failed", "ExpectationNotMet"):
        done = Done(step="hours", part="Start", at=NOW, outcome=outcome, change="checkout: enabled=true")
        telemetry.plan_status_written(PlanTransition(old=ACTIVE, new=replace(ACTIVE, recent=(done,))))

    found = scraped(telemetry)
    counts = [
        found[f"flagschedule_transitions_total[{reason}]"] for reason in ("StepMade", "StepPassedOver", "StepNotMade")
    ]
    assert counts == [1, 3, 2]
