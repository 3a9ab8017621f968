"""The operator's store on a real Postgres: one transaction that locks, decides and writes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, LiteralString
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from flagschedule.adapters.postgres.mirror import PostgresMirrorStore
from flagschedule.domain.decision import Rules, decide
from flagschedule.domain.errors import ConflictError, DependencyUnavailableError, StatementRefusedError
from flagschedule.domain.outcome import Reason, Row, Snapshot, State
from flagschedule.domain.schedule import FlagSchedule
from tests import roles
from tests.integration.conftest import Run
from tests.integration.database import Database, connected
from tests.unit.builders import body

RULES = Rules(max_retries=3, max_lateness=timedelta(minutes=10))


class Scene:
    """A store, the database behind it, and objects due in an hour by the database's clock."""

    def __init__(self, store: PostgresMirrorStore, database: Database) -> None:
        self.store = store
        self.database = database
        self.now = database.value("SELECT now()")

    def obj(
        self, uid: UUID | None = None, *, name: str = "launch", due: timedelta = timedelta(hours=1), **fields: Any
    ) -> FlagSchedule:
        """Return an object; `due` from now."""
        raw = body(at=self.now + due, created_at=self.now - timedelta(minutes=fields.pop("age", 1)), **fields)
        raw["metadata"] |= {"uid": str(uid or uuid4()), "name": name}
        return FlagSchedule.from_body(raw)

    async def mirror(self, obj: FlagSchedule) -> Snapshot:
        """Mirror an object with the rules of the product, again where others are at work on the same object."""
        while True:
            with suppress(ConflictError):
                return await self.try_to_mirror(obj)

    async def try_to_mirror(
        self, obj: FlagSchedule, *, flag_locked: bool = False, meanwhile: Callable[[], object] = lambda: None
    ) -> Snapshot:
        """Mirror an object once; `meanwhile` is called between the look and the decision."""
        async with self.store.transaction(obj, flag_locked=flag_locked) as transaction:
            facts = await transaction.facts()
            meanwhile()
            return await transaction.save(decide(obj, facts, RULES))


@asynccontextmanager
async def scene(
    url: str, cluster: str = "default", namespaces: tuple[str, ...] = (), connect_to: str | None = None
) -> AsyncIterator[Scene]:
    """Open a scene on a database; the store may use another URL."""
    with connected(url) as database:
        async with PostgresMirrorStore(connect_to or roles.url(url, "operator"), cluster, namespaces) as store:
            yield Scene(store, database)


def played(url: str, play: Callable[[Scene], Awaitable[None]], **scope: Any) -> None:
    """Run an asynchronous test."""

    async def run() -> None:
        async with scene(url, **scope) as on:
            await play(on)

    asyncio.run(run())


def row_of(snapshot: Snapshot | None) -> Row:
    """Return the row, which must be there."""
    assert snapshot
    assert snapshot.row
    return snapshot.row


