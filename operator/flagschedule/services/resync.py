"""Finds what no event reports: new flags, deletions that a watch missed, statuses that were lost.

A root task of the operator. It finds what must be repaired, and the reconciler repairs it. It also renews the
cluster's claim to its name in the database.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog

from flagschedule.domain import schedule, status
from flagschedule.domain.errors import ConfigurationError, DependencyUnavailableError, ObjectGoneError
from flagschedule.domain.outcome import Record, Snapshot
from flagschedule.domain.schedule import FlagSchedule, ObjectRef, Phase, Status, Uid
from flagschedule.ports.cluster import ObjectClient
from flagschedule.ports.measuring import Telemetry
from flagschedule.ports.mirroring import MirrorStore
from flagschedule.services.circuit_breaker import CircuitBreaker
from flagschedule.services.concurrently import for_each
from flagschedule.services.mirror import Mirror
from flagschedule.services.reconcile import Reconciler
from flagschedule.services.startup import Startup
from flagschedule.services.status_writer import StatusWriter

_log = structlog.get_logger()
_TURNS_PER_COMPARISON: Final = 10
_NAME_TAKEN: Final = (
    "FLAG_SCHEDULE_CLUSTER: another live cluster uses the name '{cluster}' in this database; "
    "give each cluster a name of its own (a dead cluster's is free after 10 minutes)"
)


@dataclass
class _Repairs:
    """What the comparison of all objects with all records found; `behind` counts objects older than their records."""

    to_mirror: list[FlagSchedule] = field(default_factory=list)
    to_write: list[FlagSchedule] = field(default_factory=list)
    orphans: list[Record] = field(default_factory=list)
    behind: int = 0


class Resync:
    """Looks for waiting objects every `interval` seconds; every tenth time it compares all objects with all records.

    Attributes:
        listed_at: when (event loop's time) the API server last returned every object; None before the first time.
        compared: whether everything was compared once, and repaired as far as possible.
    """

    def __init__(
        self,
        store: MirrorStore,
        client: ObjectClient[FlagSchedule, Status],
        breaker: CircuitBreaker,
        mirror: Mirror,
        reconciler: Reconciler[FlagSchedule],
        writer: StatusWriter,
        telemetry: Telemetry,
        startup: Startup,
        *,
        cluster: str,
        interval: float,
    ) -> None:
        self._store = store
        self._client = client
        self._breaker = breaker
        self._mirror = mirror
        self._reconciler = reconciler
        self._writer = writer
        self._telemetry = telemetry
        self._startup = startup
        self._cluster = cluster
        self._interval = interval
        self._failing = False
        self.listed_at: float | None = None
        self.compared = False

    async def prepare(self) -> None:
        """Claim the cluster's name, and wait until the API server serves FlagSchedules.

        Raises:
            ConfigurationError: another live cluster uses the name.
        """
        while not await self._run(self._list_once):  # noqa: ASYNC110 -- no event reports that the API server is back
            await asyncio.sleep(1)

    async def run_forever(self) -> None:
        """Repair every interval until cancelled; what fails is done again at the next one.

        Raises:
            ConfigurationError: another cluster has taken the name, because we were away for too long.
        """
        done = 0
        while True:
            if await self._run(self._retry_waiting if done % _TURNS_PER_COMPARISON else self._compare_all):
                done += 1
            await asyncio.sleep(self._interval)

    async def _run(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Renew the claim and do the work.

        Returns:
            whether it succeeded; a failure is logged.
        """
        try:
            await self._claim()
            await work()
        except DependencyUnavailableError as error:
            if not self._failing:
                _log.warning("API server lost", error=str(error))
            self._failing = True
            return False
        except ConfigurationError:
            raise
        except Exception:  # noqa: BLE001 -- an error in the comparison must not stop what the watch triggers
            _log.exception("Comparison failed")
            return False
        if self._failing:
            _log.info("API server is back")
        self._failing = False
        return True

    async def _claim(self) -> None:
        uid = await self._client.cluster_uid()
        if not await self._breaker.run(partial(self._store.claim_cluster, uid)):
            raise ConfigurationError([_NAME_TAKEN.format(cluster=self._cluster)])

    async def _list_once(self) -> None:
        async for _ in self._client.list():
            return

    async def _retry_waiting(self) -> None:
        """Reconcile waiting objects whose flag exists now, or whose time has passed."""
        await for_each(await self._breaker.run(self._store.waiting), self._retry)

    async def _retry(self, ref: ObjectRef) -> None:
        if ref in self._reconciler:
            return  # it is queued there, or is being worked on
        try:
            obj = await self._client.get(ref)
        except (ObjectGoneError, DependencyUnavailableError):
            return  # the next comparison releases it, or the next interval tries again
        self._reconciler.add(obj)

    async def _compare_all(self) -> None:
        """Compare all objects with all records and repair both."""
        # The records first: an object that appears in between then only looks new. The other way round, a record
        # that appears in between would look like one whose object is gone.
        known = await self._breaker.run(self._snapshots)
        found = await self._compare(known)
        self.listed_at = asyncio.get_running_loop().time()
        warn_of_old_objects(schedule.KIND, found.behind)
        damaged = [*found.to_mirror, *map(_as_deleted, found.orphans)]
        await self._reconciler.try_all(damaged, self._claim)
        self.compared = True
        self._startup.compared(schedule.KIND, len(found.to_mirror))
        await for_each(found.to_write, self._write_status)
        await self._retry_waiting()

    async def _snapshots(self) -> dict[Uid, Snapshot]:
        return {found.record.ref.uid: found async for found in self._store.snapshots() if found.record}

    async def _compare(self, known: dict[Uid, Snapshot]) -> _Repairs:
        repairs = _Repairs()
        phases: Counter[Phase | None] = Counter()
        async for obj in self._client.list():
            phases[obj.status.phase] += 1
            try:
                self._compare_one(obj, known.pop(obj.ref.uid, None), repairs)
            except Exception:  # noqa: BLE001 -- an error in one object must not stop the others
                _log.exception("Object not compared", uid=str(obj.ref.uid))
        self._telemetry.compared(phases)
        repairs.orphans = [snapshot.record for snapshot in known.values() if snapshot.record]
        return repairs

    def _compare_one(self, obj: FlagSchedule, snapshot: Snapshot | None, repairs: _Repairs) -> None:
        if obj.deleting:
            if obj.has_finalizer or snapshot is not None:
                repairs.to_mirror.append(obj)
            return
        # The records were read before the objects, so this is no race.
        repairs.behind += bool(snapshot and snapshot.record and snapshot.record.generation > obj.generation)
        if not obj.has_finalizer or self._mirror.is_stale(obj, snapshot):
            repairs.to_mirror.append(obj)
        elif snapshot and status.compute(obj, snapshot) != obj.status:
            repairs.to_write.append(obj)

    async def _write_status(self, obj: FlagSchedule) -> None:
        await self._writer.write_or_keep(obj.ref, obj)


def warn_of_old_objects(kind: str, count: int) -> None:
    """Log that objects of a kind have an older generation than what the database has seen: they change nothing."""
    if count:
        _log.warning("Objects are older than their records; was etcd restored from a backup?", kind=kind, objects=count)


def _as_deleted(record: Record) -> FlagSchedule:
    """Return a removed object as far as its record holds it: enough to release it."""
    return FlagSchedule(
        ref=record.ref,
        generation=record.generation,
        resource_version="",
        created_at=record.created_at,
        deleting=True,
        spec=None,
        fault=None,
        retry_request=record.retry_request,
        status=Status(),
    )
