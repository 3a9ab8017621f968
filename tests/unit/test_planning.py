"""Which rows a plan has, and what becomes of its flags: the numbered right answers of FlagPlans, in memory."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagschedule.domain import calendar, plan_status, planning
from flagschedule.domain.calendar import Occurrence
from flagschedule.domain.outcome import Reason, State
from flagschedule.domain.plan import APPROVAL_ANNOTATION, FlagPlan
from flagschedule.domain.plan_rows import Key, Part
from flagschedule.domain.planning import MOST_OVERDUE, MOST_PENDING, horizon, plan
from tests.support.mirroring import RULES
from tests.support.plans import PlanWorld, change, plan_object

MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
# A Monday; Oslo is an hour ahead of UTC.
MONDAY: Final = datetime(2027, 1, 11, 0, 0, tzinfo=UTC)
SUNDAY: Final = MONDAY - HOUR - DAY
ANOTHER: Final = "00000000-0000-4000-8000-0000000000a2"


def at(day: int = 0, hour: int = 0, minute: int = 0) -> datetime:
    """A local time in Oslo in that week of January."""
    return MONDAY + timedelta(days=day, hours=hour - 1, minutes=minute)


def hours(cron: str = "0 9 * * 1-5", until: str | None = "17:00", **fields: Any) -> dict[str, Any]:
    """A step that is on during business hours."""
    window = {} if until is None else {"until": until}
    changes = [change(then={"enabled": False} if until else None)]
    return {"name": "hours", "cron": cron, "changes": changes, **window, **fields}


def recurring(*steps: dict[str, Any], created_at: datetime = SUNDAY, **fields: Any) -> FlagPlan:
    """A plan in Oslo, by default of business hours."""
    return plan_object(*(steps or (hours(),)), created_at=created_at, timeZone="Europe/Oslo", **fields)


def ramp(begin: str = "2027-01-12T09:00:00Z", created_at: datetime = MONDAY, **fields: Any) -> FlagPlan:
    """5, 25 and 100 percent, with a day and two days between."""
    return plan_object(
        {"name": "five", "at": begin, "changes": [change(rolloutPercentage=5)]},
        {"name": "quarter", "after": "24h", "changes": [change(rolloutPercentage=25)]},
        {"name": "all", "after": "48h", "changes": [change(rolloutPercentage=100)], **fields.pop("last", {})},
        created_at=created_at,
        **fields,
    )


def world(now: datetime, *flags: str) -> PlanWorld:
    """A world with flags that are off."""
    made = PlanWorld(now=now)
    made.add_flags(*(flags or ("chat",)))
    return made


def chat(on: PlanWorld) -> dict[str, Any]:
    """The values of the flag."""
    return on.values["chat", "production"]


def test_1_a_start_follows_the_wall_clock_over_a_change_of_the_clocks() -> None:
    """09:00 in Oslo is 08:00Z on Friday in winter, and 07:00Z on Monday in summer."""
    on = world(datetime(2027, 3, 25, 12, tzinfo=UTC))

    on.reconcile(recurring(created_at=on.now))

    starts = [link.due_at for link in on.pending()]
    assert starts[:2] == [datetime(2027, 3, 26, 8, tzinfo=UTC), datetime(2027, 3, 29, 7, tzinfo=UTC)]


def test_rows_exist_for_seven_days_ahead() -> None:
    """Each start has its row for at least a week; the end of the last window has one, too."""
    on = world(at(-1))
    decision = on.reconcile(recurring())

    assert [link.due_at for link in on.pending()] == [at(day, 9) for day in (0, 1, 2, 3, 4, 7)][: len(on.pending())]
    assert len(on.pending(Part.END)) == len(on.pending())
    assert decision.record.planned_until == horizon(on.now)
    assert horizon(on.now) - on.now >= timedelta(days=7)


def test_7_after_an_outage_over_a_whole_window_the_flag_is_off() -> None:
    """Nothing was processed from 08:00 to 18:00: both rows are late, and the end wins."""
    on = world(at(-1))
    on.reconcile(recurring())
    on.now = at(0, 18)

    on.process()

    assert chat(on)["enabled"] is False
    assert {link.state for link in on.links.values() if link.due_at <= on.now} == {State.APPLIED}


def test_7_with_a_deadline_the_late_start_is_not_made_and_the_flag_stays_off() -> None:
    """The start is an hour too late and fails; its end has nothing to end."""
    on = world(at(-1))
    on.reconcile(recurring(startingDeadlineSeconds=3600))
    on.now = at(0, 18)

    outcomes = [(link.key.part, link.reason) for link in on.process()]

    assert outcomes == [(Part.START, Reason.DEADLINE_EXCEEDED), (Part.END, Reason.NOT_STARTED)]
    assert chat(on)["enabled"] is False


def test_8_deleted_and_created_again_within_a_window_it_is_not_switched_on_twice() -> None:
    """The window that the former object began is ended at its time, and begun once."""
    on = world(at(-1))
    first = recurring()
    on.reconcile(first)
    on.run(first, at(0, 9, 1), MINUTE * 61)
    on.now = at(0, 9, 3)
    on.reconcile(recurring(deleting=True, generation=2))
    assert not on.pending(Part.END)
    on.now = at(0, 9, 5)
    second = recurring(uid=ANOTHER, created_at=on.now)

    on.reconcile(second)
    on.run(second, at(0, 18), HOUR)

    assert [values for _, _, values in on.history] == [{"enabled": True}, {"enabled": False}]


def test_9_a_new_plan_created_within_a_window_does_nothing_before_the_next_one() -> None:
    """Not even the end of a window that was never begun."""
    on = world(at(0, 12))

    on.reconcile(recurring(created_at=on.now))

    assert min(link.due_at for link in on.links.values()) == at(1, 9)


def test_10_an_exception_drops_a_window_with_its_end_and_keeps_the_end_of_the_one_before() -> None:
    """The date is that of the start, over midnight, too."""
    on = world(at(0, 12))
    step = hours("0 22 * * *", "06:00")

    on.reconcile(recurring(step, created_at=on.now, exceptDates=["2027-01-12"]))

    assert [link.due_at for link in on.pending()][:2] == [at(0, 22), at(2, 22)]
    assert [link.due_at for link in on.pending(Part.END)][:2] == [at(1, 6), at(3, 6)]


def test_10_back_to_back_windows_are_on_at_the_change() -> None:
    """The end of the earlier window is made before the start of the later one, at the same instant, on each day."""
    on = world(at(-1))
    plan = recurring(hours("0 9 * * *", "12:00"), {**hours("0 12 * * *", "15:00"), "name": "afternoon"})
    on.reconcile(plan)
    for day in range(30):
        on.now = at(day, 12, 1)
        on.process()
        on.reconcile(plan)
        assert chat(on)["enabled"] is True, day
        on.now = at(day, 15, 1)
        on.process()
        on.reconcile(plan)
        assert chat(on)["enabled"] is False, day


def test_11_a_late_step_delays_the_next_one() -> None:
    """The soak counts from the moment at which the former step was made."""
    on = world(MONDAY)
    plan = ramp()
    on.reconcile(plan)
    assert [link.key.step for link in on.pending()] == ["five"]
    made_at = datetime(2027, 1, 12, 12, tzinfo=UTC)  # three hours late
    on.now = made_at
    on.process()

    on.reconcile(plan)

    assert [(link.key.step, link.due_at) for link in on.pending()] == [("quarter", made_at + DAY)]


def test_12_suspended_in_the_soak_the_next_step_is_made_at_once_and_the_one_after_it_after_its_whole_soak() -> None:
    """A suspension of two days shortens nothing that comes after it."""
    on = world(MONDAY)
    on.reconcile(ramp())
    on.run(ramp(), datetime(2027, 1, 12, 9, tzinfo=UTC), HOUR)
    on.reconcile(ramp(suspend=True, generation=2))
    on.now += 3 * DAY
    assert not on.process()
    on.reconcile(ramp(generation=3))
    on.process()
    resumed = on.now
    assert chat(on)["rolloutPercentage"] == 25

    on.reconcile(ramp(generation=3))

    assert [(link.key.step, link.due_at) for link in on.pending()] == [("all", resumed + 2 * DAY)]


@pytest.mark.parametrize("why", ["refused", "superseded"])
def test_13_a_step_that_was_not_made_stops_the_chain_until_a_retry_is_requested(why: str) -> None:
    """Exhausted, or superseded by a person's switch: no later step is planned, and 5 never jumps to 100."""
    on = world(MONDAY)
    on.reconcile(ramp())
    on.run(ramp(), datetime(2027, 1, 12, 9, tzinfo=UTC), HOUR)
    on.now += 2 * DAY
    if why == "refused":
        on.refuse("quarter")
    else:
        on.set_by_hand("chat", rolloutPercentage=0)
    on.process()

    stopped = on.reconcile(ramp())

    assert stopped.view.stop
    assert stopped.view.stop.step == "quarter"
    assert not on.pending()
    on.now += 10 * DAY

    on.reconcile(ramp(annotations={"flagschedule.io/retry-requested-at": "now"}))

    assert [(link.key.step, link.due_at) for link in on.pending()] == [("quarter", on.now)]
    on.process()
    assert chat(on)["rolloutPercentage"] == 25
    on.reconcile(ramp(annotations={"flagschedule.io/retry-requested-at": "now"}))
    assert [(link.key.step, link.due_at) for link in on.pending()] == [("all", on.now + 2 * DAY)]


