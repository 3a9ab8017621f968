"""The operator's store of freezes on a real Postgres, and what the processor makes of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from flagschedule.adapters.postgres.freeze_store import PostgresFreezeStore
from flagschedule.adapters.postgres.mirror_store import PostgresMirrorStore
from flagschedule.domain.decision import decide
from flagschedule.domain.freeze import Interval, Scope
from flagschedule.domain.freeze_status import FreezeState
from flagschedule.domain.schedule import ObjectRef, Uid
from tests import roles
from tests.integration.conftest import Run
from tests.integration.database import Database
from tests.integration.test_mirror_store import scene
from tests.support.mirroring import RULES, row_of

SCOPE = Scope(reason="INC-4711")
HOUR = timedelta(hours=1)


@asynccontextmanager
async def stores(url: str, cluster: str = "default") -> AsyncIterator[PostgresFreezeStore]:
    """Open the operator's store of freezes, with its rights."""
    async with PostgresMirrorStore(roles.url(url, "operator"), cluster, ()) as sessions:
        yield PostgresFreezeStore(sessions, cluster, ())


def freeze(name: str = "incident") -> ObjectRef:
    """Return which object."""
    return ObjectRef(uid=Uid(uuid4()), namespace="", name=name)


def ids(database: Database) -> list[int]:
    """Return the ids of all intervals."""
    return [row["id"] for row in database.query("SELECT id FROM flag_schedule_freezes ORDER BY id")]


def started(now: datetime, hours: int = 1) -> Interval:
    """Return an interval that has begun and ends in some hours."""
    return Interval(now - HOUR, now + hours * HOUR)


async def test_only_what_differs_is_written(database: Database, database_url: str) -> None:
    """Intervals that stay keep their ids; others are replaced at once, and those that are over are left out."""
    async with stores(database_url) as store:
        now, ref = (await store.look()).now, freeze()
        ahead = [Interval(now + n * HOUR, now + n * HOUR + HOUR) for n in (2, 4, 6)]
        await store.replace(ref, SCOPE, [Interval(now - 2 * HOUR, now - HOUR), started(now), *ahead])
        first = ids(database)

        # Earlier began: the same recurring interval, looked at from another time.
        await store.replace(ref, SCOPE, [Interval(now - 2 * HOUR, now + HOUR), *ahead[:2]])
        second = ids(database)
        await store.replace(ref, replace(SCOPE, flag_keys=("a%",)), [started(now), *ahead[:2]])

        assert second == first[:3]
        assert len(first) == 4
        assert not {*ids(database)} & {*first}
        assert len(ids(database)) == 3


async def test_the_first_freeze_needs_a_processor_that_knows_freezes(database: Database, database_url: str) -> None:
    """The minimum is raised once; the database obeys after five seconds, unless an older run may be at work."""
    async with stores(database_url) as store:
        await store.replace(freeze(), SCOPE, [Interval((await store.look()).now, None)])
        raised = database.query("SELECT minimum, raised_at FROM flag_schedule_protocol")
        at_once = (await store.look()).obeyed
        await store.replace(freeze("another"), SCOPE, [])
        again = database.query("SELECT minimum, raised_at FROM flag_schedule_protocol")
        database.run("UPDATE flag_schedule_protocol SET raised_at = now() - interval '6 seconds'")
        later = (await store.look()).obeyed
        database.run("INSERT INTO flag_schedule_runs (protocol, started_at) VALUES (0, now() - interval '1 minute')")
        with_an_older_run = (await store.look()).obeyed
        database.run("UPDATE flag_schedule_runs SET finished_at = now()")
        after_it = (await store.look()).obeyed
        database.run("INSERT INTO flag_schedule_runs (protocol, finished_at) VALUES (0, now())")
        of_a_version_that_reads_no_minimum = (await store.look()).obeyed

    assert (raised[0]["minimum"], raised) == (1, again)
    assert (at_once, later, with_an_older_run, after_it) == (False, True, False, True)
    assert not of_a_version_that_reads_no_minimum


