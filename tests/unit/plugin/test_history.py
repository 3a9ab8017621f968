"""`history` and `revert`: what happened, who did it, and how to put it back."""

from datetime import timedelta
from typing import Any

import pytest
import yaml

from flagschedule.plugin import history
from flagschedule.plugin.errors import PluginError
from flagschedule.plugin.forecast import forecast
from flagschedule.plugin.objects import Obj
from tests.unit.plugin.objects import NOW, plan, schedule

BEFORE = {"enabled": False, "rolloutPercentage": 5}
AFTER = {"enabled": True, "rolloutPercentage": 5}


def made(name: str = "launch", at: str = "2027-03-21T23:00:00Z", **status: Any) -> Obj:
    """Return a schedule whose second attempt was applied."""
    attempts = [
        {"number": 2, "at": at, "outcome": "applied"},
        {"number": 1, "at": "2027-03-21T22:00:00Z", "outcome": "failed", "reason": "AttemptFailed", "error": "locked"},
    ]
    shown = {"appliedAt": at, "flag": {"before": BEFORE, "after": AFTER}, "attempts": attempts, "by": "ann"}
    return schedule(name, phase="Applied", status=shown | status)


def test_every_attempt_is_shown_with_who_and_what() -> None:
    """The newest first; values before and after stand with the attempt that made the change."""
    newest, oldest = history.entries([made()], None, [])

    assert (newest.outcome, newest.before, newest.after, newest.who) == (
        "applied, attempt 2",
        "enabled=false, rolloutPercentage=5",
        "enabled=true, rolloutPercentage=5",
        "ann",
    )
    assert (oldest.outcome, oldest.before) == ("failed (AttemptFailed) (locked), attempt 1", "")


def test_who_is_said_only_as_far_as_it_is_recorded() -> None:
    """A status that names a user counts; an annotation is marked as one; else nothing is claimed."""
    annotated = schedule(metadata={"annotations": {"flagschedule.io/changed-by": "eve\x1b"}})

    assert made().who == "ann"
    assert annotated.who == r"eve\x1b (by its annotation)"
    assert schedule().who == "not recorded"


def test_a_flag_is_followed_over_all_objects() -> None:
    """Plans and schedules of one flag stand in one table, in the order of time, and no others."""
    done = {"step": "hours", "part": "Start", "at": "2027-03-22T07:30:00Z", "outcome": "Applied", "change": "chat: x"}
    objects = [schedule(phase="Superseded", flagKey="chat", status={"appliedAt": "2027-03-20T00:00:00Z"})]
    found = history.entries([*objects, plan(status={"recent": [done]}), made()], "chat", [])

    assert [entry.by for entry in found] == ["fplan shop/hours, hours", "fsched shop/launch"]
    assert history.as_table([]) == ["Nothing was tried yet."]
    assert len(history.as_table(found)) == 3


def reverted(obj: Obj, *others: Obj) -> history.Reverted:
    """Return what takes a change back."""
    coming = forecast(others, NOW, NOW + timedelta(days=7))
    return history.revert(obj, others, coming, NOW, timedelta(minutes=1))


def test_the_yaml_sets_what_was_before() -> None:
    """Only what the change has changed, a minute from now, under a new name."""
    found = yaml.safe_load(reverted(made()).yaml)

    assert found == {
        "apiVersion": "flagschedule.io/v1alpha1",
        "kind": "FlagSchedule",
        "metadata": {"name": "launch-back-202703220800", "namespace": "shop"},
        "spec": {"flagKey": "checkout", "scheduledAt": "2027-03-22T08:01:00Z", "updates": {"enabled": False}},
    }


def test_the_yaml_of_a_long_name_and_another_environment() -> None:
    """The name stays short enough, and the environment is that of the change."""
    obj = made("x" * 63)
    found = yaml.safe_load(reverted(Obj({**obj.raw, "spec": {**obj.spec, "environment": "staging"}})).yaml)

    assert len(found["metadata"]["name"]) <= 63
    assert found["spec"]["environment"] == "staging"


def test_what_would_surprise_is_said() -> None:
    """A later change of the flag, and the next one that is planned."""
    warnings = reverted(made(), made("since", "2027-03-22T01:00:00Z"), schedule("next")).warnings

    assert warnings[0] == "fsched shop/since has changed checkout since, at 2027-03-22 01:00 UTC"
    assert warnings[1].startswith("fsched shop/next changes checkout at 2027-03-23 09:00 UTC (enabled=true)")


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        (schedule(), "is Pending"),
        (schedule(phase=None), "is not seen yet"),
        (made(flag={}), "does not show the values before"),
        (made(flag={"before": AFTER, "after": AFTER}), "had the same values before"),
        (plan(), "status of a plan"),
    ],
)
def test_what_cannot_be_put_back(obj: Obj, words: str) -> None:
    """A sentence says why."""
    with pytest.raises(PluginError, match=words):
        reverted(obj)


def test_a_key_within_another_key_is_another_flag() -> None:
    """Of a step that an edit has removed, only the text of the change is left."""
    change = "checkout-v2: enabled=true; search (staging): enabled=true"
    done = {"step": "gone", "part": "Start", "at": "2027-03-21T09:00:00Z", "outcome": "Applied", "change": change}
    obj = plan(status={"recent": [done]})

    assert history.entries([obj], "v2", []) == history.entries([obj], "staging", []) == []
    assert len(history.entries([obj], "checkout-v2", [])) == len(history.entries([obj], "search", [])) == 1


def test_a_status_of_another_release_hides_no_other_history() -> None:
    """Its attempts have other types; a fault names the object."""
    faults: list[str] = []
    other = schedule("other", phase="Applied", status={"attempts": ["text"], "flag": ["text"]})

    assert {entry.by for entry in history.entries([other, made()], None, faults)} == {made().shown}
    assert [fault.partition(" cannot")[0] for fault in faults] == ["the status of fsched shop/other"]


@pytest.mark.parametrize("flag", ["odd", 5, [], {"before": "odd", "after": []}])
def test_values_of_another_shape_cannot_be_put_back(flag: object) -> None:
    """One sentence, as where the status shows no values."""
    with pytest.raises(PluginError, match="does not show the values before"):
        reverted(made(flag=flag))
