"""Brings record, links and rows of one FlagPlan in line with the object. Called by the reconciler.

`domain.planning` decides what they should be, the store stores them, and `plan_status` writes the status.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog

from flagschedule.domain import planning
from flagschedule.domain.decision import Rules
from flagschedule.domain.errors import ConflictError
from flagschedule.domain.outcome import Reason
from flagschedule.domain.plan import FlagPlan
from flagschedule.domain.plan_rows import PlanFacts
from flagschedule.domain.planning import PlanDecision
from flagschedule.ports.measuring import Telemetry
from flagschedule.ports.planning import PlanStore, PlanTransaction
from flagschedule.services.circuit_breaker import CircuitBreaker
from flagschedule.services.plan_status import PlanStatusWriter

_log = structlog.get_logger()
_FRESH: Final = 30.0  # seconds
_PASSES: Final = 3  # the second one finds nothing to change, unless room was made for further rows


@dataclass(frozen=True)
class Planned:
    """What one transaction stored, and what planning finds out of it."""

    facts: PlanFacts
    decision: PlanDecision
    is_changed: bool

    @property
    def is_waiting_for_lock(self) -> bool:
        """Whether another transaction has locked a flag that needs rows."""
        return Reason.FLAG_LOCKED in self.decision.view.missing.values()


class PlanMirror:
    """The operator's use case for plans: make the database match an object. Implements reconcile.KindMirror."""

    def __init__(
        self, store: PlanStore, breaker: CircuitBreaker, rules: Rules, writer: PlanStatusWriter, telemetry: Telemetry
    ) -> None:
        self._store = store
        self._breaker = breaker
        self._rules = rules
        self._writer = writer
        self._telemetry = telemetry

    @property
    def is_held(self) -> bool:
        """Whether all work waits, because the database does not answer."""
        return self._breaker.away

    async def reconcile(self, obj: FlagPlan) -> None:
        """Plan the object's rows and write its status. Waits while the database is away.

        Raises:
            ConflictError: another transaction holds a lock. Rows whose flag is not locked were stored.
            DependencyUnavailableError: the API server is away.
        """
        if obj.stopping and obj.spec is not None and obj.spec.suspend:

            async def hold() -> None:
                await self._store.hold(obj)

            await self._breaker.run(hold, urgent=True)
        planned = await self._plan(obj)
        await self._writer.write(obj, planned.facts, planned.decision)
        if planned.is_waiting_for_lock:
            raise ConflictError(flag_locked=True)

    async def release(self, obj: FlagPlan) -> None:
        """Cancel what an object that is being deleted had planned; return once that is committed.

        Raises:
            ConflictError: another transaction holds a lock.
        """
        await self._plan(obj)

    async def is_stale(self, obj: FlagPlan) -> bool:
        """Return whether to reconcile the object would change anything: the same decision, on what is read unlocked."""

        async def read() -> PlanFacts:
            return await self._store.facts(obj)

        facts = await self._breaker.run(read)
        decision = planning.plan(obj, facts, self._rules)
        if decision.changes or decision.record != facts.record:
            return True
        return self._writer.is_stale(obj, facts, decision)

    async def _plan(self, obj: FlagPlan) -> Planned:
        seen_at = asyncio.get_running_loop().time()

        async def attempt() -> Planned:
            if not obj.deleting and asyncio.get_running_loop().time() - seen_at > _FRESH:
                # After a long outage the object may have been edited or deleted: an old plan must not be stored.
                raise ConflictError
            async with self._store.transaction(obj) as transaction:
                return await self._settle(obj, transaction)

        planned = await self._breaker.run(attempt, urgent=obj.stopping)
        self._telemetry.reconciled(asyncio.get_running_loop().time() - seen_at)
        if planned.is_changed:
            _log.info(
                "Plan released" if obj.deleting else "Plan mirrored",
                namespace=obj.ref.namespace,
                name=obj.ref.name,
                uid=str(obj.ref.uid),
                generation=obj.generation,
                rows=sum(link.unfinished for link in planned.facts.links.values()),
            )
        return planned

    async def _settle(self, obj: FlagPlan, transaction: PlanTransaction) -> Planned:
        """Plan and store until nothing is left to change."""
        is_changed = False
        for _ in range(_PASSES):
            facts = await transaction.facts()
            decision = planning.plan(obj, facts, self._rules)
            await transaction.save(decision)
            if not decision.changes:
                break
            is_changed = True
        return Planned(facts, decision, is_changed)