def test_ids_go_by_creation_and_then_by_mirroring(database_url: str) -> None:
    """Of schedules for the same time the one created later wins, to the second; below that the one mirrored later."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        ages = {"old": 60, "older": 120, "young": 1, "also young": 1}

        ids = {name: row_of(await on.mirror(on.obj(name=name, age=age))).id for name, age in ages.items()}

        assert sorted(ids, key=lambda name: ids[name] or UUID(int=0)) == ["older", "old", "young", "also young"]
        for name, found in ids.items():
            assert found
            assert (found.version, found.variant) == (7, "specified in RFC 4122")
            created = int((on.now - timedelta(minutes=ages[name])).timestamp())
            assert found.int >> 80 == 1000 * created

    played(database_url, play)


def test_a_new_object_has_a_row_that_the_processor_finds(database_url: str) -> None:
    """Mirroring makes one pending row of the flag, with a time-ordered id, and a record that points to it."""

    async def play(on: Scene) -> None:
        flag = on.database.flag("checkout-v2")
        obj = on.obj(updates={"rolloutPercentage": 7}, maxRetries=5, startingDeadlineSeconds=60)

        row = row_of(await on.mirror(obj))

        assert row.id
        assert (row.id.version, row.id.variant) == (7, "specified in RFC 4122")
        found = on.database.row(row.id)
        assert (found["flag_id"], found["status"], found["updates"]) == (flag, "pending", {"rolloutPercentage": 7})
        assert (found["max_retries"], found["not_after"] - found["scheduled_at"]) == (5, timedelta(minutes=1))
        assert on.database.value("SELECT schedule_id FROM flag_schedule_objects WHERE uid = %s", obj.ref.uid) == row.id

    played(database_url, play)


@pytest.mark.parametrize("word", ["", "APPLIED", "\x01"])
def test_a_word_that_is_no_state_keeps_no_object(database_url: str, word: str) -> None:
    """A record with an unknown state can be stopped and deleted, and its object plans nothing."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        obj = on.obj()
        await on.mirror(obj)
        on.database.run("DELETE FROM feature_flag_schedules")
        on.database.run("UPDATE flag_schedule_objects SET state = %s", word)

        snapshot = await on.mirror(obj)

        assert snapshot.row is None
        assert await on.mirror(replace(obj, deleting=True))
        assert on.database.value("SELECT deleted_at IS NOT NULL FROM flag_schedule_objects")

    played(database_url, play)


def test_a_row_at_the_ends_of_its_types_is_read(database_url: str) -> None:
    """The largest numbers and infinite times in one row keep no status from being read."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        odd, plain = on.obj(name="odd"), on.obj(name="plain")
        schedule = row_of(await on.mirror(odd)).id
        await on.mirror(plain)
        on.database.run(
            "UPDATE feature_flag_schedules SET retry_count = 2147483647, arming = 2147483647, "
            "scheduled_at = 'infinity', not_after = '-infinity', updated_at = 'infinity' WHERE id = %s",
            schedule,
        )

        assert row_of(await on.store.snapshot(odd.ref.uid)).retry_count == 2147483647
        assert {found.record.ref async for found in on.store.snapshots() if found.record} == {odd.ref, plain.ref}

    played(database_url, play)


def test_a_row_that_cannot_be_read_is_no_trouble_of_the_database(database_url: str) -> None:
    """What the server refuses because of one row is not repeated as if the server were away; the others are read."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        odd, plain = on.obj(name="odd"), on.obj(name="plain")
        schedule = row_of(await on.mirror(odd)).id
        await on.mirror(plain)
        on.database.run("ALTER TABLE feature_flag_schedules ENABLE ROW LEVEL SECURITY")
        on.database.run(
            "CREATE POLICY odd ON feature_flag_schedules "
            f"USING (CASE WHEN id = '{schedule}' THEN 1 / (retry_count - retry_count) = 0 ELSE true END)"
        )

        with pytest.raises(StatementRefusedError):
            await on.store.snapshot(odd.ref.uid)
        assert row_of(await on.store.snapshot(plain.ref.uid)).reason is None

    played(database_url, play)


def test_rows_that_cannot_be_read_hide_no_other_one(database_url: str) -> None:
    """What the server refuses because of single rows is named in the log, and every other row is read once."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        objects = {number: on.obj(UUID(int=number), name=f"launch-{number}") for number in range(1, 41)}
        ids = {number: row_of(await on.mirror(obj)).id for number, obj in objects.items()}
        odd = {1, 7, 8, 23, 40}
        on.database.run("ALTER TABLE feature_flag_schedules ENABLE ROW LEVEL SECURITY")
        refused = ", ".join(f"'{ids[number]}'" for number in odd)
        on.database.run(
            "CREATE POLICY odd ON feature_flag_schedules "
            f"USING (CASE WHEN id IN ({refused}) THEN 1 / (retry_count - retry_count) = 0 ELSE true END)"
        )

        with capture_logs() as logged:
            found = [each.record.ref.uid.int async for each in on.store.snapshots() if each.record]

        assert found == sorted(set(objects) - odd)
        assert [(line["event"], line["name"]) for line in logged] == [
            ("Row not understood", f"launch-{number}") for number in sorted(odd)
        ]

    played(database_url, play)


def test_a_right_that_is_missing_is_the_databases_trouble(database_url: str) -> None:
    """A fault of the database, not of an object, is waited for like an outage, in every operation."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        obj = on.obj()
        await on.mirror(obj)
        on.database.run("REVOKE SELECT ON feature_flag_schedules FROM flagschedule_operator")

        for call in (on.mirror(obj), on.store.snapshot(obj.ref.uid), anext(aiter(on.store.snapshots()))):
            with pytest.raises(DependencyUnavailableError):
                await call

    played(database_url, play)


