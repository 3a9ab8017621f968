"""Which steps from one status to the next are worth an Event."""

from typing import Any

import pytest
from hypothesis import given

from flagschedule.domain.events import Event, edge
from tests.unit.test_status_properties import cases, computed

REASONS = {"Mirrored", "Applied", "AttemptFailed", "RetriesExhausted", "Cancelled", "Expired", "FlagNotFound"}
NEW: dict[str, Any] = {"observedGeneration": -1}


def status(applied: str, reason: str, **fields: Any) -> dict[str, Any]:
    """A status whose condition Applied says that; Failed ones are Stalled, too."""
    conditions = [{"type": "Applied", "status": applied, "reason": reason, "message": f"About {reason}."}]
    if fields.pop("stalled", False):
        conditions.append({"type": "Stalled", "status": "True", "reason": reason, "message": "Do something."})
    return {"conditions": conditions, **fields}


PENDING = status("Unknown", "Scheduled", retryCount=0)
HELD = status("Unknown", "Suspended", retryCount=0)
WAITING = status("Unknown", "FlagNotFound")
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
    event = edge(old, new)

    assert event is not None
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
def test_a_step_that_nobody_waits_for_has_none(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Holding, releasing and planning anew are what somebody just did by hand."""
    assert edge(old, new) is None


@given(cases, cases)
def test_any_step_has_at_most_one_short_event_of_the_seven(first: Any, second: Any) -> None:
    """Whatever happened between two looks there is no Event without an edge, and its text has an end."""
    old = computed(*first) or NEW
    found, known, fields = second
    new = computed(found, known, fields, old)
    if new is None:
        return
    event = edge(old, new)

    assert edge(new, new) is None
    if event is not None:
        assert isinstance(event, Event)
        assert event.reason in REASONS
        assert 0 < len(event.message) <= 1024
        warned = event.type == "Warning"
        assert not (warned and any(each["status"] == "True" for each in new["conditions"] if each["type"] == "Applied"))


@pytest.mark.parametrize("known", [PENDING, HELD, WAITING, RETRYING, APPLIED, EXHAUSTED])
def test_nothing_new_has_none(known: dict[str, Any]) -> None:
    """A restart or a resync finds the status as it is, and tells nothing."""
    assert edge(known, {**known, "observedGeneration": 7}) is None
