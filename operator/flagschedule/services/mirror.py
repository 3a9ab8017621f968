"""Brings record and row of one object in line with the object. Called by Kopf's handlers and by the sweep.

What record and row should be is `domain.decision`'s business, storing them the store's, and telling the object
the status writer's.
"""

import asyncio
from typing import Final

import structlog

from flagschedule.domain import decision, status
from flagschedule.domain.decision import Decision, Facts, Rules
from flagschedule.domain.errors import ObjectGoneError
from flagschedule.domain.outcome import Snapshot, is_forgotten
from flagschedule.domain.schedule import FlagSchedule
from flagschedule.ports import MirrorStore, ObjectClient, Telemetry
from flagschedule.services.gate import Gate
from flagschedule.services.status import StatusWriter

_log = structlog.get_logger()
_FRESH: Final = 30.0


class Mirror:
    """The operator's use case: make the database match an object. Both methods may be called any number of times."""

    def __init__(
        self,
        store: MirrorStore,
        client: ObjectClient,
        gate: Gate,
        rules: Rules,
        writer: StatusWriter,
        telemetry: Telemetry,
    ) -> None:
        self._store = store
        self._client = client
        self._gate = gate
        self._rules = rules
        self._writer = writer
        self._telemetry = telemetry

    def is_stale(self, thing: FlagSchedule, snapshot: Snapshot | None) -> bool:
        """Whether mirroring the object would change anything: the same decision, on what was read without a lock."""
        if snapshot is None or snapshot.record is None:
            return True
        # No flag and no replay: they matter for what has no record, or no row yet while its flag is looked for anyway.
        facts = Facts(record=snapshot.record, row=snapshot.row, flag_id=None, replay=None, now=snapshot.now)
        return _is_change(facts, decision.decide(thing, facts, self._rules))

    async def reconcile(self, thing: FlagSchedule) -> None:
        """Mirror the object and tell it so. Waits while the database is away; API trouble is the writer's to retry."""
        try:
            thing, snapshot, changed = await self._mirror(thing, "Schedule mirrored")
        except ObjectGoneError:  # it went while we waited; the sweep gives up what it had planned
            return
        if changed:
            await self._writer.write_or_keep(thing.ref, thing, snapshot)
        elif status.compute(thing, snapshot) != thing.status:
            # Whoever mirrored it before us is telling it so: what we hold is no longer what the object says.
            await self._writer.write_or_keep(thing.ref)

    async def release(self, thing: FlagSchedule) -> None:
        """Give up what an object that is being deleted had planned; returns once that is committed."""
        await self._mirror(thing, "Schedule released")

    async def _mirror(self, thing: FlagSchedule, event: str) -> tuple[FlagSchedule, Snapshot, bool]:
        """One transaction; one line if it changed anything.

        Returns:
            The object as it was mirrored, the outcome, and whether anything was changed.
        """
        seen_at = asyncio.get_running_loop().time()
        effect: tuple[Facts, Decision] | None = None

        def decide(facts: Facts) -> Decision:
            nonlocal effect
            effect = facts, decision.decide(thing, facts, self._rules)
            return effect[1]

        async def attempt() -> Snapshot:
            nonlocal thing
            if not thing.deleting and asyncio.get_running_loop().time() - seen_at > _FRESH:
                # After a long wait at the gate, what we hold may be edited or deleted: never arm yesterday's plan.
                thing = FlagSchedule.from_body(await self._client.get(thing.ref))
            return await self._store.mirror(thing, decide)

        snapshot = await self._gate.run(attempt)
        self._telemetry.reconciled(asyncio.get_running_loop().time() - seen_at)
        if effect is None:
            raise AssertionError("the store lets us decide before it returns")
        facts, found = effect
        changed = _is_change(facts, found)
        if changed:
            if is_forgotten(thing, facts.record, facts.row, facts.now):
                event = "Restored from status"
            _tell(event, thing, snapshot)
        return thing, snapshot, changed


def _is_change(facts: Facts, found: Decision) -> bool:
    return (facts.record, facts.row) != (found.record, found.row)


def _tell(event: str, thing: FlagSchedule, snapshot: Snapshot) -> None:
    record = snapshot.record
    if record is None:  # deleted before it was ever mirrored: nothing was done
        return
    _log.info(
        event,
        scheduleId=str(record.schedule_id) if record.schedule_id else None,
        flagKey=record.flag_key,
        environment=record.environment,
        namespace=thing.ref.namespace,
        name=thing.ref.name,
        uid=str(thing.ref.uid),
        generation=thing.generation,
        phase=(status.compute(thing, snapshot) or {}).get("phase"),
    )
