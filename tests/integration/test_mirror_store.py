"""The operator's store on a real Postgres: one transaction that locks, decides and writes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, LiteralString
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from flagschedule.adapters.postgres.mirror_store import PostgresMirrorStore
from flagschedule.domain.errors import ConflictError, DependencyUnavailableError, StatementRefusedError
from flagschedule.domain.history import FlagValues
from flagschedule.domain.outcome import Reason, Snapshot, State
from flagschedule.domain.schedule import FlagSchedule
from tests import roles
from tests.integration.conftest import Run
from tests.integration.database import Database, connected
from tests.support.mirroring import RECORDING, mirror, row_of, try_to_mirror
from tests.unit.builders import body


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
        """See mirroring.mirror."""
        return await mirror(self.store, obj)

    async def try_to_mirror(self, obj: FlagSchedule, **options: Any) -> Snapshot:
        """See mirroring.try_to_mirror."""
        return await try_to_mirror(self.store, obj, **options)


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


def test_a_row_names_its_cluster_and_namespace(database_url: str) -> None:
    """So a freeze finds it: written with the row, and for rows of an older operator.

    A row that the host refuses to change keeps no other one from it.
    """

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        ids = [row_of(await on.mirror(on.obj(name=name))).id for name in ("one", "two", "three")]
        names = "SELECT cluster, namespace FROM feature_flag_schedules WHERE id = %s"
        assert on.database.query(names, ids[0]) == [{"cluster": "default", "namespace": "shop"}]

        on.database.run("UPDATE feature_flag_schedules SET cluster = NULL, namespace = NULL")
        on.database.connection.execute(
            f"CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF OLD.id = '{ids[1]}' THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $$; "
            "CREATE TRIGGER no BEFORE UPDATE ON feature_flag_schedules FOR EACH ROW EXECUTE FUNCTION no()".encode()
        )
        assert await on.store.claim_cluster("a-cluster")
        assert [on.database.query(names, each)[0]["cluster"] for each in ids] == ["default", None, "default"]

    played(database_url, play)


def test_the_rows_cluster_follows_its_name(database_url: str) -> None:
    """A row is held by the freezes of the cluster that mirrors it now."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        obj = on.obj()
        await on.mirror(obj)
        async with PostgresMirrorStore(roles.url(database_url, "operator"), "renamed", ()) as store:
            await mirror(store, obj)
        assert on.database.value("SELECT cluster FROM feature_flag_schedules") == "renamed"

    played(database_url, play)


def test_a_status_can_show_what_was_tried(database_url: str, flagschedule: Run) -> None:
    """The last ten attempts, the newest first, and the flag before and after the one that was applied."""

    async def play(on: Scene) -> None:
        flag = on.database.flag("checkout-v2")
        on.database.run("UPDATE feature_flags SET rollout_percentage = 5")
        obj = on.obj(updates={"rolloutPercentage": 25}, maxRetries=10)
        schedule = row_of(await on.mirror(obj)).id
        refuse = "ALTER TABLE feature_flags ADD CONSTRAINT no CHECK (rollout_percentage < 25)"
        on.database.connection.execute(refuse.encode())
        for _ in range(11):
            on.database.run(
                "UPDATE feature_flag_schedules "
                "SET scheduled_at = now(), next_retry_at = next_retry_at - interval '2 hours'"
            )
            await asyncio.to_thread(flagschedule, "process")
        on.database.run("ALTER TABLE feature_flags DROP CONSTRAINT no")
        on.database.run(
            "UPDATE feature_flag_schedules SET status = 'pending', arming = 1, retry_count = 0, next_retry_at = NULL"
        )
        await asyncio.to_thread(flagschedule, "process")

        found = await on.store.snapshot(obj.ref.uid)

        assert found
        assert found.history
        newest, *others = found.history.attempts
        assert (newest.number, newest.arming, newest.outcome, newest.error) == (1, 1, "applied", None)
        assert [(each.number, each.outcome) for each in others] == [(number, "failed") for number in range(11, 2, -1)]
        assert all(each.error == "the database refused the change (check_violation)" for each in others)
        assert found.history.flag
        assert (found.history.flag.before, found.history.flag.after) == (
            FlagValues(enabled=False, rollout_percentage=5),
            FlagValues(enabled=False, rollout_percentage=25),
        )
        assert schedule
        assert flag

    played(database_url, play)


def test_each_version_that_was_acted_on_is_kept(database_url: str) -> None:
    """With its author, its origin and its spec; the same version again adds nothing, nor does an unrecorded one."""

    def named(user: str) -> dict[str, str]:
        return {
            "flagschedule.io/created-by": "alice",
            "flagschedule.io/changed-by": user,
            "flagschedule.io/origin": "a",
        }

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        uid = uuid4()
        await mirror(on.store, on.obj(uuid4(), name="silent", annotations=named("alice")))
        for _ in range(2):
            await mirror(on.store, on.obj(uid, annotations=named("alice")), RECORDING)
        edited = on.obj(uid, generation=2, suspend=True, annotations=named("bob"))
        await mirror(on.store, edited, RECORDING)

        kept = on.database.query("SELECT uid, generation, actor, origin, spec FROM flag_schedule_changes ORDER BY id")

        assert [(row["uid"], row["generation"], row["actor"], row["origin"]) for row in kept] == [
            (uid, 1, "alice", "a"),
            (uid, 2, "bob", "a"),
        ]
        assert [row["spec"].get("suspend") for row in kept] == [None, True]

    played(database_url, play)
