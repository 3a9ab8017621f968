"""The cleaner on a real Postgres: what was finished long ago goes, nothing else does, and no transaction waits."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, LiteralString
from uuid import UUID, uuid4

import pytest

from flagschedule.adapters.postgres.cleanup_store import PostgresCleanupStore
from flagschedule.domain.retention import Retention
from flagschedule.ports.cleanup import Table
from flagschedule.services.cleanup import Cleaner
from tests import roles
from tests.integration.conftest import Run
from tests.integration.database import Database, connected
from tests.integration.test_process import logged
from tests.waiting import PATIENCE, eventually

NOTHING = {
    "applied": 0,
    "cancelled": 0,
    "failed": 0,
    "attempts": 0,
    "records": 0,
    "changes": 0,
    "notices": 0,
    "runs": 0,
    "refused": 0,
}
ON_32_PAGES = 4000  # rows with the fewest bytes
RETENTION = Retention(applied_days=90, cancelled_days=30)
OLD, YOUNG = 1, -1  # hours beyond an age


def ago(database: Database, days: int, hours: int = 0) -> Any:
    """Return a time by the database's clock."""
    return database.value("SELECT now() - %s * interval '24 hours' - %s * interval '1 hour'", days, hours)


def cleaned(run: subprocess.CompletedProcess[str], *, dry_run: bool = False, complete: bool = True) -> dict[str, int]:
    """Return the counts that `--output json` prints."""
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    assert (found.pop("dry_run"), found.pop("complete"), found.pop("duration") >= 0) == (dry_run, complete, True)
    return found


def finished(database: Database, days: int, hours: int, **columns: Any) -> Any:
    """Insert a row that was finished at a time, by default applied."""
    at = ago(database, days, hours)
    values = {"status": "applied", "applied_at": at, "updated_at": at, **columns}
    return database.schedule(database.flag(f"flag-{uuid4()}"), {"enabled": True}, **values)


def of_object(database: Database, schedule: Any = None, *, deleted_at: Any = None) -> Any:
    """Insert the record of an object with this row."""
    return database.value(
        "INSERT INTO flag_schedule_objects (uid, schedule_id, cluster, namespace, name, generation, created_at, "
        "deleted_at) VALUES (gen_random_uuid(), %s, 'default', 'shop', 'launch', 1, now(), %s) RETURNING uid",
        schedule,
        deleted_at,
    )


def attempt(database: Database, schedule: Any, at: Any) -> None:
    """Insert an attempt of a schedule, made at a time."""
    database.run(
        "INSERT INTO flag_schedule_attempts (schedule_id, arming, attempt, run_id, attempted_at, outcome) "
        "VALUES (%s, 0, 1, 1, %s, 'applied')",
        schedule,
        at,
    )


def left(database: Database) -> set[Any]:
    """Return the rows that are still there."""
    return {row["id"] for row in database.query("SELECT id FROM feature_flag_schedules")}


def test_only_what_was_finished_long_ago_goes(database: Database, flagschedule: Run) -> None:
    """Applied rows go after 90 days, cancelled ones after 30; failed, retrying, pending and suspended ones stay."""
    finished(database, 90, OLD)
    finished(database, 30, OLD, status="cancelled", applied_at=None)
    finished(database, 90, OLD, applied_at=None)  # another program's, which did not say when
    past = ago(database, 4000)
    stay = {
        finished(database, 90, YOUNG),
        finished(database, 30, YOUNG, status="cancelled", applied_at=None),
        finished(database, 4000, OLD, status="failed", applied_at=None),
        finished(database, 4000, OLD, status="failed", applied_at=None, retry_count=1, next_retry_at=past),
        finished(database, 4000, OLD, status="failed", next_retry_at=past, suspended=True),
        finished(database, 4000, OLD, status="pending", applied_at=None),
        finished(database, 4000, OLD, status="pending", applied_at=None, suspended=True),
    }

    run = flagschedule("cleanup", "--output", "json")

    assert cleaned(run) == {**NOTHING, "applied": 2, "cancelled": 1}
    assert left(database) == stay
    (line,) = logged(run, "Cleanup finished")
    assert (line["applied"], line["cancelled"], line["complete"]) == (2, 1, True)


def test_the_ages_are_settings(database: Database, flagschedule: Run) -> None:
    """The ages at which rows are deleted are settings."""
    finished(database, 10, OLD)
    stay = finished(database, 364, OLD, status="cancelled", applied_at=None)

    run = flagschedule(
        "cleanup", "--output", "json", FLAG_SCHEDULE_KEEP_APPLIED_DAYS="10", FLAG_SCHEDULE_KEEP_CANCELLED_DAYS="365"
    )

    assert cleaned(run) == {**NOTHING, "applied": 1}
    assert left(database) == {stay}


