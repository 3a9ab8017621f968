"""From an old and a new status to the Event that tells of the edge between them, if there is one.

Called by the event recorder after the new status was written. It must not look at anything but the two: a restart
or a resync that changes nothing has nothing to tell. Deleting an object is no edge: who did it knows, and nobody
can describe what is gone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from flagschedule.domain import messages

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
    "InvalidUpdates": "AttemptFailed",
    "RetriesExhausted": "RetriesExhausted",
    "DeadlineExceeded": "Expired",
    "Expired": "Expired",
    "Cancelled": "Cancelled",
    "InvalidSpec": "Cancelled",  # whatever was planned is given up
}
APPLIED: Final = "Applied"
REASONS: Final = frozenset(_EVENTS.values())
_WARNINGS: Final = {"AttemptFailed", "FlagNotFound"}
_LONGEST_MESSAGE: Final = 1024  # the API's bound for the notes of newer Events


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happened to an object: one word for programs, a sentence for people."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def edge(old: Mapping[str, Any], new: Mapping[str, Any]) -> Event | None:
    """The Event of the step from one status to the next; None where nothing happened that people wait for."""
    before, after = _applied(old), _applied(new)
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


def is_replay(status: Mapping[str, Any]) -> bool:
    """Whether a status says Applied because the change was known to have been made before."""
    return _applied(status).get("reason") == "Replayed"


def _is_edge(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    if {before.get("reason"), after.get("reason")} <= _ARMED:  # held, released or planned anew: still planned
        return False
    if before.get("status") == after.get("status") == "True":  # applied is applied
        return False
    return before.get("reason") != after.get("reason")


def _applied(status: Mapping[str, Any]) -> Mapping[str, Any]:
    found = [condition for condition in status.get("conditions", []) if condition["type"] == "Applied"]
    return found[0] if found else {}
