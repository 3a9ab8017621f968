"""The resync on a database and an API server in memory: what a comparison repairs, and what it leaves alone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from flagschedule.domain.errors import ConfigurationError
from flagschedule.domain.outcome import Reason, State
from flagschedule.domain.schedule import FINALIZER, FlagSchedule
from tests.support.asynchronous import reaches
from tests.unit.services import INTERVAL, NAMESPACE, Services

pytestmark = pytest.mark.simulated_time


@asynccontextmanager
async def _running(on: Services) -> AsyncIterator[asyncio.Task[None]]:
    """Let the operator work, with turns of the resync; the resync's task."""
    async with on.running():
        await on.resync.prepare()
        task = asyncio.create_task(on.resync.run_forever())
        yield task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _compare(on: Services) -> None:
    """Run the first comparison to its end."""
    on.resync.compared = False
    async with _running(on):
        await reaches(lambda: on.resync.compared)
        await asyncio.sleep(1)  # statuses are written after that


async def _settled(on: Services, *names: str) -> list[FlagSchedule]:
    """Objects as an operator leaves them: with finalizer, row and status."""
    for name in names:
        on.create(name)
    await _compare(on)
    return [on.obj(name) for name in names]


def _list_through(on: Services, change: Callable[[list[FlagSchedule]], list[FlagSchedule]]) -> None:
    """Change what a LIST returns."""
    listed = on.client.list

    async def changed() -> AsyncIterator[FlagSchedule]:
        for obj in change([obj async for obj in listed()]):
            yield obj

    on.client.list = changed  # type: ignore[method-assign]  # an API server that answers otherwise


def _set_status(on: Services, name: str, status: Mapping[str, Any]) -> None:
    on.server.store({**on.server.objects[NAMESPACE, name], "status": status})


async def test_objects_that_no_operator_has_seen_are_planned(on: Services) -> None:
    """The first comparison guards, plans and reports every object that exists; then it says that it has compared."""
    for number in range(20):
        on.create(f"launch-{number}")
    assert (on.resync.compared, on.resync.listed_at) == (False, None)

    await _compare(on)

    assert on.resync.compared
    assert on.resync.listed_at is not None
    objects = [on.obj(f"launch-{number}") for number in range(20)]
    assert {(on.shows(obj.ref.name)[0], obj.has_finalizer) for obj in objects} == {("Pending", True)}


async def test_what_is_in_line_is_left_alone(on: Services) -> None:
    """A comparison of objects that are in line writes nothing, and counts them by phase."""
    before = await _settled(on, "one", "two")

    with capture_logs() as lines:
        await _compare(on)

    assert [on.obj(obj.ref.name) for obj in before] == before
    assert [line["event"] for line in lines] == []
    assert b'flagschedule_objects{phase="Pending"} 2.0' in on.telemetry.text(None, leads=True)


def _schedule(on: Services, obj: FlagSchedule) -> Any:
    return on.row(obj).id


def _change_record(on: Services, obj: FlagSchedule, **fields: Any) -> None:
    cluster, record = on.database.records[obj.ref.uid]
    on.database.records[obj.ref.uid] = cluster, replace(record, **fields)


def _refuse(on: Services, obj: FlagSchedule) -> None:
    del on.database.rows[_schedule(on, obj)]
    nothing = dict.fromkeys(("schedule_id", "arming_hash", "change_hash"))
    _change_record(on, obj, **nothing, state=State.INVALID, reason=Reason.INVALID_SPEC)


def _plan_otherwise(on: Services, obj: FlagSchedule) -> None:
    _change_record(on, obj, arming_hash="another", change_hash="another")
    on.database.change_row(_schedule(on, obj), updates={"enabled": False})


def _forget_all(on: Services) -> None:
    on.database.records.clear()
    on.database.rows.clear()


_CONTRADICTIONS: dict[str, tuple[dict[str, Any], Callable[[Services, FlagSchedule], None]]] = {
    "revived by hand": (
        {"cancel": True},
        lambda on, obj: on.database.change_row(_schedule(on, obj), state=State.PENDING, reason=None),
    ),
    "let go by hand": (
        {"suspend": True},
        lambda on, obj: on.database.change_row(_schedule(on, obj), suspended=False),
    ),
    "refused by an older operator": ({}, _refuse),
    "planned from an etcd that is lost": ({}, _plan_otherwise),
    "lost by the database": ({}, lambda on, _: _forget_all(on)),
}


