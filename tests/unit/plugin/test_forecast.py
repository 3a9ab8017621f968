"""What comes, by the objects alone."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flagschedule.plugin.forecast import Change, forecast, simulate
from flagschedule.plugin.objects import Flag, Obj
from tests.unit.plugin.objects import NOW, freeze, plan, schedule, step, window

WEEK = NOW + timedelta(days=7)


def coming(*objects: Obj, until: datetime = WEEK) -> tuple[Change, ...]:
    """Return the changes that come."""
    return forecast(objects, NOW, until).changes


def times(changes: Iterable[Change]) -> list[str]:
    """Return when changes are due."""
    return [f"{change.at:%m-%dT%H:%M}" for change in changes]


def test_windows_follow_their_zone() -> None:
    """A window has its start and its end, in summer an hour earlier by UTC."""
    found = coming(plan())

    assert times(found)[:2] == ["03-22T16:00", "03-23T08:00"]
    assert times(found)[-2:] == ["03-26T16:00", "03-29T07:00"]
    assert [change.part for change in found[:3]] == ["end", "start", "end"]


@pytest.mark.parametrize("outcome", ["Skipped", "Failed"])
def test_a_window_that_did_not_begin_does_not_end(outcome: str) -> None:
    """The end of a window follows only if its start was made."""
    done = {"step": "hours", "part": "Start", "at": "2027-03-22T08:00:00Z", "outcome": outcome}

    assert times(coming(plan(status={"recent": [done]})))[0] == "03-23T08:00"


def test_a_window_that_was_open_at_first_sight_has_no_end() -> None:
    """A plan that is created at noon does nothing about five o'clock."""
    new = {"creationTimestamp": "2027-03-22T08:30:00Z"}
    late = Obj({**plan().raw, "metadata": {**plan().metadata, **new}})

    assert forecast([late], NOW + timedelta(hours=1), WEEK).changes[0].at == datetime(2027, 3, 23, 8, tzinfo=UTC)


def ramp(**status: Any) -> Obj:
    """Return a ramp of three steps, of which the last needs approval."""
    steps = [step("five", 5, at="2027-03-23T09:00:00Z"), step("half", 50, after="24h")]
    return plan("ramp", steps=[*steps, step("all", 100, after="48h", approval=True)], status=status or None)


def test_the_steps_of_a_ramp_are_estimates_until_the_one_before_was_made() -> None:
    """Each step counts from the one before, and says that it is an estimate or needs a person."""
    found = coming(ramp())

    assert times(found) == ["03-23T09:00", "03-24T09:00", "03-26T09:00"]
    assert [change.remarks for change in found] == [(), ("estimated",), ("needs approval", "estimated")]


def test_a_ramp_goes_on_from_what_was_made() -> None:
    """What was made does not come again, and the next step counts from when it was made."""
    five = {"step": "five", "part": "Start", "at": "2027-03-21T09:00:00Z", "outcome": "Applied"}
    found = coming(ramp(recent=[five | {"appliedAt": "2027-03-21T12:00:00Z"}], next={"step": "half"}))

    assert times(found) == ["03-22T12:00", "03-24T12:00"]


def test_a_ramp_that_stopped_says_so() -> None:
    """After a step that was not made nothing comes by itself."""
    five = {"step": "five", "part": "Start", "at": "2027-03-21T09:00:00Z", "outcome": "ExpectationNotMet"}
    plan_ = ramp(recent=[five])
    failed = Obj({**plan_.raw, "status": {**plan_.status, "phase": "Failed"}})

    assert {change.blocked for change in coming(failed)} == {"stopped: step five was not made (ExpectationNotMet)"}
    assert {change.made_at for change in coming(failed)} == {None}


@pytest.mark.parametrize("phase", ["Applied", "Superseded", "Skipped", "Cancelled", "Failed", "Expired", "Invalid"])
def test_what_is_handled_does_not_come(phase: str) -> None:
    """A schedule that needs nothing more, or a person, is not in the timeline."""
    assert coming(schedule(phase=phase)) == ()


def test_an_object_without_a_status_is_not_seen_yet() -> None:
    """What no operator has seen is shown as planned, and says so."""
    assert {change.remarks for change in coming(schedule(phase=None), plan(phase=None))} == {("not seen yet",)}


def test_a_suspended_object_is_not_made() -> None:
    """It is shown with its time and the word that it does not come by itself."""
    (found,) = coming(schedule(suspend=True, phase="Suspended"))

    assert (found.blocked, found.made_at) == ("suspended", None)


def test_a_freeze_moves_what_it_holds_to_its_end() -> None:
    """What is due in overlapping windows is made when the last of them ends; what does not match is made in time."""
    one = {"from": "2027-03-23T08:00:00Z", "until": "2027-03-23T10:00:00Z"}
    two = {"from": "2027-03-23T09:30:00Z", "until": "2027-03-23T12:00:00Z"}
    freezes = [freeze("one", windows=[one], flagKeys=["check*"]), freeze("two", windows=[two], namespaces=["shop"])]
    held, free = schedule(), schedule("free", flagKey="other")

    made = {change.source.name: change for change in coming(held, free, *freezes)}
    assert made["launch"].made_at == datetime(2027, 3, 23, 12, tzinfo=UTC)
    assert made["launch"].held_by == ("one", "two")
    assert made["free"].made_at == made["free"].at


