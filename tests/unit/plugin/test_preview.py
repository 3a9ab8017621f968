"""`preview`: what a file will do."""

from collections.abc import Iterable

import pytest

from flagschedule.plugin import preview
from flagschedule.plugin.objects import Obj
from flagschedule.plugin.preview import Judged, Review, accepted, review
from tests.unit.plugin.objects import NOW, freeze, plan, schedule, step, window


def new(obj: Obj) -> Judged:
    """Return an object of a file that is not in the cluster, as a dry run returns it."""
    return accepted(Obj({name: value for name, value in obj.raw.items() if name != "status"}), None)


def judged(*file: Judged, cluster: Iterable[Obj] = (), zone: str = "UTC") -> list[Review]:
    """Return the reviews of a file."""
    return review(file, list(cluster), NOW, zone)


def conflicts(*file: Judged, cluster: Iterable[Obj] = ()) -> list[str]:
    """Return all conflicts of a file."""
    return [conflict for each in judged(*file, cluster=cluster) for conflict in each.conflicts]


def test_times_are_in_utc_and_in_the_zone() -> None:
    """A plan shows its next times in its own zone, a schedule in the one that is named."""
    (hours,) = judged(new(plan()))
    (launch,) = judged(new(schedule()), zone="Asia/Tokyo")

    assert hours.lines[0] == "2027-03-23 08:00 UTC (Tue 2027-03-23 09:00 CET, Europe/Oslo) hours: chat: enabled=true"
    assert hours.lines[-1].startswith("and ")
    assert launch.lines == ["2027-03-23 09:00 UTC (Tue 2027-03-23 18:00 JST, Asia/Tokyo): checkout: enabled=true"]


def test_another_change_of_the_same_property_at_the_same_time_is_a_conflict() -> None:
    """The message says which of the two wins."""
    theirs = schedule("theirs", updates={"enabled": False})

    assert conflicts(new(schedule()), new(theirs))[0].endswith("so which of them wins cannot be chosen")
    (found,) = conflicts(new(schedule()), cluster=[theirs])
    assert found.startswith("checkout is also changed by fsched shop/theirs at 2027-03-23 09:00 UTC; ")
    assert found.endswith("both at the same time, so the one created later wins")
    ramp = plan("ramp", steps=[step("a", 5, "checkout", at="2027-03-23T09:00:00Z")])
    ours = new(schedule(updates={"rolloutPercentage": 9}))
    assert conflicts(ours, cluster=[ramp])[0].endswith("so the FlagSchedule wins over the plan")


@pytest.mark.parametrize(
    "theirs",
    [
        schedule("theirs"),
        schedule("theirs", updates={"rolloutPercentage": 5}),
        schedule("theirs", environment="staging", updates={"enabled": False}),
        schedule("theirs", scheduledAt="2027-03-24T09:00:00Z", updates={"enabled": False}),
        schedule("theirs", phase="Applied", updates={"enabled": False}),
    ],
    ids=["same value", "another property", "another environment", "another time", "made"],
)
def test_what_does_not_meet_is_no_conflict(theirs: Obj) -> None:
    """Equal values, other properties, environments and times are as they should be."""
    assert conflicts(new(schedule()), cluster=[theirs]) == []


def test_a_change_within_a_window_or_between_the_steps_of_a_ramp_is_a_conflict() -> None:
    """Also where the other object is in the same file; a ramp does not conflict with itself."""
    ramp = new(plan("ramp", steps=[step("a", 5, at="2027-03-23T09:00:00Z"), step("b", 50, after="24h")]))
    within = new(schedule(flagKey="search", scheduledAt="2027-03-23T20:00:00Z", updates={"rolloutPercentage": 0}))
    noon = new(schedule("noon", flagKey="chat", scheduledAt="2027-03-23T11:00:00Z", updates={"enabled": False}))

    assert conflicts(ramp) == []
    assert len(conflicts(ramp, within)) == 2
    assert conflicts(noon, cluster=[plan()]) == [
        "chat is also changed by fplan shop/hours from 2027-03-23 08:00 to 2027-03-23 16:00 UTC"
    ]
    assert conflicts(new(plan())) == []


def test_what_a_freeze_holds_is_a_conflict() -> None:
    """The message says until when, and by which freeze."""
    window_ = {"from": "2027-03-23T08:00:00Z", "until": "2027-03-23T10:00:00Z"}

    assert conflicts(new(schedule()), cluster=[freeze(windows=[window_])]) == [
        "checkout at 2027-03-23 09:00 UTC is held until 2027-03-23 10:00 UTC by the freeze holidays"
    ]


def test_a_new_freeze_shows_what_it_will_hold() -> None:
    """A reviewer of a freeze sees its windows and the changes within."""
    window_ = {"from": "2027-03-23T08:00:00Z", "until": "2027-03-23T10:00:00Z"}
    (found,) = judged(new(freeze(windows=[window_])), cluster=[schedule()])

    assert found.conflicts == []
    assert found.lines == [
        "freezes from 2027-03-23 08:00 UTC until 2027-03-23 10:00 UTC",
        "holds fsched shop/launch: checkout at 2027-03-23 09:00 UTC",
    ]


