"""Notices on a real Postgres: which outcomes make one, and what it says. What the operator consumes, it keeps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from structlog.testing import capture_logs

from flagschedule.adapters.postgres.freeze_store import PostgresFreezeStore
from flagschedule.adapters.postgres.mirror_store import PostgresMirrorStore
from flagschedule.adapters.postgres.notice_store import PostgresNoticeStore
from flagschedule.adapters.postgres.plan_store import PostgresPlanStore
from flagschedule.adapters.postgres.process_store import PostgresProcessStore
from flagschedule.domain.actors import Actors
from flagschedule.domain.freeze import Interval
from flagschedule.domain.notices import NoticeEvent
from flagschedule.domain.schedule import FlagSchedule
from tests import roles
from tests.integration.database import Database, connected
from tests.integration.test_failures import guard, make_due
from tests.integration.test_flagplans import Scene as PlanScene
from tests.integration.test_freeze_store import SCOPE, freeze
from tests.integration.test_mirror_store import Scene
from tests.support import processing
from tests.support.mirroring import RECORDING, mirror, row_of
from tests.support.plans import change

ALL: Final = tuple(NoticeEvent)
HOUR: Final = timedelta(hours=1)


class World(Scene):
    """An operator with a webhook, and what it consumes."""

    def __init__(self, url: str, store: PostgresMirrorStore, database: Database) -> None:
        super().__init__(store, database)
        self.url = url
        self.notices = PostgresNoticeStore(store, "default", ())
        self.plans = PostgresPlanStore(store, "default", ())

    async def planned(self, name: str = "launch", **fields: Any) -> FlagSchedule:
        """Mirror an object and make it due a minute ago."""
        obj = replace(self.obj(name=name, **fields), actors=Actors(created_by="ann", changed_by="bob", origin="4f2a"))
        row = row_of(await mirror(self.store, obj, RECORDING))
        self.database.run(
            "UPDATE feature_flag_schedules SET scheduled_at = now() - interval '1 minute' WHERE id = %s", row.id
        )
        return obj

    def process(self) -> None:
        """Let the real processor apply what is due."""
        with PostgresProcessStore(roles.url(self.url, "process")) as store:
            processing.run(store)

    async def consume(self) -> None:
        """Serve all status entries, of both kinds."""
        for store in (self.store, self.plans):
            await store.delete_status_entries([entry.id for entry in await store.status_entries(1000)])

    def found(self) -> list[dict[str, Any]]:
        """Return all notices, oldest first."""
        return self.database.query("SELECT * FROM flag_schedule_notices ORDER BY happened_at")

    def events(self) -> list[str]:
        """Return what happened, oldest first."""
        return [notice["event"] for notice in self.found()]


@asynccontextmanager
async def world(url: str, *events: NoticeEvent) -> AsyncIterator[World]:
    """Open a world; without events all are chosen."""
    with connected(url) as database:
        async with PostgresMirrorStore(roles.url(url, "operator"), "default", (), events or ALL) as store:
            yield World(url, store, database)


async def test_an_applied_change_says_what_the_flag_was_and_is(database_url: str) -> None:
    """Values before and after, how late, which object and who; written with the deletion of the status entry."""
    async with world(database_url) as on:
        flag = on.database.flag("checkout-v2")
        on.database.run("UPDATE feature_flags SET rollout_percentage = 5 WHERE id = %s", flag)
        obj = await on.planned(updates={"enabled": True, "rolloutPercentage": 25})
        on.process()

        await on.consume()

        (notice,) = on.found()
        lateness = notice["data"].pop("latenessSeconds")
        scheduled_at, schedule = notice["data"].pop("scheduledAt"), notice["data"].pop("scheduleId")
        row = on.database.row(schedule)
        assert (notice["event"], notice["subject"], notice["happened_at"]) == (
            "applied",
            "production/checkout-v2",
            row["applied_at"],
        )
        assert notice["data"] == {
            "kind": "FlagSchedule",
            "namespace": "shop",
            "name": obj.ref.name,
            "flagKey": "checkout-v2",
            "environment": "production",
            "updates": {"enabled": True, "rolloutPercentage": 25},
            "reason": "Applied",
            "attempt": 1,
            "before": {"enabled": False, "rolloutPercentage": 5},
            "after": {"enabled": True, "rolloutPercentage": 25},
            "actor": "bob",
            "origin": "4f2a",
        }
        assert lateness == round((row["applied_at"] - row["scheduled_at"]).total_seconds(), 3)
        assert scheduled_at == row["scheduled_at"].strftime("%Y-%m-%dT%H:%M:%SZ")
        assert on.database.value("SELECT count(*) FROM flag_schedule_status_outbox") == 0


async def test_superseded_skipped_and_already_set_have_types_of_their_own(database_url: str) -> None:
    """Who wants to know that a flag changed gets no event where it did not."""
    async with world(database_url) as on:
        on.database.flag("checkout-v2")
        await on.planned("late", updates={"enabled": True})
        on.database.run("UPDATE feature_flag_schedules SET scheduled_at = scheduled_at - interval '1 minute'")
        await on.planned("latest", updates={"enabled": False})
        on.process()
        on.database.flag("other")
        await on.planned("skipped", flagKey="other", expect={"enabled": True}, onMismatch="Skip")
        on.database.flag("third")
        await on.planned("set", flagKey="third", updates={"enabled": False}, expect={"enabled": True})
        on.process()

        await on.consume()

        events = {notice["data"]["name"]: notice["event"] for notice in on.found()}
        assert events == {"late": "superseded", "latest": "applied", "skipped": "skipped", "set": "alreadyset"}


async def test_each_attempt_has_its_notice_though_they_are_consumed_together(database_url: str) -> None:
    """An operator that was away learns of a failure and of the success after it; each has its values."""
    async with world(database_url) as on:
        flag = on.database.flag("checkout-v2")
        await on.planned(updates={"rolloutPercentage": 95})
        guard(on.database, "P0001")
        on.process()
        on.database.run("DROP TRIGGER guard ON feature_flags")
        make_due(on.database)
        on.process()
        assert on.database.state(flag) == (False, 95)

        await on.consume()
        await on.consume()

        first, second = on.found()
        assert (first["event"], first["data"]["attempt"], second["event"], second["data"]["attempt"]) == (
            *("retrying", 1),
            *("applied", 2),
        )
        assert first["data"]["after"]["rolloutPercentage"] == 0


async def test_a_failure_says_why_in_the_words_that_all_readers_may_see(database_url: str) -> None:
    """The last attempt's notice has the row's error, which holds no text of the host's."""
    async with world(database_url) as on:
        on.database.flag("checkout-v2")
        await on.planned(updates={"rolloutPercentage": 95}, maxRetries=0)
        guard(on.database, "P0001")
        on.process()

        await on.consume()

        (notice,) = on.found()
        assert (notice["event"], notice["data"]["reason"]) == ("failed", "RetriesExhausted")
        assert notice["data"]["error"] == on.database.row(notice["data"]["scheduleId"])["last_error"]