def test_attempts_outlive_their_row_by_90_days(database: Database, flagschedule: Run) -> None:
    """An attempt goes 180 days after it was made, if its row is gone; that of a failed row stays as long as the row."""
    kept = finished(database, 4000, OLD, status="failed", applied_at=None)
    attempt(database, kept, ago(database, 4000))
    gone, lately = uuid4(), uuid4()
    attempt(database, gone, ago(database, 180, OLD))
    attempt(database, lately, ago(database, 180, YOUNG))

    assert cleaned(flagschedule("cleanup", "--output", "json")) == {**NOTHING, "attempts": 1}

    assert not database.attempts(gone)
    assert database.attempts(lately)
    assert database.attempts(kept)


def test_records_go_400_days_after_their_object(database: Database, flagschedule: Run) -> None:
    """A record is kept while its object lives, while its row is there, and for 400 days after the deletion."""
    failed = finished(database, 4000, OLD, status="failed", applied_at=None)
    of_object(database, deleted_at=ago(database, 400, OLD))
    stay = {
        of_object(database, deleted_at=ago(database, 400, YOUNG)),
        of_object(database),
        of_object(database, failed, deleted_at=ago(database, 4000)),
    }

    assert cleaned(flagschedule("cleanup", "--output", "json")) == {**NOTHING, "records": 1}

    assert {row["uid"] for row in database.query("SELECT uid FROM flag_schedule_objects")} == stay


def of_plan(database: Database, days: int, hours: int, **columns: Any) -> UUID:
    """Insert a plan's row that was finished at a time, by default applied."""
    made = UUID(int=uuid4().int & ~(0xF << 76) | 8 << 76)
    database.run(
        "UPDATE feature_flag_schedules SET id = %s WHERE id = %s", made, finished(database, days, hours, **columns)
    )
    database.run("UPDATE feature_flag_schedules SET cluster = 'default' WHERE id = %s", made)
    return made


def plan_record(database: Database, name: str, deleted_at: Any = None) -> tuple[UUID, int]:
    """Insert the record of a plan. Returns: its uid and its lineage."""
    lineage: int = database.value(
        "INSERT INTO flag_plan_lineages (cluster, namespace, name) VALUES ('c', 'shop', %s) RETURNING id", name
    )
    uid: UUID = database.value(
        "INSERT INTO flag_plans (uid, lineage, cluster, namespace, name, generation, created_at, planned_from, "
        "deleted_at) VALUES (gen_random_uuid(), %s, 'c', 'shop', %s, 1, now(), now(), %s) RETURNING uid",
        *(lineage, name, deleted_at),
    )
    return uid, lineage


def test_rows_of_plans_go_after_14_days_and_failed_ones_after_90(database: Database, flagschedule: Run) -> None:
    """But never while the end of a window waits for what became of its start."""
    of_plan(database, 14, OLD)
    of_plan(database, 90, OLD, status="failed", applied_at=None)
    open_window = of_plan(database, 400, OLD)
    end = database.schedule(database.flag("end"), {"enabled": False}, requires=1, follows=open_window)
    stay = {
        of_plan(database, 14, YOUNG),
        of_plan(database, 90, YOUNG, status="failed", applied_at=None),
        of_plan(database, 90, OLD, status="failed", applied_at=None, next_retry_at=ago(database, 1)),
    }

    assert cleaned(flagschedule("cleanup", "--output", "json")) == {**NOTHING, "applied": 1, "failed": 1}

    assert left(database) == {*stay, open_window, end}


