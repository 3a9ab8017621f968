"""Answers the probes. Used by the operator's entry point.

A standby is ready when it could take over: a rollout waits for it, and an eviction counts on it.
"""

import asyncio
from typing import Final

from flagschedule.bootstrap import operating

_LONGEST_WITHOUT_LIST: Final = 30  # turns of the resync: three full comparisons missed
_FRESH: Final = 10.0  # seconds; a standby looks each second


class Health:
    """Liveness, readiness and metrics of the operator's services.

    Attributes:
        leads_since: when (event loop's time) this replica began to work; None while another replica works.
    """

    def __init__(self, services: operating.Operator, sweep_seconds: float) -> None:
        self._services = services
        self._patience = _LONGEST_WITHOUT_LIST * sweep_seconds
        self._began_at = asyncio.get_running_loop().time()
        self.leads_since: float | None = None

    def liveness(self) -> str | None:
        """Return one word why the program must be restarted, None if it need not be."""
        if self._services.breaker.away:
            return None  # a restart would not bring the database back
        if self.leads_since is None:
            last = self._looked_at or self._began_at
        else:
            last = self._services.resync.listed_at or self.leads_since
        return "stuck" if _age(last) > self._patience else None

    def readiness(self) -> str | None:
        """Return one word why it neither works nor could take over, None if it does or could."""
        if self._services.breaker.away:
            return "database"
        if self.leads_since is None:
            return None if self._looked_at and _age(self._looked_at) < _FRESH else "lease"
        return None if self._services.startup.done else "starting"

    async def metrics(self) -> bytes:
        """Return everything that Prometheus scrapes."""
        return await self._services.scraper.text(leads=self.leads_since is not None)

    @property
    def _looked_at(self) -> float | None:
        return self._services.elector.looked_at if self._services.elector else None


def _age(moment: float) -> float:
    return asyncio.get_running_loop().time() - moment