def test_14_created_again_after_the_second_step_it_goes_on_with_the_third() -> None:
    """The steps that the former object made are not made again."""
    on = world(MONDAY)
    on.reconcile(ramp())
    on.run(ramp(), datetime(2027, 1, 13, 9, tzinfo=UTC), HOUR)
    made_at = on.now
    assert chat(on)["rolloutPercentage"] == 25
    on.reconcile(ramp(deleting=True, generation=2))
    on.now += HOUR

    on.reconcile(ramp(uid=ANOTHER, created_at=on.now))

    assert [(link.key.step, link.due_at) for link in on.pending()] == [("all", made_at + 2 * DAY)]


def test_14_created_again_with_new_times_all_steps_are_made() -> None:
    """Another first time is another chain."""
    on = world(MONDAY)
    on.reconcile(ramp())
    on.run(ramp(), datetime(2027, 1, 20, 9, tzinfo=UTC), HOUR)
    on.reconcile(ramp(deleting=True, generation=2))
    again = ramp("2027-02-12T09:00:00Z", uid=ANOTHER, created_at=datetime(2027, 2, 11, tzinfo=UTC))
    on.now = datetime(2027, 2, 11, tzinfo=UTC)

    on.reconcile(again)
    on.run(again, datetime(2027, 2, 20, tzinfo=UTC), HOUR)

    shares = [values["rolloutPercentage"] for _, _, values in on.history]
    assert shares == [5, 25, 100, 5, 25, 100]


