"""What every MirrorStore promises: each test runs on the store in memory and on Postgres.

What needs more than a store's own behaviour is in tests/integration: races, rights, plans of queries, crashes, and
rows that other programs have written.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from flagschedule.domain.decision import decide
from flagschedule.domain.errors import ConflictError, DependencyUnavailableError
from flagschedule.domain.outcome import Reason, Snapshot, State
from flagschedule.domain.schedule import FlagSchedule
from flagschedule.ports.mirroring import MirrorStore
from tests.conformance.databases import World
from tests.support.mirroring import RECORDING, RULES, mirror, row_of, try_to_mirror
from tests.unit.builders import NOW, body

if TYPE_CHECKING:
    from collections.abc import Awaitable

HOUR = timedelta(hours=1)
PAST = timedelta(seconds=-1)


def obj(
    world: World,
    name: str = "launch",
    *,
    uid: UUID | None = None,
    namespace: str = "shop",
    due: timedelta = HOUR,
    age: float = 1,
    **fields: Any,
) -> FlagSchedule:
    """An object that was created `age` minutes ago and whose time is `due` from now, by the database's clock."""
    raw = body(at=world.now + due, created_at=world.now - timedelta(minutes=age), **fields)
    raw["metadata"] |= {"uid": str(uid or uuid4()), "name": name, "namespace": namespace}
    return FlagSchedule.from_body(raw)


def id_of(snapshot: Snapshot | None) -> UUID:
    """The row's id."""
    found = row_of(snapshot).id
    assert found
    return found


def outcome(snapshot: Snapshot | None) -> tuple[State | None, Reason | None]:
    """State and reason, of the row where there is one."""
    assert snapshot
    return snapshot.outcome.state, snapshot.outcome.reason


async def names(store: MirrorStore) -> list[str]:
    """The names of the objects that have snapshots."""
    return sorted([found.record.ref.name async for found in store.snapshots() if found.record])


async def test_a_new_object_gets_a_row(world: World) -> None:
    """A first mirroring stores the plan; record, row and snapshot agree on it."""
    world.flag("checkout-v2")
    async with world.store() as store:
        new = obj(world, updates={"rolloutPercentage": 7}, maxRetries=5, startingDeadlineSeconds=60)

        stored = await mirror(store, new)

        row = row_of(stored)
        assert (row.state, row.updates, row.max_retries) == (State.PENDING, {"rolloutPercentage": 7}, 5)
        assert (row.scheduled_at, row.not_after) == (new.spec and new.spec.scheduled_at, row.scheduled_at + HOUR / 60)
        assert stored.record
        assert (stored.record.ref, stored.record.generation, stored.record.schedule_id) == (new.ref, 1, row.id)
        again = await store.snapshot(new.ref.uid)
        assert again
        assert (again.record, again.row) == (stored.record, row)


async def test_ids_go_by_creation_and_then_by_mirroring(world: World) -> None:
    """Of schedules for the same time the one created later wins, to the second; below that the one mirrored later."""
    world.flag("checkout-v2")
    ages = {"old": 60, "older": 120, "young": 1, "also young": 1}
    async with world.store() as store:
        ids = {name: id_of(await mirror(store, obj(world, name, age=age))) for name, age in ages.items()}

    assert sorted(ids, key=lambda name: ids[name]) == ["older", "old", "young", "also young"]
    for name, found in ids.items():
        assert (found.version, found.variant) == (7, "specified in RFC 4122")
        assert found.int >> 80 == 1000 * int((world.now - timedelta(minutes=ages[name])).timestamp())


async def test_an_edit_changes_the_row_in_place(world: World) -> None:
    """The plan of an edited object moves within its row, which keeps its id."""
    world.flag("checkout-v2")
    async with world.store() as store:
        first = obj(world)
        before = row_of(await mirror(store, first))

        edit = obj(world, uid=first.ref.uid, generation=2, due=2 * HOUR, updates={"enabled": False}, suspend=True)
        after = row_of(await mirror(store, edit))

    assert (after.id, after.state, after.suspended) == (before.id, State.PENDING, True)
    assert (after.scheduled_at - before.scheduled_at, after.updates) == (HOUR, {"enabled": False})


