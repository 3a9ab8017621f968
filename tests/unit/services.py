"""The operator's services on a database and an API server in memory. Used by the tests of each of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

from flagschedule.adapters.prometheus import PrometheusTelemetry
from flagschedule.domain.outcome import Row
from flagschedule.domain.schedule import FlagSchedule, ObjectRef
from flagschedule.services.circuit_breaker import CircuitBreaker
from flagschedule.services.event_recorder import EventRecorder
from flagschedule.services.mirror import Mirror
from flagschedule.services.reconcile import Reconciler
from flagschedule.services.resync import Resync
from flagschedule.services.startup import Startup
from flagschedule.services.status_writer import StatusWriter
from tests.support.memory.database import MemoryDatabase
from tests.support.memory.mirror_store import MemoryMirrorStore
from tests.support.memory.object_client import MemoryApiServer, MemoryObjectClient
from tests.support.mirroring import RULES
from tests.unit.builders import body

NAMESPACE: Final = "shop"
INTERVAL: Final = 30.0  # seconds between two turns of the resync


class Services:
    """One operator. Its time is that of the event loop; the database's time stands still until a test moves it.

    Attributes:
        kinds: what is compared.
    """

    kinds: tuple[str, ...] = ("FlagSchedule",)

    def __init__(self, database: MemoryDatabase | None = None, server: MemoryApiServer | None = None) -> None:
        self.database = database or MemoryDatabase()
        self.server = server or MemoryApiServer()
        self.store = MemoryMirrorStore(self.database)
        self.client = MemoryObjectClient(self.server, FlagSchedule.from_body)
        self.telemetry = PrometheusTelemetry()
        self.breaker = CircuitBreaker(self.store.ping, 5, 2)
        self.recorder = EventRecorder(self.client)
        self.writer = StatusWriter(self.store, self.client, self.breaker, self.recorder, self.telemetry)
        self.mirror = Mirror(self.store, self.breaker, RULES, self.writer, self.telemetry)
        self.reconciler = Reconciler(self.client, self.mirror)
        self.startup = Startup("default", self.kinds)
        self.resync = Resync(
            *(self.store, self.client, self.breaker, self.mirror, self.reconciler, self.writer, self.telemetry),
            self.startup,
            cluster="default",
            interval=INTERVAL,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let all but the resync do their work meanwhile."""
        works = (self.writer.serve_forever(), self.reconciler.run_forever(), self.recorder.run_forever())
        tasks = [asyncio.create_task(work) for work in works]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def create(
        self, name: str = "launch", *, namespace: str = NAMESPACE, due: timedelta = timedelta(hours=1), **fields: Any
    ) -> FlagSchedule:
        """Create an object whose time is `due` from now, as a user does."""
        made = body(at=self.database.now + due, **fields)
        made["metadata"] |= {"name": name, "namespace": namespace}
        del made["metadata"]["uid"]  # the server gives each its own
        return FlagSchedule.from_body(self.server.create(made))

    async def planned(self, *names: str, **fields: Any) -> list[FlagSchedule]:
        """Create objects, and mirror them. Their namespace is the first word of their name."""
        made = [self.create(name, namespace=name.partition("-")[0], **fields) for name in names]
        for obj in made:
            await self.mirror.reconcile(obj)
        return made

    def obj(self, name: str = "launch", namespace: str = NAMESPACE) -> FlagSchedule:
        """An object as it is now."""
        return FlagSchedule.from_body(self.server.objects[namespace, name])

    def shows(self, name: str = "launch", namespace: str = NAMESPACE) -> tuple[str | None, str | None]:
        """The phase that an object shows, and its reason."""
        status = self.obj(name, namespace).status
        return status.phase, status.reason

    def row(self, obj: FlagSchedule) -> Row:
        """The row of an object."""
        _, record = self.database.records[obj.ref.uid]
        assert record.schedule_id
        return self.database.rows[record.schedule_id][1]

    def apply(self, obj: FlagSchedule) -> None:
        """Make an object's change, as the processor does."""
        schedule = self.row(obj).id
        assert schedule
        self.database.apply(schedule)

    def reads(self) -> list[str]:
        """Note the name of each object that is read from now on, in a list."""
        names: list[str] = []
        self.before_read(lambda ref: names.append(ref.name))
        return names

    def before_read(self, act: Callable[[ObjectRef], object]) -> None:
        """Call `act` before each read of an object; an error of it is that of the read."""
        get = self.client.get

        async def read(ref: ObjectRef) -> Any:
            await asyncio.sleep(0)  # as a request does, so that other tasks run meanwhile
            act(ref)
            return await get(ref)

        self.client.get = read  # type: ignore[method-assign]  # a client that is watched
