"""What the operator needs from the database for freezes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flagschedule.domain.freeze import Interval, Scope
from flagschedule.domain.freeze_status import FreezeState
from flagschedule.domain.outcome import Holding
from flagschedule.domain.schedule import ObjectRef, Uid


@dataclass(frozen=True, kw_only=True)
class FreezeLook:
    """What the database has of the freezes at one moment.

    Attributes:
        now: its time.
        obeyed: whether no processor is at work that does not know freezes.
        active: identifies the intervals that are active now, of all clusters; another value after any change of them.
        states: of the freezes of this cluster that have an interval that is not over.
        versions: of all freezes of this cluster; a value that differs says that others are stored than before.
    """

    now: datetime
    obeyed: bool
    active: Sequence[int]
    states: Mapping[ObjectRef, FreezeState]
    versions: Mapping[ObjectRef, Sequence[int]]


class FreezeStore(Protocol):
    """The freezes of this operator's own cluster name, and what they hold.

    Every method raises DependencyUnavailableError where the database cannot serve it.
    """

    async def look(self) -> FreezeLook:
        """What the database has; nothing is counted as held yet."""

    async def held(self) -> Mapping[Uid, int]:
        """How many schedules that are due each freeze holds; nothing of those that hold none."""

    async def replace(self, ref: ObjectRef, scope: Scope, intervals: Sequence[Interval]) -> None:
        """Let the database hold what is in scope in these intervals, and nothing else for this freeze, at once.

        Raises:
            ConflictError: another transaction works on the same freeze.
        """

    async def forget(self, ref: ObjectRef) -> None:
        """End a freeze.

        Raises:
            ConflictError: another transaction works on the same freeze.
        """

    async def held_objects(self, since: datetime | None) -> Mapping[ObjectRef, Holding]:
        """Live objects whose schedules are due and held; those that came due after `since` only, unless it is None."""

    async def held_plans(self, since: datetime | None) -> Mapping[ObjectRef, Holding]:
        """Live plans with a change that is due and held; otherwise as `held_objects`."""

    async def unfinished(self, refs: Collection[ObjectRef]) -> Sequence[ObjectRef]:
        """Of these objects those whose schedules are not finished."""