def test_mirroring_again_writes_nothing(database_url: str) -> None:
    """A second mirroring of the same object leaves row and record as they are, to the version of the tuple."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        obj = on.obj()
        versions = "SELECT o.xmin AS record, s.xmin AS row FROM flag_schedule_objects o, feature_flag_schedules s"
        await on.mirror(obj)
        before = on.database.query(versions)

        await on.mirror(obj)

        assert on.database.query(versions) == before

    played(database_url, play)


def test_ten_mirrorings_at_once_make_one_row(database_url: str) -> None:
    """Two operators, or a create and a resume at once, cannot make two rows of one object."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        obj = on.obj()

        snapshots = await asyncio.gather(*(on.mirror(obj) for _ in range(10)))

        assert len({row_of(snapshot).id for snapshot in snapshots}) == 1
        assert on.database.value("SELECT count(*) FROM feature_flag_schedules") == 1

    played(database_url, play)


def test_a_locked_row_is_not_waited_for(database_url: str) -> None:
    """An edit that meets the processor's transaction is refused at once; the next try sees the applied row."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        obj = on.obj(due=timedelta(seconds=-1))
        row = row_of(await on.mirror(obj))
        with connected(database_url) as processor, processor.connection.transaction():
            processor.run(
                "UPDATE feature_flag_schedules SET status = 'applied', reason = 'Applied', applied_at = now() "
                "WHERE id = %s",
                row.id,
            )
            edit = on.obj(obj.ref.uid, due=timedelta(hours=2), generation=2)
            with pytest.raises(ConflictError) as refused:
                await on.try_to_mirror(edit)
            assert not refused.value.flag_locked

        snapshot = await on.mirror(edit)

        assert row_of(snapshot).state is State.APPLIED
        assert snapshot.record
        assert snapshot.record.generation == 1  # the edit came too late and left no trace

    played(database_url, play)


@pytest.mark.parametrize(
    ("columns", "state", "reason", "notified"),
    [
        ({}, State.FAILED, Reason.FLAG_DELETED, True),
        ({"status": "failed", "next_retry_at": "now"}, State.FAILED, Reason.FLAG_DELETED, True),
        ({"status": "applied", "reason": "Applied", "applied_at": "now"}, State.APPLIED, Reason.APPLIED, False),
        ({"status": "failed", "reason": "RetriesExhausted"}, State.FAILED, Reason.RETRIES_EXHAUSTED, False),
        ({"status": "cancelled", "reason": "Cancelled"}, State.CANCELLED, Reason.CANCELLED, False),
    ],
)
def test_an_outcome_survives_the_loss_of_its_row(
    database_url: str, columns: dict[str, str], state: State, reason: Reason, notified: bool
) -> None:
    """When the flag is deleted its rows go; a final outcome stays, an unfinished schedule is FlagDeleted.

    The object gets a status entry only if the outcome is a new one.
    """

    async def play(on: Scene) -> None:
        flag = on.database.flag("checkout-v2")
        obj = on.obj()
        row = row_of(await on.mirror(obj))
        for name, value in columns.items():
            text = f"UPDATE feature_flag_schedules SET {name} = '{value}'"  # noqa: S608 -- the test's own words
            on.database.connection.execute(text.encode())

        on.database.run("DELETE FROM feature_flags WHERE id = %s", flag)

        snapshot = await on.store.snapshot(obj.ref.uid)
        assert snapshot
        assert snapshot.row is None
        assert snapshot.record
        assert (snapshot.record.state, snapshot.record.reason) == (state, reason)
        assert [entry.ref.uid for entry in await on.store.status_entries(10)] == [obj.ref.uid] * notified
        assert snapshot.record.schedule_id == row.id

    played(database_url, play)


def test_a_newer_object_of_the_same_name_takes_over(database_url: str) -> None:
    """Unfinished rows of older objects of this name are Replaced; finished ones and other names' are not touched."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        old, other = on.obj(age=9), on.obj(age=9, name="other")
        done = on.obj(age=8, due=timedelta(hours=2))
        rows = {name: row_of(await on.mirror(obj)).id for name, obj in (("done", done), ("other", other))}
        on.database.run("UPDATE feature_flag_schedules SET status = 'applied' WHERE id = %s", rows["done"])
        rows["old"] = row_of(await on.mirror(old)).id

        new = row_of(await on.mirror(on.obj(age=0)))

        states = {
            name: (found["status"], found["reason"])
            for name, found in ((name, on.database.row(row)) for name, row in rows.items() if row)
        }
        assert states == {"old": ("cancelled", "Replaced"), "done": ("applied", None), "other": ("pending", None)}
        assert new.state is State.PENDING

    played(database_url, play)