def test_15_deleted_within_a_window_its_end_is_cancelled() -> None:
    """The flag stays as it is."""
    on = world(at(-1))
    on.reconcile(recurring())
    on.now = at(0, 10)
    on.process()
    on.reconcile(recurring(deleting=True, generation=2))

    on.now = at(5)

    assert not on.process()
    assert chat(on)["enabled"] is True
    assert {link.reason for link in on.links.values() if link.due_at > at(0, 10)} == {Reason.DELETED}


def three_flags(**fields: Any) -> FlagPlan:
    """A step of three flags, and one that follows."""
    return plan_object(
        {"name": "first", "at": "2027-01-12T09:00:00Z", "changes": [change("one"), change("two"), change("three")]},
        {"name": "second", "after": "1h", "changes": [change("one", rolloutPercentage=50)]},
        created_at=MONDAY,
        **fields,
    )


def test_16_a_missing_flag_waits_and_so_does_the_next_step_while_the_others_are_made() -> None:
    """Once the flag exists, its change is made, and the soak begins."""
    on = world(MONDAY, "one", "two")
    waiting = on.reconcile(three_flags())
    assert waiting.view.missing == {("three", "production"): Reason.FLAG_NOT_FOUND}
    on.now = datetime(2027, 1, 12, 9, tzinfo=UTC)
    assert len(on.process()) == 2
    on.reconcile(three_flags())
    assert not on.pending()
    on.add_flags("three")
    on.now += MINUTE
    on.reconcile(three_flags())
    on.process()

    on.reconcile(three_flags())

    assert [(link.key.step, link.due_at) for link in on.pending()] == [("second", on.now + HOUR)]