async def test_a_block_that_fails_changes_nothing(world: World) -> None:
    """What was saved is stored at the end of the block; an error before that undoes it and releases the locks."""
    world.flag("checkout-v2")
    async with world.store() as store:
        new = obj(world)

        with pytest.raises(ZeroDivisionError):  # noqa: PT012 -- the block is what is tested
            async with store.transaction(new) as transaction:
                await transaction.save(decide(new, await transaction.facts(), RULES))
                raise ZeroDivisionError

        assert await store.snapshot(new.ref.uid) is None
        assert row_of(await try_to_mirror(store, new)).state is State.PENDING


async def test_an_object_is_in_one_transaction_at_a_time(world: World) -> None:
    """A second transaction on an object is refused, also before the object has a record; then it sees the first."""
    world.flag("checkout-v2")
    async with world.store() as store:
        new = obj(world)
        async with store.transaction(new) as transaction:
            facts = await transaction.facts()
            with pytest.raises(ConflictError) as refused:
                await try_to_mirror(store, new)
            stored = await transaction.save(decide(new, facts, RULES))

        assert not refused.value.flag_locked
        assert id_of(await try_to_mirror(store, new)) == id_of(stored)


async def test_a_held_row_is_not_waited_for(world: World) -> None:
    """A mirroring that meets another program's lock on the row is refused, and its reason is not the flag."""
    world.flag("checkout-v2")
    async with world.store() as store:
        first = obj(world)
        schedule = id_of(await mirror(store, first))
        edit = obj(world, uid=first.ref.uid, generation=2, suspend=True)

        with world.held(schedule), pytest.raises(ConflictError) as refused:
            await try_to_mirror(store, edit)

        assert not refused.value.flag_locked
        assert not row_of(await store.snapshot(first.ref.uid)).suspended
        assert row_of(await try_to_mirror(store, edit)).suspended


async def test_a_held_flag_is_no_trouble_of_a_row_that_exists(world: World) -> None:
    """A new row needs its flag; a change of a row does not."""
    flag = world.flag("checkout-v2")
    async with world.store() as store:
        old, new = obj(world, "old"), obj(world, "new")
        await mirror(store, old)

        with world.held(flag):
            with pytest.raises(ConflictError) as refused:
                await try_to_mirror(store, new)
            held = await try_to_mirror(store, obj(world, "old", uid=old.ref.uid, generation=2, suspend=True))

        assert refused.value.flag_locked
        assert row_of(held).suspended
        assert await store.snapshot(new.ref.uid) is None


async def test_a_flag_that_is_known_to_be_locked_is_not_looked_at(world: World) -> None:
    """The object is recorded as waiting for the lock, without a row, and is planned later."""
    flag = world.flag("checkout-v2")
    async with world.store() as store:
        new = obj(world)

        with world.held(flag):
            noted = await try_to_mirror(store, new, flag_locked=True)

        assert noted.row is None
        assert outcome(noted) == (State.WAITING, Reason.FLAG_LOCKED)
        assert outcome(await mirror(store, new)) == (State.PENDING, None)


async def test_a_flag_that_vanishes_in_between_is_a_conflict(world: World) -> None:
    """A flag deleted between look and insertion changes nothing; the next try finds none."""
    flag = world.flag("checkout-v2")
    async with world.store() as store:
        new = obj(world)

        with pytest.raises(ConflictError) as refused:
            await try_to_mirror(store, new, meanwhile=lambda: world.delete_flag(flag))

        assert not refused.value.flag_locked
        assert await store.snapshot(new.ref.uid) is None
        assert outcome(await mirror(store, new)) == (State.WAITING, Reason.FLAG_NOT_FOUND)


async def test_two_flags_of_one_key_are_no_flag(world: World) -> None:
    """Where two flags have one key the object waits, and its reason says so."""
    world.flag("checkout-v2")
    world.flag("checkout-v2")
    async with world.store() as store:
        assert outcome(await mirror(store, obj(world))) == (State.WAITING, Reason.FLAG_AMBIGUOUS)