async def test_a_look_says_what_is_active_and_what_comes_next(database_url: str) -> None:
    """By the database's clock, for the freezes of this cluster only; the ids of what is active are those of all."""
    async with stores(database_url) as store, stores(database_url, "other") as other:
        now, ref, button = (await store.look()).now, freeze(), freeze("button")
        await store.replace(ref, SCOPE, [started(now, 2), Interval(now + 3 * HOUR, now + 4 * HOUR)])
        await store.replace(button, SCOPE, [Interval(now - HOUR, None)])
        await other.replace(freeze(), SCOPE, [started(now)])

        look = await store.look()

    assert look.states == {
        ref: FreezeState(active=True, until=now + 2 * HOUR, next_from=now + 3 * HOUR, next_until=now + 4 * HOUR),
        button: FreezeState(active=True),
    }
    assert len(look.active) == 3


async def test_a_freeze_follows_its_cluster_to_another_name(database: Database, database_url: str) -> None:
    """Under a new FLAG_SCHEDULE_CLUSTER the same object takes its intervals along."""
    async with stores(database_url) as store, stores(database_url, "renamed") as renamed:
        now, ref = (await store.look()).now, freeze()
        await store.replace(ref, SCOPE, [started(now)])
        await renamed.replace(ref, SCOPE, [started(now)])

        assert [*(await renamed.look()).states] == [ref]
        assert (await store.look()).states == {}
    assert database.value("SELECT count(*) FROM flag_schedule_freezes") == 1


async def test_it_is_gone_with_its_object(database_url: str) -> None:
    """All intervals go at once, and nothing of another freeze."""
    async with stores(database_url) as store:
        now, ref, other = (await store.look()).now, freeze(), freeze("other")
        for each in (ref, other):
            await store.replace(each, SCOPE, [started(now), Interval(now + 2 * HOUR, now + 3 * HOUR)])

        await store.forget(ref)

        assert [*(await store.look()).states] == [other]


async def test_patterns_are_anchored_and_know_no_wildcard_but_the_last(
    database: Database, database_url: str, flagschedule: Run
) -> None:
    """What the operator writes is what the processor holds, on the row's namespace and on the flag's key."""
    rows: dict[str, UUID] = {}
    for key in ("check_out-v2", "checkXout-v2", "my-check_out-v2"):
        rows[key] = database.schedule(database.flag(key), {"enabled": True}, cluster="default", namespace="shop-1")
    elsewhere = database.schedule(database.flag("check_out-2"), {"enabled": True}, cluster="default", namespace="a")
    async with stores(database_url) as store:
        scope = replace(SCOPE, flag_keys=(r"check\_out-%",), namespaces=("shop-%",))
        await store.replace(freeze(), scope, [Interval((await store.look()).now, None)])

    flagschedule("process")

    assert {key for key, row in rows.items() if database.row(row)["status"] == "pending"} == {"check_out-v2"}
    assert database.row(elsewhere)["status"] == "applied"


async def test_held_counts_what_is_due(database: Database, database_url: str) -> None:
    """Due rows and retries count for each freeze that holds them, of every program; what is to come does not."""
    flag = database.flag("checkout")
    database.schedule(flag, {"enabled": True})
    database.schedule(flag, {"enabled": True}, due=HOUR)
    database.schedule(flag, {"enabled": True}, suspended=True)
    database.schedule(database.flag("other"), {"enabled": False})
    retry = database.schedule(flag, {"enabled": True}, status="failed")
    database.run("UPDATE feature_flag_schedules SET next_retry_at = now() WHERE id = %s", retry)
    async with stores(database_url) as store:
        assert await store.held() == {}
        now, all_, some, none = (await store.look()).now, freeze("all"), freeze("some"), freeze("none")
        await store.replace(all_, SCOPE, [started(now)])
        await store.replace(some, replace(SCOPE, flag_keys=("check%",)), [started(now)])
        await store.replace(none, replace(SCOPE, environments=("staging",)), [started(now)])

        assert await store.held() == {all_.uid: 3, some.uid: 2}


