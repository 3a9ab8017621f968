"""Conditions in the shape of `metav1.Condition`, for every kind; types and reasons are each kind's own."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict

from flagschedule.domain import lenient


class ConditionStatus(StrEnum):
    """Whether what a condition speaks of holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One observation of an object; of a stored one, type and reason may be any text."""

    __pydantic_config__: ClassVar[ConfigDict] = lenient.CONFIG

    type: lenient.Text
    status: ConditionStatus
    reason: lenient.Text = ""
    message: lenient.Text = ""
    observed_generation: lenient.OptionalNumber = None
    last_transition_time: lenient.OptionalTime = None


Conditions = Annotated[tuple[Condition, ...], lenient.EACH]


def find(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of a type."""
    return next((condition for condition in conditions if condition.type == kind), None)


def with_transition_times(conditions: Iterable[Condition], previous: Conditions, now: datetime) -> Conditions:
    """Set each `lastTransitionTime`: it moves only when `status` changes (Kubernetes API conventions)."""
    now = now.replace(microsecond=0)

    def since(condition: Condition) -> datetime:
        old = find(previous, condition.type)
        return old.last_transition_time or now if old and old.status is condition.status else now

    return tuple(replace(condition, last_transition_time=since(condition)) for condition in conditions)