@pytest.mark.parametrize("case", _CONTRADICTIONS)
async def test_a_comparison_sets_right_what_contradicts_its_object(on: Services, case: str) -> None:
    """When everything was compared, each row is what its object says, also of objects that were handled before."""
    edit, sabotage = _CONTRADICTIONS[case]
    await _settled(on, "launch")
    on.server.edit(NAMESPACE, "launch", **edit)
    await _compare(on)
    obj = on.obj()
    before = on.row(obj)
    sabotage(on, obj)

    await _compare(on)

    row = on.row(obj)
    assert (row.state, row.suspended, row.updates) == (before.state, before.suspended, before.updates)
    assert on.shows() == (obj.status.phase, obj.status.reason)


# What a backup tool may write over the status of a planned object.
_OF_A_BACKUP = {
    "phase": "Applied",
    "appliedAt": "2026-01-01T09:00:00Z",
    "scheduledAt": "2026-01-01T09:00:00Z",
    "scheduleId": "00000000-0000-7000-8000-000000000001",
}


@pytest.mark.parametrize(
    "status",
    [
        {"observedGeneration": -1},
        {"observedGeneration": 1, "phase": "Failed"},
        {"observedGeneration": 1, **_OF_A_BACKUP},
        {"observedGeneration": 7, **_OF_A_BACKUP},
    ],
    ids=["lost", "wrong", "of a backup", "ahead"],
)
async def test_a_comparison_puts_a_status_right(on: Services, status: dict[str, Any]) -> None:
    """A status that is not what the row says is written again; the row stays."""
    (before,) = await _settled(on, "launch")
    row = on.row(before)
    _set_status(on, "launch", status)

    await _compare(on)

    assert on.obj().status == before.status
    assert on.row(before) == row


@pytest.mark.parametrize("forgotten", [False, True], ids=["alone", "with its record"])
async def test_an_object_without_finalizer_gets_it_again(on: Services, forgotten: bool) -> None:
    """An object that has lost its finalizer, say to a backup tool, gets it back."""
    (before,) = await _settled(on, "launch")
    if forgotten:
        _forget_all(on)
    found = on.server.objects[NAMESPACE, "launch"]
    on.server.store({**found, "metadata": {**found["metadata"], "finalizers": []}})

    await _compare(on)

    assert on.obj().finalizers == before.finalizers == (FINALIZER,)
    assert on.row(before).state is State.PENDING


async def test_the_plan_of_an_object_that_vanished_is_cancelled(on: Services) -> None:
    """A record whose object is gone has its row cancelled; the others stay."""
    gone, stays = await _settled(on, "gone", "stays")
    del on.server.objects[NAMESPACE, "gone"]

    await _compare(on)

    assert (on.row(gone).state, on.row(gone).reason) == (State.CANCELLED, Reason.DELETED)
    assert on.row(stays).state is State.PENDING


async def test_an_object_that_was_deleted_meanwhile_is_released(on: Services) -> None:
    """An object that was deleted while no operator ran has its plan cancelled, and goes."""
    (obj,) = await _settled(on, "launch")
    on.server.delete(NAMESPACE, "launch")
    assert on.obj().deleting

    await _compare(on)

    assert on.row(obj).state is State.CANCELLED
    assert on.server.objects == {}


async def test_an_object_that_a_list_has_missed_keeps_its_plan(on: Services) -> None:
    """Before a plan is cancelled the object is read by itself: a LIST alone proves nothing."""
    (obj,) = await _settled(on, "launch")
    _list_through(on, lambda _: [])

    await _compare(on)

    assert on.row(obj).state is State.PENDING
    assert on.obj().has_finalizer


async def test_another_object_of_the_name_is_not_taken_for_the_first(on: Services) -> None:
    """An object that was replaced by another of its name has its plan cancelled; the other one is planned."""
    (old,) = await _settled(on, "launch")
    del on.server.objects[NAMESPACE, "launch"]
    new = on.create("launch", updates={"enabled": False})

    await _compare(on)

    assert on.row(old).state is State.CANCELLED
    assert (on.row(new).state, on.row(new).updates) == (State.PENDING, {"enabled": False})


