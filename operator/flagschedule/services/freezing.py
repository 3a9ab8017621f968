"""Brings the database in line with FlagFreezes, and objects with what freezes hold.

`Freezing` is what the reconciler of FlagFreezes calls for each of them. `FreezeMonitor` is a root task of the operator:
every few seconds it compares all FlagFreezes with the database and writes their statuses, and finds the FlagSchedules
that a freeze begins or ceases to hold. Neither holds a change itself: the processor's statement does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from typing import Any, Final

import structlog

from flagschedule.domain import freeze, freeze_status
from flagschedule.domain.errors import DependencyUnavailableError, ObjectChangedError, ObjectGoneError
from flagschedule.domain.freeze import FlagFreeze, Status
from flagschedule.domain.freeze_status import FreezeState
from flagschedule.domain.outcome import Holding
from flagschedule.domain.schedule import ObjectRef, Uid
from flagschedule.ports.cluster import ObjectClient
from flagschedule.ports.freezing import FreezeLook, FreezeStore
from flagschedule.services.circuit_breaker import CircuitBreaker
from flagschedule.services.optional_kind import OptionalKind
from flagschedule.services.reconcile import Reconciler
from flagschedule.services.startup import Startup
from flagschedule.services.status_writer import StatusWriter

_log = structlog.get_logger()
_LOOK: Final = 5.0  # seconds
_REST: Final = 20  # times a turn's duration, so that thousands of held schedules cost the database little
_TURNS_PER_COMPARISON: Final = 60
_RELEASED_AFTER: Final = 10.0  # seconds; by then the processor has applied most of what was held


@dataclass(frozen=True)
class _Planned:
    """What was written for a freeze: of which spec, on which day, as which version, and why not."""

    generation: int
    day: date
    version: Sequence[int]
    fault: str | None


class Freezing:
    """The operator's use case: make the database match a FlagFreeze."""

    def __init__(self, store: FreezeStore, client: ObjectClient[FlagFreeze, Status], breaker: CircuitBreaker) -> None:
        self._store = store
        self._client = client
        self._breaker = breaker
        self._planned: dict[Uid, _Planned] = {}

    @property
    def is_held(self) -> bool:
        """Whether all work waits, because the database does not answer."""
        return self._breaker.away

    async def reconcile(self, obj: FlagFreeze) -> None:
        """Write the intervals of an object and its status. A spec that cannot be used leaves them as they are.

        Raises:
            ConflictError: another transaction works on the same freeze.
        """
        now = (await self._look()).now
        fault, intervals = obj.fault, None
        if obj.spec is not None:
            try:
                intervals = obj.spec.intervals(now)
            except ValueError as error:
                fault = str(error)
        if obj.spec is not None and intervals is not None:
            replaced = partial(self._store.replace, obj.ref, obj.spec.scope, intervals)
            await self._breaker.run(replaced, urgent=True)
        look = await self._look()
        self._planned[obj.ref.uid] = _Planned(obj.generation, now.date(), look.versions.get(obj.ref, ()), fault)
        if not obj.settled:
            _log.info("Freeze mirrored", name=obj.ref.name, uid=str(obj.ref.uid), generation=obj.generation)
        await self.write_status(obj, look, obj.status.held or 0)

    async def release(self, obj: FlagFreeze) -> None:
        """End a freeze whose object is being deleted; return once that is committed.

        Raises:
            ConflictError: another transaction works on the same freeze.
        """
        await self._breaker.run(partial(self._store.forget, obj.ref), urgent=True)
        self._planned.pop(obj.ref.uid, None)
        _log.info("Freeze released", name=obj.ref.name, uid=str(obj.ref.uid))

    def is_current(self, obj: FlagFreeze, look: FreezeLook) -> bool:
        """Return whether the database has the intervals of this spec, as they were written today.

        Each day those of one more day are known; others are there after a restore of the database from a backup.
        """
        planned = self._planned.get(obj.ref.uid)
        current = (obj.generation, look.now.date(), look.versions.get(obj.ref, ()))
        return planned is not None and (planned.generation, planned.day, planned.version) == current

    async def write_status(self, obj: FlagFreeze, look: FreezeLook, held: int) -> None:
        """Write the status of an object that was mirrored, if it differs."""
        state = look.states.get(obj.ref, FreezeState())
        fault = self._planned[obj.ref.uid].fault
        shown = replace(state, held=held if state.active else 0)
        wanted = freeze_status.compute(obj, shown, obeyed=look.obeyed, fault=fault, now=look.now)
        if wanted == obj.status:
            return
        with suppress(ObjectChangedError, ObjectGoneError):  # the next turn
            await self._client.write_status(obj.ref, obj.resource_version, wanted)

    async def _look(self) -> FreezeLook:
        return await self._breaker.run(self._store.look, urgent=True)


