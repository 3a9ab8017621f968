"""Answers a scrape of the operator's metrics. Called by its web server.

It queries the database without the circuit breaker: a scrape must return while the database is away, and say so.
"""

import asyncio
from typing import Final

from flagschedule.domain.errors import FlagScheduleError
from flagschedule.ports.measuring import Backlog, MetricsText
from flagschedule.ports.mirroring import MirrorStore

_WITHIN: Final = 3.0  # seconds; Prometheus waits for ten
_FRESH: Final = 1.0


class Scraper:
    """Makes one query at a time and at most one each second, however many scrapes there are."""

    def __init__(self, store: MirrorStore, metrics: MetricsText) -> None:
        self._store = store
        self._metrics = metrics
        self._lock = asyncio.Lock()
        self._text = b""
        self._queried_at = -_FRESH

    async def text(self, *, leads: bool) -> bytes:
        """Return all metrics; a standby does not query the database, so that nothing is counted twice."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now - self._queried_at >= _FRESH:
                backlog = await self._query() if leads else None
                self._text = self._metrics.text(backlog, leads=leads)
                self._queried_at = now
            return self._text

    async def _query(self) -> Backlog | None:
        try:
            async with asyncio.timeout(_WITHIN):
                return await self._store.backlog()
        except (FlagScheduleError, TimeoutError):
            return None  # the circuit breaker logs why
