"""A lease in memory. Implements ports.cluster.LeaseStore; tests/conformance compares it with the API server's."""

from flagschedule.domain.errors import DependencyUnavailableError, ObjectChangedError
from flagschedule.ports.cluster import Lease


class MemoryLeaseStore:
    """One lease.

    Attributes:
        lease: the lease as it is now; None if there is none.
        writes: how often it was written.
        away: whether it serves nothing.
    """

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.writes = 0
        self.away = False

    async def read(self) -> Lease | None:
        """See ports.cluster.LeaseStore."""
        self._check()
        return self.lease

    async def write(self, before: Lease | None, holder: str, duration: float) -> None:
        """See ports.cluster.LeaseStore."""
        self._check()
        if before is not self.lease:
            raise ObjectChangedError
        self.writes += 1
        self.lease = Lease(holder=holder, renewal=str(self.writes), duration=duration, body={})

    def _check(self) -> None:
        if self.away:
            raise DependencyUnavailableError("the lease cannot be served")