async def test_an_object_that_appears_during_a_comparison_is_no_orphan(on: Services) -> None:
    """An object that is created and mirrored between the two reads is only looked at again."""

    def create(objects: list[FlagSchedule]) -> list[FlagSchedule]:
        if not on.server.objects:
            asyncio.get_running_loop().create_task(on.mirror.reconcile(on.create()))
        return objects

    _list_through(on, create)

    await _compare(on)

    assert on.row(on.obj()).state is State.PENDING
    assert len(on.database.rows) == 1


async def test_an_object_older_than_its_record_is_reported_and_left(on: Services) -> None:
    """After a restore of etcd the operator says so and changes nothing."""
    (obj,) = await _settled(on, "launch")
    _change_record(on, obj, generation=9)
    on.server.edit(NAMESPACE, "launch", updates={"enabled": False})
    row = on.row(obj)

    with capture_logs() as lines:
        await _compare(on)

    assert on.row(obj) == row
    assert [line["objects"] for line in lines if line["log_level"] == "warning"] == [1]


async def test_an_object_that_cannot_be_compared_stops_no_other(on: Services) -> None:
    """An error in one object is logged with its uid; the comparison goes on and is complete."""
    good, odd = await _settled(on, "good", "odd")
    _change_record(on, odd, generation="odd")
    _set_status(on, "good", {"observedGeneration": 1})

    with capture_logs() as lines:
        await _compare(on)

    assert on.obj("good").status == good.status
    assert [line["uid"] for line in lines if line["event"] == "Object not compared"] == [str(odd.ref.uid)]


@pytest.mark.parametrize("turns", [5.5, 9.5], ids=["between comparisons", "before a comparison"])
async def test_an_object_waits_for_its_flag(on: Services, turns: float) -> None:
    """An object whose flag does not exist is Waiting, and is planned at the next turn after the flag was created."""
    on.create("early", flagKey="not-yet")
    async with _running(on):
        await reaches(lambda: on.shows("early")[0] == "Waiting")
        await asyncio.sleep(turns * INTERVAL)
        assert on.shows("early")[0] == "Waiting"

        on.database.flag("not-yet")

        await reaches(lambda: on.shows("early")[0] == "Pending", within=INTERVAL + 1)


async def test_a_waiting_object_whose_time_has_passed_expires(on: Services) -> None:
    """An object that waited for its flag until it was too late says so at the next turn."""
    on.create("early", flagKey="not-yet")
    async with _running(on):
        await reaches(lambda: on.shows("early")[0] == "Waiting")

        on.database.now += timedelta(hours=2)

        await reaches(lambda: on.shows("early")[0] == "Expired", within=INTERVAL + 1)


async def test_everything_is_compared_every_tenth_turn(on: Services) -> None:
    """LISTs are rare: a turn between two comparisons reads the waiting objects only."""
    lists: list[float] = []

    def note(objects: list[FlagSchedule]) -> list[FlagSchedule]:
        lists.append(asyncio.get_running_loop().time())
        return objects

    _list_through(on, note)
    async with _running(on):
        await asyncio.sleep(25 * INTERVAL)

    assert [round(at / INTERVAL) for at in lists] == [0, 0, 10, 20]


async def test_what_a_watch_has_missed_is_found(on: Services) -> None:
    """An edit and a deletion that no event reported are found by the next comparison."""
    edited, gone = await _settled(on, "edited", "gone")
    async with _running(on):
        await asyncio.sleep(1)
        on.server.edit(NAMESPACE, "edited", suspend=True)
        del on.server.objects[NAMESPACE, "gone"]
        await asyncio.sleep(5 * INTERVAL)
        assert (on.row(edited).suspended, on.row(gone).state) == (False, State.PENDING)

        await asyncio.sleep(6 * INTERVAL)

        assert (on.row(edited).suspended, on.row(gone).state) == (True, State.CANCELLED)


