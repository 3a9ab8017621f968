"""Plans are planned again when something happened to them; on ports in memory."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from flagschedule.domain.errors import DependencyUnavailableError, KindMissingError
from flagschedule.domain.outcome import State
from flagschedule.domain.plan import FlagPlan
from flagschedule.domain.schedule import ObjectRef
from flagschedule.services import outbox
from tests.support.asynchronous import reaches
from tests.unit.plan_services import Plans

pytestmark = pytest.mark.simulated_time


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
