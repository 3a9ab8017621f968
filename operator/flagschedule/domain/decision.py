"""Decides what record and row an object should have: the mirror's rules, without I/O.

`decide` is called under the lock of the row, with everything that it needs to know; the caller stores what it returns.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from flagschedule.domain.actors import Edit, record_edit
from flagschedule.domain.outcome import Outcome, Reason, Record, Row, Snapshot, State
from flagschedule.domain.schedule import ConditionReason, FlagSchedule, Spec

# A row that is cancelled for one of these reasons can be planned again: its spec could not be parsed, or a newer object
# of the same name took its place and this one exists all the same.
_REVIVED: Final = {Reason.INVALID_SPEC, Reason.REPLACED}
# A retry request does not plan these again: they were too late for a first attempt, and still are.
_NEVER_STARTED: Final = {Reason.EXPIRED, Reason.DEADLINE_EXCEEDED}
# What is seen first later than this after its time is not applied: an old file from Git must not change a flag.
_HISTORY: Final = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The settings that the decision depends on."""

    max_retries: int
    max_lateness: timedelta
    allow_overrides: bool = False  # only where a policy guards the annotation
    record_actors: bool = False


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
        """Whether no decision on the object was made before: it is new, or has only waited for a lock on its flag."""
        return self.record is None or (self.row is None and self.record.reason is Reason.FLAG_LOCKED)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Record and row as they should be; equal to the facts where nothing is to be written.

    `replaced` is the row that the record pointed to until now, where the spec names another flag; `edit` is the version
    of the object that is acted on for the first time.
    """

    record: Record
    row: Row | None
    replaced: Row | None = None
    edit: Edit | None = None


def decide(obj: FlagSchedule, facts: Facts, rules: Rules) -> Decision:
    """Decide what the database should hold for this object. Equal facts give an equal decision, so it may run twice."""
    return _attributed(_decide(obj, facts, rules), obj, facts, rules)


def _attributed(decision: Decision, obj: FlagSchedule, facts: Facts, rules: Rules) -> Decision:
    """Add who changed the object, where a version of it is acted on for the first time.

    What was handled keeps the name of the user whose change was handled; later edits do nothing.
    """
    before, record = facts.record, decision.record
    if obj.deleting or obj.generation != record.generation or (before and _is_handled(facts.outcome)):
        return decision
    is_new = before is None or (before.generation, before.retry_request) != (record.generation, record.retry_request)
    actors, edit = record_edit(
        obj.actors,
        record.actors,
        is_new=is_new,
        recording=rules.record_actors,
        generation=obj.generation,
        spec=lambda: obj.spec.as_json() if obj.spec else None,
    )
    return replace(decision, record=replace(record, actors=actors), edit=edit)


def _decide(obj: FlagSchedule, facts: Facts, rules: Rules) -> Decision:
    record = facts.record or Record(ref=obj.ref, created_at=obj.created_at)
    # An older view of the object never overwrites a newer one; but a deletion is final.
    if obj.generation < record.generation and not obj.deleting:
        return Decision(record=record, row=facts.row)
    # Each value of the annotation is one request. The last value is kept when the annotation is removed, because the
    # same value may come back.
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
        if edited and facts.row is not None:
            # The row gets the values of the spec that is cancelled: it must be the same whether the operator saw the
            # edit and the cancellation as one change or as two.
            plan = replace(_planned(facts.row, obj.spec, rules), suspended=obj.spec.suspend)
            facts = replace(facts, row=plan)
        return _cancel(record, facts, Reason.CANCELLED)
    if facts.row is None:
        return _without_row(obj, obj.spec, record, facts, rules, edited=edited, retry_requested=retry_requested)
    if moved_to_another_flag:
        return _replace_row(obj, obj.spec, record, facts, rules)
    row = replace(facts.row, override=_override(obj, rules))
    return _with_row(obj.spec, record, row, facts.now, rules, edited=edited, retry_requested=retry_requested)


def _is_handled(outcome: Outcome) -> bool:
    """Return whether the schedule was applied, superseded or cancelled: then nothing plans it again."""
    return outcome.state is State.APPLIED or (outcome.state is State.CANCELLED and outcome.reason not in _REVIVED)


def _names_another_flag(record: Record, spec: Spec) -> bool:
    """Return whether an edit changed flag or environment. A policy refuses that to people, but not to GitOps tools."""
    known = (record.flag_key, record.environment)
    return record.flag_key is not None and known != (spec.flag_key, spec.effective_environment)


def _acted_on(record: Record, obj: FlagSchedule, spec: Spec) -> Record:
    """Return the record once this spec was acted on."""
    return replace(
        record,
        generation=obj.generation,
        flag_key=spec.flag_key,
        environment=spec.effective_environment,
        scheduled_at=spec.scheduled_at,
        arming_hash=spec.arming_hash,
        change_hash=spec.change_hash,
    )


def _outcome(record: Record, state: State, reason: Reason, applied_at: datetime | None = None) -> Record:
    """Return the record with an outcome that has no row."""
    return replace(record, state=state, reason=reason, applied_at=applied_at)


def _release(obj: FlagSchedule, record: Record, facts: Facts) -> Decision:
    """Cancel what is unfinished, because the object is being deleted; what is finished stays as it is."""
    # A deletion raises the generation. With the new one in the record, a task with an older copy plans nothing again.
    record = replace(record, generation=max(record.generation, obj.generation))
    if facts.row is not None or record.state in {State.WAITING, State.INVALID}:
        return _cancel(record, facts, Reason.DELETED)
    return Decision(record=record, row=None)


def _cancel(record: Record, facts: Facts, reason: Reason) -> Decision:
    if facts.row is None:
        return Decision(record=_outcome(record, State.CANCELLED, reason), row=None)
    if facts.row.finished and reason is Reason.DELETED:
        return Decision(record=record, row=facts.row)
    row = replace(facts.row, state=State.CANCELLED, reason=reason, next_retry_at=None)
    return Decision(record=record, row=row)


def _refuse(obj: FlagSchedule, record: Record, facts: Facts) -> Decision:
    """Cancel the old plan, because the spec cannot be parsed any more."""
    record = replace(record, generation=obj.generation, arming_hash=None, change_hash=None)
    if obj.cancel:
        return _cancel(record, facts, Reason.CANCELLED)
    if facts.row is None:
        return Decision(record=_outcome(record, State.INVALID, Reason.INVALID_SPEC), row=None)
    return _cancel(record, facts, Reason.INVALID_SPEC)


def _restore(obj: FlagSchedule, record: Record, facts: Facts, rules: Rules) -> Decision:
    """Take the outcome from the status, so that a database that was restored from a backup applies nothing twice."""
    row = facts.row
    replaced: Row | None = None
    if obj.deleting:  # as in `_release`
        record = replace(record, generation=max(record.generation, obj.generation))
    if not facts.is_named_by(obj):  # the row that was applied was made after the backup
        replaced = row and _give_up(row)
        row, record = None, replace(record, schedule_id=None)
    is_spec_applied = not obj.status.has_reason(ConditionReason.EDIT_TOO_LATE)
    if obj.spec is not None and is_spec_applied:
        record = _acted_on(record, obj, obj.spec)
        row = row and _planned(row, obj.spec, rules)
    if row is None:
        record = _outcome(record, State.APPLIED, Reason.RESTORED_FROM_STATUS, obj.status.applied_at)
        return Decision(record=record, row=None, replaced=replaced)
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
        return Decision(record=known, row=None)  # the decision before stays, until the flag can be looked up
    retry = retry_requested and record.state is State.FAILED  # its flag was deleted, and may exist again
    if not (edited or retry or record.state is State.WAITING):
        return Decision(record=record, row=None)
    if facts.undecided and facts.replay is not None:
        # With the hash of what was applied, so that the status shows if the updates of the new object differ.
        record = replace(record, change_hash=facts.replay.change_hash or record.change_hash)
        return Decision(record=_outcome(record, State.APPLIED, Reason.REPLAYED, facts.replay.applied_at), row=None)
    if expired := _expired(obj, spec, facts, rules, edited=edited):
        return Decision(record=_outcome(record, State.EXPIRED, expired), row=None)
    if facts.flag_trouble is not None:
        return Decision(record=_outcome(record, State.WAITING, facts.flag_trouble), row=None)
    if facts.flag_id is None:
        return Decision(record=_outcome(record, State.WAITING, Reason.FLAG_NOT_FOUND), row=None)
    row = Row(
        id=None,
        scheduled_at=spec.scheduled_at,
        state=State.PENDING,
        updates=spec.updates.as_json(),
        max_retries=rules.max_retries,
        suspended=spec.suspend,
        override=_override(obj, rules),
    )
    return Decision(record=replace(record, state=None, reason=None), row=_planned(row, spec, rules))


def _replace_row(obj: FlagSchedule, spec: Spec, record: Record, facts: Facts, rules: Rules) -> Decision:
    """Give up the row, which belongs to another flag, and plan the spec like that of a new object."""
    record = replace(record, schedule_id=None, state=None, reason=None, applied_at=None)
    found = _without_row(obj, spec, record, replace(facts, row=None), rules, edited=True, retry_requested=False)
    return replace(found, replaced=facts.row and _give_up(facts.row))


def _give_up(row: Row) -> Row:
    """Cancel a row because another one takes its place; one that is finished keeps its outcome."""
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
            # The deadline is for the first attempt, which was made in time if a retry is requested.
            not_after=row.not_after if replanned else None,
        )
    if (moved or (replanned and rearm)) and _is_late(spec, now, rules):
        row = replace(row, state=State.FAILED, reason=Reason.EXPIRED, next_retry_at=None)
    return Decision(record=record, row=row)


def _expired(obj: FlagSchedule, spec: Spec, facts: Facts, rules: Rules, *, edited: bool) -> Reason | None:
    """Return why a spec without a row is too late to be planned; None if it is not."""
    # No operator has seen this spec. Without a record the status shows that; a record may be that of a wait for a lock.
    is_new = facts.undecided and (not obj.observed if facts.record is None else not edited)
    if is_new and obj.created_at < spec.scheduled_at:
        # Created in time, while no operator was running: that is an accident, and a person should look.
        return Reason.EXPIRED if facts.now - spec.scheduled_at > _HISTORY else None
    return _late_reason(spec, facts) if _is_late(spec, facts.now, rules) else None


def _is_late(spec: Spec, now: datetime, rules: Rules) -> bool:
    allowed = spec.starting_deadline or rules.max_lateness
    return now - spec.scheduled_at > min(allowed, _HISTORY)


def _late_reason(spec: Spec, facts: Facts) -> Reason:
    """Distinguish old files from Git, which were never planned, from accidents."""
    known = facts.record
    was_history = known is not None and known.reason is Reason.HISTORY and known.scheduled_at == spec.scheduled_at
    never_planned = facts.undecided or was_history
    return Reason.HISTORY if never_planned and facts.now - spec.scheduled_at > _HISTORY else Reason.EXPIRED


def _planned(row: Row, spec: Spec, rules: Rules) -> Row:
    """Return the row with the plan of this spec."""
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


def _override(obj: FlagSchedule, rules: Rules) -> str | None:
    return obj.override if rules.allow_overrides else None


def _max_retries(spec: Spec, rules: Rules) -> int:
    return rules.max_retries if spec.max_retries is None else spec.max_retries


def _not_after(spec: Spec) -> datetime | None:
    return None if spec.starting_deadline is None else spec.scheduled_at + spec.starting_deadline