async def test_a_deleted_flag_fails_its_schedule(database_url: str) -> None:
    """The row goes with the flag; the notice of it says which change will not be made."""
    async with world(database_url) as on:
        on.database.flag("checkout-v2")
        await on.planned()
        on.database.run("DELETE FROM feature_flags")

        await on.consume()

        (notice,) = on.found()
        assert (notice["event"], notice["data"]["reason"]) == ("failed", "FlagDeleted")
        assert notice["subject"] == "production/checkout-v2"


async def test_what_was_not_chosen_makes_no_notice(database_url: str) -> None:
    """The setting chooses, and a status entry that makes no notice is deleted all the same."""
    async with world(database_url, NoticeEvent.FAILED) as on:
        on.database.flag("checkout-v2")
        await on.planned()
        on.process()

        await on.consume()

        assert on.found() == []
        assert on.database.value("SELECT count(*) FROM flag_schedule_status_outbox") == 0


async def test_a_row_that_spoils_its_notice_keeps_no_other_one(database_url: str) -> None:
    """A value of another program's that no notice can hold costs that notice alone, and no status."""
    async with world(database_url) as on:
        for name in ("odd", "good"):
            on.database.flag(name)
            await on.planned(name, flagKey=name)
        on.process()
        on.database.run(
            "UPDATE flag_schedule_objects SET scheduled_at = 'infinity' WHERE name = 'odd';"
            "UPDATE feature_flag_schedules SET scheduled_at = '294276-01-01' WHERE id = "
            "(SELECT schedule_id FROM flag_schedule_objects WHERE name = 'odd');"
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF NEW.data ->> 'name' = 'odd' THEN RAISE 'hunter2' USING ERRCODE = '22003'; END IF; RETURN NEW; END $$;"
            "CREATE TRIGGER refuse BEFORE INSERT ON flag_schedule_notices FOR EACH ROW EXECUTE FUNCTION refuse()"
        )

        with capture_logs() as logs:
            await on.consume()

        assert [notice["data"]["name"] for notice in on.found()] == ["good"]
        assert [line["event"] for line in logs] == ["Notice not kept"]
        assert "hunter2" not in str(logs)
        assert on.database.value("SELECT count(*) FROM flag_schedule_status_outbox") == 0


