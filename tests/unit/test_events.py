"""Which steps from one status to the next are worth an Event."""

from typing import Any

import pytest
from hypothesis import given

from flagschedule.domain.events import Event, Transition
from flagschedule.domain.schedule import Status
from tests.unit.test_status_properties import cases, computed

REASONS = {
    "Mirrored",
    "Applied",
    "AttemptFailed",
    "RetriesExhausted",
    "ExpectationNotMet",
    "Skipped",
    "Cancelled",
    "Expired",
    "FlagNotFound",
    "FlagAmbiguous",
    "EditTooLate",
    "Suspended",
    "Resumed",
    "Edited",
}
NEW: dict[str, Any] = {"observedGeneration": -1}


def status(applied: str, reason: str, **fields: Any) -> dict[str, Any]:
    """Return a status whose condition Applied has this reason; a failed one is Stalled, too."""
    conditions = [{"type": "Applied", "status": applied, "reason": reason, "message": f"About {reason}."}]
    if fields.pop("stalled", False):
        conditions.append({"type": "Stalled", "status": "True", "reason": reason, "message": "Do something."})
    return {"conditions": conditions, **fields}


def transition(old: dict[str, Any], new: dict[str, Any]) -> Transition:
    """Return the step between two statuses in the API's shape."""
    return Transition(old=Status.from_json(old), new=Status.from_json(new))


PENDING = status("Unknown", "Scheduled", retryCount=0)
HELD = status("Unknown", "Suspended", retryCount=0)
WAITING = status("Unknown", "FlagNotFound")
AMBIGUOUS = status("Unknown", "FlagAmbiguous")
RETRYING = status("Unknown", "Retrying", retryCount=1)
APPLIED = status("True", "Applied", retryCount=0)
EXHAUSTED = status("False", "RetriesExhausted", retryCount=3, stalled=True)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (NEW, PENDING, ("Normal", "Mirrored")),
        (NEW, HELD, ("Normal", "Mirrored")),
        (WAITING, PENDING, ("Normal", "Mirrored")),
        (EXHAUSTED, PENDING, ("Normal", "Mirrored")),
        (NEW, WAITING, ("Warning", "FlagNotFound")),
        (NEW, AMBIGUOUS, ("Warning", "FlagAmbiguous")),
        (WAITING, AMBIGUOUS, ("Warning", "FlagAmbiguous")),
        (AMBIGUOUS, WAITING, ("Warning", "FlagNotFound")),
        (AMBIGUOUS, PENDING, ("Normal", "Mirrored")),
        (PENDING, status("False", "FlagDeleted", stalled=True), ("Warning", "FlagNotFound")),
        (PENDING, RETRYING, ("Warning", "AttemptFailed")),
        (RETRYING, status("Unknown", "Retrying", retryCount=2), ("Warning", "AttemptFailed")),
        (PENDING, status("Unknown", "Suspended", retryCount=1), ("Warning", "AttemptFailed")),
        (EXHAUSTED, RETRYING, ("Warning", "AttemptFailed")),
        (PENDING, status("False", "InvalidUpdates", stalled=True), ("Warning", "AttemptFailed")),
        (RETRYING, EXHAUSTED, ("Warning", "RetriesExhausted")),
        (PENDING, status("False", "DeadlineExceeded", stalled=True), ("Warning", "Expired")),
        (NEW, status("False", "Expired", stalled=True), ("Warning", "Expired")),
        (NEW, status("False", "Expired"), ("Normal", "Expired")),  # history from Git
        (PENDING, APPLIED, ("Normal", "Applied")),
        (NEW, status("True", "Replayed"), ("Normal", "Applied")),
        (PENDING, status("True", "Superseded"), ("Normal", "Applied")),
        (RETRYING, status("False", "Cancelled"), ("Normal", "Cancelled")),
        (PENDING, status("False", "InvalidSpec", stalled=True), ("Warning", "Cancelled")),
    ],
)
def test_an_edge_has_its_event(old: dict[str, Any], new: dict[str, Any], expected: tuple[str, str]) -> None:
    """Type and reason fit the edge, and the message is the one of the condition Applied."""
    (event,) = transition(old, new).events

    assert (event.type, event.reason) == expected
    assert event.message == new["conditions"][0]["message"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (PENDING, HELD),
        (HELD, PENDING),
        (status("Unknown", "Suspended", retryCount=1), RETRYING),  # held and released between two attempts
        (RETRYING, PENDING),
        (APPLIED, status("True", "PartlySuperseded")),
        (PENDING, NEW),
    ],
)
def test_a_step_of_the_same_version_has_no_event(old: dict[str, Any], new: dict[str, Any]) -> None:
    """What is held, goes on or is planned again without an edit of the object is not a person's act."""
    assert transition(old, new).events == ()


