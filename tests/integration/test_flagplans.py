"""Plans on a real Postgres, with the real processor: what identifies a change, and what becomes of its row."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from flagschedule.adapters.postgres.freeze_store import PostgresFreezeStore
from flagschedule.adapters.postgres.mirror_store import PostgresMirrorStore
from flagschedule.adapters.postgres.plan_store import PostgresPlanStore, new_id
from flagschedule.domain import plan_status
from flagschedule.domain.errors import ConflictError
from flagschedule.domain.freeze import Interval, Scope
from flagschedule.domain.outcome import Holding, Reason, State
from flagschedule.domain.plan import FlagPlan, PlanStatus
from flagschedule.domain.plan_rows import Content, Insert, Key, Link, Part, PlanFacts
from flagschedule.domain.planning import PlanDecision, plan
from flagschedule.domain.schedule import ObjectRef, Uid
from tests import roles
from tests.integration.conftest import Run
from tests.integration.database import Database, connected
from tests.support.mirroring import RULES
from tests.support.plans import change, plan_body
from tests.unit.builders import rfc3339

HOUR: Final = timedelta(hours=1)
SECOND: Final = timedelta(seconds=1)


class Scene:
    """A store, the database behind it, and plans whose times are relative to the database's."""

    def __init__(self, url: str, mirror: PostgresMirrorStore, cluster: str) -> None:
        self.url = url
        self.mirror = mirror
        self.cluster = cluster
        self.store = PostgresPlanStore(mirror, cluster, ())

    @property
    def now(self) -> datetime:
        """The database's time."""
        with connected(self.url) as database:
            found: datetime = database.value("SELECT now()")
            return found

    def plan(self, *steps: dict[str, Any], uid: UUID | None = None, name: str = "plan", **fields: Any) -> FlagPlan:
        """Return a plan that was created a minute ago, unless something else is given."""
        body = plan_body(*steps, created_at=fields.pop("created_at", self.now - timedelta(minutes=1)), **fields)
        body["metadata"] |= {"uid": str(uid or uuid4()), "name": name}
        return FlagPlan.from_body(body)

    async def reconcile(self, obj: FlagPlan, meanwhile: Callable[[], object] = lambda: None) -> PlanDecision:
        """Plan and store until nothing changes, in one transaction, as the service does."""
        async with self.store.transaction(obj) as transaction:
            for _ in range(3):
                facts = await transaction.facts()
                decision = plan(obj, facts, RULES)
                meanwhile()
                await transaction.save(decision)
                if not decision.changes:
                    break
        return decision

    async def facts(self, obj: FlagPlan) -> PlanFacts:
        """What the store reads without a lock; planning finds nothing to change."""
        facts = await self.store.facts(obj)
        assert not plan(obj, facts, RULES).changes
        return facts

    async def status(self, obj: FlagPlan) -> PlanStatus:
        """The status that the plan should show."""
        facts = await self.facts(obj)
        found = plan_status.compute(obj, facts, plan(obj, facts, RULES))
        assert found
        return found

    async def links(self, obj: FlagPlan, part: Part = Part.START) -> list[Link]:
        """The links of a part, by time."""
        facts = await self.facts(obj)
        return sorted(
            (link for link in facts.links.values() if link.key.part is part), key=lambda link: (link.due_at, link.key)
        )


@asynccontextmanager
async def scene(url: str, cluster: str = "default") -> AsyncIterator[tuple[Scene, Database]]:
    """Open a scene, with the rights of the operator."""
    with connected(url) as database:
        async with PostgresMirrorStore(roles.url(url, "operator"), cluster, ()) as mirror:
            yield Scene(url, mirror, cluster), database


def played(url: str, play: Callable[[Scene, Database], Awaitable[None]], cluster: str = "default") -> None:
    """Run an asynchronous test."""

    async def run() -> None:
        async with scene(url, cluster) as (on, database):
            await play(on, database)

    asyncio.run(run())


def ramp(begin: datetime, **fields: Any) -> list[dict[str, Any]]:
    """5 and 25 percent, a day later."""
    return [
        {"name": "five", "at": rfc3339(begin), "changes": [change(rolloutPercentage=5)]},
        {"name": "quarter", "after": "24h", "changes": [change(rolloutPercentage=25)], **fields},
    ]


HOURLY: Final = {"name": "hourly", "cron": "0 * * * *", "changes": [change()]}


