"""What the database knows of one plan: its record, and the link and the row of each change of each occurrence.

A link is what identifies a change; it outlives its row, and holds the outcome once there is one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple
from uuid import UUID

from flagschedule.domain.actors import UNKNOWN, Actors
from flagschedule.domain.outcome import Holding, Reason, State
from flagschedule.domain.plan import Flag
from flagschedule.domain.schedule import ObjectRef, Uid

# Cancelled, but not finally: the same occurrence may be planned again.
_REVIVED: Final = {Reason.DELETED, Reason.REPLACED, Reason.INVALID_SPEC}


class Part(StrEnum):
    """The start of an occurrence, or the end of its window."""

    START = "start"
    END = "end"


class Key(NamedTuple):
    """What identifies a change within the plans of one name, also after all of them are deleted.

    `occurrence` is the local time of the start for a step with cron; else the time of the chain's first step.
    """

    occurrence: str
    step: str
    part: Part
    flag_key: str
    environment: str

    @property
    def flag(self) -> Flag:
        """Key and environment."""
        return self.flag_key, self.environment

    @property
    def end(self) -> "Key":
        """The end of the window that this start begins."""
        return self._replace(part=Part.END)

    @property
    def start(self) -> "Key":
        """The start of the window that this end ends."""
        return self._replace(part=Part.START)


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a row holds of the plan."""

    scheduled_at: datetime
    updates: Mapping[str, Any]
    max_retries: int
    expect: Mapping[str, Any] | None = None
    on_mismatch: str | None = None
    not_after: datetime | None = None
    retry_initial_seconds: int | None = None
    retry_max_seconds: int | None = None


@dataclass(frozen=True, kw_only=True)
class Link:
    """One change of one occurrence, with its row as far as there is one.

    Attributes:
        plan: the object that planned it last.
        schedule_id: its row's id, also where the row was deleted; None while there was none.
        state: of the row, or the outcome that was kept.
        content: of the row; None where there is none.
        is_moved: whether its time is not that of the spec, but that of an approval or of a request to retry.
    """

    key: Key
    plan: Uid
    schedule_id: UUID | None
    is_chain: bool
    due_at: datetime
    updates: Mapping[str, Any]
    state: State
    reason: Reason | None = None
    applied_at: datetime | None = None
    error: str | None = None
    retrying: bool = False
    next_retry_at: datetime | None = None
    retry_count: int = 0
    arming: int = 0
    suspended: bool = False
    content: Content | None = None
    is_moved: bool = False

    @property
    def unfinished(self) -> bool:
        """Whether the processor will still touch the row."""
        return self.content is not None and (self.state is State.PENDING or self.retrying)

    @property
    def waiting(self) -> bool:
        """Whether its flag did not exist when it was planned."""
        return self.state is State.WAITING

    @property
    def applied(self) -> bool:
        """Whether the row was handled: its change was made, or a later one had been made before."""
        return self.state is State.APPLIED

    @property
    def made(self) -> bool:
        """Whether the flag became what the step says, so that the next step may follow."""
        return self.applied and self.reason is not Reason.SUPERSEDED

    @property
    def revivable(self) -> bool:
        """Whether it was given up in a way that lets it be planned again.

        So is a recurring change that went with its flag: the flag may come back, and there is no other way to plan it.
        """
        if self.state is State.FAILED and self.reason is Reason.FLAG_DELETED and self.content is None:
            return not self.is_chain
        return self.state is State.CANCELLED and self.reason in _REVIVED

    @property
    def ended(self) -> bool:
        """Whether it has an outcome that is not to be revived."""
        return not (self.unfinished or self.waiting or self.revivable)


@dataclass(frozen=True, kw_only=True)
class PlanRecord:
    """What is kept of one object in `flag_plans`, keyed by its uid. See the migration for the fields."""

    ref: ObjectRef
    created_at: datetime
    planned_from: datetime
    generation: int = 0
    plan_hash: str | None = None
    planned_until: datetime | None = None
    tzdata: str | None = None
    retry_request: str | None = None
    approval: str | None = None
    cancelled: bool = False
    missing: tuple[Flag, ...] = ()
    deleted: bool = False
    actors: Actors = UNKNOWN


@dataclass(frozen=True, kw_only=True)
class PlanFacts:
    """What the database knows at the moment of planning.

    Attributes:
        links: those without an outcome, those of the last days, and all of the object's chains.
        flags: the flags that exist, by key and environment.
        unusable: flags that cannot be used now, and why.
        replaced: whether a newer object of this name was mirrored.
        holding: the freeze that holds what is due, the one that ends last; None where none does.
    """

    record: PlanRecord | None
    links: Mapping[Key, Link]
    flags: Mapping[Flag, UUID]
    now: datetime
    unusable: Mapping[Flag, Reason] = field(default_factory=dict)
    replaced: bool = False
    holding: Holding | None = None


@dataclass(frozen=True, kw_only=True)
class Insert:
    """A new row; its link is made, or points to it from now on.

    Attributes:
        began_at: the start of its window, which its id begins with.
        relinked: whether there is a link already.
        is_moved: see `Link`.
    """

    key: Key
    content: Content
    flag_id: UUID
    began_at: datetime
    is_chain: bool
    relinked: bool = False
    is_moved: bool = False


@dataclass(frozen=True, kw_only=True)
class Update:
    """A row gets new content, and its next attempt is a first one."""

    link: Link
    content: Content


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """A row is given up."""

    link: Link
    reason: Reason


@dataclass(frozen=True, kw_only=True)
class Restore:
    """A row whose change was made, as the status says; the database had lost that."""

    link: Link
    applied_at: datetime


@dataclass(frozen=True, kw_only=True)
class Note:
    """A link without a row: its flag does not exist, its time had passed, or the database had lost that it was made."""

    key: Key
    due_at: datetime
    updates: Mapping[str, Any]
    state: State
    reason: Reason
    relinked: bool = False
    applied_at: datetime | None = None
    is_moved: bool = False


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What the database should do, so that it holds what the plan says. `suspend` is None where nothing changes."""

    inserts: tuple[Insert, ...] = ()
    updates: tuple[Update, ...] = ()
    cancels: tuple[Cancel, ...] = ()
    restores: tuple[Restore, ...] = ()
    notes: tuple[Note, ...] = ()
    suspend: bool | None = None

    def __bool__(self) -> bool:
        rows = self.inserts or self.updates or self.cancels or self.restores
        return bool(rows or self.notes or self.suspend is not None)
