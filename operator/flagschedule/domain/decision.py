"""Decides what record and row an object should have: the mirror's rules, without I/O.

`decide` is called under the lock of the row, with everything it needs to know; the caller stores what it
returns. Rules: design sections 2 (re-arming), 4.1 (mirror), 4.3 (lateness) and 4.4 (replay).
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from flagschedule.domain.outcome import Outcome, Reason, Record, Row, Snapshot, State
from flagschedule.domain.schedule import ConditionReason, FlagSchedule, Spec

# Cancelled, but not finally: by a spec that can be corrected, or for a successor although the object exists.
_REVIVED: Final = {Reason.INVALID_SPEC, Reason.REPLACED}
# A request to retry is no way around lateness.
_NEVER_STARTED: Final = {Reason.EXPIRED, Reason.DEADLINE_EXCEEDED}
# Nothing is applied later than this after its time at first sight: an old file from Git would surprise everyone.
_HISTORY: Final = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The settings that the decision depends on."""

    max_retries: int
    max_lateness: timedelta


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The change of this flag and time that an earlier object of this cluster, namespace and name has made.

    `change_hash` identifies what was applied, updates included; None where that is not known.
    """

    applied_at: datetime | None
    change_hash: str | None


@dataclass(frozen=True, kw_only=True)
class Facts(Snapshot):
    """What the database knows at the moment of the decision, read under the row's lock.

    Attributes:
        flag_id: the flag that a new row would change; None if it was not looked up, or does not exist.
        replay: the same change, made for an earlier object of this name.
        flag_trouble: why the flag could not be looked up, although it may exist.
    """

    flag_id: UUID | None
    replay: Replay | None
    flag_trouble: Reason | None = None

    @property
    def undecided(self) -> bool:
        """Whether no decision on the object was ever made: it is seen first, or was only seen to wait for a lock."""
        return self.record is None or (self.row is None and self.record.reason is Reason.FLAG_LOCKED)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Record and row as they should be; equal to the facts where nothing is to be written.

    `replaced` is the row that the record pointed to until now, where the spec names another flag.
    """

    record: Record
    row: Row | None
    replaced: Row | None = None


def decide(obj: FlagSchedule, facts: Facts, rules: Rules) -> Decision:
    """What the database should hold for this object; equal facts give an equal answer, so it may run twice."""
    record = facts.record or Record(ref=obj.ref, created_at=obj.created_at)
    # An older view of the object never overwrites a newer one; but a deletion is final.
    if obj.generation < record.generation and not obj.deleting:
        return Decision(record=record, row=facts.row)
    # Once for each value: an annotation that was removed requests nothing, and is remembered.
    retry_requested = obj.retry_request not in {None, record.retry_request}
    request = record.retry_request if obj.retry_request is None else obj.retry_request
    record = replace(record, retry_request=request, deleted=obj.deleting)
    if facts.is_forgotten(obj):
        return _restore(obj, record, facts, rules)
    if obj.deleting:
        return _release(obj, record, facts)
    if _is_handled(facts.outcome):
        return Decision(record=record, row=facts.row)
    if obj.spec is None:
        return _refuse(obj, record, facts)
    edited = record.arming_hash != obj.spec.arming_hash
    moved_to_another_flag = _names_another_flag(record, obj.spec)
    record = _acted_on(record, obj, obj.spec)
    if obj.spec.cancel:
        if edited and facts.row is not None:  # the note of what was given up equals the spec, however it came to be
            plan = replace(_planned(facts.row, obj.spec, rules), suspended=obj.spec.suspend)
            facts = replace(facts, row=plan)
        return _cancel(record, facts, Reason.CANCELLED)
    if facts.row is None:
        return _without_row(obj, obj.spec, record, facts, rules, edited=edited, retry_requested=retry_requested)
    if moved_to_another_flag:
        return _replace_row(obj, obj.spec, record, facts, rules)
    return _with_row(obj.spec, record, facts.row, facts.now, rules, edited=edited, retry_requested=retry_requested)


def _is_handled(outcome: Outcome) -> bool:
    """Applied, Superseded or Cancelled: the spec is frozen and nothing arms it again."""
    return outcome.state is State.APPLIED or (outcome.state is State.CANCELLED and outcome.reason not in _REVIVED)


