"""The FlagFreeze object as we understand it, and the intervals in which it holds changes.

Called by the operator with the raw object. The same rules stand in `crds/flagfreezes.yaml`; what CEL cannot judge is
refused here. It does no I/O and reads no clock: `intervals` takes the database's time.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Self
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, ValidationError
from pydantic import model_validator as checked
from pydantic.alias_generators import to_camel

from flagschedule.domain import lenient
from flagschedule.domain.calendar import Recurrence, parse_duration
from flagschedule.domain.conditions import Conditions
from flagschedule.domain.cron import Cron, parse_cron, require_interval
from flagschedule.domain.schedule import FINALIZER, ObjectRef, Uid, explain_faults
from flagschedule.domain.times import parse_time
from flagschedule.domain.zones import parse_zone

KIND: Final = "FlagFreeze"
PLURAL: Final = "flagfreezes"
_HORIZON: Final = timedelta(days=37)  # from the start of the day, so that 35 days are left when the day ends
_AHEAD: Final = 2
_MOST_INTERVALS: Final = 1000  # each look of the processor reads them
_SHORTEST_INTERVAL: Final = timedelta(hours=1)
_ALWAYS: Final = datetime(2000, 1, 1, tzinfo=UTC)  # before every look of a processor

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", min_length=1, max_length=64)]
_Namespace = Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9-]*)?[*]?$", min_length=1, max_length=64)]
_FlagKey = Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._:/-]*)?[*]?$", min_length=1, max_length=129)]
_Some = Field(min_length=1, max_length=64)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, arbitrary_types_allowed=True)


@dataclass(frozen=True, order=True)
class Interval:
    """A time in which changes are held: from `starts_at` on and before `ends_at`; None is no end."""

    starts_at: datetime
    ends_at: datetime | None


class Window(_Model):
    """When changes are held: once (`from`, `until`), or again and again (`cron`, `for`, `timeZone`)."""

    start: Annotated[datetime | None, BeforeValidator(parse_time), Field(alias="from")] = None
    until: Annotated[datetime | None, BeforeValidator(parse_time)] = None
    cron: Annotated[Any, BeforeValidator(parse_cron)] = None
    length: Annotated[timedelta | None, BeforeValidator(parse_duration), Field(alias="for")] = None
    time_zone: Annotated[Any, BeforeValidator(parse_zone)] = None

    @checked(mode="after")
    def _consistent(self) -> Self:
        once = (self.start, self.until)
        again = (self.cron, self.length, self.time_zone)
        if None not in once and not any(again):
            if self.until <= self.start:  # type: ignore[operator]  # neither is None
                raise ValueError("must have its until after its from")
            return self
        if None in again or any(once):
            raise ValueError("must have either from and until, or cron, for and timeZone")
        if not self.length:
            raise ValueError("must last for some time: for is 0")
        if not isinstance(self.cron, Cron):
            raise TypeError("parse_cron returns a Cron")
        try:
            require_interval(self.cron, _SHORTEST_INTERVAL)
        except ValueError as error:
            raise ValueError(f"has a cron that {error}") from error
        return self

    def intervals(self, now: datetime) -> Iterator[Interval]:
        """Yield the intervals that are not over: those of the next 36 days, and two ahead in any case."""
        if self.start is not None:
            if self.until is not None and self.until > now:
                yield Interval(self.start, self.until)
            return
        if self.length is None:
            raise AssertionError("a window that is not once has a length")
        recurrence = Recurrence(cron=self.cron, zone=self.time_zone)
        ahead = 0
        for found in recurrence.between(now - self.length, _horizon(now)).planned:
            ahead += found.start > now
            yield Interval(found.start, found.start + self.length)
        last = _horizon(now)
        while ahead < _AHEAD and (following := recurrence.next_after(last)):
            ahead, last = ahead + 1, following.start
            yield Interval(last, last + self.length)


def _horizon(now: datetime) -> datetime:
    return datetime.combine(now.astimezone(UTC).date(), time(), UTC) + _HORIZON


class Spec(_Model):
    """Which changes are held, and when; what is absent means all, and always."""

    reason: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$", max_length=256)]
    environments: Annotated[tuple[_Name, ...], _Some] | None = None
    namespaces: Annotated[tuple[_Namespace, ...], _Some] | None = None
    flag_keys: Annotated[tuple[_FlagKey, ...], _Some] | None = None
    windows: Annotated[tuple[Window, ...], Field(min_length=1, max_length=32)] | None = None
    allow_switch_off: StrictBool = False

    @cached_property
    def scope(self) -> "Scope":
        """Which changes are held."""
        return Scope(
            reason=self.reason,
            environments=self.environments,
            namespaces=_patterns(self.namespaces),
            flag_keys=_patterns(self.flag_keys),
            allow_switch_off=self.allow_switch_off,
        )

    def intervals(self, now: datetime) -> tuple[Interval, ...]:
        """Return when changes are held from now on, each time once.

        Raises:
            ValueError: these are too many.
        """
        if self.windows is None:
            return (Interval(_ALWAYS, None),)
        found = _joined(interval for window in self.windows for interval in window.intervals(now))
        if len(found) > _MOST_INTERVALS:
            raise ValueError(
                f"spec.windows: are {len(found)} intervals within 37 days, and at most {_MOST_INTERVALS} are allowed: "
                "use fewer windows, or longer ones"
            )
        return found


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Which changes a freeze holds; None is all. Namespaces and flag keys are patterns of LIKE."""

    reason: str
    environments: tuple[str, ...] | None = None
    namespaces: tuple[str, ...] | None = None
    flag_keys: tuple[str, ...] | None = None
    allow_switch_off: bool = False