@pytest.mark.parametrize(
    ("fields", "state", "reason", "notified"),
    [
        ({}, State.FAILED, Reason.FLAG_DELETED, True),
        ({"state": State.FAILED, "next_retry_at": NOW}, State.FAILED, Reason.FLAG_DELETED, True),
        ({"state": State.APPLIED, "reason": Reason.APPLIED, "applied_at": NOW}, State.APPLIED, Reason.APPLIED, False),
        ({"state": State.FAILED, "reason": Reason.RETRIES_EXHAUSTED}, State.FAILED, Reason.RETRIES_EXHAUSTED, False),
        ({"state": State.CANCELLED, "reason": Reason.CANCELLED}, State.CANCELLED, Reason.CANCELLED, False),
    ],
    ids=["pending", "retrying", "applied", "failed", "cancelled"],
)
async def test_an_outcome_survives_the_loss_of_its_row(
    world: World, fields: dict[str, Any], state: State, reason: Reason, notified: bool
) -> None:
    """When a flag is deleted its rows go: a final outcome stays, and what was unfinished is Failed.

    The object has a status entry only if the outcome is a new one.
    """
    flag = world.flag("checkout-v2")
    async with world.store() as store:
        new = obj(world)
        schedule = id_of(await mirror(store, new))
        world.change_row(schedule, **fields)

        world.delete_flag(flag)

        left = await store.snapshot(new.ref.uid)
        assert left
        assert left.row is None
        assert outcome(left) == (state, reason)
        assert left.outcome.applied_at == fields.get("applied_at")
        assert left.record
        assert left.record.schedule_id == schedule
        assert [entry.ref for entry in await store.status_entries(9)] == [new.ref] * notified


async def test_a_newer_object_of_the_same_name_takes_over(world: World) -> None:
    """What older objects of its name had planned is Replaced; what is finished and other names are left alone."""
    world.flag("checkout-v2")
    async with world.store() as store, world.store("another") as elsewhere:
        old, other, foreign = obj(world, age=9), obj(world, "other", age=9), obj(world, age=9)
        done, younger, twin = obj(world, age=8, due=2 * HOUR), obj(world, age=-1), obj(world, age=0)
        world.apply(id_of(await mirror(store, done)))
        for each, at in ((old, store), (other, store), (foreign, elsewhere)):
            await mirror(at, each)

        for each in (twin, new := obj(world, age=0)):  # Kubernetes' times are whole seconds
            await mirror(store, each)

        assert outcome(await store.snapshot(new.ref.uid)) == (State.PENDING, None)
        for each in (old, twin):
            assert outcome(await store.snapshot(each.ref.uid)) == (State.CANCELLED, Reason.REPLACED)
        assert outcome(await store.snapshot(done.ref.uid)) == (State.APPLIED, Reason.APPLIED)
        for each in (other, foreign):
            assert outcome(await store.snapshot(each.ref.uid)) == (State.PENDING, None)
        assert await names(store) == ["launch", "other"]

        await mirror(store, younger)
        assert outcome(await mirror(store, obj(world, age=5, due=3 * HOUR))) == (State.PENDING, None)
        assert outcome(await store.snapshot(younger.ref.uid)) == (State.PENDING, None)


async def test_a_held_row_of_an_older_object_is_a_conflict(world: World) -> None:
    """A newer object does not take over while another program holds the older one's row; nothing is stored of it."""
    world.flag("checkout-v2")
    async with world.store() as store:
        old, new = obj(world, age=9), obj(world, age=0)
        schedule = id_of(await mirror(store, old))

        with world.held(schedule), pytest.raises(ConflictError) as refused:
            await try_to_mirror(store, new)

        assert not refused.value.flag_locked
        assert await store.snapshot(new.ref.uid) is None
        assert outcome(await store.snapshot(old.ref.uid)) == (State.PENDING, None)


async def test_a_change_that_was_made_is_recognised_when_created_again(world: World) -> None:
    """The same file with a new uid is Replayed, also after the row was purged; another cluster's is not."""
    world.flag("checkout-v2")
    async with world.store() as store, world.store("another") as elsewhere:
        schedule = id_of(await mirror(store, obj(world, due=PAST, age=1)))
        world.apply(schedule)

        again = await mirror(store, obj(world, due=PAST, age=0))
        world.delete_row(schedule)
        purged = await mirror(store, obj(world, due=PAST, age=-1))
        another = await mirror(store, obj(world, due=2 * PAST, age=-1))
        foreign = await mirror(elsewhere, obj(world, due=PAST, age=1))

    for snapshot in (again, purged):
        assert outcome(snapshot) == (State.APPLIED, Reason.REPLAYED)
        assert snapshot.outcome.applied_at == world.now
    for snapshot in (another, foreign):
        assert outcome(snapshot) == (State.PENDING, None)


