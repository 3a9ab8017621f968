"""The mirror on a database and an API server in memory: what it plans, shows, logs and leaves alone."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from flagschedule.domain.errors import ConflictError
from flagschedule.domain.outcome import Reason, State
from tests.support.asynchronous import reaches
from tests.unit.builders import NOW, rfc3339
from tests.unit.services import NAMESPACE, Services

pytestmark = pytest.mark.simulated_time


async def test_a_new_object_is_planned_and_says_so(on: Services) -> None:
    """A new object gets a row with its plan, a status of its generation, one Event and one line in the log."""
    new = on.create(updates={"enabled": True, "rolloutPercentage": 25})

    with capture_logs() as lines:
        async with on.running():
            await on.mirror.reconcile(new)
            await reaches(lambda: on.server.events)

    row, status = on.row(new), on.obj().status
    assert (row.state, row.updates) == (State.PENDING, {"enabled": True, "rolloutPercentage": 25})
    assert (status.phase, status.observed_generation, status.schedule_id) == ("Pending", 1, str(row.id))
    conditions = {condition.type: condition.status for condition in status.conditions}
    assert conditions == {"Ready": "True", "Applied": "Unknown"}
    assert [(ref, event.reason) for ref, event, _ in on.server.events] == [(new.ref, "Mirrored")]
    assert [(line["event"], line["phase"]) for line in lines] == [("Schedule mirrored", "Pending")]


@pytest.mark.parametrize("copy", ["live", "stale"])
async def test_an_object_that_is_in_line_is_left_alone(on: Services, copy: str) -> None:
    """A second look at an object, also at an older copy of it, writes nothing and logs nothing."""
    new = on.create()
    await on.mirror.reconcile(new)

    async def refuse(*_: object) -> None:
        raise AssertionError("there is nothing to write")

    on.client.write_status = refuse  # type: ignore[assignment,method-assign]  # to see each request
    with capture_logs() as lines:
        await on.mirror.reconcile(on.obj() if copy == "live" else new)

    assert lines == []


@pytest.mark.parametrize(
    ("edit", "phase", "row"),
    [
        ({"scheduledAt": "2026-12-24T00:00:00Z"}, "Pending", {"state": State.PENDING}),
        ({"updates": {"rolloutPercentage": 50}}, "Pending", {"updates": {"rolloutPercentage": 50}}),
        ({"suspend": True}, "Suspended", {"suspended": True}),
        ({"cancel": True}, "Cancelled", {"state": State.CANCELLED, "reason": Reason.CANCELLED}),
        ({"updates": {}}, "Invalid", {"state": State.CANCELLED, "reason": Reason.INVALID_SPEC}),
    ],
    ids=["time", "change", "suspend", "cancel", "no spec"],
)
async def test_the_row_follows_an_edit(on: Services, edit: dict[str, Any], phase: str, row: dict[str, Any]) -> None:
    """An edit changes the object's one row, and the status shows what it means."""
    await on.mirror.reconcile(on.create())
    on.server.edit(NAMESPACE, "launch", **edit)

    await on.mirror.reconcile(on.obj())

    assert on.shows()[0] == phase
    assert on.obj().observed_generation == 2
    assert {name: getattr(on.row(on.obj()), name) for name in row} == row
    assert len(on.database.rows) == 1


async def test_an_edit_that_is_revised_goes_on(on: Services) -> None:
    """A suspended object is planned as before when it is not suspended any more."""
    await on.mirror.reconcile(on.create(suspend=True))
    assert on.shows()[0] == "Suspended"
    on.server.edit(NAMESPACE, "launch", suspend=False)

    await on.mirror.reconcile(on.obj())

    assert on.shows()[0] == "Pending"
    assert not on.row(on.obj()).suspended


async def test_an_edit_after_the_change_is_reported_only(on: Services) -> None:
    """An edit of an object whose change was made leaves row and record; the object says that it came too late."""
    (obj,) = await on.planned("shop-launch")
    on.apply(obj)
    before = on.database.records[obj.ref.uid], on.row(obj)
    on.server.edit("shop", "shop-launch", updates={"enabled": False})

    await on.mirror.reconcile(on.obj("shop-launch"))

    assert (on.database.records[obj.ref.uid], on.row(obj)) == before
    assert on.shows("shop-launch") == ("Applied", "EditTooLate")
    assert on.obj("shop-launch").observed_generation == 2


async def test_a_release_cancels_the_plan(on: Services) -> None:
    """What a deleted object had planned is cancelled once `release` returns; a second release changes nothing."""
    obj = on.create()
    await on.mirror.reconcile(obj)
    written = on.obj()

    with capture_logs() as lines:
        for _ in range(2):
            await on.mirror.release(_deleted(on))

    assert (on.row(obj).state, on.row(obj).reason) == (State.CANCELLED, Reason.DELETED)
    assert on.obj().status == written.status  # it goes with the object
    assert [line["event"] for line in lines] == ["Schedule released"]


async def test_a_status_that_was_lost_is_written_again(on: Services) -> None:
    """An object whose row is in line but whose status is not gets its status back."""
    await on.mirror.reconcile(on.create())
    shown = on.obj().status
    on.server.store({**on.server.objects[NAMESPACE, "launch"], "status": {"observedGeneration": -1}})

    await on.mirror.reconcile(on.obj())

    assert on.obj().status == shown


