"""Turns an old and a new status into the Events of the transition between them, if there are any.

Called by the status writer after the new status was written. It must not look at anything else: a restart or a resync
that changes no status makes no Event. The deletion of an object is no transition, because its Events would be removed
with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Final, Literal

from flagschedule.domain import messages
from flagschedule.domain.conditions import Condition, ConditionStatus, find
from flagschedule.domain.schedule import ConditionReason, ConditionType, Status


class EventReason(StrEnum):
    """What happened to a FlagSchedule."""

    MIRRORED = "Mirrored"
    APPLIED = "Applied"
    ATTEMPT_FAILED = "AttemptFailed"
    RETRIES_EXHAUSTED = "RetriesExhausted"
    EXPECTATION_NOT_MET = "ExpectationNotMet"
    SKIPPED = "Skipped"
    CANCELLED = "Cancelled"
    EXPIRED = "Expired"
    FLAG_NOT_FOUND = "FlagNotFound"
    FLAG_AMBIGUOUS = "FlagAmbiguous"
    EDIT_TOO_LATE = "EditTooLate"
    SUSPENDED = "Suspended"
    RESUMED = "Resumed"
    EDITED = "Edited"


# By the reason of the condition Applied, which is what programs may read; `phase` is for people.
_ARMED: Final = {ConditionReason.SCHEDULED, ConditionReason.SUSPENDED, ConditionReason.RETRYING, ConditionReason.FROZEN}
_REASONS: Final[Mapping[str, EventReason]] = {
    ConditionReason.SCHEDULED: EventReason.MIRRORED,
    ConditionReason.SUSPENDED: EventReason.MIRRORED,
    ConditionReason.RETRYING: EventReason.ATTEMPT_FAILED,
    ConditionReason.FROZEN: EventReason.MIRRORED,
    ConditionReason.APPLIED: EventReason.APPLIED,
    ConditionReason.ALREADY_SET: EventReason.APPLIED,
    ConditionReason.PARTLY_SUPERSEDED: EventReason.APPLIED,
    ConditionReason.SUPERSEDED: EventReason.APPLIED,
    ConditionReason.REPLAYED: EventReason.APPLIED,
    ConditionReason.FLAG_NOT_FOUND: EventReason.FLAG_NOT_FOUND,
    ConditionReason.FLAG_DELETED: EventReason.FLAG_NOT_FOUND,
    ConditionReason.FLAG_AMBIGUOUS: EventReason.FLAG_AMBIGUOUS,
    ConditionReason.INVALID_UPDATES: EventReason.ATTEMPT_FAILED,
    ConditionReason.RETRIES_EXHAUSTED: EventReason.RETRIES_EXHAUSTED,
    ConditionReason.DEADLINE_EXCEEDED: EventReason.EXPIRED,
    ConditionReason.EXPIRED: EventReason.EXPIRED,
    ConditionReason.EXPECTATION_NOT_MET: EventReason.EXPECTATION_NOT_MET,
    ConditionReason.SKIPPED: EventReason.SKIPPED,
    ConditionReason.CANCELLED: EventReason.CANCELLED,
    ConditionReason.INVALID_SPEC: EventReason.CANCELLED,  # the plan is cancelled
}
_WARNINGS: Final = {EventReason.ATTEMPT_FAILED, EventReason.FLAG_NOT_FOUND, EventReason.FLAG_AMBIGUOUS}
_LONGEST_MESSAGE: Final = 1024  # the API's bound for the notes of newer Events


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happened to an object: a reason for programs, a sentence for people."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Transition:
    """The step from one status to the next."""

    old: Status
    new: Status

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """The Events to post; often there is none."""
        found = (_outcome(self.old, self.new), _act(self.old, self.new), _edit_too_late(self.old, self.new))
        return tuple(event for event in found if event is not None)

    @property
    def lateness(self) -> timedelta | None:
        """How long after its time the change was made; None if no change was made in this step."""
        applied = any(event.reason == EventReason.APPLIED for event in self.events)
        if not applied or self.new.has_reason(ConditionReason.REPLAYED):
            return None
        at, due = self.new.applied_at, self.new.scheduled_at
        return at - due if at and due else None


def _is_edge(before: Condition | None, after: Condition) -> bool:
    """Return whether the reason of Applied changed so that people should know."""
    if before is None:
        return True
    if {before.reason, after.reason} <= _ARMED:  # suspended, resumed or planned again: still planned
        return False
    stays_true = before.status is after.status is ConditionStatus.TRUE
    return before.reason != after.reason and not stays_true


def _outcome(old: Status, new: Status) -> Event | None:
    before, after = (find(status.conditions, ConditionType.APPLIED) for status in (old, new))
    if after is None or (reason := _REASONS.get(after.reason)) is None:
        return None
    if after.status is ConditionStatus.UNKNOWN and (new.retry_count or 0) > (old.retry_count or 0):
        reason = EventReason.ATTEMPT_FAILED  # also where the schedule was suspended since
    elif not _is_edge(before, after):
        return None
    warned = reason in _WARNINGS or find(new.conditions, ConditionType.STALLED)
    return _event("Warning" if warned else "Normal", reason, after)


def _act(old: Status, new: Status) -> Event | None:
    """What a person did to a schedule that stays planned; one Event for each version of the object at most."""
    before, after = (find(status.conditions, ConditionType.APPLIED) for status in (old, new))
    if before is None or after is None or not {before.reason, after.reason} <= _ARMED:
        return None
    if old.observed_generation == new.observed_generation:
        return None
    held = ConditionReason.SUSPENDED
    by = f" by {new.by}" if new.by else ""
    if after.reason == held != before.reason:
        return _event("Normal", EventReason.SUSPENDED, after)
    if before.reason == held != after.reason:
        return _event("Normal", EventReason.RESUMED, replace(after, message=f"Resumed{by}. {after.message}"))
    if (old.schedule_id, old.change, old.scheduled_at) != (new.schedule_id, new.change, new.scheduled_at):
        return _event("Normal", EventReason.EDITED, replace(after, message=f"Edited{by}. {after.message}"))
    return None


def _edit_too_late(old: Status, new: Status) -> Event | None:
    """One Event for each version of the object that differs from what was handled."""
    before, after = (find(status.conditions, ConditionType.READY) for status in (old, new))
    if after is None or after.reason != ConditionReason.EDIT_TOO_LATE:
        return None
    same = before and before.reason == after.reason and old.observed_generation == new.observed_generation
    return None if same else _event("Warning", EventReason.EDIT_TOO_LATE, after)


def _event(severity: Literal["Normal", "Warning"], reason: EventReason, condition: Condition) -> Event:
    return Event(type=severity, reason=reason, message=messages.cut(condition.message, _LONGEST_MESSAGE))