async def test_a_change_that_is_made_in_between_is_a_conflict(world: World) -> None:
    """An older object's change that was made between look and decision is not planned a second time."""
    world.flag("checkout-v2")
    async with world.store() as store:
        schedule = id_of(await mirror(store, obj(world, due=PAST, age=1)))
        new = obj(world, due=PAST, age=0)

        with pytest.raises(ConflictError):
            await try_to_mirror(store, new, meanwhile=lambda: world.apply(schedule))

        assert outcome(await mirror(store, new)) == (State.APPLIED, Reason.REPLAYED)


async def test_a_deletion_cancels_and_closes_the_record(world: World) -> None:
    """The row of a deleted object stays, cancelled; its record is not listed any more. A second one changes nothing."""
    flag = world.flag("checkout-v2")
    async with world.store() as store:
        new = obj(world)
        await mirror(store, new)
        gone = replace(new, deleting=True)

        with world.held(flag):
            released = [await try_to_mirror(store, gone) for _ in range(2)]

        assert [outcome(each) for each in released] == [(State.CANCELLED, Reason.DELETED)] * 2
        assert await names(store) == []
        assert outcome(await store.snapshot(new.ref.uid)) == (State.CANCELLED, Reason.DELETED)


async def test_a_deletion_of_what_was_never_mirrored_leaves_no_trace(world: World) -> None:
    """An object that is deleted before its first mirroring gets no record."""
    async with world.store() as store:
        gone = obj(world, deleting=True)

        released = await mirror(store, gone)

        assert (released.record, released.row) == (None, None)
        assert await store.snapshot(gone.ref.uid) is None


async def test_waiting_objects_are_found_when_something_changed(world: World) -> None:
    """Of the waiting objects, those whose flag exists now or whose time has passed; the earliest first."""
    async with world.store() as store:
        early, late = obj(world), obj(world, "late", flagKey="late", due=PAST)
        never, gone = obj(world, "never", flagKey="never"), obj(world, "gone")
        for each in (early, late, never, gone, replace(gone, deleting=True)):
            await mirror(store, each)
        assert await store.waiting() == [late.ref]

        world.flag("checkout-v2")

        assert await store.waiting() == [late.ref, early.ref]


async def test_a_store_sees_its_own_cluster_and_namespaces_only(world: World) -> None:
    """Snapshots, waiting objects and status entries of other clusters and namespaces stay out of sight."""
    world.flag("checkout-v2")
    async with world.store() as store:
        world.notify(id_of(await mirror(store, obj(world))))
        await mirror(store, obj(world, "late", flagKey="late", due=PAST))

    async def sights(*scope: str) -> list[int]:
        async with world.store(*scope) as seeing:
            return [len(await names(seeing)), len(await seeing.waiting()), len(await seeing.status_entries(9))]

    assert await sights("default") == [2, 1, 1]
    assert await sights("another") == [0, 0, 0]
    assert await sights("default", "elsewhere") == [0, 0, 0]
    assert await sights("default", "elsewhere", "shop") == [2, 1, 1]


async def test_a_record_follows_the_clusters_name(world: World) -> None:
    """An object that is mirrored under another cluster name belongs to that one from then on, with its row."""
    world.flag("checkout-v2")
    async with world.store("before") as before, world.store("after") as after:
        new = obj(world)
        schedule = id_of(await mirror(before, new))

        assert id_of(await mirror(after, new)) == schedule

        assert (await names(before), await names(after)) == ([], ["launch"])


async def test_status_entries_wait_until_they_are_deleted(world: World) -> None:
    """An entry is returned until it is deleted; the one of a deleted object is not."""
    world.flag("checkout-v2")
    async with world.store() as store:
        new, gone = obj(world), obj(world, "gone")
        for each in (new, gone):
            world.notify(id_of(await mirror(store, each)))
        await mirror(store, replace(gone, deleting=True))

        (entry,) = await store.status_entries(9)
        assert entry.ref == new.ref
        assert await store.status_entries(9) == [entry]
        await store.delete_status_entries([entry.id])

        assert await store.status_entries(9) == []


async def test_status_entries_of_namespaces_take_turns(world: World) -> None:
    """The oldest entry of each namespace comes with the first of all others; known entries are left out."""
    world.flag("checkout-v2")
    async with world.store() as store:
        for name, namespace in [*((f"flood-{number}", "noisy") for number in range(5)), ("one", "quiet")]:
            world.notify(id_of(await mirror(store, obj(world, name, namespace=namespace))))

        first = await store.status_entries(3)
        then = await store.status_entries(2, [entry.id for entry in first])

        assert [entry.ref.name for entry in first] == ["flood-0", "one", "flood-1"]
        assert [entry.ref.name for entry in then] == ["flood-2", "flood-3"]


