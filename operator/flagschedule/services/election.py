"""Decides which replica works: the one that holds the lease. Called by the operator's entry point.

The lease saves double work, and correctness does not depend on it: where two replicas both believe that they hold it,
the database and the API server refuse the writes of the one that is behind. It must not compare the clocks of two
machines: a lease has run out when its renewal has not changed for the lease's duration, by our own monotonic clock.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from flagschedule.domain.errors import DependencyUnavailableError, ObjectChangedError, ObjectGoneError
from flagschedule.ports.cluster import Lease, LeaseStore

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The figures of an election, in seconds.

    A standby takes over `duration` after the holder's last renewal, or `retry_period` after its orderly end. A holder
    that could not renew for `renew_deadline` ends, so that it has ended before a standby takes over.
    """

    duration: float = 15
    renew_deadline: float = 10
    renew_period: float = 2
    retry_period: float = 1
    answer_within: float = 4


class LeaderElector:
    """One candidate: `acquire`, then `hold`, then `release`.

    Attributes:
        looked_at: when (the clock's time) we last read the lease; None before the first time.
    """

    def __init__(
        self, store: LeaseStore, identity: str, terms: Terms = Terms(), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._identity = identity
        self._terms = terms
        self._clock = clock
        self._seen: Lease | None = None
        self._seen_at = 0.0
        self._renewed_at = -terms.renew_deadline
        self._failing = False
        self.looked_at: float | None = None

    @property
    def remaining(self) -> float:
        """For how many seconds we may work without another renewal; zero or less means that we must not."""
        return self._renewed_at + self._terms.renew_deadline - self._clock()

    async def acquire(self) -> None:
        """Wait until the lease is ours."""
        while not await self.attempt():  # noqa: ASYNC110 -- no event reports that the lease is free
            await asyncio.sleep(self._terms.retry_period)
        _log.info("Lease acquired", holder=self._identity)

    async def hold(self) -> None:
        """Renew the lease; returns once it is lost."""
        while self.remaining > 0 and not self._belongs_to_another():
            await asyncio.sleep(min(self._terms.renew_period, self.remaining))
            await self.attempt(within=self.remaining)
        _log.error("Lease lost; this replica ends at once", holder=self._seen.holder if self._seen else None)

    async def release(self) -> None:
        """Release the lease, if it is ours, so that a standby need not wait until it runs out."""
        try:
            async with asyncio.timeout(self._terms.answer_within):
                lease = await self._store.read()
                if lease is not None and lease.holder == self._identity:
                    await self._store.write(lease, "", self._terms.duration)
        except (DependencyUnavailableError, ObjectChangedError, ObjectGoneError, TimeoutError):
            _log.warning("Lease not released; it will run out")

    async def attempt(self, *, within: float | None = None) -> bool:
        """Take or renew the lease if we may.

        Returns:
            whether it is ours; after an error it is not, and a series of errors is logged once.
        """
        started_at = self._clock()
        longest = self._terms.answer_within
        try:
            async with asyncio.timeout(longest if within is None else min(within, longest)):
                ours = await self._take()
        except ObjectChangedError:  # another replica was faster, or our own earlier write arrived late
            return False
        except (DependencyUnavailableError, ObjectGoneError, TimeoutError) as error:
            if not self._failing:
                _log.warning("Lease not served", error=str(error) or "the API server does not answer")
            self._failing = True
            return False
        self._failing = False
        self.looked_at = self._clock()
        if ours:
            # The time before the request: the others see the renewal later, so they wait longer than we work.
            self._renewed_at = started_at
        return ours

    async def _take(self) -> bool:
        # Read first each time: it shows a write of ours whose answer was lost.
        lease = await self._store.read()
        if lease is not None:
            self._observe(lease)
            if self._belongs_to_another() and not self._has_run_out(lease):
                return False
        await self._store.write(lease, self._identity, self._terms.duration)
        self._seen = None  # what we saw was before this
        return True

    def _observe(self, lease: Lease) -> None:
        if self._seen is None or (lease.holder, lease.renewal) != (self._seen.holder, self._seen.renewal):
            self._seen_at = self._clock()
        self._seen = lease

    def _belongs_to_another(self) -> bool:
        return self._seen is not None and self._seen.holder not in {"", self._identity}

    def _has_run_out(self, lease: Lease) -> bool:
        return self._clock() - self._seen_at > (lease.duration or self._terms.duration)