def test_a_stop_button_holds_without_an_end() -> None:
    """A freeze without windows holds until it is deleted, but for what only switches off where that is allowed."""
    button = freeze("stop", allowSwitchOff=True)
    (on, off) = coming(schedule("on"), schedule("off", updates={"enabled": False}, flagKey="z"), button)

    assert (on.held_by, on.made_at) == (("stop",), None)
    assert (off.held_by, off.made_at) == ((), off.at)


def test_a_weekend_freeze_recurs() -> None:
    """63 hours from Friday at 17:00 end at nine where the clocks are set forward in between."""
    weekend = freeze("weekend", windows=[{"cron": "0 17 * * 5", "for": "63h", "timeZone": "Europe/Oslo"}])
    (held,) = coming(schedule(scheduledAt="2027-03-27T12:00:00Z"), weekend)

    assert held.made_at == datetime(2027, 3, 29, 7, tzinfo=UTC)


def test_a_freeze_that_outlasts_the_deadline_fails_the_change() -> None:
    """`startingDeadlineSeconds` ends also what is held."""
    window_ = {"from": "2027-03-23T08:00:00Z", "until": "2027-03-23T10:00:00Z"}
    (found,) = coming(schedule(startingDeadlineSeconds=60), freeze(windows=[window_]))

    assert found.made_at is None
    assert "startingDeadlineSeconds" in str(found.blocked)


def test_a_spec_that_cannot_be_used_is_a_fault_of_its_object_alone() -> None:
    """One object's trouble is never another's."""
    bad = plan("bad", timeZone="Mars/Olympus", steps=[window()])
    found = forecast([bad, schedule()], NOW, WEEK)

    assert len(found.changes) == 1
    assert found.faults[0].startswith("fplan shop/bad cannot be used: step hours: must be a time zone")


def value(objects: Iterable[Obj], at: str, name: str = "enabled", flag: str = "checkout") -> object:
    """Return a simulated value; None if it is unknown."""
    known = list(objects)
    until = datetime.fromisoformat(at)
    found, _ = simulate(known, forecast(known, NOW, until), until)
    setting = found.get((Flag(flag, "production"), name))
    return setting and setting.value


def test_at_a_tie_a_schedule_wins_over_a_plan() -> None:
    """The exception beats the rule, in any order in which the objects are read."""
    nine = schedule(flagKey="chat", scheduledAt="2027-03-23T08:00:00Z", updates={"enabled": False})

    for objects in ([nine, plan()], [plan(), nine]):
        assert value(objects, "2027-03-23T08:00:00Z", flag="chat") is False
    assert value([plan()], "2027-03-23T08:00:00Z", flag="chat") is True


def test_windows_that_follow_each_other_leave_no_gap() -> None:
    """At the same instant an earlier window's end comes before a later one's start."""
    steps = [window("a", cron="0 9 * * *", until="12:00"), window("b", cron="0 12 * * *", until="15:00")]
    both = plan(timeZone="UTC", steps=steps)

    assert value([both], "2027-03-23T12:00:00Z", flag="chat") is True


def test_a_simulation_begins_with_what_was_made() -> None:
    """Values after the last change are known; a property that nothing has set is unknown."""
    after = {"flag": {"after": {"enabled": True, "rolloutPercentage": 5}}, "appliedAt": "2027-03-20T09:00:00Z"}
    made = schedule("made", phase="Applied", status=after)

    assert value([made], "2027-03-23T00:00:00Z", "rolloutPercentage") == 5
    assert value([made, schedule(updates={"rolloutPercentage": 9})], "2027-03-24T00:00:00Z", "rolloutPercentage") == 9
    assert value([schedule(updates={"enabled": True})], "2027-03-24T00:00:00Z", "rolloutPercentage") is None


def test_a_held_change_does_not_override_a_later_one() -> None:
    """When a freeze ends everything is made in the order of its times."""
    window_ = {"from": "2027-03-23T08:00:00Z", "until": "2027-03-23T12:00:00Z"}
    early = schedule("early", updates={"enabled": False})
    later = schedule("later", scheduledAt="2027-03-23T10:00:00Z")

    assert value([early, later, freeze(windows=[window_])], "2027-03-23T12:00:00Z") is True


