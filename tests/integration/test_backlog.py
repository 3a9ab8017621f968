"""What the metrics say of the database, on a real Postgres."""

import asyncio
from datetime import timedelta

import pytest

from flagschedule.adapters.postgres.mirror_store import PostgresMirrorStore
from flagschedule.ports.measuring import Backlog
from tests import roles
from tests.integration.conftest import Run
from tests.integration.database import Database, connected


def _backlogs(url: str, *between: object) -> list[Backlog]:
    async def query() -> list[Backlog]:
        async with PostgresMirrorStore(roles.url(url, "operator"), "default", ()) as store:
            found = [await store.backlog()]
            for step in between:
                assert callable(step)
                step()
                found.append(await store.backlog())
            return found

    return asyncio.run(query())


def test_it_counts_what_waits(database: Database, database_url: str) -> None:
    """Due schedules, retries and outboxes are counted for every writer; what is held, planned or done is not."""
    flag = database.flag("checkout")
    change = {"enabled": True}
    database.schedule(flag, change, due=timedelta(minutes=-3))
    database.schedule(flag, change, due=timedelta(minutes=-1))
    database.schedule(flag, change, suspended=True)
    database.schedule(flag, change, due=timedelta(minutes=1))
    database.schedule(flag, change, status="applied")
    database.schedule(flag, change, status="failed")
    retrying = database.schedule(flag, change, status="failed")
    database.run("UPDATE feature_flag_schedules SET next_retry_at = now() + interval '1 hour' WHERE id = %s", retrying)
    database.run("DELETE FROM flag_schedule_status_outbox")
    database.run("INSERT INTO flag_schedule_status_outbox (schedule_id) SELECT id FROM feature_flag_schedules LIMIT 3")
    database.run("INSERT INTO flag_schedule_cache_outbox (environment) VALUES ('production')")

    (found,) = _backlogs(database_url)

    assert (found.due, found.retrying, found.status_entries, found.cache_entries) == (2, 1, 3, 1)
    assert 180 <= found.oldest_due < 240
    assert (found.run_age, found.run_duration) == (None, None)


def test_what_a_freeze_holds_is_counted_apart(database: Database, database_url: str) -> None:
    """Held schedules are no backlog, in number and in age; a freeze of a cluster without a sign of life is counted."""
    held, free = database.flag("checkout"), database.flag("other")
    database.schedule(held, {"enabled": True}, due=timedelta(hours=-3))
    retry = database.schedule(held, {"enabled": True}, status="failed")
    database.run("UPDATE feature_flag_schedules SET next_retry_at = now() WHERE id = %s", retry)
    database.schedule(free, {"enabled": True}, due=timedelta(minutes=-3))
    database.run(
        "INSERT INTO flag_schedule_freezes (cluster, uid, name, reason, starts_at, flag_keys) "
        "VALUES ('c', gen_random_uuid(), 'incident', '', now(), '{check%}')"
    )

    def show_a_sign_of_life() -> None:
        database.run("INSERT INTO flag_schedule_clusters (name, kube_system_uid) VALUES ('c', 'x')")
        database.run("DELETE FROM feature_flags WHERE flag_key = 'other'")

    first, second = _backlogs(database_url, show_a_sign_of_life)

    assert (first.due, first.retrying, first.held, first.active_freezes, first.orphan_freezes) == (1, 0, 2, 1, 1)
    assert 180 <= first.oldest_due < 240
    assert (second.due, second.held, second.oldest_due, second.orphan_freezes) == (0, 2, 0, 0)


def test_a_lock_on_the_flags_hides_no_metrics(database: Database, database_url: str) -> None:
    """While the application locks its table what is held counts as due, and all else is as it is."""
    database.schedule(database.flag("checkout"), {"enabled": True})
    database.run(
        "INSERT INTO flag_schedule_freezes (cluster, uid, name, reason, starts_at) "
        "VALUES ('c', gen_random_uuid(), 'incident', '', now())"
    )

    with connected(database_url) as other, other.connection.transaction():
        other.run("LOCK TABLE feature_flags")
        (found,) = _backlogs(database_url)

    assert (found.due, found.held, found.active_freezes) == (1, 0, 1)


def test_it_counts_each_run_once(database: Database, database_url: str, flagschedule: Run) -> None:
    """Runs are counted from the first look on, each once, with what the runs themselves said."""
    flag = database.flag("checkout")

    def run() -> None:
        database.schedule(flag, {"enabled": True})
        database.schedule(flag, {"rolloutPercentage": 700})
        assert flagschedule("process").returncode == 0
        # Simulate two seconds, the time that a run may take to commit its end.
        database.run("UPDATE flag_schedule_runs SET finished_at = finished_at - interval '2 seconds'")

    run()
    first, second, third = _backlogs(database_url, run, lambda: None)

    nothing = dict.fromkeys(
        ("processed", "failed", "retried", "superseded", "set_aside", "skipped", "refused_cache_keys"), 0
    )
    assert dict(first.runs) == nothing
    assert dict(second.runs) == {**nothing, "processed": 2, "failed": 1}
    assert dict(third.runs) == nothing
    assert second.run_age is not None
    assert 2 <= second.run_age < 60
    assert second.run_duration is not None


@pytest.mark.parametrize("time", ["2099-01-01", "infinity", "-infinity", "0044-03-15 00:00:00+00 BC"])
def test_no_odd_time_of_a_run_or_row_blinds_the_metrics(database: Database, database_url: str, time: str) -> None:
    """No odd time breaks the metrics, and a run's end in the future does not count, since it would silence an alert."""
    database.run("INSERT INTO flag_schedule_runs (started_at, finished_at) VALUES (%s, %s)", time, time)
    database.run(
        "INSERT INTO flag_schedule_runs (started_at, finished_at) SELECT now() - interval '1 h', now() - interval '1 h'"
    )
    schedule = database.schedule(database.flag("checkout"), {"enabled": True})
    database.run("UPDATE feature_flag_schedules SET scheduled_at = %s WHERE id = %s", time, schedule)

    (found,) = _backlogs(database_url)

    assert found.run_age == pytest.approx(3600, abs=60)
    assert found.due == int(time not in {"2099-01-01", "infinity"})
