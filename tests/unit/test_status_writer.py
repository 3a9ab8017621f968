"""Which statuses are written in which order, and when an outcome leaves the outbox."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from flagschedule.domain.errors import DependencyUnavailableError, ObjectChangedError
from flagschedule.domain.outcome import State
from flagschedule.domain.schedule import FINALIZER, FlagSchedule, ObjectRef, Status
from flagschedule.services import outbox
from tests.support.asynchronous import reaches
from tests.unit.services import NAMESPACE, Services

pytestmark = pytest.mark.simulated_time


async def _applied(on: Services, *names: str) -> list[FlagSchedule]:
    """Objects whose change was made and whose statuses do not show it yet."""
    made = await on.planned(*names)
    for obj in made:
        on.apply(obj)
    return made


def _phases(on: Services, objects: list[FlagSchedule]) -> list[str | None]:
    return [on.shows(obj.ref.name, obj.ref.namespace)[0] for obj in objects]


async def test_an_outcome_reaches_its_object_and_leaves_the_outbox(on: Services) -> None:
    """What the processor has recorded is shown by the object within seconds, with one Event."""
    (obj,) = await _applied(on, "shop-launch")

    async with on.running():
        await reaches(lambda: not on.database.status_entries, within=3)

    assert _phases(on, [obj]) == ["Applied"]
    assert [(ref, event.reason) for ref, event, _ in on.server.events] == [(obj.ref, "Mirrored"), (obj.ref, "Applied")]


async def test_a_namespace_does_not_wait_for_the_outcomes_of_another(on: Services) -> None:
    """An outcome that comes behind 200 of another namespace is written with their first."""
    objects = await _applied(on, *(f"noisy-{number}" for number in range(200)), "quiet-one")
    reads = on.reads()

    async with on.running():
        await reaches(lambda: not on.database.status_entries)

    assert reads.index("quiet-one") < 10
    assert len(reads) == 201
    assert {*_phases(on, objects)} == {"Applied"}


async def test_an_outcome_does_not_wait_for_those_that_are_in_line(on: Services) -> None:
    """An outcome that comes while many of another namespace are in line goes before most of them."""
    await _applied(on, *(f"noisy-{number}" for number in range(100)))
    (quiet,) = await on.planned("quiet-one")
    reads: list[str] = []
    get = on.client.get

    async def read_slowly(ref: ObjectRef) -> FlagSchedule:
        reads.append(ref.name)
        if len(reads) == 10:
            on.apply(quiet)
        await asyncio.sleep(1)
        return await get(ref)

    on.client.get = read_slowly  # type: ignore[method-assign]  # a slow request
    async with on.running():
        await reaches(lambda: not on.database.status_entries)

    assert reads.index("quiet-one") < 40


async def test_an_outcome_that_comes_behind_a_batch_is_read_while_the_batch_is_written(
    on: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries are read as long as fewer than a batch are in line, so the outbox is served to its end."""
    monkeypatch.setattr(outbox, "_BATCH", 10)
    objects = await _applied(on, *(f"noisy-{number}" for number in range(95)))
    reads = on.reads()

    async with on.running():
        await reaches(lambda: not on.database.status_entries)

    assert len(reads) == 95
    assert {*_phases(on, objects)} == {"Applied"}


