"""Reads which objects have outcomes to show. Used by the status writer, and by the resync of plans.

The database hands out the entries of namespaces in turns. An entry that was read is not read again; it is deleted from
the database after its object was served.
"""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Final

from flagschedule.domain.schedule import ObjectRef
from flagschedule.ports.mirroring import OutcomeStore
from flagschedule.services.circuit_breaker import CircuitBreaker

_BATCH: Final = 1000


class Outbox:
    """What was read of the outbox and is not served yet."""

    def __init__(self, store: OutcomeStore, breaker: CircuitBreaker) -> None:
        self._store = store
        self._breaker = breaker
        self._entries: dict[ObjectRef, list[int]] = {}
        self._served: list[int] = []  # until they are deleted from the database

    @property
    def unserved(self) -> Sequence[ObjectRef]:
        """The objects whose entries were read and not served."""
        return [*self._entries]

    def entries(self, ref: ObjectRef) -> Sequence[int]:
        """What an object that is read from now on will show: a later entry may stand for a later outcome."""
        return self._entries.get(ref, [])[:]

    def serve(self, ref: ObjectRef, entries: Sequence[int]) -> None:
        """Take these entries of an object, which are its oldest, for served."""
        self._served += entries
        if left := self._entries.pop(ref, [])[len(entries) :]:
            self._entries[ref] = left

    async def read(self, in_line: int) -> Sequence[ObjectRef]:
        """Delete what was served, and read further entries.

        Args:
            in_line: how many objects wait for their turn. Those that failed and wait for their next try must not
                count: they would keep the outcomes of all others from being read.

        Returns:
            the objects of the further entries.
        """
        if served := self._served[:]:
            await self._breaker.run(partial(self._store.delete_status_entries, served))
            del self._served[: len(served)]
        limit = _BATCH - in_line
        if limit <= 0:
            return []
        known = [*self._served, *chain.from_iterable(self._entries.values())]
        found = await self._breaker.run(partial(self._store.status_entries, limit, known))
        for entry in found:
            self._entries.setdefault(entry.ref, []).append(entry.id)
        return list(dict.fromkeys(entry.ref for entry in found))