def test_a_change_that_was_made_is_recognised_when_created_again(database_url: str, flagschedule: Run) -> None:
    """The same YAML with a new uid is Replayed, also after the row was purged; another cluster's is not."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        await on.mirror(on.obj(due=timedelta(seconds=-1), age=1))
        await asyncio.to_thread(flagschedule, "process")

        again = await on.mirror(on.obj(due=timedelta(seconds=-1), age=0))
        on.database.run("DELETE FROM feature_flag_schedules")
        purged = await on.mirror(on.obj(due=timedelta(seconds=-1), age=-1))
        async with scene(database_url, cluster="other") as elsewhere:
            foreign = await elsewhere.mirror(on.obj(due=timedelta(seconds=-1), age=1))

        for snapshot in (again, purged):
            assert snapshot.record
            assert (snapshot.record.state, snapshot.record.reason) == (State.APPLIED, Reason.REPLAYED)
            assert snapshot.record.applied_at
        assert row_of(foreign).state is State.PENDING

    played(database_url, play)


def test_deletion_leaves_the_row_cancelled(database_url: str) -> None:
    """The row of a deleted object stays, cancelled, and its record is closed; a second deletion changes nothing."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        obj = on.obj()
        row = row_of(await on.mirror(obj))
        gone = on.obj(obj.ref.uid, deleting=True)

        for _ in range(2):
            assert row_of(await on.mirror(gone)).state is State.CANCELLED

        assert row.id
        assert on.database.row(row.id)["reason"] == "Deleted"
        assert on.database.value("SELECT deleted_at IS NOT NULL FROM flag_schedule_objects")
        assert [snapshot async for snapshot in on.store.snapshots()] == []

    played(database_url, play)


def test_deleting_what_was_never_mirrored_leaves_no_trace(database_url: str) -> None:
    """An object deleted before its first mirroring needs no record."""

    async def play(on: Scene) -> None:
        await on.mirror(on.obj(deleting=True))

        assert on.database.value("SELECT count(*) FROM flag_schedule_objects") == 0

    played(database_url, play)


def test_waiting_objects_are_found_when_something_changed(database_url: str) -> None:
    """Of the waiting objects, those whose flag appeared or whose time passed are looked at again."""

    async def play(on: Scene) -> None:
        obj, late = on.obj(), on.obj(name="late", flagKey="late", due=timedelta(seconds=-1))
        for each in (obj, late, on.obj(name="never", flagKey="never")):
            await on.mirror(each)
        assert [ref.uid for ref in await on.store.waiting()] == [late.ref.uid]

        on.database.flag("checkout-v2")

        assert {ref.uid for ref in await on.store.waiting()} == {obj.ref.uid, late.ref.uid}

    played(database_url, play)


