"""What comes back: flags, files, backups, clusters under another name; and rows that were never ours. Real Postgres."""

import asyncio
from datetime import UTC, timedelta
from typing import Any, LiteralString
from uuid import UUID

import pytest

from flagschedule.domain import status
from flagschedule.domain.errors import ConflictError
from flagschedule.domain.messages import explain
from flagschedule.domain.outcome import Reason, Snapshot, State
from flagschedule.domain.schedule import Phase
from tests.integration.conftest import Run
from tests.integration.database import Database, connected
from tests.integration.test_crashes import held, held_in_mid_statement
from tests.integration.test_mirror_store import Scene, played, scene
from tests.support.mirroring import row_of
from tests.unit.builders import rfc3339
from tests.waiting import eventually

DUE = timedelta(seconds=-1)
RETRY: dict[str, Any] = {"annotations": {"flagschedule.io/retry-requested-at": "now"}}


def outcome(snapshot: Snapshot | None) -> tuple[State | None, Reason | None]:
    """State and reason, of the row where there is one."""
    assert snapshot
    known = snapshot.row or snapshot.record
    assert known
    return known.state, known.reason


def waits(database: Database, statement: LiteralString) -> bool:
    """Return whether a statement that begins so waits for a lock."""
    text = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND starts_with(query, %s)"
    return bool(database.query(text, statement))


def test_a_flag_deleted_while_its_change_is_made(database_url: str, flagschedule: Run) -> None:
    """Deletion, application and an edit at the same time never deadlock; one outcome stays."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        obj = on.obj(due=DUE)
        await on.mirror(obj)

        def delete() -> None:
            with connected(database_url) as host:
                host.run("DELETE FROM feature_flags")

        with held_in_mid_statement(on.database, database_url):
            processing = asyncio.create_task(asyncio.to_thread(flagschedule, "process"))
            await asyncio.to_thread(eventually, lambda: held(on.database))
            deletion = asyncio.create_task(asyncio.to_thread(delete))
            await asyncio.to_thread(eventually, lambda: waits(on.database, "DELETE"))
            edited = on.obj(obj.ref.uid, generation=2)
            with pytest.raises(ConflictError):
                await on.try_to_mirror(edited)
        await asyncio.gather(processing, deletion)

        assert outcome(await on.mirror(edited)) == (State.APPLIED, Reason.APPLIED)
        kept = await on.store.snapshot(obj.ref.uid)
        assert outcome(kept) == (State.APPLIED, Reason.APPLIED)
        assert kept
        assert kept.row is None

    played(database_url, play)


def test_a_flag_deleted_before_its_change_is_made(database_url: str, flagschedule: Run) -> None:
    """While a deletion is under way the processor passes the flag by; then the schedule is Failed, with a reason."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        obj = on.obj(due=DUE)
        await on.mirror(obj)
        with connected(database_url) as host, host.connection.transaction():
            host.run("DELETE FROM feature_flags")
            run = await asyncio.to_thread(flagschedule, "process", "--output", "json")

        assert '"processed": 0' in run.stdout
        assert outcome(await on.mirror(obj)) == (State.FAILED, Reason.FLAG_DELETED)
        assert on.database.value("SELECT count(*) FROM flag_schedule_attempts") == 0

    played(database_url, play)


def test_a_flag_that_is_created_again_needs_a_request(database_url: str, flagschedule: Run) -> None:
    """A schedule whose flag was deleted stays Failed when the flag is back; a retry request then applies it."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        obj = on.obj(due=DUE)
        first = row_of(await on.mirror(obj))
        on.database.run("DELETE FROM feature_flags")
        flag = on.database.flag("checkout-v2")
        assert outcome(await on.mirror(obj)) == (State.FAILED, Reason.FLAG_DELETED)

        second = row_of(await on.mirror(on.obj(obj.ref.uid, due=DUE, **RETRY)))
        await asyncio.to_thread(flagschedule, "process")

        assert second.id != first.id
        assert on.database.state(flag) == (True, 0)
        assert outcome(await on.store.snapshot(obj.ref.uid)) == (State.APPLIED, Reason.APPLIED)

    played(database_url, play)


def test_a_truncated_table_makes_nothing_happen_twice(database_url: str, flagschedule: Run) -> None:
    """TRUNCATE fires no trigger: what was unfinished is Failed; what was applied stays so, by its object's status."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        applied, pending = on.obj(due=DUE), on.obj(name="pending")
        row = row_of(await on.mirror(applied))
        await on.mirror(pending)
        await asyncio.to_thread(flagschedule, "process")
        shown = {"observedGeneration": 1, "scheduleId": str(row.id), "appliedAt": rfc3339(on.now)}
        on.database.run("TRUNCATE feature_flags CASCADE")
        on.database.flag("checkout-v2")

        assert outcome(await on.mirror(pending)) == (State.FAILED, Reason.FLAG_DELETED)
        requests: tuple[dict[str, Any], ...] = ({}, RETRY)
        for request in requests:
            again = await on.mirror(on.obj(applied.ref.uid, due=DUE, status=shown, **request))
            assert outcome(again) == (State.APPLIED, Reason.RESTORED_FROM_STATUS)
        assert on.database.value("SELECT count(*) FROM feature_flag_schedules") == 0

    played(database_url, play)