def test_what_identifies_the_steps_of_a_plan_stays_as_long_as_the_plan(database: Database, flagschedule: Run) -> None:
    """A step that was made long ago is not made again while its plan lives; of others 400 days stay.

    Of a name of which nothing is left, nothing stays.
    """
    for name, deleted_at in (("lives", None), ("gone", ago(database, 400, OLD)), ("empty", ago(database, 400, OLD))):
        _, lineage = plan_record(database, name, deleted_at)
        steps = (("chain", OLD, True), ("cron", OLD, False), *([] if name == "empty" else [("recent", YOUNG, False)]))
        for step, hours, is_chain in steps:
            database.run(
                "INSERT INTO flag_plan_rows (lineage, occurrence, step, part, flag_key, environment, plan, is_chain, "
                "due_at, updates, state) "
                "VALUES (%s, 'o', %s, 'start', 'f', 'e', gen_random_uuid(), %s, %s, '{}', 'applied')",
                *(lineage, step, is_chain, ago(database, 400, hours)),
            )

    assert cleaned(flagschedule("cleanup", "--output", "json")) == {**NOTHING, "records": 8}

    left_over = database.query(
        "SELECT l.name, r.step FROM flag_plan_rows AS r JOIN flag_plan_lineages AS l ON l.id = r.lineage"
    )
    assert {(row["name"], row["step"]) for row in left_over} == {
        ("lives", "chain"),
        ("lives", "recent"),
        ("gone", "recent"),
    }
    assert database.query("SELECT name FROM flag_plans") == [{"name": "lives"}]
    assert {row["name"] for row in database.query("SELECT name FROM flag_plan_lineages")} == {"lives", "gone"}


def test_summaries_of_runs_go_after_a_week(database: Database, flagschedule: Run) -> None:
    """The heartbeat of the processor is kept for 7 days, also of runs that never finished."""
    for hours in (OLD, YOUNG):
        database.run("INSERT INTO flag_schedule_runs (started_at) VALUES (%s)", ago(database, 7, hours))

    assert cleaned(flagschedule("cleanup", "--output", "json")) == {**NOTHING, "runs": 1}

    assert database.value("SELECT count(*) FROM flag_schedule_runs") == 1


def test_a_purged_schedule_still_wins_over_an_older_one(database: Database, flagschedule: Run) -> None:
    """Watermarks are not purged: the late retry of an older schedule sets nothing, although the newer row is gone."""
    flag = database.flag("checkout-v2")
    database.schedule(flag, {"enabled": True})
    flagschedule("process")
    database.run("UPDATE feature_flag_schedules SET applied_at = now() - interval '91 days'")
    assert cleaned(flagschedule("cleanup", "--output", "json"))["applied"] == 1
    older = database.schedule(flag, {"enabled": False}, due=timedelta(days=-5))

    flagschedule("process")

    assert database.row(older)["reason"] == "Superseded"
    assert database.state(flag) == (True, 0)


def test_versions_go_with_the_record_or_after_400_days(database: Database, flagschedule: Run) -> None:
    """Names of people are kept as long as the record of their object, and no longer than that of a deleted one."""
    insert: LiteralString = "INSERT INTO flag_schedule_changes (uid, generation, seen_at) VALUES (%s, %s, %s)"
    living, dead = of_object(database), of_object(database, deleted_at=ago(database, 400, OLD))
    for uid, generation, seen_at in (
        (living, 1, ago(database, 400, OLD)),
        (living, 2, ago(database, 400, YOUNG)),
        (dead, 3, ago(database, 10)),
        (plan_record(database, "plan")[0], 5, ago(database, 1)),
        (uuid4(), 4, ago(database, 1)),
    ):
        database.run(insert, uid, generation, seen_at)

    assert cleaned(flagschedule("cleanup", "--output", "json")) == {**NOTHING, "records": 1, "changes": 3}

    assert [row["generation"] for row in database.query("SELECT generation FROM flag_schedule_changes")] == [2, 5]


def test_notices_go_after_a_week_and_those_of_held_changes_with_them(database: Database, flagschedule: Run) -> None:
    """Delivered or not; the notice of a freeze stays while its change is held, so that there is no second one."""
    held, made = finished(database, 1, OLD, status="pending", applied_at=None), finished(database, 1, OLD)
    insert: LiteralString = (
        "INSERT INTO flag_schedule_notices (cluster, namespace, event, subject, happened_at, data, once, created_at) "
        "VALUES ('default', 'shop', %s, '', now(), jsonb_build_object('scheduleId', %s::text), %s, %s)"
    )
    for event, schedule, once, hours in (
        ("applied", made, None, OLD),
        ("young", made, None, YOUNG),
        ("frozen", made, "made", OLD),
        ("held", held, "held", OLD),
    ):
        database.run(insert, event, schedule, once, ago(database, 7, hours))

    assert cleaned(flagschedule("cleanup", "--output", "json")) == {**NOTHING, "notices": 2}

    assert {row["event"] for row in database.query("SELECT event FROM flag_schedule_notices")} == {"young", "held"}


