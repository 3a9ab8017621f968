"""The FlagSchedule object as we understand it: parsed strictly, also where the API server accepted more.

Called by the operator with the raw object. The same rules stand in `crds/flagschedules.yaml`; a test compares
the two.  It must not know where the object came from or what becomes of it.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, NewType, Self
from uuid import UUID

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, ValidationError
from pydantic.alias_generators import to_camel

GROUP: Final = "flagschedule.io"
VERSION: Final = "v1alpha1"
KIND: Final = "FlagSchedule"
PLURAL: Final = "flagschedules"
FINALIZER: Final = f"{GROUP}/finalizer"
RETRY_ANNOTATION: Final = f"{GROUP}/retry-requested-at"
_LONGEST_REQUEST: Final = 128
DEFAULT_ENVIRONMENT: Final = "production"

Uid = NewType("Uid", UUID)

# Python's own parser accepts week dates, a blank for the T and more; RFC 3339 section 5.6 does not.
_RFC3339: Final = re.compile(
    r"(?P<start>\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?P<fraction>\.\d+)?(?P<offset>Z|[+-]\d{2}:\d{2})",
    re.ASCII,
)
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)


def parse_time(text: object) -> datetime:
    """An RFC 3339 instant with an offset, as UTC, cut to microseconds, which is what Postgres keeps.

    Raises:
        ValueError: not such an instant, or outside of the years 2000-2099.
    """
    match = _RFC3339.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError('must be an RFC 3339 time with an offset, for example "2026-12-01T09:00:00Z"')
    fraction = (match["fraction"] or "")[:7]
    offset = "+00:00" if match["offset"] == "Z" else match["offset"]
    try:
        instant = datetime.fromisoformat(match["start"] + fraction.ljust(7, "0") * bool(fraction) + offset)
        instant = instant.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("is not a time that the calendar knows") from error
    if not _EARLIEST < instant < _LATEST:
        raise ValueError("must lie in the years 2000 to 2099")
    return instant


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Updates(_Model):
    """What changes: at least one of the two properties."""

    enabled: StrictBool | None = None
    rollout_percentage: Annotated[StrictInt, Field(ge=0, le=100)] | None = None

    @pydantic.model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.enabled is None and self.rollout_percentage is None:
            raise ValueError("must set enabled, rolloutPercentage or both")
        return self

    def as_json(self) -> dict[str, bool | int]:
        """The shape of the database's `updates` column: only what is set, in camelCase."""
        return self.model_dump(by_alias=True, exclude_none=True)


class Spec(_Model):
    """The request: at `scheduled_at`, change the flag `flag_key` of `environment` to `updates`."""

    flag_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$", min_length=1, max_length=128)]
    environment: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", min_length=1, max_length=64)] | None = (
        None
    )
    scheduled_at: Annotated[datetime, BeforeValidator(parse_time)]
    updates: Updates
    suspend: StrictBool = False
    cancel: StrictBool = False
    max_retries: Annotated[StrictInt, Field(ge=0, le=10)] | None = None
    starting_deadline_seconds: Annotated[StrictInt, Field(ge=10, le=2_147_483_647)] | None = None

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
        """Identifies everything whose edit arms a failed schedule again: the change and its retry rules."""
        return _digest([*self._change(), self.max_retries, self.starting_deadline_seconds])

    def _change(self) -> list[Any]:
        at = self.scheduled_at.isoformat(timespec="microseconds")
        return [self.flag_key, self.effective_environment, at, self.updates.as_json()]


def _digest(value: list[Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class ObjectRef:
    """Which object: its uid decides, namespace and name are where to find it."""

    uid: Uid
    namespace: str
    name: str


@dataclass(frozen=True, kw_only=True)
class FlagSchedule:
    """One object as read from the API server; `spec` is None where it could not be parsed, `fault` says why.

    `cancel` requests cancellation, and counts also in a spec that cannot be parsed.
    """

    ref: ObjectRef
    generation: int
    resource_version: str
    created_at: datetime
    deleting: bool
    spec: Spec | None
    fault: str | None
    retry_request: str | None
    status: Mapping[str, Any]
    cancel: bool = False
    finalizers: tuple[str, ...] = ()

    @property
    def guarded(self) -> bool:
        """Whether it carries our finalizer, so that its deletion cannot go unseen."""
        return FINALIZER in self.finalizers

    @property
    def settled(self) -> bool:
        """Whether the object's status covers everything that it requests."""
        return (
            not self.deleting
            and self.guarded
            and self.status.get("observedGeneration") == self.generation
            and self.retry_request in {None, self.status.get("lastHandledRetryRequest")}
        )

    @property
    def stopping(self) -> bool:
        """Whether it requests to stop what may be planned: deleted, cancelled or suspended, and not yet handled."""
        held = self.cancel or (self.spec is not None and self.spec.suspend)
        return self.deleting or (held and self.observed and not self.settled)

    @property
    def observed_generation(self) -> int:
        """The generation that its status covers; -1, the CRD's default, where no operator has ever written it."""
        return int(self.status.get("observedGeneration", -1))

    @property
    def observed(self) -> bool:
        """Whether an operator has ever written this object's status."""
        return self.observed_generation >= 0

    @property
    def applied_at(self) -> datetime | None:
        """When its change was made, by its status, which administrators can write, too."""
        return self._time_of_status("appliedAt")

    @property
    def applied_schedule(self) -> datetime | None:
        """The scheduled time of the change that its status reports; the spec may have been edited since."""
        return self._time_of_status("scheduledAt") or (self.spec.scheduled_at if self.spec else None)

    @property
    def is_replayed(self) -> bool:
        """Whether its change was made for an earlier object of its name, by its status."""
        return any(condition.get("reason") == "Replayed" for condition in self.status.get("conditions", []))

    def _time_of_status(self, name: str) -> datetime | None:
        try:
            return parse_time(self.status.get(name))
        except ValueError:  # absent, or not a time that we wrote
            return None

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> "FlagSchedule":
        """Read a raw object; a spec that cannot be parsed is a fault of the object, not an exception."""
        meta = body["metadata"]
        spec, fault = _parse_spec(body.get("spec"))
        return cls(
            ref=ObjectRef(uid=Uid(UUID(meta["uid"])), namespace=meta["namespace"], name=meta["name"]),
            generation=meta["generation"],
            resource_version=meta["resourceVersion"],
            created_at=datetime.fromisoformat(meta["creationTimestamp"]),
            deleting="deletionTimestamp" in meta,
            spec=spec,
            fault=fault,
            retry_request=_bounded((meta.get("annotations") or {}).get(RETRY_ANNOTATION)),
            status=body.get("status") or {},
            cancel=isinstance(raw := body.get("spec"), Mapping) and raw.get("cancel") is True,
            finalizers=tuple(meta.get("finalizers") or ()),
        )


def _bounded(request: str | None) -> str | None:
    """Return a retry request as it is stored: tenants may write any text, and the database refuses some."""
    if request is None or (len(request) <= _LONGEST_REQUEST and request.isascii() and request.isprintable()):
        return request
    return f"sha256:{hashlib.sha256(request.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _parse_spec(raw: object) -> tuple[Spec | None, str | None]:
    try:
        return Spec.model_validate(raw), None
    except ValidationError as error:
        return None, "; ".join(_explain(fault) for fault in error.errors(include_url=False, include_input=False))


def _explain(fault: Any) -> str:
    path = ".".join(["spec", *(str(part) for part in fault["loc"])])
    return f"{path}: {fault['msg'].removeprefix('Value error, ')}"
