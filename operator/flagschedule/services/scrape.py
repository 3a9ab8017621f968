"""Answers a scrape of the operator's metrics. Called by its web server.

It asks the database itself, past the gate: a scrape must come back while the database is away, and say so.
"""

import asyncio
from typing import Final

from flagschedule.domain.errors import FlagScheduleError
from flagschedule.ports import Backlog, MetricsText, MirrorStore

_WITHIN: Final = 3.0  # seconds; Prometheus waits for ten
_FRESH: Final = 1.0


class Scraper:
    """One question to the database at a time, and at most one each second, however many scrape."""

    def __init__(self, store: MirrorStore, metrics: MetricsText) -> None:
        self._store = store
        self._metrics = metrics
        self._lock = asyncio.Lock()
        self._text = b""
        self._asked_at = -_FRESH

    async def text(self, *, leads: bool) -> bytes:
        """All metrics; a standby does not ask the database, so that nothing is counted twice."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now - self._asked_at >= _FRESH:
                backlog = await self._ask() if leads else None
                self._text = self._metrics.text(backlog, leads=leads)
                self._asked_at = now
            return self._text

    async def _ask(self) -> Backlog | None:
        try:
            async with asyncio.timeout(_WITHIN):
                return await self._store.backlog()
        except (FlagScheduleError, TimeoutError):
            return None  # the gate says why
