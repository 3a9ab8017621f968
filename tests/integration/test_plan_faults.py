"""Plans whose rows are locked, lost with their flag, or moved to another chain by an edit."""

import asyncio

from tests.integration.conftest import Run
from tests.integration.database import Database, connected
from tests.integration.test_flagplans import SECOND, Scene, played
from tests.support.plans import change
from tests.unit.builders import rfc3339


def test_a_step_that_was_made_is_not_made_again_when_chains_are_joined(database_url: str, flagschedule: Run) -> None:
    """E: at becomes after."""

    async def play(on: Scene, database: Database) -> None:
        for key in ("one", "two"):
            database.flag(key)
        t1, t2 = on.now - 20 * SECOND, on.now - 10 * SECOND
        five = {"name": "five", "at": rfc3339(t1), "changes": [change("one", rolloutPercentage=5)]}
        quarter = {"name": "quarter", "at": rfc3339(t2), "changes": [change("two", rolloutPercentage=25)]}
        last = {"name": "all", "after": "24h", "changes": [change("two", rolloutPercentage=100)]}
        obj = on.plan(five, quarter, last)
        await on.reconcile(obj)
        await asyncio.to_thread(flagschedule, "process")
        await on.reconcile(obj)
        made = database.value("SELECT count(*) FROM feature_flag_schedules WHERE status = 'applied'")
        assert made == 2
        joined = {"name": "quarter", "after": "10s", "changes": quarter["changes"]}
        edited = on.plan(five, joined, last, uid=obj.ref.uid, generation=2)
        await on.reconcile(edited)
        await asyncio.to_thread(flagschedule, "process")
        await on.reconcile(edited)
        assert (
            database.value("SELECT count(*) FROM feature_flag_schedules WHERE updates = '{\"rolloutPercentage\": 5}'")
            == 1
        )

    played(database_url, play)


def test_a_flag_that_is_made_again_is_planned_again(database_url: str) -> None:
    """The host deletes a flag and makes it again, as a script that seeds a table does."""

    async def play(on: Scene, database: Database) -> None:
        flag = database.flag("chat")
        obj = on.plan({"name": "hourly", "cron": "0 * * * *", "changes": [change()]}, timeZone="UTC")
        await on.reconcile(obj)
        database.run("DELETE FROM feature_flags WHERE id = %s", flag)
        await on.reconcile(obj)
        database.flag("chat")
        await on.reconcile(obj)

        assert database.value("SELECT count(*) FROM feature_flag_schedules") > 100

    played(database_url, play)


def test_one_locked_row_keeps_no_other_row_from_being_held(database_url: str) -> None:
    """A person suspends a plan while another client has one of its rows locked."""

    async def play(on: Scene, database: Database) -> None:
        database.flag("chat")
        step = {"name": "hourly", "cron": "0 * * * *", "changes": [change()]}
        obj = on.plan(step, timeZone="UTC")
        await on.reconcile(obj)
        held = on.plan(step, timeZone="UTC", uid=obj.ref.uid, suspend=True, generation=2)
        with connected(database_url) as other, other.connection.transaction():
            other.run("SELECT FROM feature_flag_schedules ORDER BY scheduled_at DESC LIMIT 1 FOR UPDATE")
            await on.store.hold(held)
            assert database.value("SELECT count(*) FROM feature_flag_schedules WHERE suspended") > 100

    played(database_url, play)
