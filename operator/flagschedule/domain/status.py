"""The one function from (object, record, row) to the status that people and programs read.

Called by the status writer, which writes it, and by mirror and resync, which compare it. It must not do I/O, and must
not read a clock: the database's time comes with the snapshot.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from flagschedule.domain import messages
from flagschedule.domain.conditions import Condition, ConditionStatus, find, with_transition_times
from flagschedule.domain.history import History
from flagschedule.domain.outcome import Outcome, Reason, Record, Row, Snapshot, State
from flagschedule.domain.schedule import HANDLED, ConditionReason, ConditionType, FlagSchedule, Phase, Status

_TRUE, _FALSE, _UNKNOWN = ConditionStatus


@dataclass(frozen=True)
class _ConditionsOfPhase:
    """Status and reason of each condition in a phase; a reason of the outcome may replace that of Applied."""

    ready: ConditionStatus
    ready_reason: ConditionReason
    applied: ConditionStatus
    applied_reason: ConditionReason
    stalled: bool = False


def _failure(reason: ConditionReason) -> _ConditionsOfPhase:
    return _ConditionsOfPhase(_FALSE, reason, _FALSE, reason, stalled=True)


_CONDITIONS: Mapping[Phase, _ConditionsOfPhase] = {
    Phase.PENDING: _ConditionsOfPhase(_TRUE, ConditionReason.MIRRORED, _UNKNOWN, ConditionReason.SCHEDULED),
    Phase.SUSPENDED: _ConditionsOfPhase(_TRUE, ConditionReason.SUSPENDED, _UNKNOWN, ConditionReason.SUSPENDED),
    Phase.WAITING: _ConditionsOfPhase(_FALSE, ConditionReason.FLAG_NOT_FOUND, _UNKNOWN, ConditionReason.FLAG_NOT_FOUND),
    Phase.RETRYING: _ConditionsOfPhase(_TRUE, ConditionReason.MIRRORED, _UNKNOWN, ConditionReason.RETRYING),
    Phase.FROZEN: _ConditionsOfPhase(_TRUE, ConditionReason.FROZEN, _UNKNOWN, ConditionReason.FROZEN),
    Phase.APPLIED: _ConditionsOfPhase(_TRUE, ConditionReason.APPLIED, _TRUE, ConditionReason.APPLIED),
    Phase.SUPERSEDED: _ConditionsOfPhase(_TRUE, ConditionReason.SUPERSEDED, _TRUE, ConditionReason.SUPERSEDED),
    Phase.SKIPPED: _ConditionsOfPhase(_TRUE, ConditionReason.SKIPPED, _FALSE, ConditionReason.SKIPPED),
    Phase.CANCELLED: _ConditionsOfPhase(_TRUE, ConditionReason.CANCELLED, _FALSE, ConditionReason.CANCELLED),
    Phase.FAILED: _failure(ConditionReason.RETRIES_EXHAUSTED),
    Phase.EXPIRED: _failure(ConditionReason.EXPIRED),
    Phase.INVALID: _failure(ConditionReason.INVALID_SPEC),
}
# An old file from Git is no accident, so the condition Stalled does not call for a person.
_HISTORY: Final = _ConditionsOfPhase(_TRUE, ConditionReason.EXPIRED, _FALSE, ConditionReason.EXPIRED)
# The reasons of outcomes that conditions show. Another program may have written other reasons into a row; programs that
# read conditions do not know these.
_OUTCOME_REASONS: Final[Mapping[Phase, set[Reason]]] = {
    Phase.WAITING: {Reason.FLAG_LOCKED, Reason.FLAG_AMBIGUOUS},
    Phase.APPLIED: {Reason.ALREADY_SET, Reason.PARTLY_SUPERSEDED, Reason.REPLAYED},
    Phase.FAILED: {
        Reason.EXPECTATION_NOT_MET,
        Reason.FLAG_DELETED,
        Reason.INVALID_UPDATES,
        Reason.DEADLINE_EXCEEDED,
    },
}
_CANCELLED: Final[Mapping[Reason | None, Phase]] = {
    Reason.INVALID_SPEC: Phase.INVALID,
    Reason.SKIPPED: Phase.SKIPPED,
}
_LONGEST_ERROR: Final = 4096  # the CRD's bounds
_LONGEST_CHANGE: Final = 256


def compute(obj: FlagSchedule, snapshot: Snapshot) -> Status | None:
    """Compute the status that the object should have. Any content of a row has a phase, so nothing is raised.

    Returns:
        None while nothing is recorded of the object.
    """
    record, row = snapshot.record, snapshot.row
    if record is None or (row is None and record.state is None):
        return None
    outcome = snapshot.outcome
    reason = outcome.reason
    phase = _phase(snapshot)
    observed = obj.generation if phase in HANDLED else record.generation
    applied_at = outcome.applied_at if outcome.state is State.APPLIED else None
    previous = _of_deleted_row(obj, record, row, phase)
    message = _kept_message(previous, phase, reason) or _message(phase, obj, record, snapshot)
    change = _change(obj, record, row, phase)
    too_late = _edit_too_late(obj, record, phase, reason)
    notice = messages.edit_too_late(outcome, phase, change) if too_late else None
    # What retention has deleted, or was not read, stays as it is shown.
    history = snapshot.history or History(attempts=obj.status.attempts, flag=obj.status.flag)
    return Status(
        observed_generation=observed,
        schedule_id=str(record.schedule_id) if record.schedule_id else None,
        phase=phase,
        change=change,
        scheduled_at=_scheduled(record, row, previous, phase),
        applied_at=_in_seconds(applied_at),
        lateness_seconds=_lateness(row, outcome) if row else previous.lateness_seconds,
        attempts=history.attempts,
        flag=history.flag,
        retry_count=(row or previous).retry_count,
        max_retries=(row or previous).max_retries,
        next_retry_at=_in_seconds(row.set_aside_until if row.aside else row.next_retry_at) if row else None,
        last_error=_last_error(row) if row else previous.last_error,
        last_handled_retry_request=record.retry_request,
        overrides_freeze=row.override if row else None,
        by=record.actors.changed_by,
        reason=ConditionReason.EDIT_TOO_LATE if notice else _applied_reason(phase, reason),
        message=notice or message,
        conditions=with_transition_times(
            _conditions(phase, reason, message, observed, notice), obj.status.conditions, snapshot.now
        ),
    )


def _message(phase: Phase, obj: FlagSchedule, record: Record, snapshot: Snapshot) -> str:
    if phase is Phase.FROZEN and snapshot.holding:
        return messages.frozen(snapshot.holding, snapshot.row)
    return messages.explain(phase, obj, record, snapshot.row, snapshot.outcome)


def _phase(snapshot: Snapshot) -> Phase:
    outcome, row = snapshot.outcome, snapshot.row
    if row and row.suspended and not row.finished:
        return Phase.SUSPENDED
    if row and snapshot.holding and not row.finished:
        return Phase.FROZEN
    match outcome.state:
        case State.PENDING:
            return Phase.RETRYING if row and row.aside else Phase.PENDING
        case State.WAITING:
            return Phase.WAITING
        case State.APPLIED:
            return Phase.SUPERSEDED if outcome.reason is Reason.SUPERSEDED else Phase.APPLIED
        case State.CANCELLED:
            return _CANCELLED.get(outcome.reason, Phase.CANCELLED)
        case State.INVALID:
            return Phase.INVALID
        case State.EXPIRED:
            return Phase.EXPIRED
    if row and row.retrying:
        return Phase.RETRYING
    return Phase.EXPIRED if outcome.reason in {Reason.EXPIRED, Reason.HISTORY} else Phase.FAILED


def _edit_too_late(obj: FlagSchedule, record: Record, phase: Phase, reason: Reason | None) -> bool:
    """Return whether the spec of a handled schedule differs from what was handled; the difference does nothing."""
    if phase in {Phase.CANCELLED, Phase.SKIPPED}:
        return _differs_from_cancelled(obj, record, reason)
    if phase not in {Phase.APPLIED, Phase.SUPERSEDED}:
        return False
    if obj.spec is None or obj.spec.cancel:
        return True
    if reason is Reason.REPLAYED:  # never planned here: only the change itself can differ from what was applied
        return obj.spec.change_hash != record.change_hash
    if obj.spec.arming_hash != record.arming_hash:
        return True
    # The processor applies nothing that is suspended, so an applied schedule was suspended after its change.
    return obj.spec.suspend and reason is not Reason.RESTORED_FROM_STATUS


def _differs_from_cancelled(obj: FlagSchedule, record: Record, reason: Reason | None) -> bool:
    if reason is Reason.CANCELLED and not obj.cancel:
        return True
    # A spec that could not be parsed when it was cancelled has left no hash.
    return record.arming_hash is not None and (obj.spec is None or obj.spec.arming_hash != record.arming_hash)


def _of_deleted_row(obj: FlagSchedule, record: Record, row: Row | None, phase: Phase) -> Status:
    """Return the status that describes a deleted row, while its outcome is unchanged: it is stored nowhere else."""
    schedule_id = str(record.schedule_id) if record.schedule_id else None
    same = (obj.status.schedule_id, obj.status.phase) == (schedule_id, phase)
    return obj.status if row is None and same else Status()


def _kept_message(previous: Status, phase: Phase, reason: Reason | None) -> str | None:
    if phase not in {*HANDLED, Phase.FAILED}:
        return None  # everything is in the record
    kept = find(previous.conditions, ConditionType.APPLIED)
    return kept.message if kept and kept.reason == _applied_reason(phase, reason) else None


def _last_error(row: Row) -> str | None:
    return messages.cut(row.last_error, _LONGEST_ERROR) if row.last_error else None


def _change(obj: FlagSchedule, record: Record, row: Row | None, phase: Phase) -> str | None:
    """Describe the change that was made or is planned; never one that stands in the spec and will not be made."""
    if phase is Phase.INVALID:  # the row's change is not requested any more, and the requested one cannot be parsed
        return None
    if row is not None:
        return describe(row.updates)
    if obj.spec is not None and obj.spec.change_hash == record.change_hash:
        return describe(obj.spec.updates.as_json())
    # Where the row is gone and the spec is another one, the status of a handled schedule stays true.
    return obj.status.change if phase in HANDLED and obj.status.phase is phase else None


def _scheduled(record: Record, row: Row | None, previous: Status, phase: Phase) -> datetime | None:
    """Return the time of the change that was made or is planned."""
    if phase is Phase.INVALID:
        return None
    return _in_seconds(row.scheduled_at if row else previous.scheduled_at or record.scheduled_at)


def describe(updates: object) -> str:
    """A change for people; another program may have written anything that is JSON."""
    if not isinstance(updates, Mapping):
        return messages.cut(json.dumps(updates), _LONGEST_CHANGE)
    text = ", ".join(f"{key}={json.dumps(value)}" for key, value in sorted(updates.items()))
    return messages.cut(text, _LONGEST_CHANGE)


def _conditions(
    phase: Phase, reason: Reason | None, message: str, observed: int, notice: str | None
) -> Iterator[Condition]:
    fixed = _conditions_of(phase, reason)
    applied_reason = _applied_reason(phase, reason)
    ready_reason = fixed.ready_reason
    if phase in {Phase.FAILED, Phase.WAITING} or applied_reason is ConditionReason.REPLAYED:
        ready_reason = applied_reason
    if notice:
        ready_reason = ConditionReason.EDIT_TOO_LATE
    made = partial(Condition, observed_generation=observed)
    yield made(type=ConditionType.READY, status=fixed.ready, reason=ready_reason, message=notice or message)
    yield made(type=ConditionType.APPLIED, status=fixed.applied, reason=applied_reason, message=message)
    if fixed.stalled:
        yield made(type=ConditionType.STALLED, status=_TRUE, reason=ready_reason, message=message)


def _conditions_of(phase: Phase, reason: Reason | None) -> _ConditionsOfPhase:
    return _HISTORY if phase is Phase.EXPIRED and reason is Reason.HISTORY else _CONDITIONS[phase]


def _applied_reason(phase: Phase, reason: Reason | None) -> ConditionReason:
    if reason is not None and reason in _OUTCOME_REASONS.get(phase, set()):
        return ConditionReason(reason)
    return _conditions_of(phase, reason).applied_reason


def _lateness(row: Row, outcome: Outcome) -> int | None:
    """The seconds from the scheduled time to the change, where this row has made it."""
    if outcome.state is not State.APPLIED or outcome.applied_at is None:
        return None
    late = outcome.applied_at - row.scheduled_at
    # Another program may have written any time; the CRD's bound is that of a whole number of 32 bits.
    return min(max(int(late.total_seconds()), 0), 2**31 - 1)


def _in_seconds(instant: datetime | None) -> datetime | None:
    """Cut a time as the API stores it, so that a computed status equals the stored one."""
    return instant and instant.replace(microsecond=0)