async def test_held_objects_name_the_freeze_that_ends_last(database_url: str) -> None:
    """Of two that overlap both must end; those that came due since the last look are found alone."""
    async with scene(database_url) as on:
        on.database.flag("checkout-v2")
        obj = on.obj(name="launch")
        await on.mirror(obj)
        on.database.run("UPDATE feature_flag_schedules SET scheduled_at = now() - interval '1 minute'")
        store = PostgresFreezeStore(on.store, "default", ())
        now = (await store.look()).now
        await store.replace(freeze("short"), SCOPE, [started(now, 1)])
        await store.replace(freeze("long"), replace(SCOPE, reason="long"), [started(now, 2)])

        found: dict[ObjectRef, Any] = {**await store.held_objects(None)}
        snapshot = await on.store.snapshot(obj.ref.uid)

        assert [*found] == [obj.ref]
        assert (found[obj.ref].freeze, found[obj.ref].ends_at) == ("long", now + 2 * HOUR)
        assert snapshot
        assert snapshot.holding == found[obj.ref]
        assert await store.held_objects(now - timedelta(seconds=30)) == {}
        assert [*await store.held_objects(now - timedelta(seconds=90))] == [obj.ref]
        assert await store.unfinished([obj.ref]) == [obj.ref]
        on.database.run("UPDATE feature_flag_schedules SET status = 'applied'")
        assert await store.unfinished([obj.ref]) == []


async def test_what_is_not_due_is_not_held(database_url: str) -> None:
    """A schedule that is to come, or suspended, shows no freeze."""
    async with scene(database_url) as on:
        on.database.flag("checkout-v2")
        obj = on.obj()
        store = PostgresFreezeStore(on.store, "default", ())
        await store.replace(freeze(), SCOPE, [Interval((await store.look()).now, None)])

        assert (await on.mirror(obj)).holding is None
        on.database.run("UPDATE feature_flag_schedules SET scheduled_at = now(), suspended = true")
        snapshot = await on.store.snapshot(obj.ref.uid)

        assert snapshot
        assert snapshot.holding is None
        assert await store.held_objects(None) == {}


async def test_an_annotation_lets_a_schedule_go_on(database_url: str, flagschedule: Run) -> None:
    """Written with the row and by an annotation that comes later, for the freeze of this name only."""
    async with scene(database_url) as on:
        on.database.flag("checkout-v2")
        store = PostgresFreezeStore(on.store, "default", ())
        await store.replace(freeze("incident"), SCOPE, [Interval((await store.look()).now, None)])
        plain, other, later = (on.obj(name=name) for name in ("plain", "other", "later"))
        rows = [await on.mirror(obj) for obj in (plain, replace(other, override="another"), later)]
        on.database.run("UPDATE feature_flag_schedules SET scheduled_at = now()")
        rules = replace(RULES, allow_overrides=True)
        async with on.store.transaction(later) as transaction:
            await transaction.save(decide(replace(later, override="incident"), await transaction.facts(), rules))

        flagschedule("process")

        states = [on.database.row(row_of(found).id or uuid4())["status"] for found in rows]
        assert states == ["pending", "pending", "applied"]


async def test_the_end_of_a_freeze_lets_500_go_on_in_their_order(
    database: Database, database_url: str, flagschedule: Run
) -> None:
    """Deleted while it holds 500 rows and a retry: all are made, each flag ends with its latest, no retry was used."""
    flags = [database.flag(f"flag-{n}") for n in range(20)]
    for number in range(500):
        updates = {"rolloutPercentage": number // 20}
        database.schedule(flags[number % 20], updates, due=timedelta(seconds=number - 600))
    retry = database.schedule(flags[0], {"enabled": True}, status="failed", retry_count=1)
    database.run("UPDATE feature_flag_schedules SET next_retry_at = now() WHERE id = %s", retry)
    async with stores(database_url) as store:
        ref = freeze()
        await store.replace(ref, SCOPE, [Interval((await store.look()).now, None)])
        flagschedule("process")
        assert await store.held() == {ref.uid: 501}
        assert database.row(retry)["retry_count"] == 1
        await store.forget(ref)

    flagschedule("process")

    assert database.query("SELECT DISTINCT status FROM feature_flag_schedules") == [{"status": "applied"}]
    assert {database.state(flag)[1] for flag in flags} == {24}


async def test_of_two_freezes_both_must_end(database: Database, database_url: str, flagschedule: Run) -> None:
    """What one of two lets go on the other one holds."""
    row = database.schedule(database.flag("checkout"), {"enabled": True})
    async with stores(database_url) as store:
        first, second = freeze("first"), freeze("second")
        for ref in (first, second):
            await store.replace(ref, SCOPE, [Interval((await store.look()).now, None)])
        await store.forget(first)
        flagschedule("process")
        held = database.row(row)["status"]
        await store.forget(second)

    flagschedule("process")

    assert (held, database.row(row)["status"]) == ("pending", "applied")
