"""The operator's services for plans on a database and an API server in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from flagschedule.domain import plan
from flagschedule.domain.plan import FlagPlan
from flagschedule.domain.schedule import ObjectRef
from flagschedule.services.optional_kind import OptionalKind
from flagschedule.services.plan_mirror import PlanMirror
from flagschedule.services.plan_resync import PlanResync
from flagschedule.services.plan_status import PlanStatusWriter
from flagschedule.services.reconcile import Reconciler
from tests.support.asynchronous import reaches
from tests.support.memory.object_client import MemoryApiServer, MemoryObjectClient
from tests.support.memory.plan_store import MemoryPlanStore
from tests.support.mirroring import RULES
from tests.support.plans import change, plan_body
from tests.unit.builders import rfc3339
from tests.unit.services import INTERVAL, Services


class Plans(Services):
    """The operator's services, and those for plans."""

    kinds = ("FlagSchedule", "FlagPlan")

    def __init__(self) -> None:
        super().__init__()
        self.plan_server = MemoryApiServer()
        self.plan_store = MemoryPlanStore(self.database)
        self.plan_client = MemoryObjectClient(self.plan_server, FlagPlan.from_body)
        self.plan_writer = PlanStatusWriter(self.plan_client, self.recorder, self.telemetry)
        self.plan_mirror = PlanMirror(self.plan_store, self.breaker, RULES, self.plan_writer, self.telemetry)
        self.plans = Reconciler(self.plan_client, self.plan_mirror)
        self.kind = OptionalKind(self.plan_client, plan.KIND, meanwhile="rows are made", interval="compared")
        self.plan_resync = PlanResync(
            *(self.plan_store, self.kind, self.breaker, self.plan_mirror, self.plans, self.telemetry, self.startup),
            interval=INTERVAL,
        )

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Let everything do its work meanwhile."""
        async with self.running():
            tasks = [asyncio.create_task(work) for work in (self.plans.run_forever(), self.plan_resync.run_forever())]
            yield
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def plan(self, name: str, namespace: str = "shop", **fields: Any) -> FlagPlan:
        """Create a plan of one step that is due in an hour, as a user does."""
        step = {"name": "one", "at": rfc3339(self.database.now + timedelta(hours=1)), "changes": [change()]}
        made = plan_body(step, created_at=self.database.now, **fields)
        made["metadata"] |= {"name": name, "namespace": namespace}
        del made["metadata"]["uid"]
        return FlagPlan.from_body(self.plan_server.create(made))

    async def made(self, *names: str) -> list[FlagPlan]:
        """Create plans, and let their steps be made. Their namespace is the first word of their name."""
        plans = [self.plan(name, name.partition("-")[0]) for name in names]
        for obj in plans:
            self.plans.notice(obj)
        await reaches(lambda: all(self.last(obj.ref)[0] == "Active" for obj in plans), within=60)
        for links in self.database.links.values():
            for link in links.values():
                assert link.schedule_id
                self.database.apply(link.schedule_id)
        return plans

    def last(self, ref: ObjectRef) -> tuple[str | None, str | None]:
        """The phase that a plan shows, and its last outcome."""
        status = FlagPlan.from_body(self.plan_server.objects[ref.namespace, ref.name]).status
        return status.phase, status.last.outcome if status.last else None
