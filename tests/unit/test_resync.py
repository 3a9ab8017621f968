"""When the comparison of all objects with all records is over."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import pytest

from flagschedule.adapters.prometheus import PrometheusTelemetry
from flagschedule.domain.outcome import Snapshot
from flagschedule.domain.schedule import FINALIZER, FlagSchedule, ObjectRef
from flagschedule.services import reconcile
from flagschedule.services.circuit_breaker import CircuitBreaker
from flagschedule.services.reconcile import Reconciler
from flagschedule.services.resync import Resync
from tests.unit.builders import body

if TYPE_CHECKING:
    from flagschedule.ports import MirrorStore, ObjectClient
    from flagschedule.services.mirror import Mirror
    from flagschedule.services.status import StatusWriter


class _Store:
    """A database without any record."""

    records: Sequence[Snapshot] = ()

    async def claim_cluster(self, kube_system_uid: str) -> bool:
        """See ports.MirrorStore."""
        return bool(kube_system_uid)

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """See ports.MirrorStore."""
        for found in self.records:
            yield found

    async def waiting(self) -> Sequence[ObjectRef]:
        """See ports.MirrorStore."""
        return []

    async def ping(self) -> None:
        """See ports.MirrorStore."""


class _Api:
    """An API server with so many objects, each as an operator left it."""

    def __init__(self, count: int) -> None:
        self.bodies = {}
        for number in range(count):
            found = body(status={"observedGeneration": 1})
            found["metadata"] |= {
                "uid": str(UUID(int=number + 1)),
                "name": f"launch-{number}",
                "finalizers": [FINALIZER],
            }
            self.bodies[f"launch-{number}"] = found

    async def cluster_uid(self) -> str:
        """See ports.ObjectClient."""
        return "uid"

    async def list(self) -> AsyncIterator[Mapping[str, Any]]:
        """See ports.ObjectClient."""
        for found in self.bodies.values():
            yield found

    async def get(self, ref: ObjectRef) -> Mapping[str, Any]:
        """See ports.ObjectClient."""
        return self.bodies[ref.name]


class _Mirror:
    """A database that needs a moment for each object, and refuses some."""

    def __init__(self, refused: set[str]) -> None:
        self.refused = refused
        self.mirrored: set[str] = set()

    def is_stale(self, obj: FlagSchedule, snapshot: Snapshot | None) -> bool:
        """See Mirror."""
        return bool(obj) and snapshot is None

    async def reconcile(self, obj: FlagSchedule) -> None:
        """See Mirror."""
        await asyncio.sleep(0.02)
        if obj.ref.name in self.refused:
            raise ValueError
        self.mirrored.add(obj.ref.name)


@pytest.mark.parametrize("refused", [set(), {"launch-0", "launch-199"}])
def test_a_comparison_is_over_when_each_object_had_its_turn(monkeypatch: pytest.MonkeyPatch, refused: set[str]) -> None:
    """However long the repairs take, readiness is reported when all that can be repaired is repaired."""
    monkeypatch.setattr(reconcile, "_PATIENCE", 0.1)
    api, mirror, store = _Api(200), _Mirror(refused), _Store()

    async def run() -> None:
        client, repairs = cast("ObjectClient", api), cast("Mirror", mirror)
        reconciler = Reconciler(client, repairs)
        breaker = CircuitBreaker(store.ping, 5)
        resync = Resync(
            cast("MirrorStore", store),
            client,
            breaker,
            repairs,
            reconciler,
            cast("StatusWriter", None),
            PrometheusTelemetry(),
            cluster="default",
            interval=0.001,
        )
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            tasks = [group.create_task(reconciler.run_forever()), group.create_task(resync.run_forever())]
            while not resync.compared:  # noqa: ASYNC110 -- the condition that is tested
                await asyncio.sleep(0.001)
            assert mirror.mirrored == set(api.bodies) - refused
            for task in tasks:
                task.cancel()

    asyncio.run(run())
