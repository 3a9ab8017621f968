"""Holds the operator's work while the database is away, instead of failing object by object.

Used by the operator's services for every access to the store. A store that fails says nothing about any object,
so its errors must not become the failure of thousands of objects.
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from flagschedule.domain.errors import DependencyUnavailableError
from flagschedule.services.queue import Backoff

_log = structlog.get_logger()
_T = TypeVar("_T")
_BACKOFF: Final = Backoff(0.5, 10)
_PING_TIMEOUT: Final = 3.0
_WARN_INTERVAL: Final = 30.0


class CircuitBreaker:
    """Runs `concurrency` operations at a time, and none while the database does not answer a ping.

    Urgent operations have `reserved` more slots, so that a flood of others cannot delay them.

    Attributes:
        away: whether the database did not answer the last ping.
    """

    def __init__(self, ping: Callable[[], Awaitable[None]], concurrency: int, reserved: int) -> None:
        self._ping = ping
        # Fewer than the pool's connections: a caller must wait here, where waiting is no error, and the ping
        # must find a connection.
        self._slots = asyncio.Semaphore(concurrency)
        self._reserved = asyncio.Semaphore(reserved)
        self._probe: asyncio.Task[None] | None = None
        self._warned_at = -_WARN_INTERVAL
        self._closed = False
        self.away = False

    async def run(self, operation: Callable[[], Awaitable[_T]], *, urgent: bool = False) -> _T:
        """Run an operation on the store, and repeat it until the store serves it.

        Args:
            operation: safe to repeat. It must not wait for another transaction for long: it keeps its slot meanwhile.
            urgent: whether it may use the reserved slots.

        Returns:
            What the operation returns. Errors of the store are never raised.
        """
        failures = 0
        while True:
            if self._probe is not None and not self._probe.done():
                await asyncio.shield(self._probe)
            slots = self._reserved if urgent and self._slots.locked() else self._slots
            try:
                async with slots:
                    return await operation()
            except DependencyUnavailableError as error:
                reason = str(error)
            await self._wait_for_answer()
            self._warn_rate_limited(reason)
            await asyncio.sleep(_BACKOFF.pause(failures))
            failures += 1

    async def monitor(self, every: float) -> None:
        """Ping until cancelled, so that `away` is right also while no operation runs."""
        while True:
            await self.run(self._ping)
            await asyncio.sleep(every)

    def close(self) -> None:
        """Cancel everything that waits for the database, because the program ends."""
        self._closed = True
        if self._probe is not None:
            self._probe.cancel()

    async def _wait_for_answer(self) -> None:
        """Wait for the one probe that all failed operations share; it goes on if one of them is cancelled."""
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._ping_until_answered(), name="database prober")
        await asyncio.shield(self._probe)

    async def _ping_until_answered(self) -> None:
        for failures in itertools.count():
            try:
                async with asyncio.timeout(_PING_TIMEOUT):
                    await self._ping()
            except (DependencyUnavailableError, TimeoutError) as error:
                if self._closed:  # a pool that is closed meanwhile turns our cancellation into an error of its own
                    raise asyncio.CancelledError from error
                if not self.away:
                    _log.error("Database lost", error=str(error) or "the database does not answer a ping")
                self.away = True
                await asyncio.sleep(_BACKOFF.pause(failures))
            else:
                if self.away:
                    _log.info("Database is back")
                self.away = False
                return

    def _warn_rate_limited(self, reason: str) -> None:
        """Log that an operation fails although the database answers, at most one line in 30 seconds."""
        if time.monotonic() - self._warned_at > _WARN_INTERVAL:
            self._warned_at = time.monotonic()
            _log.warning("Operation failed and is repeated", error=reason)
