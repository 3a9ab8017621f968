"""What was tried for a schedule, and what its flag was before and after; shown in the status.

Read when a status is written anyway. It is no part of the comparison: what retention has purged from the database
stays in the status.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from pydantic import ConfigDict

from flagschedule.domain import lenient

SHOWN: Final = 10  # attempts


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt; `number` counts from 1 within an arming, and `at` is when it was made."""

    __pydantic_config__: ClassVar[ConfigDict] = lenient.CONFIG

    number: lenient.OptionalNumber = None
    arming: lenient.OptionalNumber = None
    at: lenient.OptionalTime = None
    outcome: lenient.OptionalText = None
    reason: lenient.OptionalText = None
    error: lenient.OptionalText = None


Attempts = Annotated[tuple[Attempt, ...], lenient.EACH]


@dataclass(frozen=True, kw_only=True)
class FlagValues:
    """The two values of a flag at one moment."""

    __pydantic_config__: ClassVar[ConfigDict] = lenient.CONFIG

    enabled: Annotated[bool | None, lenient.OR_NONE] = None
    rollout_percentage: lenient.OptionalNumber = None


@dataclass(frozen=True, kw_only=True)
class FlagChange:
    """A flag before and after the change that was made."""

    __pydantic_config__: ClassVar[ConfigDict] = lenient.CONFIG

    before: Annotated[FlagValues | None, lenient.OR_NONE] = None
    after: Annotated[FlagValues | None, lenient.OR_NONE] = None


@dataclass(frozen=True, kw_only=True)
class History:
    """The last attempts, newest first, and the change of the last one that was applied."""

    attempts: tuple[Attempt, ...] = ()
    flag: FlagChange | None = None
