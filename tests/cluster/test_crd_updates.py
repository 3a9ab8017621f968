"""What may change of a FlagSchedule, and when, on the real API server."""

from typing import Any

import pytest

from tests.cluster.api import Api, flagschedule
from tests.cluster.spec_corpus import spec

pytestmark = pytest.mark.apiserver

HANDLED = ("Applied", "Superseded", "Skipped", "Cancelled")
UNHANDLED = ("Pending", "Suspended", "Waiting", "Retrying", "Failed", "Expired", "Invalid")
FROZEN = "Cannot change schedule with status: {}; create a FlagSchedule with a new name"
EDIT_TOO_LATE = {
    "type": "Ready",
    "status": "True",
    "observedGeneration": 2,
    "lastTransitionTime": "2035-01-01T09:00:00Z",
    "reason": "EditTooLate",
    "message": "The edit came too late.",
}
# From -> to of every field that may change until the schedule was handled: changed, added, removed.
CHANGES = [
    ({}, {"scheduledAt": "2036-01-01T09:00:00Z"}),
    ({}, {"updates": {"enabled": False}}),
    ({}, {"updates": {"enabled": True, "rolloutPercentage": 5}}),
    ({"updates": {"enabled": True, "rolloutPercentage": 5}}, {"updates": {"enabled": True}}),
    ({}, {"suspend": True}),
    ({"suspend": True}, {"suspend": False}),
    ({"suspend": True}, {"suspend": ...}),
    ({}, {"maxRetries": 0}),
    ({"maxRetries": 5}, {"maxRetries": 6}),
    ({"maxRetries": 5}, {"maxRetries": ...}),
    ({}, {"startingDeadlineSeconds": 60}),
    ({"startingDeadlineSeconds": 60}, {"startingDeadlineSeconds": 61}),
    ({"startingDeadlineSeconds": 60}, {"startingDeadlineSeconds": ...}),
]
# The same change in another notation.
SAME = [
    ({}, {"suspend": False}),
    ({}, {"cancel": False}),
    ({"cancel": False}, {"cancel": ...}),
    ({}, {"environment": "production"}),
    ({"environment": "production"}, {"environment": ...}),
    ({}, {"scheduledAt": "2035-01-01T10:00:00+01:00"}),
]


def make(api: Api, fields: dict[str, Any], phase: str | None = None, **status: Any) -> dict[str, Any]:
    """Create an object with these spec fields and, where given, a phase."""
    created = api.create(flagschedule("x", spec(**fields)))
    assert created.ok, created.message
    if phase is not None:
        answer = api.set_status("x", observedGeneration=1, phase=phase, **status)
        assert answer.ok, answer.message
    return api.get("x")


