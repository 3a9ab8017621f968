"""What the database refuses, and what no schedule is to blame for."""

from datetime import timedelta
from typing import Any

import pytest

from flagschedule.adapters.postgres.process_store import PostgresProcessStore
from flagschedule.ports.processing import Batch, ClaimedRow
from tests import roles
from tests.integration.conftest import Run
from tests.integration.database import Database
from tests.integration.test_process import logged, summary
from tests.support import processing

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


def test_a_refused_row_is_retried_and_blocks_no_other(database: Database, flagschedule: Run) -> None:
    """Of 40 rows in a batch the refused one is planned again with backoff, the others are applied at once."""
    guard(database, "P0001")
    good = [database.schedule(database.flag(f"flag-{number}"), {"enabled": True}) for number in range(39)]
    bad = database.schedule(database.flag("bad"), {"rolloutPercentage": 95})

    run = flagschedule("process", "--output", "json")

    assert summary(run) == {"processed": 40, "failed": 1, "retried": 0, "superseded": 0, "set_aside": 0}
    assert {database.row(each)["status"] for each in good} == {"applied"}
    counted = database.value("SELECT attempts FROM flag_schedule_runs")
    assert counted == {"1 applied": 39, "1 failed raise_exception": 1}
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

        def record_failure(self, row: ClaimedRow, **plan: Any) -> Batch:
            database.run("UPDATE feature_flag_schedules SET updates = '{\"rolloutPercentage\": 5}'")
            return super().record_failure(row, **plan)

    with MendedMeanwhile(roles.url(database_url, "process")) as store:
        processing.run(store)

    assert database.row(row)["status"] == "applied"
    assert [attempt["outcome"] for attempt in database.attempts(row)] == ["applied"]


def test_no_detail_of_the_database_is_shown(database: Database, flagschedule: Run) -> None:
    """Row, attempt and log name the kind of refusal, never the text that the server gave: it may hold values."""
    guard(database, "23514")
    bad = database.schedule(database.flag("bad"), {"rolloutPercentage": 95})

    run = flagschedule("process", FLAG_SCHEDULE_LOG_LEVEL="DEBUG")

    assert database.row(bad)["last_error"] == "the database refused the change (check_violation)"
    assert "secret detail" not in run.stderr + run.stdout
    assert "secret detail" not in str(database.attempts(bad))


@pytest.mark.parametrize("sqlstate", ["P0001", "FF001"])
@pytest.mark.parametrize("shown", [False, True])
def test_what_a_trigger_says_is_kept_for_those_who_may_read_it(
    database: Database, flagschedule: Run, sqlstate: str, shown: bool
) -> None:
    """The text that a host's trigger raises is in the attempt, cut and escaped; in the row only by a setting."""
    database.run("CREATE FUNCTION says() RETURNS text RETURN E'frozen by change board\\x1b[31m' || repeat('x', 600)")
    database.run(GUARD.replace("'secret detail of the host'", "'%', says()"))
    create = f"CREATE TRIGGER guard BEFORE UPDATE ON feature_flags FOR EACH ROW EXECUTE FUNCTION guard('{sqlstate}')"
    database.connection.execute(create.encode())
    columns = {} if sqlstate == "P0001" else {"set_aside_count": 5, "set_aside_until": database.value("SELECT now()")}
    bad = database.schedule(database.flag("bad"), {"rolloutPercentage": 95}, **columns)

    run = flagschedule("process", FLAG_SCHEDULE_SHOW_DATABASE_MESSAGES=str(shown))

    (attempt,) = database.attempts(bad)
    text = attempt["error"].partition("): ")[2]
    assert text.startswith("frozen by change board\\x1b[31mxxx")
    assert len(text) <= 510
    row = database.row(bad)
    assert [("frozen" in each) for each in (row["last_error"], row["error_message"], run.stderr)] == [shown] * 3


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
    """An error of no known kind consumes no attempt: the row steps aside, counted and logged; the others go on."""
    guard(database, "42883")
    bad = database.schedule(database.flag("bad"), {"rolloutPercentage": 95})
    good = database.schedule(database.flag("good"), {"rolloutPercentage": 5})
    before = database.row(bad)

    run = flagschedule("process", "--output", "json")

    assert summary(run) == {"processed": 1, "failed": 0, "retried": 0, "superseded": 0, "set_aside": 1, "skipped": 1}
    assert database.row(bad) == {**before, "last_error": "the database refused the change (undefined_function)"}
    assert database.row(good)["status"] == "applied"
    assert logged(run, "Schedule set aside")[0]["scheduleId"] == str(bad)


def test_rows_set_aside_by_connections_at_once_are_counted_once(database: Database, flagschedule: Run) -> None:
    """However many connections meet such a row at the same time, it is one row; the others go on."""
    guard(database, "42883")
    bad = [database.schedule(database.flag(f"bad-{number}"), {"rolloutPercentage": 95}) for number in range(40)]
    good = [database.schedule(database.flag(f"good-{number}"), {"rolloutPercentage": 5}) for number in range(40)]

    run = flagschedule("process", "--output", "json", FLAG_SCHEDULE_BATCH_SIZE="8", FLAG_SCHEDULE_CONCURRENCY="4")

    assert summary(run) == {"processed": 40, "failed": 0, "retried": 0, "superseded": 0, "set_aside": 40, "skipped": 40}
    lines = logged(run, "Schedule set aside")
    assert sorted(line["scheduleId"] for line in lines) == sorted(map(str, bad))
    assert {database.row(each)["status"] for each in good} == {"applied"}


@pytest.mark.parametrize(
    "sabotage",
    [
        "ALTER TABLE flag_schedule_attempts RENAME TO away",
        "ALTER TABLE feature_flags RENAME TO away",
    ],
    ids=["table missing", "flags missing"],
)
def test_what_no_row_is_to_blame_for_consumes_nothing(database: Database, flagschedule: Run, sabotage: str) -> None:
    """A failure of the whole database ends the run with code 3 and one line, and consumes no attempt."""
    schedule = database.schedule(database.flag("checkout-v2"), {"enabled": True})
    before = database.row(schedule)
    database.connection.execute(sabotage.encode())

    run = flagschedule("process")

    assert run.returncode == 3
    assert run.stderr.splitlines()[-1].startswith("flagschedule: the database")
    assert "Traceback" not in run.stderr
    assert database.row(schedule) == before
