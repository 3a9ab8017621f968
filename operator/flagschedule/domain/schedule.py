"""The FlagSchedule object as we understand it: parsed strictly, also where the API server accepted more.

Called by the operator with the raw object. The same rules stand in `crds/flagschedules.yaml`; a test compares the two.
It must not know where the object came from or what becomes of it.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal, NewType, Self
from uuid import UUID

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, ValidationError
from pydantic.alias_generators import to_camel

from flagschedule.domain import lenient
from flagschedule.domain.actors import UNKNOWN, Actors
from flagschedule.domain.backoff import MAX_RETRIES
from flagschedule.domain.conditions import Conditions
from flagschedule.domain.history import Attempts, FlagChange
from flagschedule.domain.times import parse_time

GROUP: Final = "flagschedule.io"
VERSION: Final = "v1alpha1"
KIND: Final = "FlagSchedule"
PLURAL: Final = "flagschedules"
FINALIZER: Final = f"{GROUP}/finalizer"
RETRY_ANNOTATION: Final = f"{GROUP}/retry-requested-at"
_LONGEST_REQUEST: Final = 128
DEFAULT_ENVIRONMENT: Final = "production"

INITIAL_RETRY_SECONDS: Final = 120
MAX_RETRY_SECONDS: Final = 3600

OVERRIDE_ANNOTATION: Final = f"{GROUP}/override-freeze"
_OVERRIDE: Final = re.compile(r"\s*([a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?)\s*:.*\S.*", re.DOTALL)  # "<freeze>: <reason>"
_LONGEST_OVERRIDE: Final = 512

Uid = NewType("Uid", UUID)
OnMismatch = Literal["Fail", "Skip"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Values(_Model):
    """Values of a flag: at least one of the two properties. What changes, or what is expected before."""

    enabled: StrictBool | None = None
    rollout_percentage: Annotated[StrictInt, Field(ge=0, le=100)] | None = None

    @pydantic.model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.enabled is None and self.rollout_percentage is None:
            raise ValueError("must set enabled, rolloutPercentage or both")
        return self

    def as_json(self) -> dict[str, bool | int]:
        """The shape of the database's columns `updates` and `expect`: only what is set, in camelCase."""
        return self.model_dump(by_alias=True, exclude_none=True)


class Retry(_Model):
    """The pauses between attempts: the first one, doubled each time, and the longest one, in seconds."""

    initial_seconds: Annotated[StrictInt, Field(ge=5, le=3600)] | None = None
    max_seconds: Annotated[StrictInt, Field(ge=5, le=86_400)] | None = None

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> Self:
        initial, longest = self.initial_seconds or INITIAL_RETRY_SECONDS, self.max_seconds or MAX_RETRY_SECONDS
        if initial > longest:
            raise ValueError(
                f"initialSeconds ({INITIAL_RETRY_SECONDS} if left out) must not be above maxSeconds "
                f"({MAX_RETRY_SECONDS} if left out)"
            )
        return self