def test_a_refusal_is_a_conflict() -> None:
    """Schema, policies and ownership of flags are the API server's answer."""
    assert conflicts(Judged(schedule(), None, "flag checkout is not of shop")) == [
        "refused: flag checkout is not of shop"
    ]


def test_a_spec_that_only_the_operator_refuses_is_a_conflict() -> None:
    """What passes the schema and would be Invalid."""
    bad = plan(timeZone="UTC", steps=[window(cron="0 0 30 2 *")])

    assert "never starts" in conflicts(new(bad))[0]


LATE = "scheduledAt must be in the future: ..."


@pytest.mark.parametrize(
    ("at", "refusal", "is_conflict", "words"),
    [
        ("2024-01-01T00:00:00Z", LATE, False, "Replayed or Expired"),
        ("2024-01-01T00:00:00Z", None, False, "Replayed or Expired"),
        ("2027-03-22T07:00:00Z", LATE, True, "Expired"),
        ("2027-03-22T07:55:00Z", LATE, True, "has passed"),
    ],
)
def test_an_old_file(at: str, refusal: str | None, is_conflict: bool, words: str) -> None:
    """History from Git is named Replayed or Expired; what has just passed is a mistake to correct."""
    (found,) = judged(Judged(schedule(phase=None, scheduledAt=at), None, refusal))

    assert bool(found.conflicts) == is_conflict
    assert words in (found.conflicts or found.lines)[0]


def test_an_old_file_of_an_object_that_was_handled() -> None:
    """It is as it was, and nothing happens again."""
    made = schedule(phase="Applied", scheduledAt="2027-03-01T00:00:00Z")
    (found,) = judged(accepted(made, made), cluster=[made])

    assert (found.conflicts, found.lines) == ([], ["Applied: it is handled already, and nothing happens again"])


def test_an_edit_that_comes_too_late_is_a_conflict() -> None:
    """What GitOps tools may edit without effect is named before."""
    made = schedule(phase="Applied")
    edited = Obj({**made.raw, "metadata": {**made.metadata, "generation": 2}})

    assert "EditTooLate" in conflicts(accepted(edited, made))[0]


def test_an_edit_of_a_failed_object_plans_it_again() -> None:
    """Its times are shown, though the status still says Failed."""
    failed = schedule(phase="Failed")
    edited = Obj({**failed.raw, "metadata": {**failed.metadata, "generation": 2}})
    (found,) = judged(accepted(edited, failed))

    assert found.lines[0].startswith("2027-03-23 09:00 UTC")


def test_an_edit_is_compared_with_others_and_not_with_itself() -> None:
    """The live version of an object of the file counts no more."""
    live = schedule(updates={"enabled": False})

    assert conflicts(accepted(schedule(), live), cluster=[live]) == []


def test_lines_are_clean() -> None:
    """What the API server says of a file is made printable."""
    lines = preview.as_lines(judged(Judged(schedule(), None, "\x1b[2J")))

    assert lines == ["fsched shop/launch", r"  conflict: refused: \x1b[2J"]


@pytest.mark.parametrize("spec", [None, [], "x", {"steps": "x"}, {"steps": [1, {"changes": {"flagKey": 5}}]}, {}])
@pytest.mark.parametrize("kind", ["FlagSchedule", "FlagPlan", "FlagFreeze"])
def test_any_shape_of_a_refused_file_is_shown(kind: str, spec: object) -> None:
    """A file may hold anything; the refusal is the result, and nothing raises."""
    obj = Obj({"kind": kind, "metadata": {"name": "odd", "namespace": "shop"}, "spec": spec})

    assert conflicts(Judged(obj, None, "spec: Invalid value"), cluster=[schedule()]) == ["refused: spec: Invalid value"]


def finished(**metadata: object) -> Obj:
    """Return a plan whose only step was made."""
    done = {"step": "a", "part": "Start", "at": "2027-03-21T09:00:00Z", "outcome": "Applied"}
    steps = [step("a", 5, at="2027-03-21T09:00:00Z")]
    steps += [step("b", 50, at="2027-03-25T09:00:00Z")] if metadata else []
    return plan("ramp", phase="Finished", status={"recent": [done]}, steps=steps, metadata=metadata)


def test_a_step_that_is_added_to_a_finished_plan_is_no_conflict() -> None:
    """The plan goes on, as its page says; an edit of what was made is too late."""
    live, added = finished(), finished(generation=2)
    changed = Obj({**live.raw, "metadata": {**live.metadata, "generation": 2}})

    (found,) = judged(accepted(added, live))
    assert (found.lines, found.conflicts) == (["2027-03-25 09:00 UTC b: search: rolloutPercentage=50"], [])
    assert "EditTooLate" in conflicts(accepted(changed, live))[0]
