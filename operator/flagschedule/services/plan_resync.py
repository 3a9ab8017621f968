"""Wakes plans: for outcomes each second, for flags that were missing, and where object and rows differ.

A root task of the operator. It finds what must be looked at, and the reconciler plans it again.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import structlog

from flagschedule.domain import plan
from flagschedule.domain.errors import DependencyUnavailableError
from flagschedule.domain.plan import FlagPlan, PlanStatus
from flagschedule.domain.schedule import ObjectRef, Uid
from flagschedule.ports.measuring import Telemetry
from flagschedule.ports.planning import KnownPlan, PlanStore
from flagschedule.services.circuit_breaker import CircuitBreaker
from flagschedule.services.concurrently import for_each
from flagschedule.services.optional_kind import OptionalKind
from flagschedule.services.outbox import Outbox
from flagschedule.services.plan_mirror import PlanMirror
from flagschedule.services.reconcile import Reconciler
from flagschedule.services.resync import warn_of_old_objects
from flagschedule.services.startup import Startup

_log = structlog.get_logger()
_LOOK: Final = 1.0
_UNKNOWN: Final = datetime.max.replace(tzinfo=UTC)
_TURNS_PER_COMPARISON: Final = 10


class PlanResync:
    """Looks for outcomes each second, for flags every `interval` seconds, and compares all at every tenth turn."""

    def __init__(
        self,
        store: PlanStore,
        kind: OptionalKind[FlagPlan],
        breaker: CircuitBreaker,
        mirror: PlanMirror,
        reconciler: Reconciler[FlagPlan],
        telemetry: Telemetry,
        startup: Startup,
        *,
        interval: float,
    ) -> None:
        self._store = store
        self._kind = kind
        self._breaker = breaker
        self._mirror = mirror
        self._reconciler = reconciler
        self._telemetry = telemetry
        self._startup = startup
        self._interval = interval
        self._outbox = Outbox(store, breaker)
        self._failing = False

    def refresh(self, refs: Iterable[ObjectRef]) -> None:
        """Let plans be read and planned again, each at its turn; one that is being worked on gets another turn."""
        for ref in refs:
            self._reconciler.add(_unread(ref), fresh=False, woken=True)

    async def run_forever(self) -> None:
        """Look until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._serve_outcomes(), name="outcomes of plans")
            group.create_task(self._repair(), name="comparison of plans")

    async def _serve_outcomes(self) -> None:
        while True:
            try:
                await self._read_outbox()
            except Exception:  # noqa: BLE001 -- one failure must not stop other outcomes
                _log.exception("Outcomes of plans not served")
            await asyncio.sleep(_LOOK)

    async def _read_outbox(self) -> None:
        """Let the plans that have outcomes be planned again, and delete the entries of those that were."""
        for ref in self._outbox.unserved:
            if ref not in self._reconciler:
                self._outbox.serve(ref, self._outbox.entries(ref))
        self.refresh(await self._outbox.read(self._reconciler.in_line()))

    async def _repair(self) -> None:
        done = 0
        while True:
            try:
                await (self._retry_waiting if done % _TURNS_PER_COMPARISON else self._compare_all)()
            except DependencyUnavailableError as error:
                if not self._failing:
                    _log.warning("FlagPlans cannot be compared now", error=str(error))
                self._failing = True
            except Exception:  # noqa: BLE001 -- an error in the comparison must not stop what the watch triggers
                _log.exception("FlagPlans not compared")
            else:
                self._failing = False
                done += 1
            await asyncio.sleep(self._interval)

    async def _retry_waiting(self) -> None:
        """Plan what waits for a flag that exists by now."""
        self.refresh(await self._breaker.run(self._store.waiting))

    async def _compare_all(self) -> None:
        """Compare all objects with all records and rows. It also moves the horizon, and plans by new time zone data."""
        # The records first: an object that appears in between then only looks new.
        known = {found.ref.uid: found for found in await self._breaker.run(self._store.known)}
        objects = await self._kind.list()
        if objects is None:
            self._startup.compared(plan.KIND, 0)
            return
        behind = [obj for obj in objects if not obj.deleting and _generation(obj, known) > obj.generation]
        warn_of_old_objects(plan.KIND, len(behind))
        damaged: list[FlagPlan] = []

        async def compare(obj: FlagPlan) -> None:
            if await self._is_damaged(obj, known):
                damaged.append(obj)

        await for_each(objects, compare)
        orphans = known.keys() - {obj.ref.uid for obj in objects}
        await self._reconciler.try_all([*damaged, *(_as_deleted(known[uid]) for uid in orphans)])
        self._startup.compared(plan.KIND, len(damaged))
        self._telemetry.plans_compared([obj.status for obj in objects])
        _log.debug("All plans compared", repaired=len(damaged))

    async def _is_damaged(self, obj: FlagPlan, known: dict[Uid, KnownPlan]) -> bool:
        if obj.deleting:
            return obj.has_finalizer or obj.ref.uid in known
        if obj.ref in self._reconciler:
            return True  # it has its own turn, which is waited for
        try:
            return not obj.has_finalizer or await self._mirror.is_stale(obj)
        except Exception:  # noqa: BLE001 -- an error in one object must not stop the others
            _log.exception("Plan not compared", uid=str(obj.ref.uid))
            return False


def _generation(obj: FlagPlan, known: Mapping[Uid, KnownPlan]) -> int:
    """Return the generation that the database has seen of an object."""
    return known[obj.ref.uid].generation if obj.ref.uid in known else 0


def _unread(ref: ObjectRef) -> FlagPlan:
    """Return an object of which only the name is known; the reconciler reads it at its turn."""
    return FlagPlan(
        ref=ref,
        generation=0,
        resource_version="",
        created_at=_UNKNOWN,
        deleting=False,
        spec=None,
        fault=None,
        plan_hash=None,
        retry_request=None,
        approval=None,
        status=PlanStatus(observed_generation=1),  # it was planned before
    )


def _as_deleted(known: KnownPlan) -> FlagPlan:
    """Return a removed object as far as its record holds it: enough to release it."""
    return replace(_unread(known.ref), created_at=known.created_at, deleting=True)