class Spec(_Model):
    """The request: at `scheduled_at`, change the flag `flag_key` of `environment` to `updates`."""

    flag_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$", min_length=1, max_length=128)]
    environment: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", min_length=1, max_length=64)] | None = (
        None
    )
    scheduled_at: Annotated[datetime, BeforeValidator(parse_time)]
    updates: Values
    expect: Values | None = None
    on_mismatch: OnMismatch | None = None
    suspend: StrictBool = False
    cancel: StrictBool = False
    max_retries: Annotated[StrictInt, Field(ge=0, le=MAX_RETRIES)] | None = None
    retry: Retry | None = None
    starting_deadline_seconds: Annotated[StrictInt, Field(ge=10, le=2_147_483_647)] | None = None

    @pydantic.model_validator(mode="after")
    def _mismatch_needs_expectation(self) -> Self:
        if self.on_mismatch is not None and self.expect is None:
            raise ValueError("onMismatch needs expect: name the values that the flag must have")
        return self

    def as_json(self) -> dict[str, Any]:
        """The shape of the API: only what is set."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    @property
    def effective_environment(self) -> str:
        """The environment with its default made explicit."""
        return self.environment or DEFAULT_ENVIRONMENT

    @property
    def starting_deadline(self) -> timedelta | None:
        """How late the first attempt may be; None is no limit."""
        seconds = self.starting_deadline_seconds
        return None if seconds is None else timedelta(seconds=seconds)

    @property
    def change_hash(self) -> str:
        """Identifies the change itself (flag, environment, time, updates)."""
        return _digest(self._change())

    @property
    def arming_hash(self) -> str:
        """Identifies everything whose edit arms a failed schedule again: the change, what it expects, its retry rules.

        A field that came in a later version is left out while it is not set: otherwise the hash of each old schedule
        would change, and an upgrade would look like an edit.
        """
        added = {
            "expect": self.expect and self.expect.as_json(),
            "onMismatch": self.on_mismatch,
            "retry": self.retry and self.retry.model_dump(by_alias=True, exclude_none=True),
        }
        named = {name: value for name, value in added.items() if value}
        rules = [self.max_retries, self.starting_deadline_seconds, *([named] if named else [])]
        return _digest([*self._change(), *rules])

    def _change(self) -> list[Any]:
        at = self.scheduled_at.isoformat(timespec="microseconds")
        return [self.flag_key, self.effective_environment, at, self.updates.as_json()]


def _digest(value: list[Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Phase(StrEnum):
    """For display only, and always derived; programs read the conditions."""

    PENDING = "Pending"
    SUSPENDED = "Suspended"
    WAITING = "Waiting"
    RETRYING = "Retrying"
    FROZEN = "Frozen"
    APPLIED = "Applied"
    SUPERSEDED = "Superseded"
    SKIPPED = "Skipped"
    CANCELLED = "Cancelled"
    FAILED = "Failed"
    EXPIRED = "Expired"
    INVALID = "Invalid"


HANDLED: Final = {Phase.APPLIED, Phase.SUPERSEDED, Phase.SKIPPED, Phase.CANCELLED}  # the spec has no further effect


class ConditionType(StrEnum):
    """What is observed of a FlagSchedule."""

    READY = "Ready"  # accepted and mirrored
    APPLIED = "Applied"  # the change was made, is to come (Unknown) or will not be made
    STALLED = "Stalled"  # needs an edit or a retry request; absent otherwise


class ConditionReason(StrEnum):
    """Why a condition of a FlagSchedule is what it is; programs read these words."""

    MIRRORED = "Mirrored"
    SCHEDULED = "Scheduled"
    SUSPENDED = "Suspended"
    RETRYING = "Retrying"
    FROZEN = "Frozen"
    APPLIED = "Applied"
    ALREADY_SET = "AlreadySet"
    PARTLY_SUPERSEDED = "PartlySuperseded"
    SUPERSEDED = "Superseded"
    REPLAYED = "Replayed"
    SKIPPED = "Skipped"
    CANCELLED = "Cancelled"
    RETRIES_EXHAUSTED = "RetriesExhausted"
    EXPECTATION_NOT_MET = "ExpectationNotMet"
    FLAG_DELETED = "FlagDeleted"
    INVALID_UPDATES = "InvalidUpdates"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    EXPIRED = "Expired"
    FLAG_NOT_FOUND = "FlagNotFound"
    FLAG_LOCKED = "FlagLocked"
    FLAG_AMBIGUOUS = "FlagAmbiguous"
    INVALID_SPEC = "InvalidSpec"
    EDIT_TOO_LATE = "EditTooLate"  # of Ready, while a spec differs from what was handled


@dataclass(frozen=True, kw_only=True)
class Status(lenient.Stored):
    """What an object shows of its schedule: as we compute it, or as it was read, when others may have written it."""

    __pydantic_config__: ClassVar[ConfigDict] = lenient.CONFIG

    observed_generation: lenient.OptionalNumber = None
    schedule_id: lenient.OptionalText = None
    phase: Annotated[Phase | None, lenient.OR_NONE] = None
    change: lenient.OptionalText = None
    scheduled_at: lenient.OptionalTime = None
    applied_at: lenient.OptionalTime = None
    retry_count: lenient.OptionalNumber = None
    max_retries: lenient.OptionalNumber = None
    next_retry_at: lenient.OptionalTime = None
    last_error: lenient.OptionalText = None
    last_handled_retry_request: lenient.OptionalText = None
    overrides_freeze: lenient.OptionalText = None
    by: lenient.OptionalText = None
    reason: lenient.OptionalText = None
    message: lenient.OptionalText = None
    conditions: Conditions = ()
    lateness_seconds: lenient.OptionalNumber = None
    attempts: Attempts = field(default=(), compare=False)
    flag: Annotated[FlagChange | None, lenient.OR_NONE] = field(default=None, compare=False)

    def has_reason(self, reason: ConditionReason) -> bool:
        """Whether any condition has this reason."""
        return any(condition.reason == reason for condition in self.conditions)


@dataclass(frozen=True, kw_only=True)
class ObjectRef:
    """Which object: its uid decides, namespace and name are where to find it."""

    uid: Uid
    namespace: str
    name: str


@dataclass(frozen=True, kw_only=True)
class FlagSchedule:
    """One object as read from the API server; `spec` is None where it could not be parsed, `fault` says why.

    `cancel` requests cancellation, and counts also in a spec that cannot be parsed. `override` is the name of a freeze
    that is not to hold it; every user who may edit the object can write it, so it counts only if a policy guards it.
    """

    ref: ObjectRef
    generation: int
    resource_version: str
    created_at: datetime
    deleting: bool
    spec: Spec | None
    fault: str | None
    retry_request: str | None
    status: Status
    override: str | None = None
    cancel: bool = False
    finalizers: tuple[str, ...] = ()
    actors: Actors = UNKNOWN

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
            and (self.override == self.status.overrides_freeze or self.status.phase in HANDLED)
        )

    @property
    def stopping(self) -> bool:
        """Whether it requests to stop what may be planned: deleted, cancelled or suspended, and not yet handled."""
        held = self.cancel or (self.spec is not None and self.spec.suspend)
        return self.deleting or (held and self.observed and not self.settled)

    @property
    def observed_generation(self) -> int:
        """The generation that its status covers; -1, the CRD's default, where no operator has ever written it."""
        known = self.status.observed_generation
        return -1 if known is None else known

    @property
    def observed(self) -> bool:
        """Whether an operator has ever written this object's status."""
        return self.observed_generation >= 0

    @property
    def due(self) -> datetime | None:
        """When its change is due, by its spec."""
        return self.spec.scheduled_at if self.spec else None

    @property
    def requests(self) -> tuple[str | None, str | None]:
        """What its annotations request."""
        return self.retry_request, self.override

    def with_requests_of(self, previous: "FlagSchedule") -> "FlagSchedule":
        """Keep a request to retry that was removed before its turn, as Flux does within a second."""
        return replace(self, retry_request=previous.retry_request) if self.retry_request is None else self

    def as_deleted(self) -> "FlagSchedule":
        """Return the object as it is after its removal."""
        return replace(self, deleting=True, finalizers=())

    @property
    def reported_schedule_time(self) -> datetime | None:
        """The scheduled time of the change that its status reports; the spec may have been edited since."""
        return self.status.scheduled_at or (self.spec.scheduled_at if self.spec else None)

    @property
    def is_replayed(self) -> bool:
        """Whether its change was made for an earlier object of its name, by its status."""
        return self.status.has_reason(ConditionReason.REPLAYED)

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> "FlagSchedule":
        """Read a raw object; a spec that cannot be parsed is a fault of the object, not an exception."""
        meta = body["metadata"]
        raw = body.get("spec")
        spec, fault = _parse_spec(raw)
        return cls(
            ref=ObjectRef(uid=Uid(UUID(meta["uid"])), namespace=meta["namespace"], name=meta["name"]),
            generation=meta["generation"],
            resource_version=meta["resourceVersion"],
            created_at=datetime.fromisoformat(meta["creationTimestamp"]),
            deleting="deletionTimestamp" in meta,
            spec=spec,
            fault=fault,
            retry_request=bounded((meta.get("annotations") or {}).get(RETRY_ANNOTATION)),
            status=Status.from_json(body.get("status")),
            override=_overridden((meta.get("annotations") or {}).get(OVERRIDE_ANNOTATION)),
            cancel=isinstance(raw, Mapping) and raw.get("cancel") is True,
            finalizers=tuple(meta.get("finalizers") or ()),
            actors=Actors.from_annotations(meta.get("annotations") or {}),
        )