def test_a_superseded_change_is_not_made_again(database_url: str, flagschedule: Run) -> None:
    """A change that lost to a later one is Replayed, too, with its own time and without a claim that it was made."""
    lost: dict[Reason, dict[str, object]] = {
        Reason.SUPERSEDED: {"enabled": False},
        Reason.PARTLY_SUPERSEDED: {"enabled": False, "rolloutPercentage": 5},
    }

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        before: dict[Reason, Snapshot] = {}
        for reason, updates in lost.items():
            before[reason] = await on.mirror(on.obj(name=reason, due=DUE * 2, updates=updates))
        await on.mirror(on.obj(name="later", due=DUE, updates={"enabled": True}))
        await asyncio.to_thread(flagschedule, "process")

        for reason, updates in lost.items():
            found = on.database.row(row_of(before[reason]).id or UUID(int=0))
            assert found["reason"] == reason
            obj = on.obj(name=reason, due=DUE * 2, updates=updates, age=0)
            again = await on.mirror(obj)
            assert outcome(again) == (State.APPLIED, Reason.REPLAYED)
            assert again.record
            assert (again.record.applied_at, again.row) == (found["applied_at"], None)
            assert "Handled at" in explain(Phase.APPLIED, obj, again.record, None, again.outcome)

    played(database_url, play)


def test_another_spec_under_the_same_name_is_no_replay(database_url: str, flagschedule: Run) -> None:
    """Only the same flag, environment and time count as made: another of them is a new plan."""

    async def play(on: Scene) -> None:
        for environment in ("production", "staging"):
            on.database.flag("checkout-v2", environment)
        on.database.flag("other")
        await on.mirror(on.obj(due=DUE))
        await asyncio.to_thread(flagschedule, "process")
        others = (
            on.obj(due=DUE * 2, age=0),
            on.obj(due=DUE, age=0, environment="staging"),
            on.obj(due=DUE, age=0, flagKey="other"),
        )
        for other in others:
            assert outcome(await on.mirror(other)) == (State.PENDING, None)
        repeated = on.obj(due=DUE, age=0, environment="production", maxRetries=9)
        assert outcome(await on.mirror(repeated)) == (State.APPLIED, Reason.REPLAYED)

    played(database_url, play)


def test_an_edited_file_that_is_created_again_is_not_applied_again(database_url: str, flagschedule: Run) -> None:
    """Other updates under the same name, flag and time never make a new plan, also after the row was purged."""

    async def play(on: Scene) -> None:
        flag = on.database.flag("checkout-v2")
        await on.mirror(on.obj(due=DUE))
        await asyncio.to_thread(flagschedule, "process")
        before = on.database.state(flag)
        applied_at = rfc3339(on.database.value("SELECT applied_at FROM feature_flag_schedules").astimezone(UTC))

        for purged in (False, True):
            for updates in ({"enabled": False}, {"rolloutPercentage": 7}):
                edited = on.obj(due=DUE, age=0, updates=updates)
                again = await on.mirror(edited)
                assert outcome(again) == (State.APPLIED, Reason.REPLAYED), purged
                shown = status.compute(edited, again)
                assert shown
                assert (shown.reason, shown.as_json()["appliedAt"]) == ("EditTooLate", applied_at), purged
            on.database.run("DELETE FROM feature_flag_schedules WHERE status = 'applied'")
        same = on.obj(due=DUE, age=0)
        shown = status.compute(same, await on.mirror(same))
        assert shown
        assert shown.reason == "Replayed"
        await asyncio.to_thread(flagschedule, "process")

        assert on.database.state(flag) == before
        assert on.database.value("SELECT count(*) FROM flag_schedule_attempts") == 1

    played(database_url, play)


