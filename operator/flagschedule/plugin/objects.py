"""The objects as kubectl returns them, with names for what the commands need of them.

The API server has checked their specs against the schema. A status may be missing, and a field of it, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final, NamedTuple

from flagschedule.domain.times import parse_any_time
from flagschedule.plugin import text

GROUP: Final = "flagschedule.io"
SCHEDULE, PLAN, FREEZE = "FlagSchedule", "FlagPlan", "FlagFreeze"
SHORT: Final = {SCHEDULE: "fsched", PLAN: "fplan", FREEZE: "ffreeze"}
RESOURCES: Final = {kind: f"{kind.lower()}s.{GROUP}" for kind in SHORT}
DEFAULT_ENVIRONMENT: Final = "production"
HANDLED: Final = {"Applied", "Superseded", "Skipped", "Cancelled"}  # the spec has no further effect
MADE: Final = {"Applied", "AlreadySet", "PartlySuperseded"}  # outcomes of a plan's step
UNUSABLE: Final = (ValueError, KeyError, TypeError, AttributeError)  # an object of another release, of other types
NOT_SEEN: Final = "not seen yet"

_CREATED_BY: Final = f"{GROUP}/created-by"
_CHANGED_BY: Final = f"{GROUP}/changed-by"


class Flag(NamedTuple):
    """Which flag: its key and its environment."""

    key: str
    environment: str

    @staticmethod
    def of(change: Mapping[str, Any]) -> "Flag":
        """Return the flag of a FlagSchedule's spec or of a change of a plan."""
        return Flag(str(change["flagKey"]), str(change.get("environment") or DEFAULT_ENVIRONMENT))

    def __str__(self) -> str:
        return text.clean(self.key if self.environment == DEFAULT_ENVIRONMENT else f"{self.key} ({self.environment})")


@dataclass(frozen=True)
class Obj:
    """One object of ours."""

    raw: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """FlagSchedule, FlagPlan or FlagFreeze."""
        return str(self.raw.get("kind"))

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Its metadata."""
        return _mapping(self.raw.get("metadata"))

    @property
    def namespace(self) -> str:
        """Its namespace; empty for a FlagFreeze."""
        return self.metadata.get("namespace") or ""

    @property
    def name(self) -> str:
        """Its name."""
        return self.metadata.get("name") or ""

    @property
    def uid(self) -> str:
        """Its uid; for an object that does not exist yet what it is called."""
        return self.metadata.get("uid") or f"{self.kind}-{self.namespace}-{self.name}"

    @property
    def annotations(self) -> Mapping[str, str]:
        """Its annotations."""
        return self.metadata.get("annotations") or {}

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        return self.metadata.get("labels") or {}

    @property
    def spec(self) -> Mapping[str, Any]:
        """Its spec; empty if it has none, as in a file that the API server refuses."""
        return _mapping(self.raw.get("spec"))

    @property
    def status(self) -> Mapping[str, Any]:
        """Its status; empty if there is none."""
        return _mapping(self.raw.get("status"))

    @cached_property
    def flags(self) -> tuple[Flag, ...]:
        """The flags that it changes."""
        changes = [self.spec] if self.kind == SCHEDULE else [c for s in self.steps for c in _each(s.get("changes"))]
        return tuple(dict.fromkeys(Flag.of(change) for change in changes if "flagKey" in change))

    @property
    def steps(self) -> Sequence[Mapping[str, Any]]:
        """The steps of a plan."""
        return _each(self.spec.get("steps"))

    @property
    def created_at(self) -> datetime | None:
        """When it was created; None for an object of a file."""
        return time(self.metadata.get("creationTimestamp"))

    @property
    def waiting_for(self) -> Mapping[str, Any]:
        """What it waits for, by its status."""
        return _mapping(self.status.get("waitingFor"))

    @property
    def values(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The flag's values before and after the change that was made."""
        shown = _mapping(self.status.get("flag"))
        return _mapping(shown.get("before")), _mapping(shown.get("after"))

    @property
    def next(self) -> Mapping[str, Any]:
        """What comes next of a plan, by its status."""
        return _mapping(self.status.get("next"))

    @property
    def recent(self) -> Sequence[Mapping[str, Any]]:
        """What was handled of a plan last, the newest first, by its status."""
        return _each(self.status.get("recent"))

    @property
    def is_seen(self) -> bool:
        """Whether the operator has ever written its status."""
        seen = self.status.get("observedGeneration")
        return isinstance(seen, int) and seen > 0

    @property
    def is_current(self) -> bool:
        """Whether its status is that of its spec."""
        return self.status.get("observedGeneration") == self.metadata.get("generation")

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is to come. What is edited after it ended may be planned again, so that is not over."""
        if self.phase in HANDLED:
            return True
        ended = {"Finished", "Failed", "Expired", "Invalid"} if self.kind == SCHEDULE else {"Finished", "Invalid"}
        return self.is_current and self.phase in ended

    @property
    def phase(self) -> str:
        """Its phase; `not seen yet` before the operator has written one."""
        return str(self.status.get("phase") or NOT_SEEN)

    @property
    def shown(self) -> str:
        """What it is called, for example `fsched shop/launch`."""
        place = f"{self.namespace}/" if self.namespace else ""
        return text.clean(f"{SHORT.get(self.kind, self.kind)} {place}{self.name}")

    @property
    def resource(self) -> str:
        """Its name for kubectl, for example `flagschedule/launch`."""
        return f"{self.kind.lower()}/{self.name}"

    @property
    def options(self) -> tuple[str, ...]:
        """What kubectl needs in addition to its name."""
        return (f"--namespace={self.namespace}",) if self.namespace else ()

    @property
    def who(self) -> str:
        """Who changed it last, where that is recorded; else what its annotation says, marked as such."""
        if self.status.get("by"):
            return text.clean(self.status["by"])
        annotated = self.annotations.get(_CHANGED_BY) or self.annotations.get(_CREATED_BY)
        return f"{text.clean(annotated)} (by its annotation)" if annotated else "not recorded"

    def condition(self, kind: str) -> Mapping[str, Any]:
        """Return a condition; empty if it is absent."""
        return next((c for c in _each(self.status.get("conditions")) if c.get("type") == kind), {})


def _mapping(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _each(found: object) -> Sequence[Mapping[str, Any]]:
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def time(written: object) -> datetime | None:
    """Return an RFC 3339 time; None if it is none."""
    try:
        return parse_any_time(written)
    except ValueError:
        return None