def _patterns(globs: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if globs is None else tuple(_pattern(glob) for glob in globs)


def _pattern(glob: str) -> str:
    """Return the pattern of LIKE for a name, or for all names that begin so where it ends with `*`."""
    name = glob.removesuffix("*")
    for special in ("\\", "%", "_"):
        name = name.replace(special, f"\\{special}")
    return name + "%" * glob.endswith("*")


def _joined(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """Join intervals that overlap or touch: both must end. All of them have an end."""
    found: list[Interval] = []
    for interval in sorted(intervals):
        last = found[-1] if found else None
        if last and last.ends_at and interval.ends_at and interval.starts_at <= last.ends_at:
            found[-1] = replace(last, ends_at=max(last.ends_at, interval.ends_at))
        else:
            found.append(interval)
    return tuple(found)


class Phase(StrEnum):
    """For display only; programs read the conditions."""

    ACTIVE = "Active"  # changes are held now
    PENDING = "Pending"  # its time is now, and an older processor may not obey it yet
    SCHEDULED = "Scheduled"  # a window is to come
    FINISHED = "Finished"  # no window is left
    INVALID = "Invalid"


class ConditionType(StrEnum):
    """What is observed of a FlagFreeze."""

    READY = "Ready"  # accepted, and written to the database
    ACTIVE = "Active"  # changes are held: no batch begins with one; those that run may finish
    STALLED = "Stalled"  # needs an edit; absent otherwise


class ConditionReason(StrEnum):
    """Why a condition of a FlagFreeze is what it is; programs read these words."""

    MIRRORED = "Mirrored"
    FROZEN = "Frozen"
    NOT_YET = "NotYet"
    OVER = "Over"
    WAITING_FOR_PROCESSORS = "WaitingForProcessors"
    INVALID_SPEC = "InvalidSpec"


@dataclass(frozen=True, kw_only=True)
class NextWindow:
    """The next time in which changes are held."""

    __pydantic_config__: ClassVar[ConfigDict] = lenient.CONFIG

    start: Annotated[lenient.OptionalTime, Field(alias="from")] = None
    until: lenient.OptionalTime = None


@dataclass(frozen=True, kw_only=True)
class Status(lenient.Stored):
    """What an object shows of its freeze."""

    __pydantic_config__: ClassVar[ConfigDict] = lenient.CONFIG

    observed_generation: lenient.OptionalNumber = None
    phase: Annotated[Phase | None, lenient.OR_NONE] = None
    held: lenient.OptionalNumber = None
    until: lenient.OptionalTime = None
    next_window: Annotated[NextWindow | None, lenient.OR_NONE] = None
    message: lenient.OptionalText = None
    conditions: Conditions = ()


@dataclass(frozen=True, kw_only=True)
class FlagFreeze:
    """One object as read from the API server; `spec` is None where it could not be parsed, `fault` says why."""

    ref: ObjectRef
    generation: int
    resource_version: str
    deleting: bool
    spec: Spec | None
    fault: str | None
    status: Status
    finalizers: tuple[str, ...] = ()

    @property
    def has_finalizer(self) -> bool:
        """Whether it carries our finalizer, so that its deletion cannot go unseen."""
        return FINALIZER in self.finalizers

    @property
    def settled(self) -> bool:
        """Whether its status covers its spec."""
        return not self.deleting and self.has_finalizer and self.status.observed_generation == self.generation

    @property
    def stopping(self) -> bool:
        """Whether a person waits for it: always, because a freeze stops changes, and its end releases them."""
        return True

    @property
    def observed(self) -> bool:
        """Whether an operator has ever written its status."""
        return (self.status.observed_generation or -1) >= 0

    @property
    def due(self) -> None:
        """Nothing: all of them are due."""

    @property
    def requests(self) -> None:
        """Nothing: annotations request nothing."""

    def with_requests_of(self, previous: Self) -> Self:  # noqa: ARG002 -- of every kind
        """Nothing is requested but by the spec."""
        return self

    def as_deleted(self) -> Self:
        """Return the object as it is after its removal."""
        return replace(self, deleting=True, finalizers=())

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> "FlagFreeze":
        """Read a raw object; a spec that cannot be parsed is a fault of the object, not an exception."""
        meta = body["metadata"]
        spec, fault = _parse_spec(body.get("spec"))
        return cls(
            ref=ObjectRef(uid=Uid(UUID(meta["uid"])), namespace="", name=meta["name"]),
            generation=meta["generation"],
            resource_version=meta["resourceVersion"],
            deleting="deletionTimestamp" in meta,
            spec=spec,
            fault=fault,
            status=Status.from_json(body.get("status")),
            finalizers=tuple(meta.get("finalizers") or ()),
        )


def _parse_spec(raw: object) -> tuple[Spec | None, str | None]:
    try:
        return Spec.model_validate(raw), None
    except ValidationError as error:
        return None, explain_faults(error)
