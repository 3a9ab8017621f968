"""Makes record and row match their object. Called by the reconciler.

`domain.decision` decides what record and row should be, the store stores them, and the status writer writes the status.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog

from flagschedule.domain import decision, status
from flagschedule.domain.decision import Decision, Facts, Rules
from flagschedule.domain.errors import ConflictError
from flagschedule.domain.outcome import Reason, Snapshot
from flagschedule.domain.schedule import FlagSchedule
from flagschedule.ports.measuring import Telemetry
from flagschedule.ports.mirroring import MirrorStore
from flagschedule.services.circuit_breaker import CircuitBreaker
from flagschedule.services.queue import Backoff
from flagschedule.services.status_writer import StatusWriter

_log = structlog.get_logger()
_FRESH: Final = 30.0  # seconds; an older copy of an object is read again before its plan is armed
_LOCKED: Final = Backoff(0.5, 3)
_FLAG_TROUBLES: Final = {Reason.FLAG_LOCKED, Reason.FLAG_AMBIGUOUS}

_Flag = tuple[str, str]  # key and environment


@dataclass
class _LockedFlag:
    """A flag that another transaction holds: until when its objects wait, and how many tries were allowed so far."""

    until: float = 0.0
    tries: int = 0

    def allow_one_try(self, now: float) -> None:
        """Let all other objects of the flag wait for another pause."""
        self.until = now + _LOCKED.pause(self.tries)
        self.tries += 1


@dataclass(frozen=True)
class _Mirrored:
    """One committed transaction: the facts that it read, the decision on them, and what was stored."""

    facts: Facts
    decision: Decision
    snapshot: Snapshot

    @property
    def changed(self) -> bool:
        """Whether the decision differed from what was stored before."""
        return _is_change(self.facts, self.decision)


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

    @property
    def is_held(self) -> bool:
        """Whether objects wait because the database is away."""
        return self._breaker.away

    def is_stale(self, obj: FlagSchedule, snapshot: Snapshot | None) -> bool:
        """Return whether mirroring the object would change anything.

        Args:
            obj: the object.
            snapshot: what the database has of it, read without a lock.
        """
        if snapshot is None or snapshot.record is None:
            return True
        # Flag and replay are not looked up: they matter only to an object without a row, and the resync reconciles
        # all objects that wait for a flag.
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
        """Mirror the object and write its status. Waits while the database is away.

        Raises:
            ConflictError: another transaction holds a lock; what the object waits for is written to its status.
        """
        flag = _flag_to_find(obj)
        if flag is not None and not self._may_try(flag):
            await self._show_lock(obj)
            raise ConflictError(flag_locked=True)
        try:
            mirrored = await self._mirror(obj, "Schedule mirrored")
        except ConflictError as conflict:
            if conflict.flag_locked:
                if flag is not None and flag not in self._locked:
                    self._locked[flag] = _LockedFlag()
                    self._locked[flag].allow_one_try(_now())
                await self._show_lock(obj)
            raise
        if flag is not None:
            self._locked.pop(flag, None)
        await self._write_status(obj, mirrored)

    async def release(self, obj: FlagSchedule) -> None:
        """Cancel what an object that is being deleted had planned; returns once that is committed.

        Raises:
            ConflictError: another transaction holds a lock.
        """
        await self._mirror(obj, "Schedule released")

    def _may_try(self, flag: _Flag) -> bool:
        """Allow one object every few seconds to try a flag that was locked.

        Returns:
            whether the caller may try; if the flag was locked, the other objects wait meanwhile.
        """
        locked = self._locked.get(flag)
        if locked is None:
            return True
        if _now() < locked.until:
            return False
        locked.allow_one_try(_now())
        return True

    async def _show_lock(self, obj: FlagSchedule) -> None:
        """Record that the flag is locked and write it to the status, if no status of this generation exists yet."""
        if obj.status.observed_generation == obj.generation:
            return
        await self._write_status(obj, await self._mirror(obj, "Schedule waits for a locked flag", flag_locked=True))

    async def _write_status(self, obj: FlagSchedule, mirrored: _Mirrored) -> None:
        if mirrored.changed:
            await self._writer.write_or_keep(obj.ref, obj, mirrored.snapshot)
        elif status.compute(obj, mirrored.snapshot) != obj.status:
            # Another task already mirrored this object, so our copy of it is stale: re-read before writing.
            await self._writer.write_or_keep(obj.ref)

    async def _mirror(self, obj: FlagSchedule, event: str, *, flag_locked: bool = False) -> _Mirrored:
        """Run one transaction, and log it if it changed anything."""
        began_at = _now()

        async def attempt() -> _Mirrored:
            if not obj.deleting and _now() - began_at > _FRESH:
                # After a long outage the object may have been edited or deleted: an old plan must not be armed.
                raise ConflictError
            async with self._store.transaction(obj, flag_locked=flag_locked) as transaction:
                facts = await transaction.facts()
                decided = decision.decide(obj, facts, self._rules)
                return _Mirrored(facts, decided, await transaction.save(decided))

        mirrored = await self._breaker.run(attempt, urgent=obj.stopping)
        self._telemetry.reconciled(_now() - began_at)
        if mirrored.changed:
            _log_change("Restored from status" if mirrored.facts.is_forgotten(obj) else event, obj, mirrored.snapshot)
        return mirrored


def _now() -> float:
    return asyncio.get_running_loop().time()


def _flag_to_find(obj: FlagSchedule) -> _Flag | None:
    """Return the flag that the object's row would refer to, None where no row is to be made."""
    if obj.spec is None or obj.spec.cancel or obj.status.schedule_id:
        return None
    return obj.spec.flag_key, obj.spec.effective_environment


def _is_change(facts: Facts, decided: Decision) -> bool:
    return (facts.record, facts.row) != (decided.record, decided.row)


def _log_change(event: str, obj: FlagSchedule, snapshot: Snapshot) -> None:
    record = snapshot.record
    if record is None:  # deleted before it was ever mirrored: nothing was done
        return
    shown = status.compute(obj, snapshot)
    _log.info(
        event,
        scheduleId=str(record.schedule_id) if record.schedule_id else None,
        flagKey=record.flag_key,
        environment=record.environment,
        namespace=obj.ref.namespace,
        name=obj.ref.name,
        uid=str(obj.ref.uid),
        generation=obj.generation,
        phase=shown.phase if shown else None,
    )