def test_a_change_of_unknown_time_counts_as_made(database_url: str) -> None:
    """A row that another program set to applied, without a time, is not applied again for a newer object."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        await on.mirror(on.obj(due=DUE, age=9))
        on.database.run("UPDATE feature_flag_schedules SET status = 'applied'")

        assert outcome(await on.mirror(on.obj(due=DUE, age=0))) == (State.APPLIED, Reason.REPLAYED)

    played(database_url, play)


def test_another_flag_takes_the_plan_with_it(database_url: str, flagschedule: Run) -> None:
    """An edited flagKey gives up the old row and plans a new one: the old flag stays, the new one is changed once."""

    async def play(on: Scene) -> None:
        old, new = on.database.flag("checkout-v2"), on.database.flag("other")
        obj = on.obj(due=timedelta(hours=1))
        first = row_of(await on.mirror(obj))
        moved = on.obj(obj.ref.uid, due=DUE, generation=2, flagKey="other")

        second = row_of(await on.mirror(moved))
        assert (await on.mirror(moved)).row == second
        await asyncio.to_thread(flagschedule, "process")

        assert second.id != first.id
        given_up = on.database.row(first.id or UUID(int=0))
        assert (given_up["status"], given_up["reason"]) == ("cancelled", "Replaced")
        assert (on.database.state(old), on.database.state(new)) == ((False, 0), (True, 0))
        assert outcome(await on.store.snapshot(obj.ref.uid)) == (State.APPLIED, Reason.APPLIED)

    played(database_url, play)


def test_another_flag_that_does_not_exist_is_waited_for(database_url: str) -> None:
    """The old row is given up at once; the object waits, and is planned when the new flag appears."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        obj = on.obj()
        first = row_of(await on.mirror(obj))
        moved = on.obj(obj.ref.uid, generation=2, flagKey="other")

        waiting = await on.mirror(moved)
        assert (outcome(waiting), waiting.row) == ((State.WAITING, Reason.FLAG_NOT_FOUND), None)
        assert on.database.row(first.id or UUID(int=0))["reason"] == "Replaced"
        on.database.flag("other")

        assert outcome(await on.mirror(moved)) == (State.PENDING, None)

    played(database_url, play)


def test_a_cluster_can_be_given_another_name(database_url: str, flagschedule: Run) -> None:
    """Records of live objects take the new cluster name, so that their outcomes still reach the objects."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        obj = on.obj(due=DUE)
        row = row_of(await on.mirror(obj))
        async with scene(database_url, cluster="shop-eu") as renamed:
            assert row_of(await renamed.mirror(obj)).id == row.id
            await asyncio.to_thread(flagschedule, "process")

            assert [entry.ref.uid for entry in await renamed.store.status_entries(9)] == [obj.ref.uid]
            assert await on.store.status_entries(9) == []

    played(database_url, play)


def test_rows_of_other_programs_are_processed_and_stay_out_of_sight(database_url: str, flagschedule: Run) -> None:
    """A row in the original's shape is applied like ours, and concerns no object."""

    async def play(on: Scene) -> None:
        flag = on.database.flag("checkout-v2")
        theirs = on.database.schedule(flag, {"enabled": True})
        later = on.database.schedule(flag, {"enabled": False}, due=timedelta(hours=1))
        await asyncio.to_thread(flagschedule, "process")

        assert on.database.row(theirs)["status"] == "applied"
        assert on.database.state(flag) == (True, 0)
        assert [snapshot async for snapshot in on.store.snapshots()] == []
        assert await on.store.status_entries(9) == []
        await on.mirror(on.obj())
        assert on.database.row(later)["status"] == "pending"

    played(database_url, play)


def test_a_restored_etcd_is_followed_after_the_documented_step(database_url: str) -> None:
    """Generations that went back are taken for stale views until the records' are reset; what ended stays ended."""

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        edited, deleted = on.obj(due=timedelta(hours=9), generation=5), on.obj(name="deleted")
        await on.mirror(edited)
        await on.mirror(deleted)
        await on.mirror(on.obj(deleted.ref.uid, name="deleted", generation=2, deleting=True))
        older = on.obj(edited.ref.uid, generation=2)
        stale = row_of(await on.mirror(older))
        assert edited.spec
        assert stale.scheduled_at == edited.spec.scheduled_at

        on.database.run("UPDATE flag_schedule_objects SET generation = 0 WHERE cluster = 'default'")

        assert older.spec
        assert row_of(await on.mirror(older)).scheduled_at == older.spec.scheduled_at
        risen = await on.mirror(deleted)
        assert outcome(risen) == (State.CANCELLED, Reason.DELETED)
        assert risen.record
        assert "was deleted" in explain(Phase.CANCELLED, deleted, risen.record, risen.row, risen.outcome)

    played(database_url, play)