class FreezeMonitor:
    """Looks every five seconds, at the most a twentieth of the time."""

    def __init__(
        self,
        store: FreezeStore,
        kind: OptionalKind[FlagFreeze],
        breaker: CircuitBreaker,
        freezing: Freezing,
        reconciler: Reconciler[FlagFreeze],
        writer: StatusWriter,
        wake_plans: Callable[[Iterable[ObjectRef]], None],
        startup: Startup,
    ) -> None:
        self._store = store
        self._kind = kind
        self._breaker = breaker
        self._freezing = freezing
        self._reconciler = reconciler
        self._held_objects = (
            _Held(breaker, store.held_objects, writer.refresh, store.unfinished),
            _Held(breaker, store.held_plans, wake_plans),
        )
        self._startup = startup
        self._is_compared = False
        self._held: Mapping[Uid, int] = {}
        self._failing = False

    async def prepare(self) -> None:
        """Find out whether the API server serves FlagFreezes, and what is held before anything is compared."""
        look = await self._breaker.run(self._store.look)
        for held in self._held_objects:
            await held.prepare(look)
        await self._kind.prepare()

    async def run_forever(self) -> None:
        """Look until cancelled."""
        turns = 0
        while True:
            started = asyncio.get_running_loop().time()
            if turns % _TURNS_PER_COMPARISON == 0:
                for held in self._held_objects:
                    held.forget()
            turns += 1
            try:
                await self._turn()
            except DependencyUnavailableError as error:
                if not self._failing:
                    _log.warning("FlagFreezes cannot be compared now", error=str(error))
                self._failing = True
            except Exception:  # noqa: BLE001 -- an error in one turn must not stop the next one
                _log.exception("FlagFreezes not compared")
            else:
                self._failing = False
            took = asyncio.get_running_loop().time() - started
            await asyncio.sleep(max(_LOOK, _REST * took))

    async def _turn(self) -> None:
        # The database first: a freeze that appears in between then only looks new.
        look = await self._breaker.run(self._store.look)
        for held in self._held_objects:
            await held.turn(look)
        objects = await self._kind.list()
        if objects is not None:
            await self._compare(look, objects)
        else:
            self._startup.compared(freeze.KIND, 0)

    async def _compare(self, look: FreezeLook, objects: Sequence[FlagFreeze]) -> None:
        if any(state.active for state in look.states.values()):
            # Not behind the breaker: it reads the host's table, which may be locked. The last figures serve as well.
            with suppress(DependencyUnavailableError):
                self._held = await self._store.held()
        gone = [_as_deleted(ref) for ref in look.versions.keys() - {obj.ref for obj in objects}]
        if not self._is_compared:
            await self._reconciler.try_all([*objects, *gone])
            self._is_compared = True
            self._startup.compared(freeze.KIND, 0)
            return
        for obj in objects:
            if obj.ref in self._reconciler:
                continue  # it has its own turn
            if not obj.settled or not self._freezing.is_current(obj, look):
                self._reconciler.add(obj)
            else:
                await self._freezing.write_status(obj, look, self._held.get(obj.ref.uid, 0))
        for obj in gone:
            if obj.ref not in self._reconciler:
                self._reconciler.add(obj, fresh=False)  # it is looked up once more before it is released


class _Held:
    """Which objects of a kind show that a freeze holds what is due of them, and which have to."""

    def __init__(
        self,
        breaker: CircuitBreaker,
        find: Callable[[datetime | None], Awaitable[Mapping[ObjectRef, Holding]]],
        refresh: Callable[[Iterable[ObjectRef]], None],
        unfinished: Callable[[Collection[ObjectRef]], Awaitable[Sequence[ObjectRef]]] | None = None,
    ) -> None:
        """Make one.

        Args:
            breaker: for what is read of the database.
            find: returns what is held; that came due since a time only, if one is given.
            refresh: lets statuses be written.
            unfinished: returns which of the objects that were released have no outcome yet; None where an outcome is
                shown at any time, so that all may be refreshed.
        """
        self._breaker = breaker
        self._find_held = find
        self._refresh = refresh
        self._unfinished = unfinished
        self._shown: dict[ObjectRef, Holding] = {}
        self._released: dict[ObjectRef, float] = {}  # when, by the event loop's time
        self._active: Sequence[int] | None = None
        self._looked_at: datetime | None = None

    async def prepare(self, look: FreezeLook) -> None:
        """Take what is held for shown: the comparison at the start repairs where it is not."""
        self._active, self._looked_at = look.active, look.now
        self._shown = {**await self._find(look, None)}

    def forget(self) -> None:
        """Look at everything that is held at the next turn."""
        self._active = None

    async def turn(self, look: FreezeLook) -> None:
        """Let statuses be written that change: each once, when a freeze begins or ceases to hold its object."""
        if look.active == self._active:  # only what came due since the last look can be held newly
            found = await self._find(look, self._looked_at)
        else:
            found = await self._find(look, None)
            self._released |= dict.fromkeys(self._shown.keys() - found.keys(), asyncio.get_running_loop().time())
            self._shown = {ref: holding for ref, holding in self._shown.items() if ref in found}
        changed = [ref for ref, holding in found.items() if self._shown.get(ref) != holding]
        self._shown |= found
        self._active, self._looked_at = look.active, look.now
        self._refresh([*changed, *await self._waiting()])

    async def _find(self, look: FreezeLook, since: datetime | None) -> Mapping[ObjectRef, Holding]:
        return await self._breaker.run(partial(self._find_held, since)) if look.active else {}

    async def _waiting(self) -> Iterable[ObjectRef]:
        """Return what was released a while ago and is not finished; the rest shows its outcome already."""
        now = asyncio.get_running_loop().time()
        done = [ref for ref, at in self._released.items() if now - at >= _RELEASED_AFTER]
        for ref in done:
            del self._released[ref]
        left = [ref for ref in done if ref not in self._shown]
        if self._unfinished is None or not left:
            return left
        return await self._breaker.run(partial(self._unfinished, left))


def _as_deleted(ref: ObjectRef) -> FlagFreeze:
    """Return a removed object as far as the database knows it: enough to release it."""
    absent: dict[str, Any] = {"spec": None, "fault": None}
    return FlagFreeze(ref=ref, generation=0, resource_version="", deleting=True, status=Status(), **absent)