async def test_a_failed_comparison_is_due_at_the_next_turn(on: Services) -> None:
    """An API server that is away at a comparison is tried at each turn, and logged once."""
    with capture_logs() as lines:
        async with _running(on):
            on.server.away = True
            await asyncio.sleep(3.5 * INTERVAL)
            assert not on.resync.compared
            on.server.away = False
            await reaches(lambda: on.resync.compared, within=INTERVAL + 1)

    assert [line["event"] for line in lines] == ["API server lost", "All objects compared", "API server is back"]


async def test_what_could_not_be_repaired_is_tried_again_soon(on: Services) -> None:
    """A failed repair is tried again within a minute, not at the next comparison, and holds up no other."""
    odd, good = on.create("odd"), on.create("good")
    transaction = on.store.transaction

    def refuse(obj: FlagSchedule, **options: Any) -> Any:
        if obj.ref == odd.ref:
            raise RuntimeError("refused")
        return transaction(obj, **options)

    on.store.transaction = refuse  # type: ignore[method-assign]  # a database that refuses one row
    with capture_logs():  # tracebacks take long to write
        async with _running(on):
            await reaches(lambda: on.resync.compared)
            await reaches(lambda: on.shows(good.ref.name)[0] == "Pending", within=1)
            on.store.transaction = transaction  # type: ignore[method-assign]  # it accepts it
            await reaches(lambda: on.shows("odd")[0] == "Pending", within=60)


@pytest.mark.parametrize("refused", [set(), {"launch-0", "launch-199"}], ids=["all", "some"])
async def test_a_comparison_is_over_when_each_object_had_its_turn(on: Services, refused: set[str]) -> None:
    """However long the repairs take, readiness is reported when all that can be repaired is repaired."""
    for number in range(200):
        on.create(f"launch-{number}")
    transaction = on.store.transaction

    @asynccontextmanager
    async def take_long(obj: FlagSchedule, **options: Any) -> AsyncIterator[Any]:
        await asyncio.sleep(2)
        if obj.ref.name in refused:
            raise RuntimeError("refused")
        async with transaction(obj, **options) as opened:
            yield opened

    on.store.transaction = take_long  # type: ignore[method-assign]  # a slow database that refuses some rows
    with capture_logs():
        async with _running(on):
            await reaches(lambda: on.resync.compared)
            mirrored = {record.ref.name for _, record in on.database.records.values()}

    assert mirrored == {f"launch-{number}" for number in range(200)} - refused


async def test_a_comparison_outlasts_an_outage_of_the_database(on: Services) -> None:
    """While the database is away no repair is given up: readiness is reported after all of them."""
    for number in range(20):
        on.create(f"launch-{number}")
    snapshots = on.store.snapshots

    async def lose_the_database() -> AsyncIterator[Any]:
        async for found in snapshots():
            yield found
        on.database.away = True

    on.store.snapshots = lose_the_database  # type: ignore[method-assign]  # an outage behind the first look
    with capture_logs():
        async with _running(on):
            await asyncio.sleep(300)
            assert not on.resync.compared
            on.database.away = False
            await reaches(lambda: on.resync.compared)
            mirrored = len(on.database.records)

    assert mirrored == 20


async def test_an_operator_waits_for_its_api_server(on: Services) -> None:
    """Preparation goes on until the API server serves FlagSchedules."""
    on.server.away = True
    preparing = asyncio.create_task(on.resync.prepare())
    await asyncio.sleep(600)
    assert not preparing.done()

    on.server.away = False

    async with asyncio.timeout(2):
        await preparing
    assert on.database.clusters["default"][0] == on.server.uid


async def test_a_name_of_another_live_cluster_is_refused(on: Services) -> None:
    """A cluster name that is taken ends the program with a sentence that names the setting."""
    await on.store.claim_cluster("another")

    with pytest.raises(ConfigurationError, match="another live cluster uses the name 'default'"):
        await on.resync.prepare()


async def test_a_name_that_is_lost_ends_the_program(on: Services) -> None:
    """An operator that was away for so long that another cluster has taken its name ends at its next turn."""
    async with _running(on) as resync:
        await reaches(lambda: on.resync.compared)
        on.database.clusters["default"] = ("another", on.database.now)

        async with asyncio.timeout(INTERVAL + 1):
            with pytest.raises(ConfigurationError):
                await resync
