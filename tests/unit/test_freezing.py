"""Freezes reach the database, their statuses and the schedules that they hold; on ports in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from flagschedule.domain import freeze
from flagschedule.domain.errors import AccessForbiddenError, KindMissingError
from flagschedule.domain.freeze import FlagFreeze
from flagschedule.domain.outcome import Holding
from flagschedule.domain.schedule import FINALIZER, ObjectRef, Uid
from flagschedule.services.freezing import FreezeMonitor, Freezing
from flagschedule.services.optional_kind import OptionalKind
from flagschedule.services.reconcile import Reconciler
from tests.support.asynchronous import reaches
from tests.support.memory.freeze_store import MemoryFreezeStore
from tests.support.memory.object_client import MemoryApiServer, MemoryObjectClient
from tests.unit.builders import rfc3339
from tests.unit.services import Services

pytestmark = pytest.mark.simulated_time

HOLDING = Holding("incident", "INC-1", None)


class Freezes(Services):
    """The operator's services, and those for freezes."""

    kinds = ("FlagSchedule", "FlagFreeze")

    def __init__(self) -> None:
        super().__init__()
        self.freeze_server = MemoryApiServer()
        self.woken: list[ObjectRef] = []  # plans
        self.freeze_store = MemoryFreezeStore(self.database)
        self.freeze_client = MemoryObjectClient(self.freeze_server, FlagFreeze.from_body)
        self.freezing = Freezing(self.freeze_store, self.freeze_client, self.breaker)
        self.freezes = Reconciler(self.freeze_client, self.freezing)
        kind = OptionalKind(
            self.freeze_client, freeze.KIND, meanwhile="what is frozen stays so", interval="read every 5 seconds"
        )
        self.monitor = FreezeMonitor(
            *(self.freeze_store, kind, self.breaker, self.freezing, self.freezes, self.writer),
            self.woken.extend,
            self.startup,
        )

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Let everything do its work meanwhile."""
        async with self.running():
            await self.monitor.prepare()
            tasks = [asyncio.create_task(work) for work in (self.freezes.run_forever(), self.monitor.run_forever())]
            yield
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def freeze(self, name: str = "incident", **spec: Any) -> FlagFreeze:
        """Create a freeze, as a user does."""
        body = {"metadata": {"name": name}, "spec": {"reason": "INC-1", **spec}}
        return FlagFreeze.from_body(self.freeze_server.create(body))

    def found(self, name: str = "incident") -> FlagFreeze:
        """A freeze as it is now."""
        return FlagFreeze.from_body(self.freeze_server.objects["", name])

    def window(self, begin: int, end: int) -> dict[str, str]:
        """Return a window in hours from now."""
        now = self.database.now
        return {"from": rfc3339(now + timedelta(hours=begin)), "until": rfc3339(now + timedelta(hours=end))}


@pytest.fixture
def on() -> Freezes:
    """One operator."""
    return Freezes()


async def test_a_freeze_is_written_before_its_status_says_so(on: Freezes) -> None:
    """Finalizer, intervals, status: Active only with the intervals in the database."""
    obj = on.freeze(namespaces=["shop-*"])
    on.freezes.notice(obj)

    async with on.watching():
        await reaches(lambda: on.found().status.phase == "Active", within=30)

    assert on.found().finalizers == (FINALIZER,)
    scope, intervals = on.freeze_store.freezes[obj.ref]
    assert (scope.namespaces, [each.ends_at for each in intervals]) == (("shop-%",), [None])


async def test_a_freeze_that_no_watch_reports_is_found(on: Freezes) -> None:
    """Where the kind is not watched, as after its CRD came late, a freeze acts within five seconds; so does its end."""
    async with on.watching():
        obj = on.freeze()
        await reaches(lambda: on.found().status.phase == "Active", within=6)
        on.freeze_server.delete("", "incident")
        await reaches(lambda: not on.freeze_server.objects, within=6)

    assert obj.ref not in on.freeze_store.freezes


async def test_a_status_follows_the_clock_of_the_database(on: Freezes) -> None:
    """Scheduled, Active, Finished, without a write while nothing changes."""
    on.freeze(windows=[on.window(1, 2)])
    async with on.watching():
        await reaches(lambda: on.found().status.phase == "Scheduled", within=30)
        assert on.found().status.next_window
        on.database.now += timedelta(minutes=61)
        await reaches(lambda: on.found().status.phase == "Active", within=6)
        version = on.found().resource_version
        await asyncio.sleep(600)
        assert on.found().resource_version == version
        on.database.now += timedelta(hours=1)
        await reaches(lambda: on.found().status.phase == "Finished", within=6)


async def test_what_it_holds_is_counted(on: Freezes) -> None:
    """`held` is what the database counts, and nothing once it is over."""
    obj = on.freeze(windows=[on.window(-1, 1)])
    async with on.watching():
        await reaches(lambda: on.found().status.phase == "Active", within=30)
        on.freeze_store.held_counts[obj.ref.uid] = 500
        await reaches(lambda: on.found().status.held == 500, within=6)
        on.database.now += timedelta(hours=1)
        await reaches(lambda: (on.found().status.phase, on.found().status.held) == ("Finished", 0), within=6)


async def test_an_edit_that_cannot_be_used_lifts_no_freeze(on: Freezes) -> None:
    """The intervals stay as they are, and the status says what is wrong."""
    obj = on.freeze()
    async with on.watching():
        await reaches(lambda: on.found().status.phase == "Active", within=30)
        on.freeze_server.edit("", "incident", windows=[{"cron": "0 17 * * 5", "for": "1h", "timeZone": "Oslo"}])
        await reaches(lambda: on.found().status.phase == "Invalid", within=6)

    assert obj.ref in on.freeze_store.freezes
    assert "stays frozen" in (on.found().status.message or "")


async def test_the_horizon_moves_each_day(on: Freezes) -> None:
    """Intervals of one more day are written each day, and nothing in between but the comparison."""
    obj = on.freeze(windows=[{"cron": "0 22 * * *", "for": "8h", "timeZone": "UTC"}])
    async with on.watching():
        await reaches(lambda: on.found().status.phase == "Scheduled", within=30)
        _, first = on.freeze_store.freezes[obj.ref]
        on.database.now += timedelta(days=1)
        await reaches(lambda: on.freeze_store.freezes[obj.ref][1][-1] != first[-1], within=6)

    _, second = on.freeze_store.freezes[obj.ref]
    assert second[-1].starts_at - first[-1].starts_at == timedelta(days=1)


async def test_a_lost_freeze_is_written_again(on: Freezes) -> None:
    """After a restore of the database the intervals are back at the next look."""
    obj = on.freeze()
    async with on.watching():
        await reaches(lambda: on.found().status.phase == "Active", within=30)
        on.freeze_store.freezes.clear()
        await reaches(lambda: obj.ref in on.freeze_store.freezes, within=6)


async def test_the_start_waits_until_freezes_are_written(on: Freezes) -> None:
    """After a restore of the database the log does not say that all was compared before the freezes are back."""
    objects = [on.freeze(name) for name in ("one", "two")]
    write, order = on.freeze_store.replace, list[str]()

    async def write_slowly(*values: Any) -> None:
        await asyncio.sleep(3)
        order.append("written")
        await write(*values)

    on.freeze_store.replace = write_slowly  # type: ignore[method-assign, assignment]  # a slow database
    on.startup.compared("FlagSchedule", 2)
    async with on.watching():
        await reaches(lambda: on.startup.done, within=10)
        assert order == ["written"] * len(objects)


async def test_the_start_waits_for_no_kind_that_is_not_served(on: Freezes) -> None:
    """Without FlagFreezes the operator becomes ready."""

    async def refused() -> AsyncIterator[FlagFreeze]:
        if not on.freeze_server.objects:
            raise KindMissingError
        yield on.found()

    on.freeze_client.list = refused  # type: ignore[method-assign]  # there is no such kind
    on.startup.compared("FlagSchedule", 2)
    with capture_logs() as logs:
        async with on.watching():
            await reaches(lambda: on.startup.done, within=10)

    (line,) = [line for line in logs if line["event"] == "All objects compared"]
    assert (line["cluster"], line["repaired"]) == ("default", 2)


async def test_intervals_without_an_object_are_looked_up_once_more(on: Freezes) -> None:
    """Those of an object that is gone go; those of one that the LIST has not shown stay."""
    gone, hidden = (on.freeze(name) for name in ("gone", "hidden"))
    async with on.watching():
        await reaches(lambda: len(on.freeze_store.freezes) == 2, within=30)
        shown = on.freeze_client.list

        async def without_hidden() -> AsyncIterator[FlagFreeze]:
            async for obj in shown():
                if obj.ref != hidden.ref:
                    yield obj

        on.freeze_client.list = without_hidden  # type: ignore[method-assign]  # a LIST from an old cache
        del on.freeze_server.objects["", "gone"]
        await reaches(lambda: gone.ref not in on.freeze_store.freezes, within=6)
        await asyncio.sleep(60)

    assert hidden.ref in on.freeze_store.freezes


@pytest.mark.parametrize("error", [AccessForbiddenError, KindMissingError])
async def test_without_the_kind_the_operator_works_and_says_so_once(on: Freezes, error: type[Exception]) -> None:
    """What stands in the database stays; when the kind appears it is used."""
    obj = on.freeze()
    async with on.watching():
        await reaches(lambda: obj.ref in on.freeze_store.freezes)
        shown = on.freeze_client.list

        async def refused() -> AsyncIterator[FlagFreeze]:
            if on.freeze_store.freezes:
                raise error
            yield obj

        with capture_logs() as logs:
            on.freeze_client.list = refused  # type: ignore[method-assign]  # it may not
            await asyncio.sleep(60)
            kept = [*on.freeze_store.freezes]
            on.freeze_client.list = shown  # type: ignore[method-assign]  # it may
            on.freeze("later")
            await reaches(lambda: len(on.freeze_store.freezes) == 2, within=6)

    assert kept == [obj.ref]
    events = [line["event"] for line in logs if line["log_level"] == "warning" or "served" in line["event"]]
    assert events == [
        "The operator works without FlagFreezes",
        "FlagFreezes are served now, and read every 5 seconds; restart the operator to watch them",
    ]


async def _held(on: Freezes, count: int = 1) -> list[ObjectRef]:
    """Let a freeze hold the due schedules of some objects."""
    on.database.flag("checkout-v2")
    objects = await on.planned(*(f"shop-{n}" for n in range(count)), due=timedelta(minutes=1))
    on.freeze()
    await reaches(lambda: on.found().status.phase == "Active", within=30)
    on.database.now += timedelta(minutes=2)
    due = on.database.now - timedelta(minutes=1)
    for obj in objects:
        on.database.holdings[obj.ref] = HOLDING
        on.freeze_store.holdings[obj.ref] = HOLDING, due
    return [obj.ref for obj in objects]


async def test_a_schedule_shows_that_it_is_frozen_and_that_it_goes_on(on: Freezes) -> None:
    """Within five seconds, not before it is due; once for each change, and back by itself where no processor runs."""
    async with on.watching():
        (ref,) = await _held(on)
        await reaches(lambda: on.shows(ref.name)[0] == "Frozen", within=8)
        version = on.obj(ref.name).resource_version
        await asyncio.sleep(280)
        assert on.obj(ref.name).resource_version == version
        on.database.holdings.clear()
        on.freeze_store.holdings.clear()
        on.freeze_server.delete("", "incident")
        await reaches(lambda: on.shows(ref.name)[0] == "Pending", within=30)


async def test_held_schedules_are_read_once(on: Freezes) -> None:
    """While nothing changes no object is read again: thousands are held for a weekend."""
    async with on.watching():
        refs = await _held(on, 50)
        await reaches(lambda: {on.shows(ref.name)[0] for ref in refs} == {"Frozen"}, within=30)
        reads = on.reads()
        await asyncio.sleep(1000)

    assert reads == []


async def test_what_the_processor_made_when_a_freeze_ended_is_not_looked_at_twice(on: Freezes) -> None:
    """The outbox reports outcomes; only what is not finished is looked at again."""
    async with on.watching():
        refs = await _held(on, 10)
        await reaches(lambda: {on.shows(ref.name)[0] for ref in refs} == {"Frozen"}, within=30)
        reads = on.reads()
        on.database.holdings.clear()
        on.freeze_store.holdings.clear()
        on.freeze_server.delete("", "incident")
        for ref in refs:
            on.apply(on.obj(ref.name))
        await reaches(lambda: {on.shows(ref.name)[0] for ref in refs} == {"Applied"}, within=30)
        await asyncio.sleep(60)

    assert len(reads) == len(refs)


async def test_a_plan_is_planned_again_when_a_freeze_begins_and_ceases_to_hold_it(on: Freezes) -> None:
    """So its status shows both, each once."""
    ref = ObjectRef(uid=Uid(uuid4()), namespace="shop", name="ramp")
    async with on.watching():
        on.freeze()
        await reaches(lambda: on.found().status.phase == "Active", within=30)
        on.freeze_store.plans[ref] = HOLDING, on.database.now
        on.database.now += timedelta(seconds=1)
        on.freeze_store.plans[ref] = HOLDING, on.database.now
        await reaches(lambda: on.woken == [ref], within=11)
        await asyncio.sleep(60)
        assert on.woken == [ref]
        on.freeze_store.plans.clear()
        on.freeze_server.delete("", "incident")
        await reaches(lambda: on.woken == [ref, ref], within=30)
