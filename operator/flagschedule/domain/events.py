"""Turns an old and a new status into the Events of the transition between them, if there are any.

Called by the status writer after the new status was written. It must not look at anything else: a restart or a resync
that changes no status makes no Event. The deletion of an object is no transition, because its Events would be removed
with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from flagschedule.domain import messages
from flagschedule.domain.outcome import EDIT_TOO_LATE

# The reasons of the condition Applied, which is what programs may read; `phase` is for people.
_ARMED: Final = {"Scheduled", "Suspended", "Retrying"}
_EVENTS: Final[Mapping[str, str]] = {
    "Scheduled": "Mirrored",
    "Suspended": "Mirrored",
    "Retrying": "AttemptFailed",
    "Applied": "Applied",
    "PartlySuperseded": "Applied",
    "Superseded": "Applied",
    "Replayed": "Applied",
    "FlagNotFound": "FlagNotFound",
    "FlagDeleted": "FlagNotFound",
    "FlagAmbiguous": "FlagAmbiguous",
    "InvalidUpdates": "AttemptFailed",
    "RetriesExhausted": "RetriesExhausted",
    "DeadlineExceeded": "Expired",
    "Expired": "Expired",
    "Cancelled": "Cancelled",
    "InvalidSpec": "Cancelled",  # the plan is cancelled
}
APPLIED: Final = "Applied"
REASONS: Final = frozenset({*_EVENTS.values(), EDIT_TOO_LATE})
_WARNINGS: Final = {"AttemptFailed", "FlagNotFound", "FlagAmbiguous"}
_LONGEST_MESSAGE: Final = 1024  # the API's bound for the notes of newer Events


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happened to an object: one word for programs, a sentence for people."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Transition:
    """The step from one status to the next.

    Attributes:
        status: the new one.
        events: what happened that people wait for; often nothing.
    """

    status: Mapping[str, Any]
    events: tuple[Event, ...]


def transition(old: Mapping[str, Any], new: Mapping[str, Any]) -> Transition:
    """Return the step from one status to the next."""
    found = (_outcome(old, new), _edit_too_late(old, new))
    return Transition(status=new, events=tuple(event for event in found if event is not None))


def _outcome(old: Mapping[str, Any], new: Mapping[str, Any]) -> Event | None:
    before, after = _condition(old, "Applied"), _condition(new, "Applied")
    reason = _EVENTS.get(after.get("reason", ""))
    if after.get("status") == "Unknown" and new.get("retryCount", 0) > old.get("retryCount", 0):
        reason = "AttemptFailed"  # also where the schedule was suspended since
    elif not _is_edge(before, after):
        return None
    if reason is None:
        return None
    stalled = any(condition["type"] == "Stalled" for condition in new.get("conditions", []))
    return Event(
        type="Warning" if stalled or reason in _WARNINGS else "Normal",
        reason=reason,
        message=messages.cut(after["message"], _LONGEST_MESSAGE),
    )


def _edit_too_late(old: Mapping[str, Any], new: Mapping[str, Any]) -> Event | None:
    """One Event for each version of the object that differs from what was handled."""
    before, after = _condition(old, "Ready"), _condition(new, "Ready")
    if after.get("reason") != EDIT_TOO_LATE:
        return None
    if before.get("reason") == EDIT_TOO_LATE and old.get("observedGeneration") == new.get("observedGeneration"):
        return None
    return Event(type="Warning", reason=EDIT_TOO_LATE, message=messages.cut(after["message"], _LONGEST_MESSAGE))


def is_replay(status: Mapping[str, Any]) -> bool:
    """Return whether a status is Applied because the change had been made for an earlier object."""
    return _condition(status, "Applied").get("reason") == "Replayed"


def _is_edge(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    if {before.get("reason"), after.get("reason")} <= _ARMED:  # held, released or planned again: still planned
        return False
    if before.get("status") == after.get("status") == "True":  # applied is applied
        return False
    return before.get("reason") != after.get("reason")


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    found = [condition for condition in status.get("conditions", []) if condition["type"] == kind]
    return found[0] if found else {}