def bounded(request: str | None) -> str | None:
    """Return a retry request as it is stored: tenants may write any text, and the database refuses some."""
    if request is None or (len(request) <= _LONGEST_REQUEST and request.isascii() and request.isprintable()):
        return request
    return f"sha256:{hashlib.sha256(request.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _overridden(text: object) -> str | None:
    """The freeze that an annotation names; None where it names none, or no reason."""
    if not isinstance(text, str) or len(text) > _LONGEST_OVERRIDE:
        return None
    match = _OVERRIDE.fullmatch(text)
    return match[1] if match else None


def _parse_spec(raw: object) -> tuple[Spec | None, str | None]:
    try:
        return Spec.model_validate(raw), None
    except ValidationError as error:
        return None, explain_faults(error)


def explain_faults(error: ValidationError) -> str:
    """Say where in a spec its faults are, and what must stand there."""
    faults = error.errors(include_url=False, include_input=False)
    return "; ".join(_explain(fault) for fault in faults if not _is_of_entries(fault["loc"], faults))


def _is_of_entries(place: tuple[int | str, ...], faults: Iterable[Any]) -> bool:
    """Whether a list has a fault for its entries' sake alone: one without its faulty entries counts as too short."""
    return any(fault["loc"][: len(place)] == place and len(fault["loc"]) > len(place) for fault in faults)


def _explain(fault: Any) -> str:
    path = ".".join(["spec", *(str(part) for part in fault["loc"])])
    return f"{path}: {fault['msg'].removeprefix('Value error, ')}"