def test_an_operator_sees_its_own_cluster_and_namespaces_only(database_url: str, flagschedule: Run) -> None:
    """Snapshots, waiting objects and status entries of other clusters and namespaces stay out of sight."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        await on.mirror(on.obj(due=timedelta(seconds=-1)))
        await on.mirror(on.obj(name="late", flagKey="late", due=timedelta(seconds=-1)))
        await asyncio.to_thread(flagschedule, "process")

        async def sights(scope: Scene) -> list[int]:
            snapshots = [snapshot async for snapshot in scope.store.snapshots()]
            return [len(snapshots), len(await scope.store.waiting()), len(await scope.store.status_entries(9))]

        assert await sights(on) == [2, 1, 1]
        async with scene(database_url, cluster="other") as other:
            assert await sights(other) == [0, 0, 0]
        async with scene(database_url, namespaces=("elsewhere",)) as other:
            assert await sights(other) == [0, 0, 0]
        async with scene(database_url, namespaces=("shop", "elsewhere")) as other:
            assert await sights(other) == [2, 1, 1]

    played(database_url, play)


def test_status_entries_are_served_once(database_url: str, flagschedule: Run) -> None:
    """An outcome waits until its entry is deleted."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        await on.mirror(on.obj(due=timedelta(seconds=-1)))
        await asyncio.to_thread(flagschedule, "process")
        entries = await on.store.status_entries(10)
        assert [entry.id for entry in await on.store.status_entries(10)] == [entry.id for entry in entries]

        await on.store.delete_status_entries([entry.id for entry in entries])

        assert await on.store.status_entries(10) == []

    played(database_url, play)


def test_status_entries_of_namespaces_take_turns(database_url: str) -> None:
    """However many outcomes of one namespace wait, the oldest of another is read with its first; known ones are not."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        for name, namespace in [*((f"flood-{number}", "noisy") for number in range(5)), ("one", "quiet")]:
            obj = on.obj(name=name)
            row = row_of(await on.mirror(replace(obj, ref=replace(obj.ref, namespace=namespace))))
            on.database.run("INSERT INTO flag_schedule_status_outbox (schedule_id) VALUES (%s)", row.id)

        first = await on.store.status_entries(3)
        then = await on.store.status_entries(2, [entry.id for entry in first])

        assert [entry.ref.name for entry in first] == ["flood-0", "one", "flood-1"]
        assert [entry.ref.name for entry in then] == ["flood-2", "flood-3"]

    played(database_url, play)


def test_a_cluster_name_belongs_to_one_live_cluster(database_url: str) -> None:
    """A second cluster of the same name is refused while the first one lives, and takes over when it is stale."""

    async def play(on: Scene) -> None:
        assert await on.store.claim_cluster("one")
        assert await on.store.claim_cluster("one")
        assert not await on.store.claim_cluster("two")

        on.database.run("UPDATE flag_schedule_clusters SET heartbeat_at = now() - interval '11 minutes'")

        assert await on.store.claim_cluster("two")
        assert not await on.store.claim_cluster("one")

    played(database_url, play)


def test_a_database_that_is_away_is_no_objects_fault() -> None:
    """Without a database every operation of the store says that it is unavailable."""

    async def play() -> None:
        async with PostgresMirrorStore("postgresql://norole@127.0.0.1:1/x?connect_timeout=1", "default", ()) as store:
            with pytest.raises(DependencyUnavailableError, match="DATABASE_URL"):
                await store.ping()

    asyncio.run(play())


def test_a_flag_that_vanishes_in_between_leaves_the_object_waiting(database_url: str) -> None:
    """When the flag is deleted between look and insertion, the decision is made again."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        obj = on.obj()

        with pytest.raises(ConflictError):
            await on.try_to_mirror(obj, meanwhile=lambda: on.database.run("DELETE FROM feature_flags"))
        snapshot = await on.mirror(obj)

        assert snapshot.record
        assert snapshot.record.state is State.WAITING

    played(database_url, play)


