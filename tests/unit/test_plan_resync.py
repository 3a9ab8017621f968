"""Plans are planned again when something happened to them; on ports in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from flagschedule.domain import plan
from flagschedule.domain.errors import DependencyUnavailableError, KindMissingError
from flagschedule.domain.outcome import State
from flagschedule.domain.plan import FlagPlan
from flagschedule.domain.schedule import ObjectRef
from flagschedule.services import outbox
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

pytestmark = pytest.mark.simulated_time


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


@pytest.fixture
def on() -> Plans:
    """Services, and the flag of the plans."""
    services = Plans()
    services.database.flag("chat")
    return services


async def test_an_outcome_is_shown_within_seconds(on: Plans) -> None:
    """A step that was made is shown by its plan, and its entry leaves the outbox."""
    async with on.watching():
        (obj,) = await on.made("shop-one")
        await reaches(lambda: not on.database.status_entries, within=4)

    assert on.last(obj.ref) == ("Finished", "Applied")


async def test_plans_that_cannot_be_served_hide_no_outcome_of_others(
    on: Plans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More plans than are read ahead fail; another namespace's outcome is shown meanwhile."""
    monkeypatch.setattr(outbox, "_BATCH", 10)
    async with on.watching():
        plans = await on.made(*(f"odd-{number}" for number in range(30)))
        failing = {obj.ref for obj in plans}
        get = on.plan_client.get

        async def refuse(ref: ObjectRef) -> FlagPlan:
            if ref in failing:
                raise DependencyUnavailableError("busy")
            return await get(ref)

        monkeypatch.setattr(on.plan_client, "get", refuse)
        await reaches(lambda: sum(ref in on.plans for ref in failing) >= 20, within=30)
        (good,) = await on.made("good-one")
        await reaches(lambda: on.last(good.ref) == ("Finished", "Applied"), within=4)
        failing.clear()
        await reaches(lambda: not on.database.status_entries, within=120)

    assert {on.last(obj.ref) for obj in plans} == {("Finished", "Applied")}


async def test_plans_that_are_older_than_their_records_are_reported(on: Plans) -> None:
    """After a restore of etcd an older plan changes nothing, and the log says how many there are."""
    obj = on.plan("one")
    on.plans.notice(obj)
    async with on.watching():
        await reaches(lambda: on.last(obj.ref)[0] == "Active")
    planned = on.database.plans[obj.ref.uid]
    on.database.plans[obj.ref.uid] = replace(planned, record=replace(planned.record, generation=7))

    with capture_logs() as logs:
        async with on.watching():
            await reaches(lambda: any("etcd" in line["event"] for line in logs), within=3)

    (line,) = [line for line in logs if "etcd" in line["event"]]
    assert (line["log_level"], line["kind"], line["objects"]) == ("warning", "FlagPlan", 1)
    assert [link.state for link in on.database.links[planned.lineage].values()] == [State.PENDING]


async def test_the_start_waits_until_plans_are_planned(on: Plans) -> None:
    """After a restore of the database the log does not say that all was compared before plans know what was made."""
    plans = [on.plan(name) for name in ("one", "two")]
    on.plans.notice(plans[0])
    get, read = on.plan_client.get, list[str]()

    async def read_slowly(ref: ObjectRef) -> FlagPlan:
        await asyncio.sleep(3)
        read.append(ref.name)
        return await get(ref)

    on.plan_client.get = read_slowly  # type: ignore[method-assign]  # a slow request
    on.startup.compared("FlagSchedule", 0)
    async with on.watching():
        await reaches(lambda: on.startup.done, within=10)
        assert {on.last(obj.ref)[0] for obj in plans} == {"Active"}

    assert read == ["two"]


async def test_the_start_waits_for_no_kind_that_is_not_served(on: Plans) -> None:
    """Without FlagPlans the operator becomes ready."""

    async def refused() -> AsyncIterator[FlagPlan]:
        if not on.plan_server.objects:
            raise KindMissingError
        yield on.plan("one")

    on.plan_client.list = refused  # type: ignore[method-assign]  # there is no such kind
    on.startup.compared("FlagSchedule", 0)
    async with on.watching():
        await reaches(lambda: on.startup.done, within=3)
