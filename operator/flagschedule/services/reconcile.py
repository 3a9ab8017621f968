"""Reconciles objects, each by one task at a time. Fed by the watch and by the resync; a root task of the operator.

Level-triggered: the work follows from the object's state, not from the event. Nothing that others can write on an
object is trusted as our own state.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, Protocol, TypeVar

import structlog

from flagschedule.domain.errors import (
    ConflictError,
    DependencyUnavailableError,
    ObjectChangedError,
    ObjectGoneError,
)
from flagschedule.domain.schedule import FINALIZER, ObjectRef, Uid
from flagschedule.domain.watched import Watched
from flagschedule.ports.cluster import ObjectClient
from flagschedule.services.queue import URGENT, Backoff, Rank, RetryQueue

_log = structlog.get_logger()
_O = TypeVar("_O", bound=Watched)
_O_contra = TypeVar("_O_contra", bound=Watched, contravariant=True)
_AT_ONCE: Final = 8  # more would not be faster: each step of an object would wait for the steps of more others
_RESERVED: Final = 4
_FRESH: Final = 30.0  # seconds; an older copy of an object is read again, because the watch may have stalled
_CHANGED: Final = Backoff(0.05, 60)  # another client wrote to the object meanwhile
_STOP: Final = Backoff(0.05, 0.25)  # a person waits, and the row's lock may end at any moment
_BUSY: Final = Backoff(0.1, 1)  # the row is locked, most likely by the processor
_LOCKED: Final = Backoff(0.1, 3)  # the flag is locked
_NO_FAILURE: Final = {_CHANGED, _STOP, _BUSY}  # what caused them is over in a moment
_FAILED: Final = Backoff(1, 60)
_PATIENCE: Final = 25.0  # seconds without any progress after which `try_all` gives up
_REMEMBERED: Final = 10_000  # released objects whose removal was not seen yet
_LONG_AGO: Final = float("-inf")


class KindMirror(Protocol[_O_contra]):
    """Makes the database match an object of one kind. Both methods may be called any number of times."""

    @property
    def is_held(self) -> bool:
        """Whether all work waits, because the database does not answer."""

    async def reconcile(self, obj: _O_contra) -> None:
        """Mirror the object and write its status.

        Raises:
            ConflictError: another transaction holds a lock.
        """

    async def release(self, obj: _O_contra) -> None:
        """Cancel what an object that is being deleted had planned; returns once that is committed.

        Raises:
            ConflictError: another transaction holds a lock.
        """


@dataclass
class _Seen(Generic[_O]):
    """A copy of an object, and the event loop's time when it was read.

    `refusals` counts the refused writes to the object's version `refused_version`. `woken`: what the database knows of
    it has changed, so it needs a turn that begins later, even if the object is the same.
    """

    obj: _O
    at: float
    woken: bool = False
    refused_version: str = ""
    refusals: int = 0


class Reconciler(Generic[_O]):
    """Finalizer, mirroring and release of each object of one kind that is not settled."""

    def __init__(self, client: ObjectClient[_O, Any], mirror: KindMirror[_O]) -> None:
        self._client = client
        self._mirror = mirror
        self._queue: RetryQueue[ObjectRef] = RetryQueue(
            self._work, at_once=_AT_ONCE, reserved=_RESERVED, group=lambda ref: ref.namespace
        )
        self._seen: dict[ObjectRef, _Seen[_O]] = {}
        self._untried: set[ObjectRef] = set()
        self._all_tried = asyncio.Event()
        self._released: set[Uid] = set()
        self._failing = False

    def __contains__(self, ref: ObjectRef) -> bool:
        return ref in self._queue

    def in_line(self) -> int:
        """Return how many objects wait for their turn or are worked on, without those that wait for their next try."""
        return self._queue.in_line()

    async def run_forever(self) -> None:
        """Work until cancelled."""
        await self._queue.run()

    async def try_all(self, objects: Iterable[_O], keep_claim: Callable[[], Awaitable[None]] | None = None) -> None:
        """Reconcile objects, each as it is at its turn; for one caller at a time.

        Returns when each is reconciled or has failed, without a limit of time: after a restore of the database, the
        processor would make lost changes again if it started earlier. Returns also when none was for 25 seconds while
        the database answers: then the objects that are left meet locked rows, and are tried again in the background.

        Args:
            objects: what to reconcile.
            keep_claim: awaited every 25 seconds; None where another caller keeps the claim to the cluster's name.
        """
        for obj in objects:
            self._untried.add(obj.ref)
            if obj.ref not in self._queue:
                self.add(obj, fresh=False)
        self._all_tried.clear()
        while left := len(self._untried):
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self._all_tried.wait()
            if len(self._untried) == left and not self._mirror.is_held:
                self._untried.clear()
            if keep_claim is not None:
                await keep_claim()

    def notice(self, obj: _O, *, gone: bool = False) -> None:
        """Take an object from the watch; if it is `gone`, as it was before its removal."""
        if gone:
            if obj.ref.uid in self._released:
                self._released.discard(obj.ref.uid)
            else:
                self.add(obj.as_deleted())
        elif not obj.settled and obj.ref.uid not in self._released:
            self.add(obj)

    def add(self, obj: _O, *, fresh: bool = True, woken: bool = False) -> None:
        """Reconcile an object at its turn; one that is not `fresh` is read again first.

        Args:
            obj: the object.
            fresh: whether it was just read.
            woken: the database has changed, so a turn that has begun does not count, though the object is the same.
        """
        if previous := self._seen.get(obj.ref):
            obj = obj.with_requests_of(previous.obj) if fresh else previous.obj
            woken = woken or previous.woken
        self._seen[obj.ref] = _Seen(obj, asyncio.get_running_loop().time() if fresh else _LONG_AGO, woken)
        self._queue.add(obj.ref, _rank(obj))

    async def _work(self, ref: ObjectRef) -> Backoff | None:
        backoff = await self._attempt(ref)
        if backoff not in _NO_FAILURE:
            self._untried.discard(ref)
            if not self._untried:
                self._all_tried.set()
        return backoff

    async def _attempt(self, ref: ObjectRef) -> Backoff | None:
        seen = self._seen.get(ref)
        if seen is None:  # queued again by an event that came during the last turn and requested nothing new
            return None
        seen.woken = False  # from here on the database is read
        try:
            await self._refresh(seen)
            await self._reconcile(seen)
        except ConflictError as conflict:
            # Our copy stays current: the watch reports each change.
            return _LOCKED if conflict.flag_locked else _STOP if seen.obj.stopping else _BUSY
        except ObjectChangedError:
            backoff = _note_refusal(seen)
        except ObjectGoneError:
            backoff = _CHANGED
        except DependencyUnavailableError as error:
            if not self._failing:
                _log.warning("Objects cannot be reconciled and are tried again", error=str(error))
            self._failing = True
            backoff = _FAILED
        except Exception:  # noqa: BLE001 -- an error in one object must not stop the others
            _log.exception("Object not handled", namespace=ref.namespace, name=ref.name, uid=str(ref.uid))
            backoff = _FAILED
        else:
            self._failing = False
            latest = self._seen[ref]
            if latest is seen or (_requests_the_same(latest.obj, seen.obj) and not latest.woken):
                del self._seen[ref]
            return None
        seen.at = _LONG_AGO
        return backoff

    async def _refresh(self, seen: _Seen[_O]) -> None:
        now = asyncio.get_running_loop().time()
        if now - seen.at < _FRESH:
            return
        try:
            seen.obj = (await self._client.get(seen.obj.ref)).with_requests_of(seen.obj)
        except ObjectGoneError:
            seen.obj = seen.obj.as_deleted()
        seen.at = now

    async def _reconcile(self, seen: _Seen[_O]) -> None:
        obj = seen.obj
        if obj.deleting:
            await self._mirror.release(obj)
            if obj.has_finalizer:
                await self._write_finalizers(obj, [name for name in obj.finalizers if name != FINALIZER])
                self._remember(obj.ref.uid)
            return
        if not obj.has_finalizer:  # before the first mirroring, so that no deletion goes unseen
            seen.obj = (await self._write_finalizers(obj, [*obj.finalizers, FINALIZER])).with_requests_of(obj)
        await self._mirror.reconcile(seen.obj)

    async def _write_finalizers(self, obj: _O, finalizers: list[str]) -> _O:
        return await self._client.write_finalizers(obj.ref, obj.resource_version, finalizers)

    def _remember(self, uid: Uid) -> None:
        """Remember a released object, so that its removal causes no further work."""
        if len(self._released) >= _REMEMBERED:  # their last events were never seen
            self._released.clear()
        self._released.add(uid)


def _note_refusal(seen: _Seen[Any]) -> Backoff:
    """Distinguish a policy's refusal from a change of the object, because the API server answers both alike.

    Returns:
        the backoff: a short one, unless the same version was refused before.
    """
    version, ref = seen.obj.resource_version, seen.obj.ref
    seen.refusals = seen.refusals + 1 if seen.refused_version == version else 1
    seen.refused_version = version
    if seen.refusals == 1:
        return _CHANGED
    if seen.refusals == 2:  # noqa: PLR2004 -- logged once: the object was read again and is the same
        _log.error("Finalizer refused", namespace=ref.namespace, name=ref.name, uid=str(ref.uid))
    return _FAILED


def _requests_the_same(obj: Watched, handled: Watched) -> bool:
    """Return whether a later view of an object requests only what was handled: it shows our own writes."""
    requests = [(it.generation, it.requests, it.deleting) for it in (obj, handled)]
    return requests[0] == requests[1] and (obj.has_finalizer or obj.deleting)


def _rank(obj: Watched) -> Rank:
    """Rank a person's stop first, then edits, then new objects; of each the one that is due next.

    The local clock decides nothing but this order.
    """
    priority = URGENT if obj.stopping else 1 if obj.observed else 2
    distance = abs((obj.due - datetime.now(UTC)).total_seconds()) if obj.due else 0.0
    return priority, distance