def change(api: Api, live: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> str:
    """Replace the spec. Returns: the message of the refusal, or an empty text."""
    answer = api.replace(live | {"spec": spec(**before | after)})
    return answer.message


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_what_is_not_handled_may_change(api: Api, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Every field but flagKey and environment may be added, changed and removed before the change was made."""
    live = make(api, before)

    assert change(api, live, before, after) == ""


@pytest.mark.parametrize("phase", UNHANDLED)
def test_no_other_phase_freezes(api: Api, phase: str) -> None:
    """Only a handled schedule is frozen; a failed one is repaired by an edit."""
    live = make(api, {}, phase)

    assert change(api, live, {}, {"scheduledAt": "2036-01-01T09:00:00Z", "maxRetries": 1}) == ""


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_what_is_handled_is_frozen(api: Api, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Once the change was made, no field can be added, changed or removed, and the message says what to do."""
    live = make(api, before, "Applied")

    assert FROZEN.format("applied") in change(api, live, before, after)


@pytest.mark.parametrize("phase", HANDLED)
def test_each_end_freezes(api: Api, phase: str) -> None:
    """Applied, Superseded, Skipped and Cancelled each freeze the spec and are named in the message."""
    live = make(api, {}, phase)

    assert FROZEN.format(phase.lower()) in change(api, live, {}, {"maxRetries": 1})


@pytest.mark.parametrize("phase", HANDLED)
@pytest.mark.parametrize("before", [{}, {"cancel": False}])
def test_a_handled_schedule_cannot_be_cancelled(api: Api, phase: str, before: dict[str, Any]) -> None:
    """Cancelling a handled schedule is refused with the original's message."""
    live = make(api, before, phase)

    message = change(api, live, before, {"cancel": True})

    assert f"Cannot cancel schedule with status: {phase.lower()}" in message
    assert "Cannot change" not in message


@pytest.mark.parametrize("phase", [None, "Applied"])
@pytest.mark.parametrize(("before", "after"), SAME)
def test_the_same_wish_in_other_words_is_no_change(
    api: Api, phase: str | None, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """Writing a default down, or the same instant with another offset, is allowed even when frozen."""
    live = make(api, before, phase)

    assert change(api, live, before, after) == ""


def test_labels_and_annotations_of_a_handled_schedule_may_change(api: Api) -> None:
    """The freeze is about the spec: annotations, labels and finalizers stay free."""
    make(api, {}, "Applied")

    answer = api.patch("x", {"metadata": {"annotations": {"a": "b"}, "labels": {"c": "d"}}})

    assert answer.ok, answer.message


def test_the_status_of_a_handled_schedule_may_change(api: Api) -> None:
    """The operator can still write the status of a handled schedule."""
    make(api, {}, "Applied")

    assert api.set_status("x", lastHandledRetryRequest="now").ok


def test_a_handled_schedule_can_be_deleted(api: Api) -> None:
    """The freeze does not keep users from deleting the object."""
    make(api, {}, "Applied")

    assert api.delete("x").ok


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"flagKey": "other"}),
        ({}, {"environment": "staging"}),
        ({"environment": "staging"}, {"environment": "production"}),
        ({"environment": "staging"}, {"environment": ...}),
        ({"environment": "production"}, {"environment": "staging"}),
    ],
)
def test_flag_and_environment_never_change(api: Api, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Neither the key nor the environment can be changed, nor by adding or removing the field."""
    field = next(iter(after))
    live = make(api, before)

    message = change(api, live, before, after)

    assert f"{field} cannot be changed; create a FlagSchedule with a new name" in message


@pytest.mark.parametrize("before", [{}, {"cancel": False}])
@pytest.mark.parametrize("phase", [None, *UNHANDLED])
def test_what_is_not_handled_can_be_cancelled(api: Api, before: dict[str, Any], phase: str | None) -> None:
    """Cancel works by adding the field and by changing it, in every phase before the end."""
    live = make(api, before, phase)

    assert change(api, live, before, {"cancel": True}) == ""


@pytest.mark.parametrize("after", [{"cancel": False}, {"cancel": ...}])
@pytest.mark.parametrize("phase", [None, "Pending", "Failed"])
def test_cancel_is_one_way(api: Api, phase: str | None, after: dict[str, Any]) -> None:
    """A requested cancel cannot be undone, nor by removing the field."""
    live = make(api, {"cancel": True}, phase)

    assert "cancel cannot be undone" in change(api, live, {"cancel": True}, after)


def test_a_cancelled_schedule_gives_one_reason_only(api: Api) -> None:
    """Undoing a cancel that was carried out is refused by the freeze alone."""
    live = make(api, {"cancel": True}, "Cancelled")

    message = change(api, live, {"cancel": True}, {"cancel": False})

    assert FROZEN.format("cancelled") in message
    assert "cannot be undone" not in message


@pytest.mark.parametrize(
    "late",
    [
        {"scheduledAt": "2036-01-01T09:00:00Z"},
        {"updates": {"enabled": False}},
        {"maxRetries": 1},
        {"suspend": True},
        {"cancel": True},
    ],
)
def test_an_edit_that_came_too_late_can_be_reverted(api: Api, late: dict[str, Any]) -> None:
    """While Ready says EditTooLate the spec may change, so that Git can go back to what was applied."""
    live = make(api, late, "Applied", conditions=[EDIT_TOO_LATE])

    assert change(api, live, late, {key: spec().get(key, ...) for key in late}) == ""


def test_a_time_that_has_passed_can_be_reverted_to(api: Api) -> None:
    """What was applied was due, so that going back means a past time; another past time would do nothing either."""
    tracked = {"argocd.argoproj.io/tracking-id": "shop:flagschedule.io/FlagSchedule:shop/x"}
    api.create(flagschedule("x", spec(scheduledAt="2026-01-01T09:00:00Z"), annotations=tracked))
    assert api.patch("x", {"metadata": {"annotations": None}, "spec": {"scheduledAt": "2036-01-01T09:00:00Z"}}).ok
    api.set_status("x", observedGeneration=2, phase="Applied", conditions=[EDIT_TOO_LATE])

    answer = api.patch("x", {"spec": {"scheduledAt": "2026-01-01T09:00:00Z"}})

    assert answer.ok, answer.message


def test_a_past_time_of_a_handled_schedule_gets_the_freezes_sentence(api: Api) -> None:
    """A wrong year in a handled schedule is refused with: it is handled; not with: set a later time."""
    live = make(api, {}, "Applied")

    message = change(api, live, {}, {"scheduledAt": "2020-01-01T00:00:00Z"})

    assert FROZEN.format("applied") in message


def test_flag_and_environment_stay_even_then(api: Api) -> None:
    """EditTooLate opens the freeze only; the key stays what it was."""
    live = make(api, {}, "Applied", conditions=[EDIT_TOO_LATE])

    assert "flagKey cannot be changed" in change(api, live, {}, {"flagKey": "other"})


def test_another_reason_does_not_open_the_freeze(api: Api) -> None:
    """The freeze stands regardless of the other conditions."""
    live = make(api, {}, "Applied", conditions=[EDIT_TOO_LATE | {"reason": "Applied"}])

    assert FROZEN.format("applied") in change(api, live, {}, {"maxRetries": 1})


def test_every_message_survives_a_merge_patch(api: Api) -> None:
    """`kubectl patch` is judged like `kubectl apply`, and nothing but the sentence follows the policy's name."""
    make(api, {}, "Applied")

    message = api.patch("x", {"spec": {"cancel": True}}).message

    assert message.endswith("denied request: Cannot cancel schedule with status: applied")
    assert "nil" not in message
