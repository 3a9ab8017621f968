"""Writes the status of objects, and nothing else does.

Runs as a root task of the operator (`serve_forever`), and is awaited by the mirror. It must not decide anything:
the status follows from object, record and row by `domain.status.compute`.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Final
from weakref import WeakValueDictionary

import structlog

from flagschedule.domain import events, status
from flagschedule.domain.errors import DependencyUnavailableError, ObjectChangedError, ObjectGoneError
from flagschedule.domain.outcome import Snapshot
from flagschedule.domain.schedule import FlagSchedule, ObjectRef, Status, Uid
from flagschedule.ports.cluster import ObjectClient
from flagschedule.ports.measuring import Telemetry
from flagschedule.ports.mirroring import MirrorStore
from flagschedule.services.circuit_breaker import CircuitBreaker
from flagschedule.services.event_recorder import EventRecorder
from flagschedule.services.outbox import Outbox
from flagschedule.services.queue import Backoff, RetryQueue

_log = structlog.get_logger()
_LOOK: Final = 1.0  # seconds
_MOST_LATER: Final = 500  # in line, so that outcomes have room
_TRIES: Final = 5
_AT_ONCE: Final = 6  # more would not be faster: each step of a person's stop would wait for the steps of more others
_BACKOFF: Final = Backoff(1, 60)


class StatusWriter:
    """One writer at a time for each object; a later writer sees what the earlier one wrote."""

    def __init__(
        self,
        store: MirrorStore,
        client: ObjectClient[FlagSchedule, Status],
        breaker: CircuitBreaker,
        recorder: EventRecorder,
        telemetry: Telemetry,
    ) -> None:
        self._store = store
        self._client = client
        self._breaker = breaker
        self._recorder = recorder
        self._telemetry = telemetry
        self._locks: WeakValueDictionary[Uid, asyncio.Lock] = WeakValueDictionary()
        self._queue: RetryQueue[ObjectRef] = RetryQueue(
            self._write_queued, at_once=_AT_ONCE, group=lambda ref: ref.namespace
        )
        self._outbox = Outbox(store, breaker)
        self._later: dict[ObjectRef, None] = {}  # behind the outbox's
        self._failing = False

    async def serve_forever(self) -> None:
        """Every second, write what the processor or the deletion of a flag has changed in the database."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run(), name="statuses in line")
            while True:
                try:
                    for ref in await self._outbox.read(self._queue.in_line()):
                        self._queue.add(ref)
                    self._take_later()
                except Exception:  # noqa: BLE001 -- one failure must not stop other statuses
                    _log.exception("Statuses not served")
                await asyncio.sleep(_LOOK)

    async def write_or_keep(
        self, ref: ObjectRef, hint: FlagSchedule | None = None, snapshot: Snapshot | None = None
    ) -> bool:
        """Bring an object's status up to date; what fails is tried again later.

        Args:
            ref: the object.
            hint: a recent copy of the object, to save a GET. If the object has changed since, the API server refuses
                the write to the copy's version, and object and database are read again.
            snapshot: what the database has of it, read after the hint, to save a query.

        Returns:
            whether it succeeded; if not, it is tried again.
        """
        if await self._try_to_write(ref, hint, snapshot):
            return True
        self._queue.retry(ref, _BACKOFF)
        return False

    def refresh(self, refs: Iterable[ObjectRef]) -> None:
        """Compare the statuses of objects with the database, when outcomes leave time for it."""
        self._later |= dict.fromkeys(refs)

    def _take_later(self) -> None:
        room = _MOST_LATER - self._queue.in_line()
        for ref in list(islice(self._later, max(room, 0))):
            del self._later[ref]
            self._queue.add(ref)

    async def _write_queued(self, ref: ObjectRef) -> Backoff | None:
        entries = self._outbox.entries(ref)
        if not await self._try_to_write(ref, None, None):
            return _BACKOFF
        self._outbox.serve(ref, entries)
        return None

    async def _try_to_write(self, ref: ObjectRef, hint: FlagSchedule | None, snapshot: Snapshot | None) -> bool:
        try:
            await self._write(ref, hint, snapshot)
        except DependencyUnavailableError as error:
            if not self._failing:
                _log.warning("Statuses cannot be written and are kept for later", error=str(error))
            self._failing = True
            return False
        except Exception:  # noqa: BLE001 -- an error in one object must not stop the others
            _log.exception("Status not written", namespace=ref.namespace, name=ref.name, uid=str(ref.uid))
            return False
        if self._failing:
            _log.info("Statuses can be written again")
        self._failing = False
        return True

    async def _write(self, ref: ObjectRef, hint: FlagSchedule | None, snapshot: Snapshot | None) -> None:
        lock = self._locks.setdefault(ref.uid, asyncio.Lock())
        async with lock:
            with suppress(ObjectGoneError):  # there is no object to write to
                await self._write_locked(ref, hint, snapshot)

    async def _write_locked(self, ref: ObjectRef, hint: FlagSchedule | None, snapshot: Snapshot | None) -> None:
        """Read, compute, compare, write; read object and database again if the object changed in between."""
        refused: str | None = None
        has_history = snapshot is None
        for _ in range(_TRIES):
            obj = hint or await self._client.get(ref)
            if obj.resource_version == refused:
                # The object has not changed: it is this status that the API server refuses, and will refuse again.
                _log.error("Status refused by its schema", namespace=ref.namespace, name=ref.name, uid=str(ref.uid))
                return
            if snapshot is None:
                snapshot = await self._breaker.run(partial(self._store.snapshot, ref.uid))
            if snapshot is None or obj.deleting:
                return  # nothing to write
            if snapshot.is_forgotten(obj):
                return  # the mirror must first restore what only this status still knows
            wanted = status.compute(obj, snapshot)
            if wanted is None or wanted == obj.status:
                return
            if snapshot.history is None and _shows_attempts(wanted, obj.status) and not has_history:
                snapshot, has_history = None, True  # read once more, with the attempts that the status shall show
                continue
            try:
                await self._client.write_status(ref, obj.resource_version, wanted)
            except ObjectChangedError:
                hint, snapshot, refused = None, None, obj.resource_version
            else:
                transition = events.Transition(old=obj.status, new=wanted)
                self._recorder.record(ref, transition, snapshot.now)
                self._telemetry.status_written(transition)
                return
        raise DependencyUnavailableError("the object changes all the time")


def _shows_attempts(wanted: Status, shown: Status) -> bool:
    """Whether an attempt was made that the stored status does not know."""
    return (wanted.applied_at, wanted.retry_count or 0) != (shown.applied_at, shown.retry_count or 0)