async def test_an_object_that_is_deleted_at_once_has_its_notice(database_url: str) -> None:
    """Its change was made, though there is no status any more to write it to."""
    async with world(database_url) as on:
        on.database.flag("checkout-v2")
        obj = await on.planned()
        on.process()
        await mirror(on.store, replace(obj, deleting=True))
        await on.consume()
        assert on.events() == []

        await on.notices.add_released()
        await on.notices.add_released()

        assert on.events() == ["applied"]


async def test_a_plans_change_names_its_step(database_url: str) -> None:
    """Plans apply by the same statement; the notice says which plan, step and part it was, and who changed it."""
    async with world(database_url) as on:
        on.database.flag("chat")
        plans = PlanScene(database_url, on.store, "default")
        step = {"name": "night", "at": (on.now + HOUR).isoformat(), "changes": [change("chat")]}
        await plans.reconcile(plans.plan(step, name="ramp"))
        on.database.run("UPDATE flag_plans SET changed_by = 'ann', origin = '4f2a'")
        on.database.run("UPDATE feature_flag_schedules SET scheduled_at = now()")
        on.process()

        await on.consume()

        (notice,) = on.found()
        shown = {
            key: notice["data"].get(key)
            for key in ("kind", "namespace", "name", "step", "part", "reason", "actor", "origin")
        }
        assert shown == {
            "kind": "FlagPlan",
            "namespace": "shop",
            "name": "ramp",
            "step": "night",
            "part": "start",
            "reason": "Applied",
            "actor": "ann",
            "origin": "4f2a",
        }
        assert (notice["subject"], "occurrence" in notice["data"]) == ("production/chat", True)


async def test_what_is_held_has_one_notice(database_url: str) -> None:
    """However often it is looked at, by an operator that restarts, too; a change that is due again has one more."""
    async with world(database_url) as on:
        on.database.flag("checkout-v2")
        await on.planned()
        await on.planned("later", flagKey="checkout-v2")
        on.database.run(
            "UPDATE feature_flag_schedules SET scheduled_at = now() + interval '1 hour' WHERE id = (SELECT "
            "schedule_id FROM flag_schedule_objects WHERE name = 'later')"
        )
        freezes = PostgresFreezeStore(on.store, "default", ())
        await on.notices.add_held()
        assert on.events() == []
        await freezes.replace(freeze(), SCOPE, [Interval((await freezes.look()).now, None)])
        for _ in range(2):
            await PostgresNoticeStore(on.store, "default", ()).add_held()

        (notice,) = on.found()
        assert (notice["event"], notice["data"]["name"]) == ("frozen", "launch")
        assert notice["data"]["freeze"] == {"name": "incident", "reason": "INC-4711"}
        on.database.run("UPDATE feature_flag_schedules SET scheduled_at = scheduled_at + interval '1 second'")
        await on.notices.add_held()
        assert on.events() == ["frozen", "frozen"]


async def test_what_is_too_late_by_an_accident_has_one_notice(database_url: str) -> None:
    """An object that is first seen an hour late is Expired; one of last year is history from Git, and no event."""
    async with world(database_url) as on:
        on.database.flag("checkout-v2")
        late = on.obj(name="late", due=-HOUR)
        for _ in range(2):
            await on.mirror(late)
        await on.mirror(on.obj(name="history", due=timedelta(days=-30)))

        (notice,) = on.found()
        assert (notice["event"], notice["data"]["name"], notice["data"]["reason"]) == ("expired", "late", "Expired")
        assert notice["subject"] == "production/checkout-v2"


async def test_a_step_whose_flag_comes_too_late_has_one_notice(database_url: str) -> None:
    """A change of a plan that has no row, because its flag did not exist in time, has its notice."""
    async with world(database_url) as on:
        plans = PlanScene(database_url, on.store, "default")
        step = {"name": "night", "at": (on.now - HOUR).isoformat(), "changes": [change("chat")]}
        obj = plans.plan(step, name="ramp", created_at=on.now - 2 * HOUR)
        for _ in range(2):
            await plans.reconcile(obj)

        assert [(notice["event"], notice["data"]["step"]) for notice in on.found()] == [("expired", "night")]
