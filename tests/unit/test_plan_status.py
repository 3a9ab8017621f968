"""What a plan's status says, and which Events a step from one status to the next has."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from flagschedule.domain import plan_status
from flagschedule.domain.conditions import find
from flagschedule.domain.outcome import Holding, Reason, State
from flagschedule.domain.plan import ConditionType, FlagPlan, PlanStatus
from flagschedule.domain.plan_rows import Part
from flagschedule.domain.plan_status import PlanTransition
from flagschedule.domain.planning import View
from flagschedule.domain.schedule import RETRY_ANNOTATION
from tests.support.plans import PlanWorld, change
from tests.unit.test_planning import HOUR, MINUTE, MONDAY, at, hours, ramp, recurring, three_flags, world

Shown = tuple[str | None, str | None, str | None, str | None]


def status(on: PlanWorld, plan: FlagPlan) -> PlanStatus:
    """The status of a plan that was planned."""
    decision = on.reconcile(plan)
    found = plan_status.compute(plan, on.facts(plan), decision)
    assert found
    assert PlanStatus.from_json(found.as_json()) == found
    return found


def conditions(found: PlanStatus) -> Shown:
    """Phase, and reason of Ready and statuses of Stalled and Finished."""
    ready, stalled, finished = (find(found.conditions, kind) for kind in ConditionType)
    assert ready
    return found.phase, ready.reason, stalled.status if stalled else None, finished.status if finished else None


def test_an_active_plan_says_what_comes_next_and_what_was_done() -> None:
    """Next, last, recent and the horizon, in whole seconds."""
    on = world(at(-1))
    on.reconcile(recurring())
    on.run(recurring(), at(1, 10), HOUR)

    found = status(on, recurring())

    assert conditions(found) == ("Active", "Planned", None, None)
    assert found.next
    assert (found.next.step, found.next.at, found.next.change) == ("hours", at(1, 17), "chat: enabled=false")
    assert [(done.part, done.at, done.outcome) for done in found.recent] == [
        ("Start", at(1, 9), "Applied"),
        ("End", at(0, 17), "Applied"),
        ("Start", at(0, 9), "Applied"),
    ]
    assert (found.last, found.flags) == (found.recent[0], "chat")


def test_recent_holds_the_last_ten() -> None:
    """However long a plan lives, its status stays small."""
    on = world(at(-1))
    step = hours("0 * * * *", None)
    on.reconcile(recurring(step))
    on.run(recurring(step), at(2), HOUR)

    found = status(on, recurring(step))

    assert len(found.recent) == 10
    assert found.recent[0].at == at(2)


def test_a_missing_flag_is_named_in_phase_condition_and_column() -> None:
    """What is waited for can be read, and others go on."""
    on = world(MONDAY, "one", "two")

    found = status(on, three_flags())

    assert conditions(found) == ("Waiting", "FlagNotFound", None, "False")
    assert found.waiting_for
    assert found.waiting_for.flag == "three (production)"
    assert '"three"' in (found.message or "")


def test_a_stopped_chain_is_stalled_and_names_step_and_flag() -> None:
    """The message says what was not made, why, and what to do."""
    on = world(MONDAY, "one", "two", "three")
    on.reconcile(three_flags())
    on.refuse("first")

    found = status(on, three_flags())

    assert conditions(found) == ("Failed", "StepNotMade", "True", "False")
    for part in ("first", "three: refused", "retry-requested-at"):
        assert part in (found.message or "")


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"suspend": True}, ("Suspended", "Suspended", None, None)),
        ({"cancel": True}, ("Cancelled", "Cancelled", None, "False")),
        ({"maxRetries": 99}, ("Invalid", "InvalidSpec", "True", None)),
    ],
)
def test_what_holds_a_plan_has_a_phase_of_its_own(fields: dict[str, Any], shown: Shown) -> None:
    """Suspended, cancelled, invalid."""
    on = world(at(-1))
    on.reconcile(recurring())

    assert conditions(status(on, recurring(**fields, generation=2))) == shown


def test_history_from_git_is_finished_and_not_stalled() -> None:
    """An old file is no accident; a plan that is an hour late is."""
    on = world(MONDAY + timedelta(days=9))
    assert conditions(status(on, ramp(created_at=on.now))) == ("Finished", "Expired", None, "True")

    on = world(MONDAY + timedelta(days=1, hours=10))
    assert conditions(status(on, ramp(created_at=on.now))) == ("Failed", "Expired", "True", "False")


def test_a_window_that_is_held_past_its_end_says_so() -> None:
    """Suspended within a window, from its end on."""
    on = world(at(-1))
    on.reconcile(recurring())
    on.run(recurring(), at(0, 10), HOUR)
    held = recurring(suspend=True, generation=2)
    assert status(on, held).window_open_past_end is None

    on.now = at(0, 17, 1)

    assert status(on, held).window_open_past_end is True


def test_a_window_whose_end_is_tried_again_or_failed_says_so() -> None:
    """Also between two attempts, and when no attempt is left, until a request to retry has ended it."""
    on = world(at(0, 8))
    on.reconcile(recurring())
    on.run(recurring(), at(0, 10), HOUR)
    on.now = at(0, 17, 10)
    (end,) = [link for link in on.pending(Part.END) if link.due_at < on.now]
    on.links[end.key] = replace(end, state=State.FAILED, retrying=True, error="refused")
    assert status(on, recurring()).window_open_past_end is True

    on.links[end.key] = replace(end, state=State.FAILED, reason=Reason.RETRIES_EXHAUSTED, error="refused")
    assert status(on, recurring()).window_open_past_end is True

    status(on, recurring(annotations={RETRY_ANNOTATION: "now"}))
    on.process()
    assert status(on, recurring()).window_open_past_end is None


def test_what_is_due_and_held_shows_the_freeze() -> None:
    """Phase Frozen, with the freeze, its reason and its end; a stopped plan and a missing flag hide it."""
    on = world(MONDAY)
    on.reconcile(ramp())
    facts = replace(on.facts(ramp()), holding=Holding("incident", "INC-4711", None))

    found = plan_status.compute(ramp(), facts, on.reconcile(ramp()))

    assert found
    assert conditions(found) == ("Frozen", "Frozen", None, "False")
    assert found.message == 'What is due is held by the FlagFreeze "incident" until it is deleted: INC-4711.'
    missing = replace(on.reconcile(ramp()), view=View(missing={("chat", "production"): Reason.FLAG_NOT_FOUND}))
    waiting = plan_status.compute(ramp(), facts, missing)
    assert waiting
    assert waiting.phase == "Waiting"


def test_each_failed_attempt_has_an_event_until_the_last_one() -> None:
    """It names step, flag, attempt, error and the next attempt; the status shows the same meanwhile."""
    on = world(MONDAY)
    steps = [PlanStatus(), status(on, ramp())]
    (link,) = on.pending()
    for attempt in (1, 2, 2, 3):
        on.links[link.key] = replace(
            link,
            state=State.FAILED,
            error="refused",
            retrying=True,
            retry_count=attempt,
            next_retry_at=MONDAY + attempt * HOUR,
        )
        steps.append(status(on, ramp()))
    on.refuse("five")
    steps.append(status(on, ramp()))

    events = [event for old, new in pairwise(steps) for event in PlanTransition(old=old, new=new).events]
    assert [event.reason for event in events] == ["Planned", *["AttemptFailed"] * 3, "StepNotMade"]
    assert {event.type for event in events[1:]} == {"Warning"}
    assert events[2].message == (
        "For step five, flag chat: Attempt 2 of 4 failed: refused. The next one is at 2027-01-11T02:00:00Z."
    )
    (shown,) = steps[3].retrying
    assert (shown.step, shown.part, shown.flag, shown.attempt) == ("five", "Start", "chat", 2)
    assert steps[-1].retrying == ()


def test_events_report_each_outcome_once_and_the_reasons_that_people_wait_for() -> None:
    """The first plan, what was made, what was not, the end; and nothing when nothing changed."""
    on = world(MONDAY)
    steps: list[PlanStatus] = [PlanStatus(), status(on, ramp())]
    while steps[-1].phase != "Finished":
        on.now += 12 * HOUR
        on.process()
        steps.append(status(on, ramp()))
    steps.append(status(on, ramp()))

    events = [
        (event.type, event.reason) for old, new in pairwise(steps) for event in PlanTransition(old=old, new=new).events
    ]

    assert events == [("Normal", "Planned"), *[("Normal", "StepMade")] * 3, ("Normal", "Finished")]


def test_a_step_that_failed_is_a_warning() -> None:
    """With the flag and the error."""
    on = world(MONDAY)
    before = status(on, ramp())
    on.refuse("five")
    on.now += MINUTE

    events = PlanTransition(old=before, new=status(on, ramp())).events

    assert [(event.type, event.reason) for event in events] == [("Warning", "StepNotMade")]
    assert "chat: refused" in events[0].message


def test_outcomes_of_several_changes_are_one_entry_with_the_worst() -> None:
    """A step of which one change was skipped was not made."""
    on = world(MONDAY, "one", "two", "three")
    on.reconcile(three_flags())
    one = next(link for link in on.pending() if link.key.flag_key == "one")
    on._set(one, state=State.CANCELLED, reason=Reason.SKIPPED)
    on.now = MONDAY + timedelta(days=1, hours=9)
    on.process()

    (done,) = status(on, three_flags()).recent

    assert (done.outcome, done.applied_at) == ("Skipped", None)
    assert change("one")["flagKey"] in (done.message or "")
