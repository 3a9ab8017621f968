"""Through PgBouncer every program does its work, and the application that shares the sessions feels nothing of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest

from dev.localkind.servers.pgbouncer import PgBouncer
from dev.localkind.servers.postgres import Postgres
from tests import roles
from tests.integration.application import Application
from tests.integration.conftest import Run
from tests.integration.database import Database
from tests.integration.test_mirror_store import Scene, played


@pytest.fixture(scope="module", params=["transaction", "session"])
def pooler(request: pytest.FixtureRequest, postgres: Postgres, migrated_template: str) -> Iterator[PgBouncer]:
    """A pooler with two sessions for each user, so that what one client leaves meets another client soon."""
    assert migrated_template
    with PgBouncer(postgres, request.param, size=2) as pooler:
        yield pooler


def test_the_processor_leaves_nothing_in_a_session(
    pooler: PgBouncer, database: Database, database_url: str, flagschedule: Run
) -> None:
    """A run through a pooler applies what is due; its neighbour's sessions are as new before, meanwhile and after."""
    schedules = [database.schedule(database.flag(f"flag-{n}"), {"enabled": True}) for n in range(300)]
    url = pooler.url(roles.url(database_url, "process"))
    application = Application(url)

    with application.observing():
        done = flagschedule("process", DATABASE_URL=url, FLAG_SCHEDULE_BATCH_SIZE="20")

    assert done.returncode == 0, done.stderr
    assert {database.row(schedule)["status"] for schedule in schedules} == {"applied"}
    assert len(application.found) == 1, application.found
    assert (application.found[0]["prepared"], application.found[0]["locks"]) == (0, 0)


def test_a_refused_row_is_bisected_through_a_pooler(
    pooler: PgBouncer, database: Database, database_url: str, flagschedule: Run
) -> None:
    """A statement that fails in its transaction costs neither the session nor the other rows."""
    database.run("ALTER TABLE feature_flags ADD CHECK (flag_key <> 'flag-7' OR NOT enabled)")
    schedules = [database.schedule(database.flag(f"flag-{n}"), {"enabled": True}) for n in range(20)]

    done = flagschedule("process", DATABASE_URL=pooler.url(database_url))

    assert done.returncode == 0, done.stderr
    assert [n for n, schedule in enumerate(schedules) if database.row(schedule)["status"] != "applied"] == [7]


def test_the_operators_store_leaves_nothing_in_a_session(pooler: PgBouncer, database_url: str) -> None:
    """Objects are mirrored, read and answered for through a pooler, and its neighbour's sessions are as new."""
    url = pooler.url(roles.url(database_url, "operator"))
    application = Application(url)

    async def play(on: Scene) -> None:
        on.database.flag("checkout-v2")
        for n in range(20):
            obj = on.obj(name=f"launch-{n}", due=timedelta(hours=1, minutes=n))
            snapshot = await on.mirror(obj)
            assert snapshot.row
            assert await on.store.snapshot(obj.ref.uid)
        assert [found.row async for found in on.store.snapshots()]
        await on.store.delete_status_entries([1, 2])
        assert await on.store.claim_cluster("uid")
        assert (await on.store.backlog()).due == 0
        await on.store.ping()

    with application.observing():
        played(database_url, play, connect_to=url)

    assert len(application.found) == 1, application.found
    assert (application.found[0]["prepared"], application.found[0]["locks"]) == (0, 0)


def test_the_cleaner_leaves_nothing_in_a_session(
    pooler: PgBouncer, database: Database, database_url: str, flagschedule: Run
) -> None:
    """A cleanup through a pooler deletes what is old, and its neighbour's sessions are as new."""
    schedule = database.schedule(database.flag("old"), {"enabled": True}, status="applied")
    database.run("UPDATE feature_flag_schedules SET applied_at = now() - interval '1 year' WHERE id = %s", schedule)
    url = pooler.url(roles.url(database_url, "cleanup"))
    application = Application(url)

    with application.observing():
        done = flagschedule("cleanup", DATABASE_URL=url)

    assert done.returncode == 0, done.stderr
    assert database.query("SELECT id FROM feature_flag_schedules") == []
    assert len(application.found) == 1, application.found


@pytest.mark.parametrize("program", ["process", "cleanup"])
def test_a_pooler_without_transactions_is_refused(
    postgres: Postgres, database_url: str, flagschedule: Run, program: roles.Program
) -> None:
    """Statement mode ends each program with 2 and a sentence that says which mode to choose."""
    with PgBouncer(postgres, "statement") as pooler:
        ended = flagschedule(program, DATABASE_URL=pooler.url(database_url))

    assert ended.returncode == 2
    assert "pool_mode=transaction" in ended.stderr.splitlines()[-1]


# What other programs leave in a session that they were lent: pg_dump the first one, frameworks the others.
LEFTOVERS = {
    "no search_path": "SELECT set_config('search_path', '', false); SET row_security = off",
    "another schema": "SET search_path = elsewhere",
    "another role": "SET ROLE pg_read_all_data",
    "temporary tables": "CREATE TEMP TABLE feature_flags (); CREATE TEMP TABLE feature_flag_schedules (); "
    "CREATE TEMP TABLE flag_schedule_objects (); CREATE TEMP TABLE flag_schedule_runs ()",
    "read-only transactions": "SET default_transaction_read_only = on; SET default_transaction_deferrable = on",
    "timeouts": "SET statement_timeout = 2000; SET lock_timeout = 1; SET idle_in_transaction_session_timeout = 2000",
}


@pytest.mark.parametrize("left", LEFTOVERS)
def test_what_a_neighbour_left_does_no_harm(
    postgres: Postgres, database: Database, database_url: str, flagschedule: Run, left: str
) -> None:
    """Processor, operator and cleaner do their work in any session that another client of the pool left."""
    database.connection.execute(
        "CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.flag_schedule_runs (); "
        "GRANT USAGE ON SCHEMA elsewhere TO PUBLIC"
    )
    schedule = database.schedule(database.flag("checkout-v2"), {"enabled": True})
    old = database.schedule(database.flag("old"), {"enabled": True}, status="applied")
    database.run("UPDATE feature_flag_schedules SET applied_at = now() - interval '1 year' WHERE id = %s", old)

    async def play(on: Scene) -> None:
        obj = on.obj(due=timedelta(hours=1))
        assert (await on.mirror(obj)).row
        await on.store.ping()

    with PgBouncer(postgres, "transaction", size=1) as pooler, in_another_role(database):
        urls = {program: pooler.url(roles.url(database_url, program)) for program in ("process", "operator", "cleanup")}
        for url in urls.values():
            with psycopg.connect(url, autocommit=True, prepare_threshold=None) as neighbour:
                neighbour.execute(LEFTOVERS[left].encode())
        done = flagschedule("process", DATABASE_URL=urls["process"])
        played(database_url, play, connect_to=urls["operator"])
        cleaned = flagschedule("cleanup", DATABASE_URL=urls["cleanup"])

    assert (done.returncode, cleaned.returncode) == (0, 0), done.stderr + cleaned.stderr
    assert database.row(schedule)["status"] == "applied"
    assert database.query("SELECT FROM feature_flag_schedules WHERE id = %s", old) == []


@contextmanager
def in_another_role(database: Database) -> Iterator[None]:
    """Let the programs' users change to the role that a neighbour leaves."""
    users = "flags_process, flags_operate, flags_clean"
    database.connection.execute(f"GRANT pg_read_all_data TO {users}".encode())
    try:
        yield
    finally:
        database.connection.execute(f"REVOKE pg_read_all_data FROM {users}".encode())
