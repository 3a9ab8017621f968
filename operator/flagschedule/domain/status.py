"""The one function from (object, record, row) to the status a person and a program read.

Called by the status writer only. It must not do I/O and must not read a clock: the database's time comes with
the snapshot.  Phases, conditions and reasons: design section 2.1.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from flagschedule.domain import messages
from flagschedule.domain.outcome import EDIT_TOO_LATE, Outcome, Phase, Reason, Record, Row, Snapshot, State
from flagschedule.domain.schedule import FlagSchedule


@dataclass(frozen=True)
class _Shape:
    """What the conditions of a phase are; a finer reason of the outcome may replace that of Applied."""

    ready: str
    ready_reason: str
    applied: str
    applied_reason: str
    stalled: bool = False


_SHAPES: Mapping[Phase, _Shape] = {
    Phase.PENDING: _Shape("True", "Mirrored", "Unknown", "Scheduled"),
    Phase.SUSPENDED: _Shape("True", "Suspended", "Unknown", "Suspended"),
    Phase.WAITING: _Shape("False", "FlagNotFound", "Unknown", "FlagNotFound"),
    Phase.RETRYING: _Shape("True", "Mirrored", "Unknown", "Retrying"),
    Phase.APPLIED: _Shape("True", "Applied", "True", "Applied"),
    Phase.SUPERSEDED: _Shape("True", "Superseded", "True", "Superseded"),
    Phase.CANCELLED: _Shape("True", "Cancelled", "False", "Cancelled"),
    Phase.FAILED: _Shape("False", "RetriesExhausted", "False", "RetriesExhausted", stalled=True),
    Phase.EXPIRED: _Shape("False", "Expired", "False", "Expired", stalled=True),
    Phase.INVALID: _Shape("False", "InvalidSpec", "False", "InvalidSpec", stalled=True),
}
# An old file from Git is no accident: no person need look at it.
_HISTORY = _Shape("True", "Expired", "False", "Expired")
# Other words may stand in a row that another program has changed; programs that read conditions know these.
_FINER: Final[Mapping[Phase, set[Reason]]] = {
    Phase.WAITING: {Reason.FLAG_LOCKED, Reason.FLAG_AMBIGUOUS},
    Phase.APPLIED: {Reason.PARTLY_SUPERSEDED, Reason.REPLAYED},
    Phase.FAILED: {Reason.FLAG_DELETED, Reason.INVALID_UPDATES, Reason.DEADLINE_EXCEEDED},
}
_HANDLED: Final = {Phase.APPLIED, Phase.SUPERSEDED, Phase.CANCELLED}
_LONGEST_ERROR: Final = 4096  # the CRD's bounds
_LONGEST_CHANGE: Final = 256


def compute(obj: FlagSchedule, snapshot: Snapshot) -> dict[str, Any] | None:
    """The status the object should have, in the API's shape; None while nothing is recorded of the object.

    Raises nothing: every content of a row has a phase.
    """
    record, row = snapshot.record, snapshot.row
    if record is None or (row is None and record.state is None):
        return None
    outcome = snapshot.outcome
    reason = outcome.reason
    phase = _phase(outcome, row)
    observed = obj.generation if phase in _HANDLED else record.generation
    applied_at = outcome.applied_at if outcome.state is State.APPLIED else None
    previous = _of_deleted_row(obj, record, row, phase)
    message = _kept_message(previous, phase, reason) or messages.explain(phase, obj, record, row, outcome)
    change = _change(obj, record, row, phase)
    too_late = _edit_too_late(obj, record, phase, reason)
    notice = messages.edit_too_late(outcome, phase, change) if too_late else None
    status: dict[str, Any] = {
        "observedGeneration": observed,
        "scheduleId": str(record.schedule_id) if record.schedule_id else None,
        "phase": phase.value,
        "change": change,
        "scheduledAt": _scheduled(record, row, previous, phase),
        "appliedAt": _rfc3339(applied_at),
        "retryCount": row.retry_count if row else previous.get("retryCount"),
        "maxRetries": row.max_retries if row else previous.get("maxRetries"),
        "nextRetryAt": _rfc3339(row.set_aside_until if row.aside else row.next_retry_at) if row else None,
        "lastError": _last_error(row) if row else previous.get("lastError"),
        "lastHandledRetryRequest": record.retry_request,
        "reason": EDIT_TOO_LATE if notice else _applied_reason(phase, reason),
        "message": notice or message,
        "conditions": _conditions(obj, phase, reason, message, observed, snapshot.now, notice),
    }
    return {key: value for key, value in status.items() if value is not None}


def _phase(outcome: Outcome, row: Row | None) -> Phase:
    if row and row.suspended and not row.finished:
        return Phase.SUSPENDED
    match outcome.state:
        case State.PENDING:
            return Phase.RETRYING if row and row.aside else Phase.PENDING
        case State.WAITING:
            return Phase.WAITING
        case State.APPLIED:
            return Phase.SUPERSEDED if outcome.reason is Reason.SUPERSEDED else Phase.APPLIED
        case State.CANCELLED:
            return Phase.INVALID if outcome.reason is Reason.INVALID_SPEC else Phase.CANCELLED
        case State.INVALID:
            return Phase.INVALID
        case State.EXPIRED:
            return Phase.EXPIRED
    if row and row.retrying:
        return Phase.RETRYING
    return Phase.EXPIRED if outcome.reason in {Reason.EXPIRED, Reason.HISTORY} else Phase.FAILED


def _edit_too_late(obj: FlagSchedule, record: Record, phase: Phase, reason: Reason | None) -> bool:
    """Whether the spec of a handled schedule differs from what was handled; the difference does nothing."""
    if phase is Phase.CANCELLED:
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


def _of_deleted_row(obj: FlagSchedule, record: Record, row: Row | None, phase: Phase) -> Mapping[str, Any]:
    """Return the status that describes a deleted row, while its outcome is unchanged: it is stored nowhere else."""
    schedule_id = str(record.schedule_id) if record.schedule_id else None
    same = (obj.status.get("scheduleId"), obj.status.get("phase")) == (schedule_id, phase.value)
    return obj.status if row is None and same else {}


def _kept_message(previous: Mapping[str, Any], phase: Phase, reason: Reason | None) -> str | None:
    if phase not in {*_HANDLED, Phase.FAILED}:
        return None  # everything is in the record
    wanted = _applied_reason(phase, reason)
    for condition in previous.get("conditions", []):
        if condition["type"] == "Applied" and condition["reason"] == wanted:
            message: str = condition["message"]
            return message
    return None


def _last_error(row: Row) -> str | None:
    return messages.cut(row.last_error, _LONGEST_ERROR) if row.last_error else None


def _change(obj: FlagSchedule, record: Record, row: Row | None, phase: Phase) -> str | None:
    """The change that was made, or is planned; never one that the spec names and nothing will make."""
    if phase is Phase.INVALID:  # the row's change is not requested any more, and the requested one cannot be parsed
        return None
    if row is not None:
        return _describe(row.updates)
    if obj.spec is not None and obj.spec.change_hash == record.change_hash:
        return _describe(obj.spec.updates.as_json())
    if phase in _HANDLED and obj.status.get("phase") == phase:
        # The row is gone, and the spec is another one: the status of a handled schedule stays true.
        change: str | None = obj.status.get("change")
        return change
    return None


def _scheduled(record: Record, row: Row | None, previous: Mapping[str, Any], phase: Phase) -> str | None:
    """The time of the change that was made, or is planned; in UTC, so that the order of the texts is that of time."""
    if phase is Phase.INVALID:
        return None
    return _rfc3339(row.scheduled_at) if row else previous.get("scheduledAt") or _rfc3339(record.scheduled_at)


def _describe(updates: object) -> str:
    """For people; another program may have written anything that is JSON."""
    if not isinstance(updates, Mapping):
        return messages.cut(json.dumps(updates), _LONGEST_CHANGE)
    text = ", ".join(f"{key}={json.dumps(value)}" for key, value in sorted(updates.items()))
    return messages.cut(text, _LONGEST_CHANGE)


def _conditions(
    obj: FlagSchedule,
    phase: Phase,
    reason: Reason | None,
    message: str,
    observed: int,
    now: datetime,
    notice: str | None,
) -> list[dict[str, Any]]:
    shape = _shape(phase, reason)
    applied_reason = _applied_reason(phase, reason)
    ready_reason, ready_message = shape.ready_reason, message
    if phase in {Phase.FAILED, Phase.WAITING} or applied_reason == Reason.REPLAYED:
        ready_reason = applied_reason
    if notice:
        ready_reason, ready_message = EDIT_TOO_LATE, notice
    found = [
        ("Ready", shape.ready, ready_reason, ready_message),
        ("Applied", shape.applied, applied_reason, message),
    ]
    if shape.stalled:
        found.append(("Stalled", "True", ready_reason, message))
    since = {old["type"]: old for old in obj.status.get("conditions", [])}
    return [
        {
            "type": kind,
            "status": status,
            "observedGeneration": observed,
            "lastTransitionTime": _since(since.get(kind), status, now),
            "reason": why,
            "message": text,
        }
        for kind, status, why, text in found
    ]


def _shape(phase: Phase, reason: Reason | None) -> _Shape:
    return _HISTORY if phase is Phase.EXPIRED and reason is Reason.HISTORY else _SHAPES[phase]


def _applied_reason(phase: Phase, reason: Reason | None) -> str:
    finer = reason is not None and reason in _FINER.get(phase, set())
    return str(reason) if finer else _shape(phase, reason).applied_reason


def _since(old: Mapping[str, Any] | None, status: str, now: datetime) -> Any:
    """`lastTransitionTime` moves only when `status` changes (Kubernetes API conventions)."""
    return old["lastTransitionTime"] if old and old["status"] == status else _rfc3339(now)


def _rfc3339(instant: datetime | None) -> str | None:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if instant else None