async def test_what_cannot_be_written_stays_and_holds_no_other(on: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outcomes of objects that fail stay in the outbox; those behind them are served meanwhile."""
    monkeypatch.setattr(outbox, "_BATCH", 10)
    odd = await _applied(on, *(f"odd-{number}" for number in range(20)))
    good = await _applied(on, *(f"good-{number}" for number in range(20)))
    failing = {obj.ref for obj in odd}

    def fail(ref: ObjectRef) -> None:
        if ref in failing:
            raise DependencyUnavailableError("busy")

    on.before_read(fail)
    async with on.running():
        await reaches(lambda: len(on.database.status_entries) == 20)
        assert ({*_phases(on, odd)}, {*_phases(on, good)}) == ({"Pending"}, {"Applied"})
        failing.clear()
        await reaches(lambda: not on.database.status_entries)
    assert {*_phases(on, odd)} == {"Applied"}


async def test_an_outcome_during_the_write_is_written_again(on: Services) -> None:
    """An entry that comes while its object's status is written may stand for a later change: both are served."""
    (obj,) = await _applied(on, "shop-launch")
    schedule = on.row(obj).id
    assert schedule
    get = on.client.get
    waiting: list[int] = []  # entries, at the end of each read

    async def read_slowly(ref: ObjectRef) -> FlagSchedule:
        if not waiting:
            on.database.notify(schedule)
        await asyncio.sleep(3)
        waiting.append(len(on.database.status_entries))
        return await get(ref)

    on.client.get = read_slowly  # type: ignore[method-assign]  # a slow request
    async with on.running():
        await reaches(lambda: not on.database.status_entries)

    assert waiting == [2, 1]


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "replaced"])
async def test_the_outcome_of_an_object_that_is_gone_is_dropped(on: Services, gone: bool) -> None:
    """An outcome whose object does not exist any more leaves the outbox; another object of its name is not touched."""
    await _applied(on, "shop-launch")
    on.server.delete("shop", "shop-launch")
    if not gone:
        on.create("shop-launch")

    async with on.running():
        await reaches(lambda: not on.database.status_entries)

    assert gone or on.obj("shop-launch").status == Status(observed_generation=-1)


async def test_an_object_that_is_being_deleted_gets_no_status(on: Services) -> None:
    """The outcome of an object that is being deleted leaves the outbox without a write."""
    (obj,) = await _applied(on, "shop-launch")
    found = on.server.objects["shop", "shop-launch"]
    on.server.store({**found, "metadata": {**found["metadata"], "finalizers": [FINALIZER]}})
    on.server.delete("shop", "shop-launch")

    async with on.running():
        await reaches(lambda: not on.database.status_entries)

    assert _phases(on, [obj]) == ["Pending"]


async def test_a_refused_version_is_read_again(on: Services) -> None:
    """Where the object or its row changed before the write, both are read again, and the status fits them."""
    (obj,) = await on.planned("shop-launch")
    outdated = replace(on.obj("shop-launch"), status=Status()), await on.store.snapshot(obj.ref.uid)
    on.server.edit("shop", "shop-launch", suspend=True)
    on.apply(obj)

    assert await on.writer.write_or_keep(obj.ref, *outdated)

    assert _phases(on, [obj]) == ["Applied"]
    assert on.obj("shop-launch").observed_generation == 2


async def test_a_recent_copy_saves_reads(on: Services) -> None:
    """A writer that was given object and snapshot writes without reading either."""
    (obj,) = await _applied(on, "shop-launch")
    reads = on.reads()
    snapshot = await on.store.snapshot(obj.ref.uid)

    assert await on.writer.write_or_keep(obj.ref, on.obj("shop-launch"), snapshot)

    assert (reads, _phases(on, [obj])) == ([], ["Applied"])


async def test_an_object_that_changes_all_the_time_is_tried_later(on: Services) -> None:
    """After a few refusals in a row the status waits for its next try, and is written once the object rests."""
    (obj,) = await _applied(on, "shop-launch")
    on.database.status_entries.clear()
    restless = True

    def touch(_: ObjectRef) -> None:
        if restless:
            asyncio.get_running_loop().call_soon(on.server.annotate, "shop", "shop-launch")

    write = on.client.write_status

    async def write_late(ref: ObjectRef, version: str, status: Status) -> None:
        await asyncio.sleep(0)
        await write(ref, version, status)

    on.client.write_status = write_late  # type: ignore[assignment,method-assign]  # a slow request
    on.before_read(touch)
    async with on.running():
        assert not await on.writer.write_or_keep(obj.ref)
        restless = False
        await reaches(lambda: _phases(on, [obj]) == ["Applied"])