def test_a_purged_row_leaves_its_outcome_and_notifies_no_object(database: Database, flagschedule: Run) -> None:
    """The object's record keeps state, reason and time; no object has to be looked at for it."""
    row = finished(database, 90, OLD, reason="PartlySuperseded")
    uid = of_object(database, row)
    applied_at = database.row(row)["applied_at"]

    flagschedule("cleanup")

    (record,) = database.query("SELECT * FROM flag_schedule_objects WHERE uid = %s", uid)
    assert (record["schedule_id"], record["state"], record["reason"]) == (row, "applied", "PartlySuperseded")
    assert record["applied_at"] == applied_at
    assert database.query("SELECT * FROM flag_schedule_status_outbox") == []


def test_a_dry_run_counts_and_touches_nothing(database: Database, flagschedule: Run) -> None:
    """`--dry-run` shows what the next run will delete, and changes not even the version of a tuple."""
    of_object(database, finished(database, 90, OLD))
    finished(database, 30, OLD, status="cancelled")
    attempt(database, uuid4(), ago(database, 180, OLD))
    of_object(database, deleted_at=ago(database, 400, OLD))
    database.run("INSERT INTO flag_schedule_runs (started_at) VALUES (%s)", ago(database, 7, OLD))
    tuples: LiteralString = (
        "SELECT xmin, xmax, ctid, tableoid FROM feature_flag_schedules UNION ALL SELECT xmin, xmax, ctid, tableoid "
        "FROM flag_schedule_objects UNION ALL SELECT xmin, xmax, ctid, tableoid FROM flag_schedule_attempts "
        "UNION ALL SELECT xmin, xmax, ctid, tableoid FROM flag_schedule_runs"
    )
    before = database.query(tuples)

    predicted = cleaned(flagschedule("cleanup", "--dry-run", "--output", "json"), dry_run=True)

    assert database.query(tuples) == before
    assert predicted == {**NOTHING, "applied": 1, "cancelled": 1, "attempts": 1, "records": 1, "runs": 1}
    assert cleaned(flagschedule("cleanup", "--output", "json")) == predicted


def test_a_locked_row_is_left_to_the_next_run(database: Database, database_url: str, flagschedule: Run) -> None:
    """The cleaner waits for no row lock; what was held goes the next time."""
    held = finished(database, 90, OLD)
    finished(database, 90, OLD)
    with connected(database_url) as other, other.connection.transaction():
        other.run("SELECT FROM feature_flag_schedules WHERE id = %s FOR UPDATE", held)
        assert cleaned(flagschedule("cleanup", "--output", "json")) == {**NOTHING, "applied": 1}
        assert left(database) == {held}

    assert cleaned(flagschedule("cleanup", "--output", "json")) == {**NOTHING, "applied": 1}


@pytest.fixture
def history(database: Database) -> Database:
    """8,000 old applied rows, half of them of objects, with old attempts; every deletion notes its transaction."""
    database.flag("checkout-v2")
    database.run(
        """
        INSERT INTO feature_flag_schedules (flag_id, scheduled_at, updates, status, applied_at)
        SELECT f.id, now() - interval '1 year', '{"enabled": true}', 'applied', now() - interval '1 year'
        FROM feature_flags AS f, generate_series(1, 8000);

        INSERT INTO flag_schedule_objects (uid, schedule_id, cluster, namespace, name, generation, created_at)
        SELECT s.id, s.id, 'default', 'shop', s.id::text, 1, now() FROM feature_flag_schedules AS s LIMIT 4000;

        INSERT INTO flag_schedule_attempts (schedule_id, arming, attempt, run_id, attempted_at, outcome)
        SELECT s.id, 0, 1, 1, s.applied_at, 'applied' FROM feature_flag_schedules AS s;

        CREATE TABLE deletions (xid xid8 DEFAULT pg_current_xact_id(), rows bigint);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN INSERT INTO deletions (rows) SELECT count(*) FROM gone; RETURN NULL; END $$;
        CREATE TRIGGER note AFTER DELETE ON feature_flag_schedules REFERENCING OLD TABLE AS gone
        FOR EACH STATEMENT EXECUTE FUNCTION note();
        CREATE TRIGGER note AFTER DELETE ON flag_schedule_attempts REFERENCING OLD TABLE AS gone
        FOR EACH STATEMENT EXECUTE FUNCTION note();
        """
    )
    return database


def test_no_transaction_is_long(history: Database, flagschedule: Run) -> None:
    """One transaction deletes the rows of 32 pages at most; attempts are deleted by a later run."""
    assert cleaned(flagschedule("cleanup", "--output", "json")) == {**NOTHING, "applied": 8000}
    assert cleaned(flagschedule("cleanup", "--output", "json")) == {**NOTHING, "attempts": 8000}

    (counts,) = history.query("SELECT sum(rows) AS rows, max(rows) AS most FROM deletions WHERE rows > 0")
    assert counts["rows"] == 16000
    assert counts["most"] < ON_32_PAGES
    assert (
        history.value("SELECT max(total) FROM (SELECT sum(rows) AS total FROM deletions GROUP BY xid) AS t")
        < ON_32_PAGES
    )