def _names_another_flag(record: Record, spec: Spec) -> bool:
    """Policies refuse such an edit to people; GitOps tools are let in, and a policy may be missing."""
    known = (record.flag_key, record.environment)
    return record.flag_key is not None and known != (spec.flag_key, spec.effective_environment)


def _acted_on(record: Record, obj: FlagSchedule, spec: Spec) -> Record:
    return replace(
        record,
        generation=obj.generation,
        flag_key=spec.flag_key,
        environment=spec.effective_environment,
        scheduled_at=spec.scheduled_at,
        arming_hash=spec.arming_hash,
        change_hash=spec.change_hash,
    )


def _settle(record: Record, state: State, reason: Reason, applied_at: datetime | None = None) -> Record:
    """The record of an outcome that has no row."""
    return replace(record, state=state, reason=reason, applied_at=applied_at)


def _release(obj: FlagSchedule, record: Record, facts: Facts) -> Decision:
    """The object is being deleted: what is unfinished is cancelled, what is finished stays as it is."""
    # With its generation, which a deletion raises: no task that holds an older copy of the object arms it again.
    record = replace(record, generation=max(record.generation, obj.generation))
    if facts.row is not None or record.state in {State.WAITING, State.INVALID}:
        return _cancel(record, facts, Reason.DELETED)
    return Decision(record=record, row=None)


def _cancel(record: Record, facts: Facts, reason: Reason) -> Decision:
    if facts.row is None:
        return Decision(record=_settle(record, State.CANCELLED, reason), row=None)
    if facts.row.finished and reason is Reason.DELETED:
        return Decision(record=record, row=facts.row)
    row = replace(facts.row, state=State.CANCELLED, reason=reason, next_retry_at=None)
    return Decision(record=record, row=row)


def _refuse(obj: FlagSchedule, record: Record, facts: Facts) -> Decision:
    """An edit that cannot be parsed must not leave the old plan armed."""
    record = replace(record, generation=obj.generation, arming_hash=None, change_hash=None)
    if obj.cancel:
        return _cancel(record, facts, Reason.CANCELLED)
    if facts.row is None:
        return Decision(record=_settle(record, State.INVALID, Reason.INVALID_SPEC), row=None)
    return _cancel(record, facts, Reason.INVALID_SPEC)


def _restore(obj: FlagSchedule, record: Record, facts: Facts, rules: Rules) -> Decision:
    """A database restored to before an application applies nothing twice (design section 4.4)."""
    row = facts.row
    replaced: Row | None = None
    if obj.deleting:  # as a release does, so that no older view of the object counts afterwards
        record = replace(record, generation=max(record.generation, obj.generation))
    if not replace(facts, record=record).is_named_by(obj):  # the row that was applied was made after the backup
        replaced = row and _give_up(row)
        row, record = None, replace(record, schedule_id=None)
    if obj.spec is not None and not obj.status.has_reason(
        ConditionReason.EDIT_TOO_LATE
    ):  # the spec is what was applied
        record = _acted_on(record, obj, obj.spec)
        row = row and _planned(row, obj.spec, rules)
    if row is None:
        settled = _settle(record, State.APPLIED, Reason.RESTORED_FROM_STATUS, obj.status.applied_at)
        return Decision(record=settled, row=None, replaced=replaced)
    row = replace(
        row,
        state=State.APPLIED,
        reason=Reason.RESTORED_FROM_STATUS,
        applied_at=obj.status.applied_at,
        next_retry_at=None,
        last_error=None,
    )
    return Decision(record=record, row=row)


