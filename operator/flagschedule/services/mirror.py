"""Brings record and row of one object in line with the object. Called by the reconciler.

What record and row should be is `domain.decision`'s business, storing them the store's, and telling the object
the status writer's.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog

from flagschedule.domain import decision, status
from flagschedule.domain.decision import Decision, Facts, Rules
from flagschedule.domain.errors import ConflictError
from flagschedule.domain.outcome import Reason, Snapshot, is_forgotten
from flagschedule.domain.schedule import FlagSchedule
from flagschedule.ports import MirrorStore, Telemetry
from flagschedule.services.circuit_breaker import CircuitBreaker
from flagschedule.services.queue import Backoff
from flagschedule.services.status import StatusWriter

_log = structlog.get_logger()
_FRESH: Final = 30.0
_LOCKED: Final = Backoff(0.5, 3)
_FLAG_TROUBLES: Final = {Reason.FLAG_LOCKED, Reason.FLAG_AMBIGUOUS}

_Flag = tuple[str, str]  # key and environment


@dataclass
class _LockedFlag:
    """When the next object of this flag may try, and how many have tried."""

    until: float
    tries: int = 0


class Mirror:
    """The operator's use case: make the database match an object. Both methods may be called any number of times."""

    def __init__(
        self, store: MirrorStore, breaker: CircuitBreaker, rules: Rules, writer: StatusWriter, telemetry: Telemetry
    ) -> None:
        self._store = store
        self._breaker = breaker
        self._rules = rules
        self._writer = writer
        self._telemetry = telemetry
        self._locked: dict[_Flag, _LockedFlag] = {}

    def is_stale(self, obj: FlagSchedule, snapshot: Snapshot | None) -> bool:
        """Whether mirroring the object would change anything: the same decision, on what was read without a lock."""
        if snapshot is None or snapshot.record is None:
            return True
        # No flag and no replay: they matter for what has no record, or no row yet while its flag is looked for anyway.
        trouble = snapshot.record.reason if snapshot.record.reason in _FLAG_TROUBLES else None
        facts = Facts(
            record=snapshot.record,
            row=snapshot.row,
            flag_id=None,
            replay=None,
            now=snapshot.now,
            flag_trouble=trouble,
        )
        return _is_change(facts, decision.decide(obj, facts, self._rules))

    async def reconcile(self, obj: FlagSchedule) -> None:
        """Mirror the object and write its status. Waits while the database is away; API trouble is the writer's.

        Raises:
            ConflictError: another transaction is in the way; what the object waits for is written to its status.
        """
        flag = _flag_to_find(obj)
        if flag is not None and self._is_anothers_turn(flag):
            await self._note_lock(obj)
            raise ConflictError(flag_locked=True)
        try:
            snapshot, changed = await self._mirror(obj, "Schedule mirrored")
        except ConflictError as conflict:
            if conflict.flag_locked:
                if flag is not None and flag not in self._locked:
                    self._locked[flag] = _LockedFlag(0)
                    self._is_anothers_turn(flag)
                await self._note_lock(obj)
            raise
        if flag is not None:
            self._locked.pop(flag, None)
        await self._write(obj, snapshot, changed=changed)

    async def release(self, obj: FlagSchedule) -> None:
        """Give up what an object that is being deleted had planned; returns once that is committed.

        Raises:
            ConflictError: another transaction is in the way.
        """
        await self._mirror(obj, "Schedule released")

    def _is_anothers_turn(self, flag: _Flag) -> bool:
        """Whether the flag is locked; if so, one object tries it every few seconds for all."""
        locked = self._locked.get(flag)
        now = asyncio.get_running_loop().time()
        if locked is None:
            return False
        if now < locked.until:
            return True
        locked.until = now + _LOCKED.pause(locked.tries)
        locked.tries += 1
        return False

    async def _note_lock(self, obj: FlagSchedule) -> None:
        """A first look that finds the flag locked leaves a record, so that people see what the object waits for."""
        if obj.status.get("observedGeneration") == obj.generation:
            return
        snapshot, changed = await self._mirror(obj, "Schedule waits for a locked flag", flag_locked=True)
        await self._write(obj, snapshot, changed=changed)

    async def _write(self, obj: FlagSchedule, snapshot: Snapshot, *, changed: bool) -> None:
        if changed:
            await self._writer.write_or_keep(obj.ref, obj, snapshot)
        elif status.compute(obj, snapshot) != obj.status:
            # Another task already mirrored this object, so our copy of it is stale: re-read before writing.
            await self._writer.write_or_keep(obj.ref)

    async def _mirror(self, obj: FlagSchedule, event: str, *, flag_locked: bool = False) -> tuple[Snapshot, bool]:
        """One transaction; one line if it changed anything.

        Returns:
            The outcome, and whether anything was changed.
        """
        seen_at = asyncio.get_running_loop().time()
        effect: tuple[Facts, Decision] | None = None

        def decide(facts: Facts) -> Decision:
            nonlocal effect
            effect = facts, decision.decide(obj, facts, self._rules)
            return effect[1]

        async def attempt() -> Snapshot:
            if not obj.deleting and asyncio.get_running_loop().time() - seen_at > _FRESH:
                # After a long outage what we hold may be edited or deleted: never arm yesterday's plan.
                raise ConflictError
            return await self._store.mirror(obj, decide, flag_locked=flag_locked)

        snapshot = await self._breaker.run(attempt, urgent=obj.stopping)
        self._telemetry.reconciled(asyncio.get_running_loop().time() - seen_at)
        if effect is None:
            raise AssertionError("the store lets us decide before it returns")
        facts, found = effect
        changed = _is_change(facts, found)
        if changed:
            if is_forgotten(obj, facts.record, facts.row, facts.now):
                event = "Restored from status"
            _tell(event, obj, snapshot)
        return snapshot, changed


def _flag_to_find(obj: FlagSchedule) -> _Flag | None:
    """The flag that the object's row would refer to; None where no row is to be made."""
    if obj.spec is None or obj.spec.cancel or obj.status.get("scheduleId"):
        return None
    return obj.spec.flag_key, obj.spec.effective_environment


def _is_change(facts: Facts, found: Decision) -> bool:
    return (facts.record, facts.row) != (found.record, found.row)


def _tell(event: str, obj: FlagSchedule, snapshot: Snapshot) -> None:
    record = snapshot.record
    if record is None:  # deleted before it was ever mirrored: nothing was done
        return
    _log.info(
        event,
        scheduleId=str(record.schedule_id) if record.schedule_id else None,
        flagKey=record.flag_key,
        environment=record.environment,
        namespace=obj.ref.namespace,
        name=obj.ref.name,
        uid=str(obj.ref.uid),
        generation=obj.generation,
        phase=(status.compute(obj, snapshot) or {}).get("phase"),
    )