def edited(known: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a status of the next version of an object."""
    return {**known, "observedGeneration": 2, "change": "enabled=true", **fields}


@pytest.mark.parametrize(
    ("old", "new", "reason", "begin"),
    [
        (PENDING, edited(HELD), "Suspended", "About Suspended."),
        (HELD, edited(PENDING), "Resumed", "Resumed. About Scheduled."),
        (HELD, edited(PENDING, by="alice"), "Resumed", "Resumed by alice. About Scheduled."),
        (
            status("Unknown", "Suspended", retryCount=1),
            edited(RETRYING, by="alice"),
            "Resumed",
            "Resumed by alice. About Retrying.",
        ),
        (PENDING, edited(PENDING, change="enabled=false"), "Edited", "Edited. About Scheduled."),
        (PENDING, edited(PENDING, scheduledAt="2026-12-02T09:00:00Z", by="bob"), "Edited", "Edited by bob. About Sch"),
    ],
)
def test_an_act_on_what_stays_planned_has_its_event(
    old: dict[str, Any], new: dict[str, Any], reason: str, begin: str
) -> None:
    """Who suspends, resumes or edits is reported, with the name where that is known."""
    (event,) = transition({**old, "observedGeneration": 1, "change": "enabled=true"}, new).events

    assert (event.type, event.reason) == ("Normal", reason)
    assert event.message.startswith(begin)


def test_an_edit_that_changes_no_plan_has_no_event() -> None:
    """Another number of retries, a new finalizer or an annotation is no news."""
    assert transition({**PENDING, "observedGeneration": 1, "change": "enabled=true"}, edited(PENDING)).events == ()


@given(cases, cases)
def test_any_step_has_few_short_events(first: Any, second: Any) -> None:
    """Without an edge in the status there is no Event, and the text of each Event has a limited length."""
    old = computed(*first) or NEW
    found, known, fields, holding = second
    new = computed(found, known, fields, holding, old)
    if new is None:
        return
    found_events = transition(old, new).events

    assert transition(new, new).events == ()
    assert len({event.reason for event in found_events}) == len(found_events) <= 2
    for event in found_events:
        assert isinstance(event, Event)
        assert event.reason in REASONS
        assert 0 < len(event.message) <= 1024
        warned = event.type == "Warning" and event.reason != "EditTooLate"
        assert not (warned and any(each["status"] == "True" for each in new["conditions"] if each["type"] == "Applied"))


@pytest.mark.parametrize("known", [PENDING, HELD, WAITING, RETRYING, APPLIED, EXHAUSTED])
def test_nothing_new_has_none(known: dict[str, Any]) -> None:
    """A restart or a resync that finds the status unchanged makes no Event."""
    assert transition(known, {**known, "observedGeneration": 7}).events == ()


def too_late(generation: int, **fields: Any) -> dict[str, Any]:
    """Return an applied schedule whose spec was edited."""
    conditions = [{"type": "Ready", "status": "True", "reason": "EditTooLate", "message": "The change was applied."}]
    return {"observedGeneration": generation, "conditions": conditions + APPLIED["conditions"], **fields}


def test_an_edit_that_came_too_late_warns_once_for_each_version() -> None:
    """Each edit of a handled schedule has one Warning; a restart, or the edit's way back, has none."""
    assert [(event.type, event.reason) for event in transition(APPLIED, too_late(2)).events] == [
        ("Warning", "EditTooLate")
    ]
    assert [event.reason for event in transition(too_late(2), too_late(3)).events] == ["EditTooLate"]
    assert transition(too_late(2), too_late(2)).events == transition(too_late(2), APPLIED).events == ()
    assert [event.reason for event in transition(PENDING, too_late(2)).events] == ["Applied", "EditTooLate"]