def test_a_connection_that_the_server_has_ended_is_never_handed_out(database_url: str) -> None:
    """After the server has ended every idle connection, the next callers are served all the same."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        objects = [on.obj(name=f"launch-{number}") for number in range(8)]
        await asyncio.gather(*map(on.mirror, objects))

        ended = on.database.query(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'flagschedule-operator'"
        )

        assert len(ended) > 1
        for obj in objects:
            assert await on.store.snapshot(obj.ref.uid)

    played(database_url, play)


@pytest.mark.parametrize("lock", ["SELECT FROM feature_flags FOR UPDATE", "LOCK TABLE feature_flags"])
def test_a_locked_flag_leaves_a_record_and_no_row(database_url: str, lock: LiteralString) -> None:
    """An object whose flag is locked is not waited for; what it waits for is recorded, and planned once it is free."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        obj = on.obj()
        with connected(database_url) as holder, holder.connection.transaction():
            holder.run(lock)
            with pytest.raises(ConflictError) as refused:
                await on.try_to_mirror(obj)
            assert refused.value.flag_locked
            noted = (await on.try_to_mirror(obj, flag_locked=True)).record

        assert noted
        assert (noted.state, noted.reason) == (State.WAITING, Reason.FLAG_LOCKED)
        assert row_of(await on.mirror(obj)).state is State.PENDING

    played(database_url, play)


@pytest.mark.parametrize(
    "stop",
    [{"suspend": True}, {"cancel": True}, {"deleting": True}],
    ids=["suspend", "cancel", "delete"],
)
def test_a_stop_looks_at_no_flag(database_url: str, stop: dict[str, Any]) -> None:
    """What stops a planned row is committed while the host's table is locked."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        obj = on.obj()
        await on.mirror(obj)
        with connected(database_url) as holder, holder.connection.transaction():
            holder.run("LOCK TABLE feature_flags")
            stopped = row_of(await on.try_to_mirror(on.obj(obj.ref.uid, generation=2, **stop)))

        assert stopped.suspended or stopped.state is State.CANCELLED

    played(database_url, play)


def test_a_lock_does_not_hide_that_the_change_was_made_before(database_url: str, flagschedule: Run) -> None:
    """An object that first waited for a lock is compared with its predecessors all the same: nothing is done twice."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        await on.mirror(on.obj(due=timedelta(seconds=-1), age=1))
        await asyncio.to_thread(flagschedule, "process")
        again = on.obj(due=timedelta(seconds=-1), age=0)

        found = (await on.try_to_mirror(again, flag_locked=True)).record

        assert found
        assert (found.state, found.reason) == (State.APPLIED, Reason.REPLAYED)

    played(database_url, play)


def test_a_schedule_that_waited_for_a_lock_was_in_time(database_url: str) -> None:
    """An object made before its time is applied however long its flag was locked, as any that was seen in time."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        obj = on.obj(due=timedelta(minutes=-30), age=60)
        await on.try_to_mirror(obj, flag_locked=True)

        assert row_of(await on.mirror(obj)).state is State.PENDING

    played(database_url, play)


def test_two_flags_of_one_key_are_named(database_url: str) -> None:
    """Where the host's table holds two flags of one key, the object waits and says why."""

    async def play(on: Scene) -> None:
        on.database.run("ALTER TABLE feature_flags DROP CONSTRAINT IF EXISTS feature_flags_flag_key_environment_key")
        for _ in range(2):
            on.database.flag("checkout-v2")

        found = (await on.mirror(on.obj())).record

        assert found
        assert (found.state, found.reason) == (State.WAITING, Reason.FLAG_AMBIGUOUS)

    played(database_url, play)