def test_16_a_refused_flag_stops_the_chain_while_the_others_stay_made() -> None:
    """The view names the change that was not made."""
    on = world(MONDAY, "one", "two", "three")
    on.reconcile(three_flags())
    three = next(link for link in on.pending() if link.key.flag_key == "three")
    on._set(three, state=State.FAILED, reason=Reason.RETRIES_EXHAUSTED)
    on.now = datetime(2027, 1, 12, 9, tzinfo=UTC)
    on.process()

    stop = on.reconcile(three_flags()).view.stop

    assert stop
    assert [link.key.flag_key for link in stop.links] == ["three"]
    assert on.values["one", "production"]["enabled"] is True


def test_an_approval_is_waited_for_and_its_time_too() -> None:
    """The step is due at the approval, if that comes after its soak; else after its soak."""
    on = world(MONDAY)
    last_waits: dict[str, Any] = {"last": {"approval": True}}
    on.reconcile(ramp(**last_waits))
    on.run(ramp(**last_waits), datetime(2027, 1, 20, 9, tzinfo=UTC), HOUR)
    assert on.reconcile(ramp(**last_waits)).view.approval == "all"
    assert not on.pending()

    on.reconcile(ramp(**last_waits, annotations={"flagschedule.io/approved": "all"}))

    assert [(link.key.step, link.due_at) for link in on.pending()] == [("all", on.now)]


def test_a_plan_that_is_approved_and_cancelled_is_cancelled() -> None:
    """What a person gives up is not made, also if it was approved before or with it, and of a suspended plan."""
    on = world(MONDAY)
    waiting = ramp(last={"approval": True})
    on.reconcile(waiting)
    on.run(waiting, MONDAY + 5 * DAY, HOUR)
    approved = ramp(last={"approval": True}, suspend=True, generation=2, annotations={APPROVAL_ANNOTATION: "all"})
    on.reconcile(approved)
    assert [link.key.step for link in on.pending()] == ["all"]

    cancelled = ramp(
        last={"approval": True}, suspend=True, cancel=True, generation=3, annotations={APPROVAL_ANNOTATION: "all"}
    )
    on.reconcile(cancelled)
    on.run(cancelled, MONDAY + 9 * DAY, HOUR)

    assert [values for _, _, values in on.history] == [{"rolloutPercentage": 5}, {"rolloutPercentage": 25}]
    assert on.pending() == []


def test_an_approval_of_a_suspended_plan_counts_when_it_is_resumed() -> None:
    """The step is made without a second approval."""
    on = world(MONDAY)
    waiting = ramp(last={"approval": True})
    on.reconcile(waiting)
    on.run(waiting, MONDAY + 5 * DAY, HOUR)
    annotations = {APPROVAL_ANNOTATION: "all"}
    on.reconcile(ramp(last={"approval": True}, suspend=True, generation=2, annotations=annotations))
    on.now += DAY
    on.process()
    assert len(on.history) == 2

    resumed = ramp(last={"approval": True}, generation=3, annotations=annotations)
    on.reconcile(resumed)
    on.process()

    assert on.history[-1] == (on.now, "chat", {"rolloutPercentage": 100})


def test_an_early_approval_shortens_no_soak() -> None:
    """Approved from the beginning, the last step comes two days after the second one."""
    on = world(MONDAY)
    approved = ramp(last={"approval": True}, annotations={"flagschedule.io/approved": "all"})
    on.reconcile(approved)

    on.run(approved, datetime(2027, 1, 20, 9, tzinfo=UTC), HOUR)

    assert [moment for moment, *_ in on.history][-1] == datetime(2027, 1, 15, 9, tzinfo=UTC)


def edited_ramp(soak: str, **fields: Any) -> FlagPlan:
    """A first step at nine, and a second one whose soak was edited to a longer one."""
    return plan_object(
        {"name": "one", "at": "2027-01-12T09:00:00Z", "changes": [change("one")]},
        {
            "name": "two",
            "after": soak,
            "changes": [change("two", **fields.pop("values", {}))],
            **fields.pop("step", {}),
        },
        created_at=MONDAY,
        **fields,
    )