async def test_a_change_that_the_database_lost_is_recorded_again(on: Services) -> None:
    """After a restore of the database the status is believed: the row is applied, and nothing is planned."""
    obj = on.create()
    await on.mirror.reconcile(obj)
    on.database.now += timedelta(hours=2)
    on.apply(obj)
    await on.writer.write_or_keep(obj.ref)
    schedule = on.row(obj).id
    assert schedule
    on.database.change_row(schedule, state=State.PENDING, reason=None, applied_at=None)

    with capture_logs() as lines:
        await on.mirror.reconcile(on.obj())

    row = on.row(obj)
    assert (row.state, row.reason, row.applied_at) == (State.APPLIED, Reason.RESTORED_FROM_STATUS, on.database.now)
    assert [line["event"] for line in lines] == ["Restored from status"]


async def test_a_look_without_locks_foresees_the_decision(on: Services) -> None:
    """`is_stale` says whether mirroring would change anything, by a snapshot that was read before."""
    obj = on.create()
    assert on.mirror.is_stale(obj, await on.store.snapshot(obj.ref.uid))
    await on.mirror.reconcile(obj)
    assert not on.mirror.is_stale(on.obj(), await on.store.snapshot(obj.ref.uid))

    on.server.edit(NAMESPACE, "launch", suspend=True)

    assert on.mirror.is_stale(on.obj(), await on.store.snapshot(obj.ref.uid))


async def test_a_locked_flag_is_tried_by_one_object_for_all(on: Services) -> None:
    """However many objects wait for one flag, it is tried every few seconds; all show what they wait for."""
    objects = [on.create(f"launch-{number}") for number in range(20)]
    (flag,) = on.database.flags
    tried = _tries(on)

    async def try_until_planned(name: str) -> None:
        while True:
            with suppress(ConflictError):
                await on.mirror.reconcile(on.obj(name))
                return
            await asyncio.sleep(0.5)

    async with asyncio.TaskGroup() as group:
        with on.database.held(flag):
            for obj in objects:
                group.create_task(try_until_planned(obj.ref.name))
            await asyncio.sleep(60)
            assert {on.shows(obj.ref.name) for obj in objects} == {("Waiting", "FlagLocked")}
            assert 60 / 4 < len(tried) < 60 / 2
        freed_at = asyncio.get_running_loop().time()

    assert asyncio.get_running_loop().time() - freed_at < 6
    assert {on.shows(obj.ref.name)[0] for obj in objects} == {"Pending"}


async def test_another_flag_does_not_wait_for_a_locked_one(on: Services) -> None:
    """A locked flag delays the objects of no other flag, and no stop of an object that has its row."""
    (flag,) = on.database.flags
    on.database.flag("other")
    planned = on.create("planned")
    await on.mirror.reconcile(planned)

    with on.database.held(flag):
        with pytest.raises(ConflictError):
            await on.mirror.reconcile(on.create("waits"))
        await on.mirror.reconcile(on.create("other", flagKey="other"))
        on.server.edit(NAMESPACE, "planned", suspend=True)
        await on.mirror.reconcile(on.obj("planned"))

    assert {name: on.shows(name)[0] for name in ("waits", "other", "planned")} == {
        "waits": "Waiting",
        "other": "Pending",
        "planned": "Suspended",
    }


async def test_a_short_outage_of_the_database_is_waited_for(on: Services) -> None:
    """An object that meets a database that is away is mirrored when it is back, without an error."""
    on.database.away = True
    mirroring = asyncio.create_task(on.mirror.reconcile(on.create()))
    await asyncio.sleep(10)
    on.database.away = False

    await mirroring

    assert on.shows()[0] == "Pending"


async def test_after_a_long_outage_the_object_is_read_again(on: Services) -> None:
    """A copy that has waited for long arms nothing, because it may have been edited since; a deletion is final."""
    new, gone = on.create("new"), on.create()
    await on.mirror.reconcile(gone)
    on.database.away = True
    mirroring = asyncio.create_task(on.mirror.reconcile(new))
    releasing = asyncio.create_task(on.mirror.release(_deleted(on)))
    await asyncio.sleep(60)
    on.database.away = False

    with pytest.raises(ConflictError):
        await mirroring
    await releasing

    assert new.ref.uid not in on.database.records
    assert on.row(gone).state is State.CANCELLED


def _deleted(on: Services) -> Any:
    """The object `launch`, as it is when a user has deleted it."""
    found = on.server.objects[NAMESPACE, "launch"]
    deleted = {**found["metadata"], "deletionTimestamp": rfc3339(NOW)}
    return type(on.obj()).from_body({**found, "metadata": deleted})


def _tries(on: Services) -> list[str]:
    """Note each transaction that looks at the flag from now on, in a list."""
    transaction = on.store.transaction
    names: list[str] = []

    def noted(obj: Any, *, flag_locked: bool = False) -> Any:
        if not flag_locked:
            names.append(obj.ref.name)
        return transaction(obj, flag_locked=flag_locked)

    on.store.transaction = noted  # type: ignore[method-assign]  # a store that is watched
    return names
