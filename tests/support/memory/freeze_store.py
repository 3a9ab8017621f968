"""The operator's store of freezes in memory. Implements ports.freezing.FreezeStore.

What is held is what a test says: to compare a freeze with rows is the statement's work.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from flagschedule.domain.freeze import Interval, Scope
from flagschedule.domain.freeze_status import FreezeState
from flagschedule.domain.outcome import Holding
from flagschedule.domain.schedule import ObjectRef, Uid
from flagschedule.ports.freezing import FreezeLook
from tests.support.memory.database import MemoryDatabase


class MemoryFreezeStore:
    """One cluster's view of the freezes.

    Attributes:
        freezes: by object, what is held and when.
        held_counts: how many schedules each freeze holds.
        holdings: what holds each object's schedule, and since when it is due; `plans` likewise.
        replaced: how often intervals were written.
    """

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self.freezes: dict[ObjectRef, tuple[Scope, Sequence[Interval]]] = {}
        self.held_counts: dict[Uid, int] = {}
        self.holdings: dict[ObjectRef, tuple[Holding, datetime]] = {}
        self.plans: dict[ObjectRef, tuple[Holding, datetime]] = {}
        self.replaced = 0
        self.obeyed = True

    async def look(self) -> FreezeLook:
        """See ports.freezing.FreezeStore."""
        self._database.check()
        now = self._database.now
        all_states = {ref: _state(intervals, now) for ref, (_, intervals) in self.freezes.items()}
        states = {ref: state for ref, state in all_states.items() if state.active or state.next_from}
        versions = {ref: [hash(stored)] for ref, stored in self.freezes.items() if stored[1]}
        active = sorted(hash((ref, state.until)) for ref, state in states.items() if state.active)
        return FreezeLook(now=now, obeyed=self.obeyed, active=active, states=states, versions=versions)

    async def held(self) -> Mapping[Uid, int]:
        """See ports.freezing.FreezeStore."""
        self._database.check()
        return self.held_counts

    async def replace(self, ref: ObjectRef, scope: Scope, intervals: Sequence[Interval]) -> None:
        """See ports.freezing.FreezeStore."""
        self._database.check()
        self.replaced += 1
        now = self._database.now
        left = tuple(interval for interval in intervals if interval.ends_at is None or interval.ends_at > now)
        self.freezes[ref] = scope, left

    async def forget(self, ref: ObjectRef) -> None:
        """See ports.freezing.FreezeStore."""
        self._database.check()
        self.freezes.pop(ref, None)

    async def held_objects(self, since: datetime | None) -> Mapping[ObjectRef, Holding]:
        """See ports.freezing.FreezeStore."""
        return self._held(self.holdings, since)

    async def held_plans(self, since: datetime | None) -> Mapping[ObjectRef, Holding]:
        """See ports.freezing.FreezeStore."""
        return self._held(self.plans, since)

    def _held(
        self, holdings: Mapping[ObjectRef, tuple[Holding, datetime]], since: datetime | None
    ) -> Mapping[ObjectRef, Holding]:
        self._database.check()
        now = self._database.now
        return {
            ref: holding for ref, (holding, due) in holdings.items() if due <= now and (since is None or due > since)
        }

    async def unfinished(self, refs: Collection[ObjectRef]) -> Sequence[ObjectRef]:
        """See ports.freezing.FreezeStore."""
        self._database.check()
        found = []
        for ref in refs:
            _, record = self._database.records[ref.uid]
            row = self._database.row(record.schedule_id)
            if row is not None and not row.finished:
                found.append(ref)
        return found


def _state(intervals: Sequence[Interval], now: datetime) -> FreezeState:
    left = [interval for interval in intervals if interval.ends_at is None or interval.ends_at > now]
    active = [interval for interval in left if interval.starts_at <= now]
    following = min((interval for interval in left if interval.starts_at > now), default=None)
    return FreezeState(
        active=bool(active),
        until=active[0].ends_at if active else None,
        next_from=following.starts_at if following else None,
        next_until=following.ends_at if following else None,
    )