async def test_a_cluster_name_belongs_to_one_live_cluster(world: World) -> None:
    """A second cluster of the same name is refused while the first one lives, and takes over when it is stale."""
    async with world.store() as store, world.store("another") as elsewhere:
        assert await store.claim_cluster("one")
        world.pass_time(timedelta(minutes=9))
        assert not await store.claim_cluster("two")
        assert await store.claim_cluster("one")
        world.pass_time(timedelta(minutes=9))
        assert not await store.claim_cluster("two")
        assert await elsewhere.claim_cluster("two")

        world.pass_time(timedelta(minutes=2))

        assert await store.claim_cluster("two")
        assert not await store.claim_cluster("one")


async def test_the_backlog_is_what_waits(world: World) -> None:
    """Due rows, retries and status entries are counted; what is held, planned or done is not."""
    world.flag("checkout-v2")
    async with world.store() as store:
        empty = await store.backlog()
        dues = {"planned": HOUR, "due": PAST, "oldest": timedelta(minutes=-3), "held": PAST, "retrying": PAST}
        ids = {
            name: id_of(await mirror(store, obj(world, name, due=due, suspend=name == "held")))
            for name, due in dues.items()
        }
        world.change_row(ids["retrying"], state=State.FAILED, next_retry_at=world.now + HOUR)
        world.notify(ids["due"])
        found = await store.backlog()

    assert (empty.due, empty.oldest_due, empty.retrying, empty.status_entries, empty.cache_entries) == (0,) * 5
    assert (empty.run_age, empty.run_duration, sum(empty.runs.values())) == (None, None, 0)
    assert (found.due, found.retrying, found.status_entries, found.cache_entries) == (2, 1, 1, 0)
    assert 180 <= found.oldest_due < 240


async def test_the_backlog_counts_each_run_once(world: World) -> None:
    """Runs are counted from the first look on, two seconds after they ended; the last one's figures are shown."""
    async with world.store() as store:
        world.finish_run(60, {"1 failed other": 7}, processed=7, failed=7)
        world.pass_time(timedelta(seconds=2))
        looks = [await store.backlog()]
        for _ in range(2):
            world.finish_run(1, {"1 applied": 1, "2 failed other": 1}, processed=2, failed=1)
            world.pass_time(timedelta(seconds=2))
            looks.append(await store.backlog())
        last = looks[-1]
        looks.append(await store.backlog())
        world.finish_run(1, {"1 applied": 1, "2 failed other": 1}, processed=2, failed=1)
        looks.append(await store.backlog())

    assert [look.runs["processed"] for look in looks] == [0, 2, 2, 0, 0]
    assert sum(last.runs.values()) == 3
    assert [dict(look.attempts) for look in looks] == [{}, *[{"1 applied": 1, "2 failed other": 1}] * 2, {}, {}]
    assert last.run_age is not None
    assert 2 <= last.run_age < 60
    assert last.run_duration == pytest.approx(1)


async def test_a_database_that_is_away_is_no_objects_fault(world: World) -> None:
    """Without its database every method says that a dependency is unavailable."""
    async with world.store() as store:
        await store.ping()
    async with world.store_without_database() as lost:
        new = obj(world)
        calls: list[Awaitable[object]] = [
            *(lost.ping(), lost.backlog(), lost.claim_cluster("one"), lost.waiting(), lost.snapshot(new.ref.uid)),
            *(names(lost), lost.status_entries(9), lost.delete_status_entries([1]), try_to_mirror(lost, new)),
        ]

        answers = await asyncio.gather(*calls, return_exceptions=True)

    assert {type(answer) for answer in answers} == {DependencyUnavailableError}


async def test_actors_stay_on_the_record(world: World) -> None:
    """Who created and who changed an object, and where that came from, are known as long as the record."""
    world.flag("checkout-v2")
    names = {"created-by": "alice", "changed-by": "bob", "origin": "shop@4f2a"}
    planned = obj(world, annotations={f"flagschedule.io/{key}": value for key, value in names.items()})
    async with world.store() as store:
        await mirror(store, planned, rules=RECORDING)

        snapshot = await store.snapshot(planned.ref.uid)

        assert snapshot
        assert snapshot.record
        assert snapshot.record.actors == planned.actors