def soaking(on: PlanWorld, obj: FlagPlan, hours_after: int) -> None:
    """Let the first step be made, and some hours pass."""
    on.reconcile(obj)
    on.run(obj, datetime(2027, 1, 12, 9, tzinfo=UTC), HOUR)
    on.reconcile(obj)
    on.now += hours_after * HOUR


def test_an_edit_of_the_soak_counts_for_a_step_that_waits_for_its_flag() -> None:
    """While it waits, and once the flag exists, the step comes after the new soak."""
    on = world(MONDAY, "one")
    soaking(on, edited_ramp("1h"), 2)
    longer = edited_ramp("48h", generation=2)
    on.reconcile(longer)
    waiting = [link.due_at for link in on.links.values() if link.waiting]
    on.add_flags("two")

    on.reconcile(longer)

    assert waiting == [link.due_at for link in on.pending()] == [datetime(2027, 1, 14, 9, tzinfo=UTC)]


def test_an_edit_of_the_soak_counts_for_a_step_that_was_approved_late() -> None:
    """The step was due at its approval, and is held: with a longer soak it comes after that."""
    on = world(MONDAY, "one", "two")
    approval: dict[str, Any] = {
        "step": {"approval": True},
        "annotations": {"flagschedule.io/approved": "two"},
    }
    soaking(on, edited_ramp("1h", step={"approval": True}), 2)
    on.reconcile(edited_ramp("1h", generation=2, suspend=True, **approval))
    assert [link.due_at for link in on.pending()] == [on.now]

    on.reconcile(edited_ramp("48h", generation=3, suspend=True, **approval))

    assert [link.due_at for link in on.pending()] == [datetime(2027, 1, 14, 9, tzinfo=UTC)]


def test_a_step_that_is_made_again_keeps_its_soak() -> None:
    """The step failed; an edit of its values and of its soak makes it again after the new soak."""
    on = world(MONDAY, "one", "two")
    soaking(on, edited_ramp("1h"), 0)
    on.refuse("two")
    on.now += HOUR

    on.reconcile(edited_ramp("48h", generation=2, values={"rolloutPercentage": 5}))

    assert [link.due_at for link in on.pending()] == [datetime(2027, 1, 14, 9, tzinfo=UTC)]


def test_a_flag_that_joins_a_step_is_due_with_the_others_when_the_same_edit_moves_the_step() -> None:
    """The new change is not made at the step's former time."""
    on = world(MONDAY, "one", "two")
    soaking(on, edited_ramp("1h"), 0)
    first = {"name": "one", "at": "2027-01-12T09:00:00Z", "changes": [change("one")]}
    later = {"name": "two", "after": "48h", "changes": [change("two"), change("one")]}

    on.reconcile(plan_object(first, later, created_at=MONDAY, generation=2))

    assert [link.due_at for link in on.pending()] == [datetime(2027, 1, 14, 9, tzinfo=UTC)] * 2


def test_an_edit_of_values_changes_what_is_pending_and_makes_nothing_again() -> None:
    """The rows stay, with another arming; the window that is open ends as it began."""
    on = world(at(-1))
    on.reconcile(recurring())
    on.now = at(0, 10)
    on.process()
    on.reconcile(recurring())
    ids = {link.key: link.schedule_id for link in on.pending()}
    step = hours(changes=[change(then={"rolloutPercentage": 0}, rolloutPercentage=50)])

    on.reconcile(recurring(step, generation=2))

    assert {link.key: link.schedule_id for link in on.pending()} == ids
    assert {tuple(link.updates.items()) for link in on.pending()} == {(("rolloutPercentage", 50),)}
    ends = on.pending(Part.END)
    assert ends[0].updates == {"enabled": False}
    assert all(end.updates == {"rolloutPercentage": 0} for end in ends[1:])


def test_an_edit_starts_nothing_whose_time_has_passed() -> None:
    """Not even what would not be too late for a step that was planned in time."""
    on = world(at(-1))
    on.reconcile(recurring(hours("0 8 * * *")))
    on.now = at(0, 9, 5)

    on.reconcile(recurring(hours("0 9 * * *"), generation=2))

    assert min(link.due_at for link in on.pending()) == at(1, 9)


