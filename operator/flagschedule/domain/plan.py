"""The FlagPlan object as we understand it: parsed strictly, also where the API server accepted more.

Called by the operator with the raw object. The same rules stand in `crds/flagplans.yaml` as far as CEL can state them.
The processor must not import it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Final, Self
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    ValidationInfo,
)
from pydantic.alias_generators import to_camel

from flagschedule.domain import lenient
from flagschedule.domain.actors import UNKNOWN, Actors
from flagschedule.domain.calendar import Recurrence, parse_date, parse_duration, parse_until
from flagschedule.domain.conditions import Conditions
from flagschedule.domain.cron import Cron, parse_cron, require_interval
from flagschedule.domain.defaults import SHORTEST_INTERVAL
from flagschedule.domain.schedule import (
    DEFAULT_ENVIRONMENT,
    FINALIZER,
    GROUP,
    RETRY_ANNOTATION,
    ObjectRef,
    OnMismatch,
    Retry,
    Uid,
    Values,
    bounded,
    explain_faults,
)
from flagschedule.domain.times import parse_time
from flagschedule.domain.zones import parse_zone

KIND: Final = "FlagPlan"
PLURAL: Final = "flagplans"
APPROVAL_ANNOTATION: Final = f"{GROUP}/approved"
_NAME: Final = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"

Flag = tuple[str, str]  # key and environment


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, arbitrary_types_allowed=True
    )


class Change(_Model):
    """What a step does to one flag; `then` is what the end of its window sets."""

    flag_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$", min_length=1, max_length=128)]
    environment: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", min_length=1, max_length=64)] | None = (
        None
    )
    updates: Values
    then: Values | None = None
    expect: Values | None = None
    on_mismatch: OnMismatch | None = None

    @pydantic.model_validator(mode="after")
    def _mismatch_needs_expectation(self) -> Self:
        if self.on_mismatch is not None and self.expect is None:
            raise ValueError("onMismatch needs expect: name the values that the flag must have")
        return self

    @property
    def flag(self) -> Flag:
        """Key and environment, with its default made explicit."""
        return self.flag_key, self.environment or DEFAULT_ENVIRONMENT


class Step(_Model):
    """Changes that are due at the same instant, once or again and again."""

    name: Annotated[str, Field(pattern=_NAME, min_length=1, max_length=63)]
    cron: Annotated[Cron, BeforeValidator(parse_cron)] | None = None
    at: Annotated[datetime, BeforeValidator(parse_time)] | None = None
    after: Annotated[timedelta, BeforeValidator(parse_duration)] | None = None
    until: str | None = None
    approval: StrictBool = False
    changes: Annotated[tuple[Change, ...], Field(min_length=1, max_length=20)]

    @pydantic.model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Self:
        if sum(given is not None for given in (self.cron, self.at, self.after)) != 1:
            raise ValueError("must have exactly one of cron, at and after")
        if self.after is not None and self.until is not None:
            raise ValueError("until cannot be combined with after, because the start is not known beforehand")
        if self.cron is not None and self.approval:
            raise ValueError("approval is for steps with at and after only")
        if any((change.then is None) != (self.until is None) for change in self.changes):
            raise ValueError("then and until need each other: then says what the end of the window sets")
        flags = [change.flag for change in self.changes]
        if len(set(flags)) < len(flags):
            raise ValueError("must change each flag of an environment once")
        if self.at is not None and self.ends_at is not None and self.ends_at <= self.at:
            raise ValueError("until must be after at")
        if self.cron is not None:
            require_interval(self.cron, (info.context or {}).get("shortest_interval", SHORTEST_INTERVAL))
            _ = self.until_time
        return self

    @property
    def ends_at(self) -> datetime | None:
        """When the window of a step with `at` ends."""
        return parse_time(self.until) if self.at is not None and self.until is not None else None

    @property
    def until_time(self) -> time | None:
        """The local time at which each window of a step with `cron` ends."""
        return parse_until(self.until) if self.cron is not None and self.until is not None else None


class PlanSpec(_Model):
    """The request: steps, and when each is made."""

    time_zone: Annotated[ZoneInfo, BeforeValidator(parse_zone)] | None = None
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=32)]
    except_dates: Annotated[tuple[Annotated[date, BeforeValidator(parse_date)], ...], Field(max_length=366)] = ()
    ends_at: Annotated[datetime, BeforeValidator(parse_time)] | None = None
    suspend: StrictBool = False
    cancel: StrictBool = False
    max_retries: Annotated[StrictInt, Field(ge=0, le=10)] | None = None
    retry: Retry | None = None
    starting_deadline_seconds: Annotated[StrictInt, Field(ge=10, le=2_147_483_647)] | None = None

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [step.name for step in self.steps]
        if len(set(names)) < len(names):
            raise ValueError("the names of the steps must be unique")
        recurring = [step.cron is not None for step in self.steps]
        if any(recurring) != all(recurring):
            raise ValueError("a plan must hold either steps with cron or steps with at and after")
        if any(recurring) != (self.time_zone is not None):
            raise ValueError("timeZone is required with cron, and allowed with nothing else")
        if not self.is_recurring:
            if self.except_dates or self.ends_at is not None:
                raise ValueError("exceptDates and endsAt are for steps with cron only")
            if self.steps[0].at is None:
                raise ValueError("the first step must have at")
            times = [step.at for step in self.steps if step.at is not None]
            if any(later < earlier for earlier, later in pairwise(times)):
                raise ValueError("steps with at must be in the order of their times")
        _ = self.recurrences
        return self

    @property
    def is_recurring(self) -> bool:
        """Whether its steps have cron."""
        return self.steps[0].cron is not None

    @cached_property
    def recurrences(self) -> Mapping[str, Recurrence]:
        """The times of each step with cron.

        Raises:
            ValueError: windows of one step overlap.
        """
        return {step.name: self._recurrence(step) for step in self.steps if step.cron is not None}

    def _recurrence(self, step: Step) -> Recurrence:
        if step.cron is None or self.time_zone is None:
            raise AssertionError("checked before")
        try:
            return Recurrence(
                cron=step.cron,
                zone=self.time_zone,
                until=step.until_time,
                except_dates=frozenset(self.except_dates),
                ends_at=self.ends_at,
            )
        except ValueError as error:
            raise ValueError(f"step {step.name} {error}") from error

    @property
    def chains(self) -> tuple[tuple[Step, ...], ...]:
        """The steps with `at`, each with those that come after it."""
        found: list[list[Step]] = []
        for step in self.steps:
            if step.at is not None:
                found.append([step])
            elif found:
                found[-1].append(step)
        return tuple(map(tuple, found))

    @property
    def flags(self) -> tuple[Flag, ...]:
        """Every flag that the plan changes, in the order of the steps."""
        return tuple(dict.fromkeys(change.flag for step in self.steps for change in step.changes))

    @property
    def starting_deadline(self) -> timedelta | None:
        """How late a start may be; None is no limit."""
        seconds = self.starting_deadline_seconds
        return None if seconds is None else timedelta(seconds=seconds)


class Phase(StrEnum):
    """For display only, and always derived; programs read the conditions."""

    ACTIVE = "Active"
    SUSPENDED = "Suspended"
    WAITING = "Waiting"
    FROZEN = "Frozen"
    FINISHED = "Finished"
    CANCELLED = "Cancelled"
    FAILED = "Failed"
    INVALID = "Invalid"


class ConditionType(StrEnum):
    """What is observed of a FlagPlan."""

    READY = "Ready"  # accepted and mirrored
    STALLED = "Stalled"  # needs an edit or a retry request; absent otherwise
    FINISHED = "Finished"  # every step was made; absent where a plan recurs without an end


class ConditionReason(StrEnum):
    """Why a condition of a FlagPlan is what it is; programs read these words."""

    PLANNED = "Planned"
    SUSPENDED = "Suspended"
    FROZEN = "Frozen"
    AWAITING_APPROVAL = "AwaitingApproval"
    FLAG_NOT_FOUND = "FlagNotFound"
    FLAG_LOCKED = "FlagLocked"
    FLAG_AMBIGUOUS = "FlagAmbiguous"
    FINISHED = "Finished"
    IN_PROGRESS = "InProgress"
    CANCELLED = "Cancelled"
    STEP_NOT_MADE = "StepNotMade"
    EXPIRED = "Expired"
    INVALID_SPEC = "InvalidSpec"
    EDIT_TOO_LATE = "EditTooLate"


@dataclass(frozen=True, kw_only=True)
class Coming:
    """What comes next."""

    __pydantic_config__: ClassVar[ConfigDict] = lenient.CONFIG

    step: lenient.OptionalText = None
    at: lenient.OptionalTime = None
    change: lenient.OptionalText = None


@dataclass(frozen=True, kw_only=True)
class Done:
    """The start or the end of a step that has an outcome."""

    __pydantic_config__: ClassVar[ConfigDict] = lenient.CONFIG

    step: lenient.OptionalText = None
    part: lenient.OptionalText = None
    at: lenient.OptionalTime = None
    outcome: lenient.OptionalText = None
    applied_at: lenient.OptionalTime = None
    change: lenient.OptionalText = None
    message: lenient.OptionalText = None


@dataclass(frozen=True, kw_only=True)
class Retrying:
    """A change whose last attempt failed, and that is tried again."""

    __pydantic_config__: ClassVar[ConfigDict] = lenient.CONFIG

    step: lenient.OptionalText = None
    part: lenient.OptionalText = None
    at: lenient.OptionalTime = None
    flag: lenient.OptionalText = None
    attempt: lenient.OptionalNumber = None
    next_retry_at: lenient.OptionalTime = None
    message: lenient.OptionalText = None


@dataclass(frozen=True, kw_only=True)
class WaitingFor:
    """What the plan waits for but its time."""

    __pydantic_config__: ClassVar[ConfigDict] = lenient.CONFIG

    approval: lenient.OptionalText = None
    flag: lenient.OptionalText = None


@dataclass(frozen=True, kw_only=True)
class PlanStatus(lenient.Stored):
    """What a FlagPlan shows: computed, or as it is stored; see `schedule.Status`."""

    __pydantic_config__: ClassVar[ConfigDict] = lenient.CONFIG

    observed_generation: lenient.OptionalNumber = None
    phase: Annotated[Phase | None, lenient.OR_NONE] = None
    reason: lenient.OptionalText = None
    message: lenient.OptionalText = None
    flags: lenient.OptionalText = None
    by: lenient.OptionalText = None
    next: Annotated[Coming | None, lenient.OR_NONE] = None
    last: Annotated[Done | None, lenient.OR_NONE] = None
    recent: Annotated[tuple[Done, ...], lenient.EACH] = ()
    retrying: Annotated[tuple[Retrying, ...], lenient.EACH] = ()
    waiting_for: Annotated[WaitingFor | None, lenient.OR_NONE] = None
    planned_until: lenient.OptionalTime = None
    window_open_past_end: Annotated[bool | None, lenient.OR_NONE] = None
    last_handled_retry_request: lenient.OptionalText = None
    last_handled_approval: lenient.OptionalText = None
    conditions: Conditions = ()


@dataclass(frozen=True, kw_only=True)
class FlagPlan:
    """One object as read from the API server; see `schedule.FlagSchedule`. `plan_hash` identifies what is planned."""

    ref: ObjectRef
    generation: int
    resource_version: str
    created_at: datetime
    deleting: bool
    spec: PlanSpec | None
    fault: str | None
    plan_hash: str | None
    retry_request: str | None
    approval: str | None
    status: PlanStatus
    cancel: bool = False
    finalizers: tuple[str, ...] = ()
    actors: Actors = UNKNOWN
    text: str = "null"  # the spec as JSON

    @property
    def has_finalizer(self) -> bool:
        """Whether it carries our finalizer, so that its deletion cannot go unseen."""
        return FINALIZER in self.finalizers

    @property
    def settled(self) -> bool:
        """Whether the object's status covers everything that it requests."""
        return (
            not self.deleting
            and self.has_finalizer
            and self.status.observed_generation == self.generation
            and self.retry_request in {None, self.status.last_handled_retry_request}
            and self.approval == self.status.last_handled_approval
        )

    @property
    def stopping(self) -> bool:
        """Whether it requests to stop what may be planned: deleted, cancelled or suspended, and not yet handled."""
        held = self.cancel or (self.spec is not None and self.spec.suspend)
        return self.deleting or (held and self.observed and not self.settled)

    @property
    def observed(self) -> bool:
        """Whether an operator has ever written this object's status."""
        return (self.status.observed_generation or 0) > 0

    @property
    def due(self) -> datetime | None:
        """When its first step is due, by its spec."""
        return self.spec.steps[0].at if self.spec else None

    @property
    def requests(self) -> tuple[str | None, str | None]:
        """What its annotations request."""
        return self.retry_request, self.approval

    def with_requests_of(self, previous: "FlagPlan") -> "FlagPlan":
        """Keep a request to retry that was removed before its turn, as Flux does within a second."""
        return replace(self, retry_request=previous.retry_request) if self.retry_request is None else self

    def as_deleted(self) -> "FlagPlan":
        """Return the object as it is after its removal."""
        return replace(self, deleting=True, finalizers=())

    @classmethod
    def from_body(cls, body: Mapping[str, Any], *, shortest_interval: timedelta = SHORTEST_INTERVAL) -> "FlagPlan":
        """Read a raw object; a spec that cannot be parsed is a fault of the object, not an exception."""
        meta, raw = body["metadata"], body.get("spec")
        text = json.dumps(raw, sort_keys=True)
        spec, fault, plan_hash = _parse_spec(text, shortest_interval)
        annotations = meta.get("annotations") or {}
        return cls(
            ref=ObjectRef(uid=Uid(UUID(meta["uid"])), namespace=meta["namespace"], name=meta["name"]),
            generation=meta["generation"],
            resource_version=meta["resourceVersion"],
            created_at=datetime.fromisoformat(meta["creationTimestamp"]),
            deleting="deletionTimestamp" in meta,
            spec=spec,
            fault=fault,
            plan_hash=plan_hash,
            retry_request=bounded(annotations.get(RETRY_ANNOTATION)),
            approval=bounded(annotations.get(APPROVAL_ANNOTATION)),
            status=PlanStatus.from_json(body.get("status")),
            cancel=isinstance(raw, Mapping) and raw.get("cancel") is True,
            finalizers=tuple(meta.get("finalizers") or ()),
            actors=Actors.from_annotations(annotations),
            text=text,
        )


def _hash(raw: Any) -> str:
    """Of everything but what stops a plan: to suspend and resume is no edit of what is planned."""
    planned = {name: value for name, value in raw.items() if name not in {"suspend", "cancel"}}
    return hashlib.sha256(json.dumps(planned, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=4096)  # a plan is read at each outcome and at each comparison
def _parse_spec(text: str, shortest_interval: timedelta) -> tuple[PlanSpec | None, str | None, str | None]:
    """Return the spec, what is wrong with it, and its hash."""
    raw, context = json.loads(text), {"shortest_interval": shortest_interval}
    try:
        return PlanSpec.model_validate(raw, context=context), None, _hash(raw)
    except ValidationError as error:
        return None, explain_faults(error), None