def _without_row(
    obj: FlagSchedule, spec: Spec, record: Record, facts: Facts, rules: Rules, *, edited: bool, retry_requested: bool
) -> Decision:
    known = facts.record
    is_locked = facts.flag_trouble is Reason.FLAG_LOCKED and not facts.undecided
    if is_locked and known is not None and known.schedule_id == record.schedule_id:
        return Decision(record=known, row=None)  # it stays true until the flag can be looked at
    retry = retry_requested and record.state is State.FAILED  # its flag was deleted before its time and may be back
    if not (edited or retry or record.state is State.WAITING):
        return Decision(record=record, row=None)
    if facts.undecided and facts.replay is not None:
        # With the hash of what was applied: where the updates differ, the status says so.
        record = replace(record, change_hash=facts.replay.change_hash or record.change_hash)
        return Decision(record=_settle(record, State.APPLIED, Reason.REPLAYED, facts.replay.applied_at), row=None)
    # A wait for a lock is written to the status, too.
    untouched = not obj.observed if facts.record is None else not edited
    in_time = facts.undecided and obj.created_at < spec.scheduled_at and untouched
    if facts.now - spec.scheduled_at > _HISTORY if in_time else _late(spec, facts.now, rules):
        reason = Reason.EXPIRED if in_time else _lateness(spec, facts)  # an operator that was away is an accident
        return Decision(record=_settle(record, State.EXPIRED, reason), row=None)
    if facts.flag_trouble is not None:
        return Decision(record=_settle(record, State.WAITING, facts.flag_trouble), row=None)
    if facts.flag_id is None:
        return Decision(record=_settle(record, State.WAITING, Reason.FLAG_NOT_FOUND), row=None)
    row = Row(
        id=None,
        scheduled_at=spec.scheduled_at,
        state=State.PENDING,
        updates=spec.updates.as_json(),
        max_retries=rules.max_retries,
        suspended=spec.suspend,
    )
    return Decision(record=replace(record, state=None, reason=None), row=_planned(row, spec, rules))


def _replace_row(obj: FlagSchedule, spec: Spec, record: Record, facts: Facts, rules: Rules) -> Decision:
    """A row belongs to its flag: the old one is given up, and the spec is planned like that of a new object."""
    record = replace(record, schedule_id=None, state=None, reason=None, applied_at=None)
    found = _without_row(obj, spec, record, replace(facts, row=None), rules, edited=True, retry_requested=False)
    return replace(found, replaced=facts.row and _give_up(facts.row))


def _give_up(row: Row) -> Row:
    """Another row takes its place; one that is finished keeps its outcome as history."""
    return row if row.finished else replace(row, state=State.CANCELLED, reason=Reason.REPLACED, next_retry_at=None)


def _with_row(
    spec: Spec, record: Record, row: Row, now: datetime, rules: Rules, *, edited: bool, retry_requested: bool
) -> Decision:
    retry = retry_requested and row.state is State.FAILED and row.reason not in _NEVER_STARTED
    replanned = edited or row.reason is Reason.REPLACED
    rearm = retry or (replanned and row.state is not State.PENDING)
    moved = edited and row.scheduled_at != spec.scheduled_at
    row = replace(row, suspended=spec.suspend)
    if row.aside and (edited or retry_requested):  # to be tried at once
        row = replace(row, set_aside_until=None, set_aside_count=0)
    if edited:
        row = _planned(row, spec, rules)
    if rearm:
        row = replace(
            row,
            state=State.PENDING,
            reason=None,
            arming=row.arming + 1,
            retry_count=0,
            next_retry_at=None,
            last_error=None,
            # A request to retry is no new start: the first attempt was made in time.
            not_after=row.not_after if replanned else None,
        )
    if (moved or (replanned and rearm)) and _late(spec, now, rules):
        row = replace(row, state=State.FAILED, reason=Reason.EXPIRED, next_retry_at=None)
    return Decision(record=record, row=row)


def _late(spec: Spec, now: datetime, rules: Rules) -> bool:
    allowed = spec.starting_deadline or rules.max_lateness
    return now - spec.scheduled_at > min(allowed, _HISTORY)


def _lateness(spec: Spec, facts: Facts) -> Reason:
    known = facts.record
    still = known is not None and known.reason is Reason.HISTORY and known.scheduled_at == spec.scheduled_at
    unplanned = facts.undecided or still
    return Reason.HISTORY if unplanned and facts.now - spec.scheduled_at > _HISTORY else Reason.EXPIRED


def _planned(row: Row, spec: Spec, rules: Rules) -> Row:
    """The row with the plan of this spec."""
    return replace(
        row,
        scheduled_at=spec.scheduled_at,
        updates=spec.updates.as_json(),
        expect=spec.expect.as_json() if spec.expect else None,
        on_mismatch=spec.on_mismatch,
        max_retries=_max_retries(spec, rules),
        retry_initial_seconds=spec.retry.initial_seconds if spec.retry else None,
        retry_max_seconds=spec.retry.max_seconds if spec.retry else None,
        not_after=_not_after(spec),
    )


def _max_retries(spec: Spec, rules: Rules) -> int:
    return rules.max_retries if spec.max_retries is None else spec.max_retries


def _not_after(spec: Spec) -> datetime | None:
    return None if spec.starting_deadline is None else spec.scheduled_at + spec.starting_deadline
