"""The cache keys that a run deletes after its commits. Used by the run's report and at its start.

It must not lose a key: an entry of the outbox is forgotten only when the cache has deleted its key.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import structlog

from flagschedule.domain.errors import DependencyUnavailableError
from flagschedule.ports.processing import Cache, ProcessStore

_log: Final = structlog.get_logger()
_LEFTOVERS: Final = 1000  # entries that are looked at at the same time


class CacheKeys:
    """Deletes keys as long as the cache answers; if it refuses one, the others are deleted all the same.

    Attributes:
        refused: environments whose key the cache refused in this run; they are not tried again by it.
    """

    def __init__(self, cache: Cache | None) -> None:
        self.refused: set[str] = set()
        self._cache = cache
        self._answers = True
        self._deleted: list[int] = []

    def drain(self, store: ProcessStore) -> None:
        """Delete the keys that earlier runs left, because their cache was unavailable or they were killed."""
        after: int | None = 0
        while after is not None and self._answers:
            after = store.drain_cache(after, _LEFTOVERS, self._delete)

    def delete(self, entries: Mapping[int, str]) -> None:
        """Delete the keys of a batch's entries. `forget` deletes the entries of many batches later, in one commit."""
        done = self._delete(sorted(set(entries.values())))
        self._deleted += [entry for entry, environment in entries.items() if environment in done]

    def forget(self, store: ProcessStore) -> None:
        """Forget the entries whose keys were deleted."""
        if self._deleted:
            store.forget_cache_entries(self._deleted)
            self._deleted = []

    def _delete(self, environments: Sequence[str]) -> Collection[str]:
        """Delete the keys of environments. Returns: the environments whose key is deleted."""
        if self._cache is None:
            return set(environments)
        wanted = [environment for environment in environments if environment not in self.refused]
        if not self._answers:
            return set()
        try:
            refused = self._cache.invalidate(wanted)
        except DependencyUnavailableError as error:
            # Each further try would cost its time-out again; the entries stay for the next run.
            self._answers = False
            _log.warning("Cache keys left to the next run", error=str(error), environments=wanted)
            return set()
        for environment, reason in refused.items():
            _log.error("Cache key refused", environment=environment, error=f"the cache refused to delete it ({reason})")
        self.refused.update(refused)
        return set(wanted) - refused.keys()