async def test_a_status_that_the_schema_refuses_is_not_repeated(on: Services) -> None:
    """A refusal of an object that has not changed is logged, and its entry leaves the outbox."""
    (obj,) = await _applied(on, "shop-launch")

    async def refuse(*_: object) -> None:
        raise ObjectChangedError

    on.client.write_status = refuse  # type: ignore[assignment,method-assign]  # a CRD that does not fit
    reads = on.reads()
    with capture_logs() as lines:
        async with on.running():
            await reaches(lambda: not on.database.status_entries)
            await asyncio.sleep(600)

    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["Status refused by its schema"]
    assert len(reads) == 2
    assert _phases(on, [obj]) == ["Pending"]


async def test_what_others_wrote_into_a_status_is_replaced_once(on: Services) -> None:
    """Fields and notations that are not ours cause one write; after it the status rests."""
    (obj,) = await on.planned("shop-launch")
    before = on.obj("shop-launch").status
    found = on.server.objects["shop", "shop-launch"]
    at = found["status"]["scheduledAt"].replace("Z", ".000+00:00")
    on.server.store({**found, "status": {**found["status"], "scheduledAt": at, "unknown": [1]}})
    versions = [on.obj("shop-launch").resource_version]

    for _ in range(2):
        assert await on.writer.write_or_keep(obj.ref)
        versions.append(on.obj("shop-launch").resource_version)

    assert on.obj("shop-launch").status == before
    assert versions[0] != versions[1] == versions[2]


async def test_what_only_the_status_knows_is_not_overwritten(on: Services) -> None:
    """After a restore of the database the status still shows the change; the mirror records it before any write."""
    (obj,) = await on.planned("shop-launch")
    on.database.now += timedelta(hours=2)
    on.apply(obj)
    await on.writer.write_or_keep(obj.ref)
    schedule = on.row(obj).id
    assert schedule
    on.database.change_row(schedule, state=State.PENDING, reason=None, applied_at=None)

    assert await on.writer.write_or_keep(obj.ref)

    assert _phases(on, [obj]) == ["Applied"]


async def test_an_outage_of_the_api_server_is_logged_once(on: Services) -> None:
    """While the API server is away statuses are kept; all are written when it is back."""
    objects = await _applied(on, *(f"shop-{number}" for number in range(20)))
    on.server.away = True

    with capture_logs() as lines:
        async with on.running():
            await asyncio.sleep(300)
            assert len(on.database.status_entries) == 20
            on.server.away = False
            await reaches(lambda: not on.database.status_entries)

    assert {*_phases(on, objects)} == {"Applied"}
    assert [line["event"] for line in lines if line["event"].startswith("Statuses")] == [
        "Statuses cannot be written and are kept for later",
        "Statuses can be written again",
    ]


async def test_an_outage_of_the_database_is_waited_for(on: Services) -> None:
    """While the database is away nothing fails, and the outbox is served when it is back."""
    (obj,) = await _applied(on, "shop-launch")
    on.database.away = True

    async with on.running():
        await asyncio.sleep(300)
        on.database.away = False
        await reaches(lambda: not on.database.status_entries)

    assert _phases(on, [obj]) == ["Applied"]


async def test_an_error_in_one_object_stops_no_other(on: Services) -> None:
    """An object that cannot be read for a reason of its own is logged and tried again; the others are served."""
    odd, good = await _applied(on, "shop-odd", "shop-good")
    broken = {"shop-odd"}

    def fail(ref: ObjectRef) -> None:
        if ref.name in broken:
            raise KeyError("metadata")

    on.before_read(fail)
    with capture_logs() as lines:
        async with on.running():
            await reaches(lambda: _phases(on, [good]) == ["Applied"])
            broken.clear()
            await reaches(lambda: _phases(on, [odd]) == ["Applied"])

    assert "Status not written" in {line["event"] for line in lines}


async def test_objects_of_other_names_keep_their_namespace(on: Services) -> None:
    """Two objects of one name in two namespaces get each their own status."""
    one, other = on.create(), on.create(namespace="another")
    for obj in (one, other):
        await on.mirror.reconcile(obj)
    on.apply(other)

    async with on.running():
        await reaches(lambda: not on.database.status_entries)

    assert (on.shows("launch", NAMESPACE)[0], on.shows("launch", "another")[0]) == ("Pending", "Applied")