@pytest.mark.parametrize("kind", ["records", "attempts", "schedules"])
@pytest.mark.parametrize("analysed", [False, True], ids=["fresh", "analysed"])
def test_a_window_is_read_by_itself(history: Database, database_url: str, kind: Table, analysed: bool) -> None:
    """Each statement reads its pages and nothing else from end to end, however big the tables are."""
    if analysed:
        history.run("ANALYZE")
    with PostgresCleanupStore(database_url, RETENTION) as store:
        statements: list[str] = []
        store._connection.add_notice_handler(lambda notice: statements.append(notice.message_primary or ""))
        store._connection.execute("LOAD 'auto_explain'")
        store._connection.execute("SET auto_explain.log_min_duration = 0")
        store._connection.execute("SET auto_explain.log_level = notice")

        for dry_run in (True, False):
            store.purge(kind, (0, 0), (32, 0), dry_run=dry_run)

    plans = "\n".join(statements)
    assert plans.count("Tid Range Scan") >= 2
    assert "Seq Scan" not in plans


@pytest.fixture
def gate(history: Database, database_url: str) -> Iterator[Database]:
    """Every DELETE of a schedule stops at an advisory lock, which the fixture's database holds until it lets go."""
    history.run(
        """
        CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN OLD; END $$;
        CREATE TRIGGER hold BEFORE DELETE ON feature_flag_schedules FOR EACH STATEMENT EXECUTE FUNCTION hold();
        """
    )
    with connected(database_url) as holder:
        holder.run("SELECT pg_advisory_lock(4711)")
        yield holder


def test_it_stops_after_the_batch_at_hand(gate: Database, history: Database, database_url: str) -> None:
    """SIGTERM lets one transaction finish; the run ends with 0 and says that it is not complete."""
    environment = {"DATABASE_URL": roles.url(database_url, "cleanup"), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "flagschedule", "cleanup", "--output", "json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        waits = "SELECT FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"
        eventually(lambda: history.query(waits))
        process.send_signal(signal.SIGTERM)
        gate.run("SELECT pg_advisory_unlock(4711)")
        assert process.wait(PATIENCE) == 0
        assert process.stdout
        found = json.loads(process.stdout.read())

    assert not found["complete"]
    assert 0 < found["applied"] < ON_32_PAGES
    assert len(left(history)) == 8000 - found["applied"]


def test_a_spent_time_budget_leaves_the_rest_to_the_next_run(history: Database, database_url: str) -> None:
    """A run that is out of time ends orderly."""
    with PostgresCleanupStore(roles.url(database_url, "cleanup"), RETENTION) as store:
        summary = Cleaner(store, dry_run=False, stopping=lambda: False, time_budget=0).run()

    assert not summary.complete
    assert len(left(history)) == 8000


def test_rows_that_the_host_protects_keep_nothing_else(history: Database, flagschedule: Run) -> None:
    """Schedules that a table of the host refers to stay and are named by the run; all others are deleted."""
    history.run(
        "CREATE TABLE notes AS SELECT id FROM (SELECT id, row_number() OVER (ORDER BY ctid) AS n "
        "FROM feature_flag_schedules) AS s WHERE n % 700 = 1"
    )
    history.run("ALTER TABLE notes ADD FOREIGN KEY (id) REFERENCES feature_flag_schedules")
    protected = history.value("SELECT count(*) FROM notes")

    run = flagschedule("cleanup", "--output", "json")

    found = cleaned(run)
    assert found["refused"] == protected == len(left(history)) > 10
    assert found["applied"] == 8000 - protected
    assert [line["kind"] for line in logged(run, "Row left to the next run")] == ["schedules"] * protected


def test_a_database_that_refuses_everything_is_reported(history: Database, flagschedule: Run) -> None:
    """Where every deletion is refused the run ends with 3 and a line that says why, in words of ours."""
    history.run("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'secret'; END $$")
    history.run("CREATE TRIGGER no BEFORE DELETE ON feature_flag_schedules FOR EACH ROW EXECUTE FUNCTION no()")

    run = flagschedule("cleanup")

    assert run.returncode == 3
    assert run.stderr.splitlines()[-1].startswith("flagschedule: the database refused")
    assert "secret" not in run.stderr
    assert len(left(history)) == 8000