def test_the_end_of_an_open_window_is_made_when_its_step_is_gone() -> None:
    """Renamed or removed: the window that is open is closed, once."""
    on = world(at(-1))
    on.reconcile(recurring())
    on.now = at(0, 10)
    on.process()
    renamed = recurring({**hours(), "name": "renamed"}, generation=2)

    on.reconcile(renamed)
    on.run(renamed, at(0, 18), HOUR)

    assert [values for _, _, values in on.history] == [{"enabled": True}, {"enabled": False}]
    assert {link.key.step for link in on.pending()} == {"renamed"}


def test_an_edit_of_a_step_that_was_made_is_too_late() -> None:
    """Neither other values nor another time make it again."""
    on = world(MONDAY)
    on.reconcile(ramp())
    on.run(ramp(), datetime(2027, 1, 12, 9, tzinfo=UTC), HOUR)

    decision = on.reconcile(ramp("2027-01-14T09:00:00Z", generation=2))

    assert decision.view.too_late == ["five"]
    assert [(link.key.step, link.due_at) for link in on.pending()] == [("quarter", on.now + DAY)]


def test_an_edit_that_is_taken_back_plans_the_same_occurrences_again() -> None:
    """What an edit gave up may be planned again; what was made may not."""
    on = world(at(-1))
    on.reconcile(recurring())
    before = {link.key for link in on.pending()}
    on.reconcile(recurring(hours("0 8 * * *", "17:00"), generation=2))
    assert before.isdisjoint({link.key for link in on.pending()})

    on.reconcile(recurring(generation=3))

    assert {link.key for link in on.pending()} == before


def test_a_spec_that_cannot_be_parsed_starts_nothing_and_closes_what_is_open() -> None:
    """The end of an open window is made all the same."""
    on = world(at(-1))
    on.reconcile(recurring())
    on.now = at(0, 10)
    on.process()

    on.reconcile(recurring(hours("0 0 30 2 *"), generation=2))

    assert not on.pending()
    assert [link.due_at for link in on.pending(Part.END)] == [at(0, 17)]


def test_cancelled_is_one_way() -> None:
    """Everything pending is given up, and no edit brings it back."""
    on = world(at(-1))
    on.reconcile(recurring())
    on.reconcile(recurring(cancel=True, generation=2))
    assert not any(link.unfinished for link in on.links.values())
    on.now = at(10)

    on.reconcile(recurring(generation=3))

    assert not any(link.unfinished for link in on.links.values())


def test_what_fell_due_unplanned_is_planned_late_but_the_newest_hundred_only() -> None:
    """An operator that was away for a month leaves no storm, and the flag ends as the latest row says."""
    on = world(at(-1))
    step = hours("*/10 * * * *", None)
    on.reconcile(recurring(step))
    on.now = at(30)
    on.process()

    on.reconcile(recurring(step))

    overdue = [link for link in on.pending() if link.due_at <= on.now]
    assert len(overdue) == MOST_OVERDUE
    assert overdue[-1].due_at == on.now


def test_a_plan_has_at_most_two_thousand_pending_rows() -> None:
    """Up to when everything is planned is known, and the rest follows as rows are made."""
    on = world(at(-1), "one", "two", "three")
    step = hours("*/5 * * * *", None, changes=[change("one"), change("two"), change("three")])

    decision = on.reconcile(recurring(step))

    assert MOST_PENDING - 3 < len(on.pending()) <= MOST_PENDING
    assert decision.record.planned_until
    assert decision.record.planned_until == on.pending()[-1].due_at + 5 * MINUTE - timedelta(seconds=1)


def test_a_first_step_that_is_late_by_an_accident_is_stopped_and_history_is_left_alone() -> None:
    """Within a day a person should look; an older file from Git is no accident."""
    for age, is_history in ((HOUR, False), (2 * DAY, True)):
        on = world(datetime(2027, 1, 12, 9, tzinfo=UTC) + age)

        stop = on.reconcile(ramp(created_at=on.now)).view.stop

        assert stop
        assert (stop.links, stop.is_history) == ((), is_history)
        assert not on.links