def test_what_expects_another_value_is_not_made() -> None:
    """A guarded change whose flag is known to be different is left out, with a note."""
    first = schedule("first", updates={"rolloutPercentage": 10})
    guarded = schedule(
        "guarded", scheduledAt="2027-03-23T10:00:00Z", updates={"enabled": True}, expect={"rolloutPercentage": 5}
    )
    at = datetime(2027, 3, 24, tzinfo=UTC)
    found, notes = simulate([first, guarded], forecast([first, guarded], NOW, at), at)

    assert (Flag("checkout", "production"), "enabled") not in found
    assert notes[0].startswith("fsched shop/guarded is not made at 2027-03-23 10:00 UTC")


def test_an_override_lets_one_schedule_pass() -> None:
    """The freeze that the status names as overridden does not hold it, and any other one does."""
    passes = schedule(status={"overridesFreeze": "stop"})

    assert coming(passes, freeze("stop"))[0].held_by == ()
    assert coming(passes, freeze("other"))[0].held_by == ("other",)


def test_identities_are_unique_and_stay() -> None:
    """No two changes share an identity, and none changes with the time at which it is computed."""
    objects = [plan(), ramp(), schedule()]
    first = forecast(objects, NOW, WEEK).changes
    later = forecast(objects, NOW + timedelta(hours=20), WEEK).changes

    assert len({change.identity for change in first}) == len(first)
    assert {change.identity for change in later} <= {change.identity for change in first}


def test_what_is_overdue_is_judged_by_the_freezes_of_now() -> None:
    """A change whose time passed before a freeze began is held as well, because it would be made now."""
    window_ = {"from": "2027-03-22T07:30:00Z", "until": "2027-03-22T10:00:00Z"}
    (found,) = coming(schedule(scheduledAt="2027-03-22T07:00:00Z"), freeze(windows=[window_]))

    assert (found.held_by, found.made_at) == (("holidays",), datetime(2027, 3, 22, 10, tzinfo=UTC))


def test_of_windows_that_follow_each_other_the_start_was_made_last() -> None:
    """Where both were made in one batch, the status alone does not say which came last; the windows do."""
    steps = [window("a", cron="0 6 * * *", until="07:00"), window("b", cron="0 7 * * *", until="15:00")]
    both = {"at": "2027-03-22T07:00:00Z", "outcome": "Applied", "appliedAt": "2027-03-22T07:00:00Z"}
    recent = [both | {"step": "b", "part": "Start"}, both | {"step": "a", "part": "End"}]
    for order in (recent, recent[::-1]):
        made = plan(timeZone="UTC", steps=steps, status={"recent": order})
        assert value([made], "2027-03-22T08:30:00Z", flag="chat") is True


@pytest.mark.parametrize("phase", ["Failed", "Expired", "Invalid"])
def test_what_was_edited_after_it_ended_is_shown(phase: str) -> None:
    """Its status is that of an older spec."""
    assert times(coming(schedule(phase=phase, metadata={"generation": 2}))) == ["03-23T09:00"]
    assert coming(schedule(phase=phase)) == ()


def test_a_step_that_is_added_to_a_finished_plan_is_shown() -> None:
    """What was handled before is not shown again, with any outcome."""
    done = [{"step": "a", "part": "Start", "at": "2027-03-21T09:00:00Z", "outcome": "Superseded"}]
    steps = [step("a", 5, at="2027-03-21T09:00:00Z"), step("b", 50, at="2027-03-25T09:00:00Z")]
    found = coming(plan(phase="Finished", metadata={"generation": 2}, status={"recent": done}, steps=steps))

    assert [(change.step, change.blocked) for change in found] == [("b", None)]


@pytest.mark.parametrize(
    "objects",
    [
        [schedule("a"), schedule("b", updates={"enabled": False})],
        [plan(name, steps=[step("s", share, at="2027-03-23T09:00:00Z")]) for name, share in (("a", 5), ("b", 9))],
    ],
    ids=["two schedules of one second", "two plans"],
)
def test_no_winner_is_named_where_none_can_be_chosen(objects: list[Obj]) -> None:
    """The value is unknown, and a note names both."""
    settings, notes = simulate(objects, forecast(objects, NOW, WEEK), WEEK)
    (setting,) = settings.values()

    assert (setting.value, [other.name for other in setting.also]) == ("?", ["b"])
    assert "which of them wins cannot be chosen" in notes[0]


def test_a_later_change_ends_a_tie() -> None:
    """It wins over both."""
    objects = [schedule("a"), schedule("b", updates={"enabled": False})]
    objects.append(schedule("later", scheduledAt="2027-03-23T10:00:00Z"))
    settings, _ = simulate(objects, forecast(objects, NOW, WEEK), WEEK)

    assert [(each.value, each.also) for each in settings.values()] == [(True, ())]


def test_a_status_of_another_release_ends_no_simulation() -> None:
    """A note names the object."""
    other = schedule("other", phase="Applied", status={"appliedAt": "2027-03-21T09:00:00Z", "flag": ["text"]})
    objects = [other, schedule()]
    settings, notes = simulate(objects, forecast(objects, NOW, WEEK), WEEK)

    assert [setting.source.name for setting in settings.values()] == ["launch"]
    assert "the status of fsched shop/other cannot be used" in notes[0]
