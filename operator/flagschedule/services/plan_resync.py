"""Wakes plans: for outcomes each second, for flags that were missing, and where object and rows differ.

A root task of the operator. It finds what must be looked at, and the reconciler plans it again.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import structlog

from flagschedule.domain.errors import (
    AccessForbiddenError,
    DependencyUnavailableError,
    KindMissingError,
)
from flagschedule.domain.plan import FlagPlan, PlanStatus
from flagschedule.domain.schedule import ObjectRef, Uid
from flagschedule.ports.cluster import ObjectClient
from flagschedule.ports.measuring import Telemetry
from flagschedule.ports.planning import KnownPlan, PlanStore
from flagschedule.services.circuit_breaker import CircuitBreaker
from flagschedule.services.concurrently import for_each
from flagschedule.services.outbox import Outbox
from flagschedule.services.plan_mirror import PlanMirror
from flagschedule.services.reconcile import Reconciler

_log = structlog.get_logger()
_LOOK: Final = 1.0
_UNKNOWN: Final = datetime.max.replace(tzinfo=UTC)
_TURNS_PER_COMPARISON: Final = 10


class PlanResync:
    """Looks for outcomes each second, for flags every `interval` seconds, and compares all at every tenth turn.

    Attributes:
        served: whether the API server serves FlagPlans to us; None while that is not known.
    """

    def __init__(
        self,
        store: PlanStore,
        client: ObjectClient[FlagPlan, PlanStatus],
        breaker: CircuitBreaker,
        mirror: PlanMirror,
        reconciler: Reconciler[FlagPlan],
        telemetry: Telemetry,
        *,
        interval: float,
    ) -> None:
        self._store = store
        self._client = client
        self._breaker = breaker
        self._mirror = mirror
        self._reconciler = reconciler
        self._telemetry = telemetry
        self._interval = interval
        self._outbox = Outbox(store, breaker)
        self._failing = False
        self.served: bool | None = None

    async def prepare(self) -> None:
        """Wait until it is known whether the API server serves FlagPlans."""
        while self.served is None:
            with suppress(DependencyUnavailableError):
                await self._objects()
                return
            await asyncio.sleep(1)

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
        for ref in await self._outbox.read(self._reconciler.in_line()):
            self._wake(ref)

    def _wake(self, ref: ObjectRef) -> None:
        """Let a plan be read and planned again at its turn; one that is being worked on gets another turn."""
        self._reconciler.add(_unread(ref), fresh=False, woken=True)

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
        for ref in await self._breaker.run(self._store.waiting):
            self._wake(ref)

    async def _compare_all(self) -> None:
        """Compare all objects with all records and rows. It also moves the horizon, and plans by new time zone data."""
        # The records first: an object that appears in between then only looks new.
        known = {plan.ref.uid: plan for plan in await self._breaker.run(self._store.known)}
        objects = await self._objects()
        if objects is None:
            return
        damaged: list[FlagPlan] = []

        async def compare(obj: FlagPlan) -> None:
            if await self._is_damaged(obj, known):
                damaged.append(obj)

        await for_each(objects, compare)
        orphans = known.keys() - {obj.ref.uid for obj in objects}
        await self._reconciler.try_all([*damaged, *(_as_deleted(known[uid]) for uid in orphans)], _keep_nothing)
        self._telemetry.plans_compared([obj.status for obj in objects])
        _log.debug("All plans compared", repaired=len(damaged))

    async def _is_damaged(self, obj: FlagPlan, known: dict[Uid, KnownPlan]) -> bool:
        if obj.deleting:
            return obj.has_finalizer or obj.ref.uid in known
        if obj.ref in self._reconciler:
            return False  # it has its own turn
        try:
            return not obj.has_finalizer or await self._mirror.is_stale(obj)
        except Exception:  # noqa: BLE001 -- an error in one object must not stop the others
            _log.exception("Plan not compared", uid=str(obj.ref.uid))
            return False

    async def _objects(self) -> Sequence[FlagPlan] | None:
        """Return all FlagPlans; None where they are not served, which is logged once."""
        try:
            found = [obj async for obj in self._client.list()]
        except (AccessForbiddenError, KindMissingError) as error:
            if self.served is not False:
                what = "their CRD is not installed" if isinstance(error, KindMissingError) else "it may not list them"
                _log.warning(
                    "The operator works without FlagPlans",
                    error=f"{what}; what is planned in the database is made. To use them, apply crds/flagplans.yaml "
                    "and let the operator get, list, watch and patch flagplans, also their status",
                )
            self.served = False
            return None
        if self.served is False:
            _log.info("FlagPlans are served now, and compared every few minutes; restart the operator to watch them")
        self.served = True
        return found


async def _keep_nothing() -> None:
    """The claim to the cluster's name is kept elsewhere."""


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


def _as_deleted(plan: KnownPlan) -> FlagPlan:
    """Return a removed object as far as its record holds it: enough to release it."""
    return replace(_unread(plan.ref), created_at=plan.created_at, deleting=True)
