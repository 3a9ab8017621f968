"""What the database knows of one object: its record, its row, and the states and reasons of its outcome.

The row decides while it exists; the record outlives it and holds the outcomes that have no row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from flagschedule.domain.actors import UNKNOWN, Actors

if TYPE_CHECKING:  # the processor imports this module, and must not load pydantic: it has to start quickly
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from flagschedule.domain.history import History
    from flagschedule.domain.schedule import FlagSchedule, ObjectRef


class State(StrEnum):
    """Where a schedule stands. The first four are the row's; the others are outcomes without a row."""

    PENDING = "pending"  # -> applied, failed, cancelled
    APPLIED = "applied"  # final
    FAILED = "failed"  # -> applied, failed, cancelled while a retry is due; final after that
    CANCELLED = "cancelled"  # final, unless its reason is InvalidSpec
    WAITING = "waiting"  # the flag does not exist -> pending, expired
    INVALID = "invalid"  # the spec cannot be parsed -> any, by an edit
    EXPIRED = "expired"  # first seen too late -> pending, by an edit


class Reason(StrEnum):
    """Why a schedule is in its state."""

    APPLIED = "Applied"
    ALREADY_SET = "AlreadySet"  # the flag had all values before; nothing was written
    PARTLY_SUPERSEDED = "PartlySuperseded"
    SUPERSEDED = "Superseded"
    REPLAYED = "Replayed"
    RESTORED_FROM_STATUS = "RestoredFromStatus"
    ATTEMPT_FAILED = "AttemptFailed"
    RETRIES_EXHAUSTED = "RetriesExhausted"
    EXPECTATION_NOT_MET = "ExpectationNotMet"
    SKIPPED = "Skipped"  # the expectation was not met, and onMismatch is Skip
    NOT_STARTED = "NotStarted"  # the end of a window whose start was not made
    FLAG_DELETED = "FlagDeleted"
    INVALID_UPDATES = "InvalidUpdates"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    EXPIRED = "Expired"  # late by an accident: a person should look
    HISTORY = "History"  # late by more than a day: an old file from Git
    CANCELLED = "Cancelled"  # by spec.cancel
    DELETED = "Deleted"  # by deletion of the object
    REPLACED = "Replaced"  # by a newer object of the same name
    FLAG_NOT_FOUND = "FlagNotFound"
    FLAG_LOCKED = "FlagLocked"  # nothing was decided yet: another transaction holds a lock on the flag
    FLAG_AMBIGUOUS = "FlagAmbiguous"  # the host's table holds two flags of this key
    INVALID_SPEC = "InvalidSpec"


_CLOCK_SKEW: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class Outcome:
    """Where a schedule stands, why, and when its change was made."""

    state: State | None
    reason: Reason | None
    applied_at: datetime | None


@dataclass(frozen=True)
class Holding:
    """The freeze that holds a due schedule; of several the one that ends last. `ends_at` is None if it has no end."""

    freeze: str
    reason: str
    ends_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of `feature_flag_schedules`; `id` is None until the database has given one.

    `sets` names the properties that the successful attempt really set; nothing before it. `set_aside_until` is when a
    schedule that stepped aside is tried again. `override` is the name of the freeze that does not hold it.
    """

    id: UUID | None
    scheduled_at: datetime
    state: State
    updates: Mapping[str, Any]
    max_retries: int
    expect: Mapping[str, Any] | None = None
    on_mismatch: str | None = None
    retry_initial_seconds: int | None = None
    retry_max_seconds: int | None = None
    suspended: bool = False
    not_after: datetime | None = None
    arming: int = 0
    reason: Reason | None = None
    applied_at: datetime | None = None
    retry_count: int = 0
    next_retry_at: datetime | None = None
    last_error: str | None = None
    override: str | None = None
    set_aside_until: datetime | None = None
    set_aside_count: int = 0
    sets: tuple[str, ...] = ()

    @property
    def retrying(self) -> bool:
        """Whether an attempt failed and another one will be made."""
        return self.state is State.FAILED and self.next_retry_at is not None

    @property
    def aside(self) -> bool:
        """Whether it is set aside: the database refused it for a reason that is no outcome; no attempt was consumed."""
        # After five times a refusal counts as a failed attempt, and record_failure.sql makes both times equal.
        return not self.finished and self.set_aside_until not in {None, self.next_retry_at}

    @property
    def finished(self) -> bool:
        """Whether the processor makes no further attempt."""
        return self.state is not State.PENDING and not self.retrying


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is kept of one object in `flag_schedule_objects`, keyed by its uid.

    `arming_hash` and `change_hash` describe the spec that was last acted on; `state`, `reason` and `applied_at`
    are the outcome where there is no row.
    """

    ref: ObjectRef
    created_at: datetime
    schedule_id: UUID | None = None
    generation: int = 0
    flag_key: str | None = None
    environment: str | None = None
    scheduled_at: datetime | None = None
    arming_hash: str | None = None
    change_hash: str | None = None
    retry_request: str | None = None
    deleted: bool = False
    state: State | None = None
    reason: Reason | None = None
    applied_at: datetime | None = None
    actors: Actors = UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Record and row of one object as one transaction read them, and the database's time then.

    `holding` is the freeze that holds the row, if the row is due and a freeze holds it. `history` is None where it was
    not read.
    """

    record: Record | None
    row: Row | None
    now: datetime
    holding: Holding | None = None
    history: History | None = None

    @property
    def outcome(self) -> Outcome:
        """The row's outcome while there is a row, else the record's."""
        known = self.row or self.record
        return Outcome(known.state, known.reason, known.applied_at) if known else Outcome(None, None, None)

    def is_forgotten(self, obj: FlagSchedule) -> bool:
        """Return whether the status reports an application that the database lost, which was restored from a backup.

        Administrators may edit a status, and a mistake must end no plan. So a status counts only if it names the row
        that the database has, or is ahead of the database, and if its times fit the object and the clock.
        """
        if obj.status.applied_at is None or self.outcome.state is State.APPLIED:
            return False
        if not self.is_named_by(obj) and not _is_ahead(obj, self.record):
            return False
        return _can_be_true(obj, obj.status.applied_at, self.now)

    def is_named_by(self, obj: FlagSchedule) -> bool:
        """Return whether the status names the row that the database has for the object, or the database has none."""
        record_id = self.record.schedule_id if self.record else None
        schedule_id = self.row.id if self.row else record_id
        return schedule_id is None or obj.status.schedule_id == str(schedule_id)


def _is_ahead(obj: FlagSchedule, record: Record | None) -> bool:
    """Return whether the status names an edit or a request that the database has never seen."""
    if record is None:
        return False
    request = obj.status.last_handled_retry_request
    return obj.observed_generation > record.generation or request not in {None, record.retry_request}


def _can_be_true(obj: FlagSchedule, applied_at: datetime, now: datetime) -> bool:
    """Return whether a change can have been made then; the clocks of API server and database may differ a little."""
    earliest = obj.reported_schedule_time
    if earliest is None or applied_at < earliest.replace(microsecond=0) or applied_at > now + _CLOCK_SKEW:
        return False
    # A change that was replayed was made for an earlier object.
    return obj.is_replayed or applied_at >= obj.created_at - _CLOCK_SKEW
