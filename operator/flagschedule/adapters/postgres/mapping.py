"""From the columns of records and rows to what the domain knows them as, and back. Used by the operator's store."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from flagschedule.domain.actors import Actors, Edit
from flagschedule.domain.decision import Replay
from flagschedule.domain.history import Attempt, FlagChange, FlagValues, History
from flagschedule.domain.outcome import Holding, Reason, Record, Row, Snapshot, State
from flagschedule.domain.schedule import FlagSchedule, ObjectRef, Uid

_REASONS: Final[dict[str, Reason]] = {reason.value: reason for reason in Reason}
_STATES: Final[dict[str, State]] = {state.value: state for state in State}


def identity(obj: FlagSchedule) -> dict[str, Any]:
    """What identifies an object and its flag, as parameters of the statements."""
    spec = obj.spec
    return {
        "uid": obj.ref.uid,
        "namespace": obj.ref.namespace,
        "name": obj.ref.name,
        "flag_key": spec.flag_key if spec else None,
        "environment": spec.effective_environment if spec else None,
        "planned_at": spec.scheduled_at if spec else None,
    }


def to_replay(around: DictRow) -> Replay | None:
    """The change that was made for an earlier object, if there was one."""
    if not around["is_replay"]:
        return None
    return Replay(applied_at=around["replayed_at"], change_hash=around["replayed_hash"])


def row_values(row: Row) -> dict[str, Any]:
    """A row as parameters."""
    return {
        "id": row.id,
        "scheduled_at": row.scheduled_at,
        "status": row.state,
        "updates": Jsonb(row.updates),
        "expect": None if row.expect is None else Jsonb(row.expect),
        "on_mismatch": row.on_mismatch,
        "requires": 0 if row.expect is None else 1,
        "max_retries": row.max_retries,
        "retry_initial_seconds": row.retry_initial_seconds,
        "retry_max_seconds": row.retry_max_seconds,
        "suspended": row.suspended,
        "overrides": [row.override] if row.override else None,
        "not_after": row.not_after,
        "arming": row.arming,
        "reason": row.reason,
        "applied_at": row.applied_at,
        "retry_count": row.retry_count,
        "next_retry_at": row.next_retry_at,
        "last_error": row.last_error,
    }


def record_values(record: Record) -> dict[str, Any]:
    """A record as parameters."""
    return {
        "created_at": record.created_at,
        "generation": record.generation,
        "flag_key": record.flag_key,
        "environment": record.environment,
        "scheduled_at": record.scheduled_at,
        "arming_hash": record.arming_hash,
        "change_hash": record.change_hash,
        "retry_request": record.retry_request,
        "deleted": record.deleted,
        "state": record.state,
        "reason": record.reason,
        "applied_at": record.applied_at,
        **vars(record.actors),
    }


def expired_values(obj: FlagSchedule, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of the notice of an object that is too late, as parameters."""
    late = {
        "schedule_id": str(record["schedule_id"]) if record["schedule_id"] else None,
        "flag_key": record["flag_key"],
        "environment": record["environment"],
        "due_at": record["scheduled_at"].isoformat() if record["scheduled_at"] else None,
        "updates": obj.spec.updates.as_json() if obj.spec else None,
        "actor": record["changed_by"],
        "origin": record["origin"],
    }
    return {**record, "kind": "FlagSchedule", "rows": Jsonb([late])}


def edit_values(edit: Edit) -> dict[str, Any]:
    """A version of an object as parameters."""
    return {
        "generation": edit.generation,
        "actor": edit.actor,
        "origin": edit.origin,
        "spec": None if edit.spec is None else Jsonb(edit.spec),
    }


def to_actors(found: DictRow) -> Actors:
    """Whom a record names."""
    return Actors(created_by=found["created_by"], changed_by=found["changed_by"], origin=found["origin"])


def to_ref(found: DictRow) -> ObjectRef:
    """The object that a row of the database is about."""
    return ObjectRef(uid=Uid(found["uid"]), namespace=found["namespace"], name=found["name"])


def to_reason(text: str | None) -> Reason | None:
    """Read a reason; another program may have written any word."""
    return _REASONS.get(text) if text is not None else None


def to_state(text: str | None) -> State | None:
    """Read a state. A word that is none counts as an end: the object can be deleted, nothing is applied by mistake."""
    return None if text is None else _STATES.get(text, State.FAILED)


def to_snapshot(found: DictRow) -> Snapshot:
    """Record and row from what `snapshots.sql` has found.

    Raises:
        ValueError: a word that is no state stands in the row.
    """
    record = Record(
        ref=to_ref(found),
        created_at=found["created_at"],
        schedule_id=found["schedule_id"],
        generation=found["generation"],
        flag_key=found["flag_key"],
        environment=found["environment"],
        scheduled_at=found["planned_at"],
        arming_hash=found["arming_hash"],
        change_hash=found["change_hash"],
        retry_request=found["retry_request"],
        deleted=found["deleted"],
        state=to_state(found["outcome"]),
        reason=to_reason(found["outcome_reason"]),
        applied_at=found["outcome_applied_at"],
        actors=to_actors(found),
    )
    row = _row(found) if found["id"] else None
    if row is None and record.schedule_id and record.state is None:
        # TRUNCATE fires no trigger that could have kept the outcome.
        record = replace(record, state=State.FAILED, reason=Reason.FLAG_DELETED)
    holding = Holding(found["freeze"], found["freeze_reason"], found["freeze_ends_at"]) if found["freeze"] else None
    return Snapshot(record=record, row=row, now=found["now"], holding=holding)


def to_history(attempts: Sequence[DictRow]) -> History | None:
    """The history of a schedule; None where the database has none, or has none any more."""
    if not attempts:
        return None
    applied = [found for found in attempts if found["outcome"] == State.APPLIED]
    return History(
        attempts=tuple(
            Attempt(
                number=found["attempt"],
                arming=found["arming"],
                at=found["attempted_at"].replace(microsecond=0),
                outcome=found["outcome"],
                reason=found["reason"],
                error=found["error"],
            )
            for found in attempts
        ),
        flag=FlagChange(before=_values(applied[0], "before"), after=_values(applied[0], "after")) if applied else None,
    )


def _values(found: DictRow, when: str) -> FlagValues:
    return FlagValues(enabled=found[f"{when}_enabled"], rollout_percentage=found[f"{when}_rollout_percentage"])


def _row(found: DictRow) -> Row:
    sets = (("enabled", found["set_enabled"]), ("rolloutPercentage", found["set_rollout_percentage"]))
    return Row(
        id=UUID(str(found["id"])),
        scheduled_at=found["scheduled_at"],
        state=State(found["status"]),
        updates=found["updates"],
        expect=found["expect"],
        on_mismatch=found["on_mismatch"],
        max_retries=found["max_retries"],
        retry_initial_seconds=found["retry_initial_seconds"],
        retry_max_seconds=found["retry_max_seconds"],
        suspended=found["suspended"],
        override=found["overrides"][0] if found["overrides"] else None,
        not_after=found["not_after"],
        arming=found["arming"],
        reason=to_reason(found["reason"]),
        applied_at=found["applied_at"],
        retry_count=found["retry_count"],
        next_retry_at=found["next_retry_at"],
        last_error=found["last_error"],
        set_aside_until=found["set_aside_until"],
        set_aside_count=found["set_aside_count"],
        sets=tuple(name for name, is_set in sets if is_set),
    )


def to_holding(found: DictRow) -> Holding:
    """The freeze that holds something."""
    return Holding(found["freeze"], found["reason"], found["ends_at"])
