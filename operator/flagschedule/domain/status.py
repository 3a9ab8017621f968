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
from flagschedule.domain.outcome import EDIT_TOO_LATE, Phase, Reason, Record, Row, Snapshot, State
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
# An old file from Git is no accident: nobody need look at it.
_HISTORY = _Shape("True", "Expired", "False", "Expired")
# Other words may stand in a row that another program has changed; programs that read conditions know these.
_FINER: Final[Mapping[Phase, set[Reason]]] = {
    Phase.APPLIED: {Reason.PARTLY_SUPERSEDED, Reason.REPLAYED},
    Phase.FAILED: {Reason.FLAG_DELETED, Reason.INVALID_UPDATES, Reason.DEADLINE_EXCEEDED},
}
_LONGEST_ERROR: Final = 4096  # the CRD's bounds
_LONGEST_CHANGE: Final = 256


def compute(thing: FlagSchedule, snapshot: Snapshot) -> dict[str, Any] | None:
    """The status the object should have, in the API's shape; None while nothing is recorded of the object.

    Raises nothing: whatever the row says has a phase.
    """
    record, row = snapshot.record, snapshot.row
    if record is None or (row is None and record.state is None):
        return None
    state = row.state if row else record.state
    reason = row.reason if row else record.reason
    phase = _phase(state, reason, row)
    too_late = _edit_too_late(thing, record, phase, reason)
    handled = phase in {Phase.APPLIED, Phase.SUPERSEDED, Phase.CANCELLED}
    observed = thing.generation if handled else record.generation
    applied_at = (row.applied_at if row else record.applied_at) if state is State.APPLIED else None
    told = _told(thing, record, row, phase)
    message = _kept_message(told, phase, reason) or messages.explain(phase, thing, record, row, snapshot.now)
    status: dict[str, Any] = {
        "observedGeneration": observed,
        "scheduleId": str(record.schedule_id) if record.schedule_id else None,
        "phase": phase.value,
        "change": _change(thing, row, phase, too_late),
        "appliedAt": _rfc3339(applied_at),
        "retryCount": row.retry_count if row else told.get("retryCount"),
        "maxRetries": row.max_retries if row else told.get("maxRetries"),
        "nextRetryAt": _rfc3339(row.next_retry_at) if row else None,
        "lastError": _last_error(row) if row else told.get("lastError"),
        "lastHandledRetryRequest": record.retry_request,
        "conditions": _conditions(thing, phase, reason, message, observed, snapshot.now, too_late),
    }
    return {key: value for key, value in status.items() if value is not None}


def _phase(state: State | None, reason: Reason | None, row: Row | None) -> Phase:
    if row and row.suspended and not row.finished:
        return Phase.SUSPENDED
    match state:
        case State.PENDING:
            return Phase.PENDING
        case State.WAITING:
            return Phase.WAITING
        case State.APPLIED:
            return Phase.SUPERSEDED if reason is Reason.SUPERSEDED else Phase.APPLIED
        case State.CANCELLED:
            return Phase.INVALID if reason is Reason.INVALID_SPEC else Phase.CANCELLED
        case State.INVALID:
            return Phase.INVALID
        case State.EXPIRED:
            return Phase.EXPIRED
    if row and row.retrying:
        return Phase.RETRYING
    return Phase.EXPIRED if reason in {Reason.EXPIRED, Reason.HISTORY} else Phase.FAILED


def _edit_too_late(thing: FlagSchedule, record: Record, phase: Phase, reason: Reason | None) -> bool:
    """The spec was edited after its change had been made; the edit is shown and does nothing."""
    if phase not in {Phase.APPLIED, Phase.SUPERSEDED}:
        return False
    if thing.spec is None or thing.spec.cancel or thing.spec.arming_hash != record.arming_hash:
        return True
    # The processor applies nothing that is held, so a hold beside its deed came after it.
    return thing.spec.suspend and reason not in {Reason.REPLAYED, Reason.RESTORED_FROM_STATUS}


def _told(thing: FlagSchedule, record: Record, row: Row | None, phase: Phase) -> Mapping[str, Any]:
    """What the status said of a row that is gone, while its outcome stands: still true, and known nowhere else."""
    same = (thing.status.get("scheduleId"), thing.status.get("phase")) == (str(record.schedule_id), phase.value)
    return thing.status if row is None and same else {}


def _kept_message(told: Mapping[str, Any], phase: Phase, reason: Reason | None) -> str | None:
    if phase not in {Phase.APPLIED, Phase.SUPERSEDED, Phase.CANCELLED, Phase.FAILED}:
        return None  # the record tells all there is to tell
    wanted = _applied_reason(phase, reason)
    for condition in told.get("conditions", []):
        if condition["type"] == "Applied" and condition["reason"] == wanted:
            message: str = condition["message"]
            return message
    return None


def _last_error(row: Row) -> str | None:
    return messages.cut(row.last_error, _LONGEST_ERROR) if row.last_error else None


def _change(thing: FlagSchedule, row: Row | None, phase: Phase, too_late: bool) -> str | None:
    if phase is Phase.INVALID:  # what the row says is not wanted any more, and what is wanted cannot be told
        return None
    if row is not None:
        return _describe(row.updates)
    if too_late:  # the row is gone and the spec is another one: what we last said stays true
        return thing.status.get("change")
    return _describe(thing.spec.updates.as_json()) if thing.spec else None


def _describe(updates: object) -> str:
    """For people; another program may have written anything that is JSON."""
    if not isinstance(updates, Mapping):
        return messages.cut(json.dumps(updates), _LONGEST_CHANGE)
    text = ", ".join(f"{key}={json.dumps(value)}" for key, value in sorted(updates.items()))
    return messages.cut(text, _LONGEST_CHANGE)


def _conditions(
    thing: FlagSchedule,
    phase: Phase,
    reason: Reason | None,
    message: str,
    observed: int,
    now: datetime,
    too_late: bool,
) -> list[dict[str, Any]]:
    shape = _shape(phase, reason)
    applied_reason = _applied_reason(phase, reason)
    ready_reason, ready_message = shape.ready_reason, message
    if phase is Phase.FAILED or applied_reason == Reason.REPLAYED:
        ready_reason = applied_reason
    if too_late:
        ready_reason, ready_message = EDIT_TOO_LATE, messages.EDIT_TOO_LATE
    found = [
        ("Ready", shape.ready, ready_reason, ready_message),
        ("Applied", shape.applied, applied_reason, message),
    ]
    if shape.stalled:
        found.append(("Stalled", "True", ready_reason, message))
    since = {old["type"]: old for old in thing.status.get("conditions", [])}
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