def test_11_the_next_step_has_its_row_once_the_former_one_was_made(database_url: str, flagschedule: Run) -> None:
    """A day after the first step was made, however late that was."""

    async def play(on: Scene, database: Database) -> None:
        database.flag("chat")
        obj = on.plan(*ramp(on.now - SECOND))
        await on.reconcile(obj)
        assert [link.key.step for link in await on.links(obj)] == ["five"]
        assert await asyncio.to_thread(flagschedule, "process")

        (entry,) = await on.store.status_entries(10)
        assert entry.ref == obj.ref
        await on.reconcile(obj)

        made, coming = await on.links(obj)
        assert made.applied_at
        assert (made.state, coming.state) == (State.APPLIED, State.PENDING)
        assert coming.due_at == made.applied_at + 24 * HOUR
        row = database.row(coming.schedule_id or uuid4())
        assert (row["scheduled_at"], row["updates"]) == (coming.due_at, {"rolloutPercentage": 25})
        status = await on.status(obj)
        assert status.last
        assert (status.last.outcome, status.next and status.next.step) == ("Applied", "quarter")

    played(database_url, play)


def test_9_a_schedule_at_the_same_instant_wins_over_a_plan(database_url: str, flagschedule: Run) -> None:
    """The exception beats the rule, in any order of creation."""

    async def play(on: Scene, database: Database) -> None:
        flag = database.flag("chat")
        at = (on.now - SECOND).replace(microsecond=0)
        schedule = database.schedule(flag, {"enabled": False}, scheduled_at=at)
        seven = f"{int(at.timestamp() * 1000) - 86_400_000_000:012x}70008000000000000000"
        database.run("UPDATE feature_flag_schedules SET id = %s WHERE id = %s", UUID(seven), schedule)
        await on.reconcile(on.plan({"name": "on", "at": rfc3339(at), "changes": [change()]}))

        await asyncio.to_thread(flagschedule, "process")

        assert database.state(flag) == (False, 0)

    played(database_url, play)


def test_8_the_end_of_a_window_follows_its_start_over_a_new_object(database_url: str, flagschedule: Run) -> None:
    """Deleted and created again within the window: not on twice, and off at its end."""

    async def play(on: Scene, database: Database) -> None:
        flag = database.flag("chat")
        begin = on.now - SECOND
        step = {"name": "w", "at": rfc3339(begin), "until": rfc3339(begin + HOUR)}
        step["changes"] = [change(then={"enabled": False})]  # type: ignore[assignment]  # a mapping of any values
        first = on.plan(step)
        await on.reconcile(first)
        await asyncio.to_thread(flagschedule, "process")
        await on.reconcile(on.plan(step, uid=first.ref.uid, deleting=True, generation=2))
        second = on.plan(step, created_at=on.now)
        await on.reconcile(second)
        (start,), (end,) = await on.links(second), await on.links(second, Part.END)
        assert (start.state, end.state, end.plan) == (State.APPLIED, State.PENDING, second.ref.uid)
        database.run("UPDATE feature_flag_schedules SET scheduled_at = now() WHERE id = %s", end.schedule_id)

        await asyncio.to_thread(flagschedule, "process")

        assert database.state(flag) == (False, 0)
        assert database.value("SELECT count(*) FROM flag_schedule_attempts") == 2

    played(database_url, play)


def test_the_end_of_a_window_is_made_after_its_start_was_purged(database_url: str, flagschedule: Run) -> None:
    """A window of weeks: its plan is deleted, the cleanup deletes the rows, and a new object plans the end again."""

    async def play(on: Scene, database: Database) -> None:
        flag = database.flag("chat")
        window = {"at": rfc3339(on.now - SECOND), "until": rfc3339(on.now + HOUR)}
        step = {"name": "sale", **window, "changes": [change(then={"enabled": False})]}
        first = on.plan(step)
        await on.reconcile(first)
        await asyncio.to_thread(flagschedule, "process")
        await on.reconcile(on.plan(step, uid=first.ref.uid, generation=2, deleting=True))
        database.run("DELETE FROM feature_flag_schedules")

        second = on.plan(step)
        await on.reconcile(second)
        database.run("UPDATE feature_flag_schedules SET scheduled_at = now()")
        before = database.state(flag)[0]
        await asyncio.to_thread(flagschedule, "process")
        await on.reconcile(second)

        (ending,) = await on.links(second, Part.END)
        assert (before, database.state(flag)[0], ending.state) == (True, False, State.APPLIED)

    played(database_url, play)