def test_a_first_step_that_was_accepted_in_time_is_made_late() -> None:
    """The operator was away when the object was created."""
    on = world(datetime(2027, 1, 12, 15, tzinfo=UTC))

    on.reconcile(ramp(created_at=MONDAY))

    assert [link.key.step for link in on.pending()] == ["five"]


def test_an_older_view_of_an_object_changes_nothing() -> None:
    """Of two tasks the one with the older copy loses."""
    on = world(at(-1))
    on.reconcile(recurring(generation=2))
    before = dict(on.links)

    on.reconcile(recurring(hours("0 8 * * *"), generation=1))

    assert on.links == before


def test_a_window_with_a_time_is_ended_and_then_the_plan_is_finished() -> None:
    """The next step counts from the start, and a plan is finished once nothing is left."""
    on = world(MONDAY)
    window = {"name": "w", "at": "2027-01-12T09:00:00Z", "until": "2027-01-12T17:00:00Z"}
    plan = plan_object(
        {**window, "changes": [change(then={"enabled": False})]},
        {"name": "more", "after": "1h", "changes": [change(rolloutPercentage=7)]},
        created_at=MONDAY,
    )
    on.reconcile(plan)
    on.run(plan, datetime(2027, 1, 12, 12, tzinfo=UTC), HOUR)
    assert not on.reconcile(plan).view.is_finished

    on.run(plan, datetime(2027, 1, 13, tzinfo=UTC), HOUR)

    assert on.reconcile(plan).view.is_finished
    assert chat(on) == {"enabled": False, "rolloutPercentage": 7}


def shown(on: PlanWorld, plan: FlagPlan) -> dict[str, Any]:
    """The status that a plan shows."""
    found = plan_status.compute(plan, on.facts(plan), on.reconcile(plan))
    assert found
    return found.as_json()


def test_a_restored_database_makes_no_step_again_that_the_status_shows_as_made() -> None:
    """Restored to before everything: the chain goes on with the step that was next, whole soak included."""
    on = world(MONDAY)
    on.reconcile(ramp())
    on.run(ramp(), datetime(2027, 1, 13, 9, tzinfo=UTC), HOUR)
    status, made_at, now = shown(on, ramp()), on.now, on.now + HOUR
    restored = world(now)

    restored.reconcile(ramp(status=status))

    assert [(link.key.step, link.due_at) for link in restored.pending()] == [("all", made_at + 2 * DAY)]


def test_a_restored_database_repeats_no_window_that_the_status_shows_as_handled() -> None:
    """Rows that are pending again are applied without a change; what is newer than the status is made."""
    on = world(at(-1))
    on.reconcile(recurring())
    before = dict(on.links), dict(on.records)
    on.run(recurring(), at(1, 12), HOUR)
    plan = recurring(status=shown(on, recurring()))
    on.links, on.records = before
    on.history.clear()

    on.reconcile(plan)
    on.run(plan, at(1, 18), HOUR)

    assert [(moment, values) for moment, _, values in on.history] == [(at(1, 17), {"enabled": False})]


def test_a_step_with_the_name_of_a_recurring_one_is_made() -> None:
    """That a status shows a step of the same name is no sign of a restored database."""
    on = world(at(-1))
    on.reconcile(recurring())
    on.run(recurring(), at(1, 18), HOUR)
    once = {"name": "hours", "at": "2027-01-13T09:00:00Z", "changes": [change(rolloutPercentage=5)]}

    on.reconcile(plan_object(once, created_at=SUNDAY, generation=2, status=shown(on, recurring())))

    assert [(link.key.step, link.is_chain) for link in on.pending()] == [("hours", True)]


steps = st.sampled_from(
    [
        hours(),
        hours("0 */6 * * *", None),
        hours("30 22 * * *", "06:00"),
        {"name": "five", "at": "2027-01-12T09:00:00Z", "changes": [change(rolloutPercentage=5)]},
        {"name": "more", "after": "24h", "changes": [change(), change("other")]},
        {"name": "waits", "after": "1h", "approval": True, "changes": [change("other", rolloutPercentage=50)]},
    ]
)
acts = st.sampled_from(
    ["edit", "suspend", "resume", "delete", "process", "refuse", "retry", "approve", "flag", "break"]
)


