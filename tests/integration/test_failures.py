"""What the database refuses, and what no schedule is to blame for."""

from datetime import timedelta
from typing import Any

import pytest

from flagschedule.adapters.postgres.process import PostgresProcessStore
from flagschedule.ports import Batch, Claimable
from flagschedule.services.process import Pace, Processor
from tests import roles
from tests.integration.conftest import Run
from tests.integration.database import Database
from tests.integration.test_process import logged, summary

# A host's own rule: no flag above 90 %; the error class is chosen by the test.
GUARD = """
CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.rollout_percentage > 90 THEN
        RAISE EXCEPTION 'secret detail of the host' USING ERRCODE = TG_ARGV[0];
    END IF;
    RETURN NEW;
END $$;
"""


def guard(database: Database, sqlstate: str) -> None:
    """Let the host refuse values above 90 with this SQLSTATE."""
    database.run(GUARD)
    create = f"CREATE TRIGGER guard BEFORE UPDATE ON feature_flags FOR EACH ROW EXECUTE FUNCTION guard('{sqlstate}')"
    database.connection.execute(create.encode())


def make_due(database: Database) -> None:
    """Let the planned retries be due."""
    database.run("UPDATE feature_flag_schedules SET next_retry_at = now() WHERE next_retry_at IS NOT NULL")


def test_a_refused_row_is_retried_and_blocks_nobody(database: Database, flagschedule: Run) -> None:
    """Of 40 rows in a batch the refused one is planned again with backoff, the others are applied at once."""
    guard(database, "P0001")
    good = [database.schedule(database.flag(f"flag-{number}"), {"enabled": True}) for number in range(39)]
    bad = database.schedule(database.flag("bad"), {"rolloutPercentage": 95})

    run = flagschedule("process", "--output", "json")

    assert summary(run) == {"processed": 40, "failed": 1, "retried": 0, "superseded": 0, "set_aside": 0}
    assert {database.row(each)["status"] for each in good} == {"applied"}
    row = database.row(bad)
    assert (row["status"], row["reason"], row["retry_count"]) == ("failed", "AttemptFailed", 1)
    wait = row["next_retry_at"] - database.value("SELECT now()")
    assert timedelta(minutes=1, seconds=50) < wait <= timedelta(minutes=2, seconds=30)
    (line,) = logged(run, "Failed to apply schedule")
    assert (line["scheduleId"], line["retryCount"], line["flagKey"]) == (str(bad), 1, "bad")
    assert line["nextRetryAt"]


@pytest.mark.parametrize("state", [{}, {"status": "failed", "retry_count": 1, "max_retries": 1}])
def test_a_row_that_is_mended_meanwhile_is_not_blamed(
    database: Database, database_url: str, state: dict[str, Any]
) -> None:
    """An edit between refusal and record is not counted as failed: it is tried at once, with all its retries."""
    guard(database, "P0001")
    planned = {"max_retries": 0, **state}
    if state:
        planned["next_retry_at"] = database.value("SELECT now()")
    row = database.schedule(database.flag("checkout"), {"rolloutPercentage": 95}, **planned)

    class MendedMeanwhile(PostgresProcessStore):
        """The edit comes at the worst moment."""

        def record_failure(self, row: Claimable, **plan: Any) -> Batch:
            database.run("UPDATE feature_flag_schedules SET updates = '{\"rolloutPercentage\": 5}'")
            return super().record_failure(row, **plan)

    with MendedMeanwhile(roles.url(database_url, "process")) as store:
        Processor(store, None, Pace()).run()

    assert database.row(row)["status"] == "applied"
    assert [attempt["outcome"] for attempt in database.attempts(row)] == ["applied"]


def test_no_detail_of_the_database_is_shown(database: Database, flagschedule: Run) -> None:
    """Row, attempt and log name the kind of refusal, never the text that the database gave."""
    guard(database, "P0001")
    bad = database.schedule(database.flag("bad"), {"rolloutPercentage": 95})

    run = flagschedule("process", FLAG_SCHEDULE_LOG_LEVEL="DEBUG")

    assert database.row(bad)["last_error"] == "the database refused the change (raise_exception)"
    assert "secret detail" not in run.stderr + run.stdout
    assert "secret detail" not in str(database.attempts(bad))


def test_success_on_a_retry_clears_the_failure(database: Database, flagschedule: Run) -> None:
    """Once the host allows it the retry succeeds; the error is gone, the count stays, the log says on retry."""
    guard(database, "P0001")
    flag = database.flag("bad")
    bad = database.schedule(flag, {"rolloutPercentage": 95})
    flagschedule("process")
    database.run("DROP TRIGGER guard ON feature_flags")
    make_due(database)

    run = flagschedule("process", "--output", "json")

    row = database.row(bad)
    assert summary(run)["retried"] == 1
    assert (row["status"], row["last_error"], row["error_message"], row["next_retry_at"]) == (
        "applied",
        None,
        None,
        None,
    )
    assert database.state(flag) == (False, 95)
    assert logged(run, "Schedule applied on retry")[0]["retryCount"] == 1


def test_a_row_that_alone_provokes_the_unknown_is_set_aside(database: Database, flagschedule: Run) -> None:
    """An error of no known kind consumes no attempt: the row is left, counted and logged; the others go on."""
    guard(database, "42883")
    bad = database.schedule(database.flag("bad"), {"rolloutPercentage": 95})
    good = database.schedule(database.flag("good"), {"rolloutPercentage": 5})
    before = database.row(bad)

    run = flagschedule("process", "--output", "json")

    assert summary(run) == {"processed": 1, "failed": 0, "retried": 0, "superseded": 0, "set_aside": 1}
    assert database.row(bad) == before
    assert database.row(good)["status"] == "applied"
    assert logged(run, "Schedule set aside for this run")[0]["scheduleId"] == str(bad)


def test_rows_set_aside_by_connections_at_once_are_counted_once(database: Database, flagschedule: Run) -> None:
    """However many connections meet such a row at the same time, it is one row; the others go on."""
    guard(database, "42883")
    bad = [database.schedule(database.flag(f"bad-{number}"), {"rolloutPercentage": 95}) for number in range(40)]
    good = [database.schedule(database.flag(f"good-{number}"), {"rolloutPercentage": 5}) for number in range(40)]

    run = flagschedule("process", "--output", "json", FLAG_SCHEDULE_BATCH_SIZE="8", FLAG_SCHEDULE_CONCURRENCY="4")

    assert summary(run) == {"processed": 40, "failed": 0, "retried": 0, "superseded": 0, "set_aside": 40}
    lines = logged(run, "Schedule set aside for this run")
    assert sorted(line["scheduleId"] for line in lines) == sorted(map(str, bad))
    assert {database.row(each)["status"] for each in good} == {"applied"}


@pytest.mark.parametrize(
    "sabotage",
    [
        "ALTER TABLE flag_schedule_attempts RENAME TO away",
        "ALTER TABLE feature_flags RENAME TO away",
        """DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database());
        END $$""",
    ],
    ids=["table missing", "flags missing", "read-only"],
)
def test_what_no_row_is_to_blame_for_consumes_nothing(database: Database, flagschedule: Run, sabotage: str) -> None:
    """Trouble of the database ends the run with code 3 and one line, and no attempt is consumed."""
    schedule = database.schedule(database.flag("checkout-v2"), {"enabled": True})
    before = database.row(schedule)
    database.connection.execute(sabotage.encode())

    run = flagschedule("process")

    assert run.returncode == 3
    assert run.stderr.splitlines()[-1].startswith("flagschedule: the database")
    assert "Traceback" not in run.stderr
    assert database.row(schedule) == before