def test_16_two_environments_lose_their_cache_keys(database_url: str, flagschedule: Run, redis_url: str) -> None:
    """A step changes flags of several environments, each with its own cache key."""
    redis = pytest.importorskip("redis").Redis.from_url(redis_url)

    async def play(on: Scene, database: Database) -> None:
        for environment in ("production", "staging"):
            database.flag("chat", environment)
            redis.set(f"feature_flags:{environment}", "old")
        both = [change(), {**change(), "environment": "staging"}]
        await on.reconcile(on.plan({"name": "on", "at": rfc3339(on.now - SECOND), "changes": both}))

        await asyncio.to_thread(flagschedule, "process")

        assert redis.keys("feature_flags:*") == []

    played(database_url, play)


def test_a_row_that_the_processor_changed_meanwhile_makes_the_operator_start_again(
    database_url: str, flagschedule: Run
) -> None:
    """Nothing of an edit is stored that was decided on an older state."""

    async def play(on: Scene, database: Database) -> None:
        flag = database.flag("chat")
        begin = on.now - SECOND
        obj = on.plan(*ramp(begin))
        await on.reconcile(obj)
        edited = on.plan(*ramp(begin + HOUR), uid=obj.ref.uid, generation=2)

        with pytest.raises(ConflictError):
            await on.reconcile(edited, meanwhile=lambda: flagschedule("process"))

        decision = await on.reconcile(edited)
        assert decision.view.too_late == ["five"]
        assert database.state(flag) == (False, 5)

    played(database_url, play)


def test_an_unfinished_change_whose_flag_is_deleted_is_reported(database_url: str) -> None:
    """The link keeps what became of the row, and the plan has a status to write."""

    async def play(on: Scene, database: Database) -> None:
        flag = database.flag("chat")
        obj = on.plan(*ramp(on.now + HOUR))
        await on.reconcile(obj)

        database.run("DELETE FROM feature_flags WHERE id = %s", flag)

        (entry,) = await on.store.status_entries(10)
        await on.reconcile(obj)
        (link,) = await on.links(obj)
        assert (entry.ref, link.state, link.reason) == (obj.ref, State.FAILED, Reason.FLAG_DELETED)
        assert (await on.status(obj)).phase == "Failed"

    played(database_url, play)


def test_a_missing_flag_is_waited_for_and_found(database_url: str) -> None:
    """The plan is known to wait; once the flag exists it is found, and its change has a row."""

    async def play(on: Scene, database: Database) -> None:
        obj = on.plan(*ramp(on.now + HOUR))
        await on.reconcile(obj)
        status = await on.status(obj)
        assert (status.phase, status.waiting_for and status.waiting_for.flag) == ("Waiting", "chat (production)")
        assert not await on.store.waiting()
        database.flag("chat")

        assert await on.store.waiting() == [obj.ref]
        await on.reconcile(obj)

        assert [link.state for link in await on.links(obj)] == [State.PENDING]
        assert not await on.store.waiting()

    played(database_url, play)


def test_a_locked_flag_keeps_no_other_one(database_url: str) -> None:
    """The rows of the other flags are stored, and what is missing is known."""

    async def play(on: Scene, database: Database) -> None:
        free, locked = database.flag("free"), database.flag("locked")
        obj = on.plan({**HOURLY, "changes": [change("free"), change("locked")]}, timeZone="UTC")
        with connected(database_url) as other, other.connection.transaction():
            other.run("SELECT FROM feature_flags WHERE id = %s FOR UPDATE", locked)
            decision = await on.reconcile(obj)
        flags = database.query("SELECT DISTINCT flag_id FROM feature_flag_schedules")
        assert [row["flag_id"] for row in flags] == [free]
        assert decision.view.missing == {("locked", "production"): Reason.FLAG_LOCKED}

        await on.reconcile(obj)

        assert database.value("SELECT count(DISTINCT flag_id) FROM feature_flag_schedules") == 2

    played(database_url, play)