@settings(deadline=None)
@given(st.lists(st.tuples(acts, st.integers(0, 3000), st.lists(steps, min_size=1, max_size=3)), max_size=12))
def test_no_walk_makes_anything_twice_and_planning_always_comes_to_an_end(
    walk: list[tuple[str, int, list[dict[str, Any]]]],
) -> None:
    """Each change of each occurrence has one row at a time, and none that was made has another one."""
    on = world(MONDAY)
    fields: dict[str, Any] = {"suspend": False}
    chosen, uid, generation, made = [hours()], 1, 1, set[tuple[Any, Any]]()
    for act, minutes, wanted in walk:
        on.now += minutes * MINUTE
        generation += 1
        annotations = {"flagschedule.io/retry-requested-at": str(generation)} if act == "retry" else {}
        match act:
            case "edit":
                chosen = wanted
            case "suspend" | "resume":
                fields["suspend"] = act == "suspend"
            case "process":
                on.process()
            case "refuse":
                on.refuse(wanted[0]["name"])
            case "approve":
                annotations = {"flagschedule.io/approved": "waits"}
            case "flag":
                on.add_flags("other")
            case "break":
                chosen = [hours("0 0 30 2 *")]
        zone = {} if "cron" not in chosen[0] else {"timeZone": "Europe/Oslo"}
        named = {"uid": f"00000000-0000-4000-8000-{uid:012d}", "created_at": MONDAY, "generation": generation}
        on.reconcile(plan_object(*chosen, **named, **fields, **zone, annotations=annotations))
        if act == "delete":
            on.reconcile(plan_object(*chosen, **named, deleting=True))
            assert not any(link.unfinished for link in on.links.values())
            uid += 1
        now_made = {(link.key, link.schedule_id) for link in on.links.values() if link.made}
        assert made <= now_made
        made = now_made


def test_an_end_that_failed_stops_the_plan_until_a_retry_is_requested() -> None:
    """The flag is as the window left it: the plan says so, and is not finished."""
    on = world(at(0, 8))
    window = recurring(hours(), endsAt="2027-01-11T10:00:00Z")
    on.reconcile(window)
    on.now = at(0, 9)
    on.process()
    on.reconcile(window)
    (end,) = on.pending(Part.END)
    on._set(end, state=State.FAILED, reason=Reason.RETRIES_EXHAUSTED)
    on.now = at(0, 18)

    view = on.reconcile(window).view

    assert view.stop
    assert [link.key.part for link in view.stop.links] == [Part.END]
    assert not view.is_finished


def test_what_was_never_planned_is_not_made_more_than_a_day_late() -> None:
    """A monthly start that fell due while no operator worked for three days is left alone."""
    on = world(at(0, 8))
    monthly = recurring(hours("0 9 11 * *", None))
    on.reconcile(monthly)
    on.now = at(0, 9)
    on.process()
    on.now = at(34)

    on.reconcile(monthly)

    assert all(link.due_at > on.now for link in on.pending())


def test_a_plan_of_many_changes_is_planned_by_what_it_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day of this plan has 184,320 changes, and 2,000 may be pending: a pass looks at thousands, and not at all."""
    now = at(hour=9)
    steps = [
        {"name": f"step-{number}", "cron": "*/5 * * * *", "changes": [change(f"flag-{each}") for each in range(20)]}
        for number in range(32)
    ]
    on = world(now, *(f"flag-{each}" for each in range(20)))
    obj = plan_object(*steps, created_at=now - timedelta(days=2), timeZone="Europe/Oslo")
    on.reconcile(obj)
    on.now += timedelta(hours=20)  # and no processor has worked
    facts = on.facts(obj)
    looked_at: list[str] = []

    def note(kind: Any) -> Any:
        def make(*values: Any, **fields: Any) -> Any:
            looked_at.append(kind.__name__)
            return kind(*values, **fields)

        return make

    monkeypatch.setattr(planning, "Key", note(Key))
    monkeypatch.setattr(calendar, "Occurrence", note(Occurrence))

    assert not plan(obj, facts, RULES).changes
    assert looked_at.count("Key") < 5000
    assert looked_at.count("Occurrence") < 10_000