def test_two_thousand_rows_are_held_within_a_second(database_url: str) -> None:
    """One statement holds them all before the plan is read; planning then finds nothing to do."""

    async def play(on: Scene, database: Database) -> None:
        for key in ("one", "two", "three"):
            database.flag(key)
        step = {**HOURLY, "cron": "*/10 * * * *", "changes": [change("one"), change("two"), change("three")]}
        obj = on.plan(step, timeZone="UTC")
        await on.reconcile(obj)
        held = on.plan(step, timeZone="UTC", uid=obj.ref.uid, suspend=True, generation=2)
        assert database.value("SELECT count(*) FROM feature_flag_schedules") > 1990
        began = time.monotonic()

        await on.store.hold(held)

        assert time.monotonic() - began < 1
        assert not (await on.reconcile(held)).changes
        assert database.query("SELECT DISTINCT suspended FROM feature_flag_schedules") == [{"suspended": True}]

    played(database_url, play)


def test_planning_again_writes_nothing(database_url: str) -> None:
    """No row of any table gets a new version while nothing changes."""

    async def play(on: Scene, database: Database) -> None:
        database.flag("chat")
        obj = on.plan(HOURLY, timeZone="Europe/Oslo")
        await on.reconcile(obj)
        versions = (
            "SELECT (SELECT array_agg(xmin ORDER BY id) FROM feature_flag_schedules) AS rows, "
            "(SELECT array_agg(xmin ORDER BY schedule_id) FROM flag_plan_rows) AS links, "
            "(SELECT array_agg(xmin) FROM flag_plans) AS plans"
        )
        before = database.query(versions)

        await on.reconcile(obj)
        facts = await on.facts(obj)

        assert database.query(versions) == before
        assert plan(obj, facts, RULES).record == facts.record

    played(database_url, play)


def test_a_renamed_cluster_keeps_its_plans(database_url: str, flagschedule: Run) -> None:
    """What was made under the old name is not made again under the new one."""
    made: dict[str, Any] = {}

    async def under_the_old_name(on: Scene, database: Database) -> None:
        database.flag("chat")
        made["steps"] = ramp(on.now - SECOND)
        made["obj"] = on.plan(*made["steps"])
        await on.reconcile(made["obj"])
        await asyncio.to_thread(flagschedule, "process")

    async def under_the_new_name(on: Scene, database: Database) -> None:
        await on.reconcile(made["obj"])
        assert [link.key.step for link in await on.links(made["obj"])] == ["five", "quarter"]
        clusters = "SELECT DISTINCT cluster FROM feature_flag_schedules WHERE status = 'pending'"
        assert database.value(clusters) == "renamed"
        again = on.plan(*made["steps"], created_at=on.now)
        await on.reconcile(again)
        assert [link.key.step for link in await on.links(again)] == ["five", "quarter"]

    played(database_url, under_the_old_name)
    played(database_url, under_the_new_name, "renamed")


def test_an_outcome_outlives_its_purged_row(database_url: str, flagschedule: Run) -> None:
    """A step whose row was deleted by the cleanup is not made again, and its successor keeps its time."""

    async def play(on: Scene, database: Database) -> None:
        database.flag("chat")
        obj = on.plan(*ramp(on.now - SECOND))
        await on.reconcile(obj)
        await asyncio.to_thread(flagschedule, "process")
        database.run("DELETE FROM feature_flag_schedules WHERE status = 'applied'")

        await on.reconcile(obj)

        made, coming = await on.links(obj)
        assert made.applied_at
        assert (made.state, made.content, coming.due_at) == (State.APPLIED, None, made.applied_at + 24 * HOUR)

    played(database_url, play)


def test_a_request_to_retry_makes_a_stopped_step_again(database_url: str, flagschedule: Run) -> None:
    """The flag is not as expected: the chain stops; after a correction the step is made, then the next one planned."""

    async def play(on: Scene, database: Database) -> None:
        flag = database.flag("chat")
        steps = ramp(on.now - SECOND)
        steps[0]["changes"][0]["expect"] = {"rolloutPercentage": 1}
        obj = on.plan(*steps)
        await on.reconcile(obj)
        await asyncio.to_thread(flagschedule, "process")
        await on.reconcile(obj)
        status = await on.status(obj)
        assert status.last
        assert (status.phase, status.last.outcome) == ("Failed", "ExpectationNotMet")
        database.run("UPDATE feature_flags SET rollout_percentage = 1")

        again = on.plan(*steps, uid=obj.ref.uid, annotations={"flagschedule.io/retry-requested-at": "1"})
        await on.reconcile(again)
        await asyncio.to_thread(flagschedule, "process")
        await on.reconcile(again)

        assert database.state(flag) == (False, 5)
        assert [link.key.step for link in await on.links(again)] == ["five", "quarter"]
        assert (await on.status(again)).phase == "Active"

    played(database_url, play)


def test_a_request_to_retry_outlasts_a_lock_on_the_flag(database_url: str, flagschedule: Run) -> None:
    """The row cannot be stored when the request is seen; it is once the lock is released."""

    async def play(on: Scene, database: Database) -> None:
        flag = database.flag("chat")
        steps = ramp(on.now - SECOND)
        steps[0]["changes"][0]["expect"] = {"rolloutPercentage": 1}
        obj = on.plan(*steps)
        await on.reconcile(obj)
        await asyncio.to_thread(flagschedule, "process")
        await on.reconcile(obj)
        database.run("UPDATE feature_flags SET rollout_percentage = 1")

        again = on.plan(*steps, uid=obj.ref.uid, annotations={"flagschedule.io/retry-requested-at": "1"})
        with connected(database_url) as other, other.connection.transaction():
            other.run("SELECT FROM feature_flags WHERE id = %s FOR UPDATE", flag)
            await on.reconcile(again)
        await on.reconcile(again)
        await on.facts(again)
        await asyncio.to_thread(flagschedule, "process")

        assert database.state(flag) == (False, 5)

    played(database_url, play)


def test_a_restored_database_makes_nothing_again_that_the_status_shows(database_url: str, flagschedule: Run) -> None:
    """The row is pending again, as in a backup; it is applied by the status, and its flag stays as it is."""

    async def play(on: Scene, database: Database) -> None:
        flag = database.flag("chat")
        steps = ramp(on.now - SECOND)
        obj = on.plan(*steps)
        await on.reconcile(obj)
        await asyncio.to_thread(flagschedule, "process")
        await on.reconcile(obj)
        status = (await on.status(obj)).as_json()
        database.run("UPDATE feature_flags SET rollout_percentage = 77")
        database.run("DELETE FROM flag_plan_rows WHERE step = 'quarter'")
        database.run("DELETE FROM feature_flag_schedules WHERE status = 'pending'")
        database.run("UPDATE feature_flag_schedules SET status = 'pending', reason = NULL, applied_at = NULL")
        database.run("UPDATE flag_plan_rows SET state = NULL")

        await on.reconcile(on.plan(*steps, uid=obj.ref.uid, status=status))
        await asyncio.to_thread(flagschedule, "process")

        assert database.state(flag) == (False, 77)
        made, coming = await on.links(obj)
        assert (made.reason, coming.key.step, coming.state) == (Reason.RESTORED_FROM_STATUS, "quarter", State.PENDING)

    played(database_url, play)


def test_ids_sort_windows_by_their_start_and_below_schedules() -> None:
    """Of 1,000 back-to-back windows each end comes before the next start and after its own; FlagSchedules come last."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    key = Key("o", "s", Part.START, "f", "e")
    content = Content(scheduled_at=begin, updates={}, max_retries=3)
    ids = [
        new_id(Insert(key=each, content=content, flag_id=uuid4(), began_at=begin + number * HOUR, is_chain=False))
        for number in range(1000)
        for each in (key, key.end)
    ]

    assert ids == sorted(ids)
    assert {(found.version, found.variant) for found in ids} == {(8, "specified in RFC 4122")}
    assert ids[-1] < UUID(f"{int(begin.timestamp() * 1000):012x}70008000000000000000")


def test_a_plan_names_the_freeze_that_holds_what_is_due(database_url: str) -> None:
    """The store finds the plan and the freeze while a row is due and held; of two freezes the one that ends last."""

    async def play(on: Scene, database: Database) -> None:
        database.flag("chat")
        obj = on.plan({"name": "one", "at": rfc3339(on.now + HOUR), "changes": [change()]})
        await on.reconcile(obj)
        store = PostgresFreezeStore(on.mirror, on.cluster, ())
        now = on.now
        for name, hours in (("short", 1), ("long", 2)):
            ref = ObjectRef(uid=Uid(uuid4()), namespace="", name=name)
            await store.replace(ref, Scope(reason=name), [Interval(now - HOUR, now + hours * HOUR)])
        assert (await on.store.facts(obj)).holding is None
        assert await store.held_plans(None) == {}

        database.run("UPDATE feature_flag_schedules SET scheduled_at = now()")

        expected = Holding("long", "long", now + 2 * HOUR)
        assert (await on.store.facts(obj)).holding == expected
        assert await store.held_plans(None) == {obj.ref: expected}
        assert await store.held_plans(on.now + HOUR) == {}

    played(database_url, play)
