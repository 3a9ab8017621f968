"""A schedule that the database refuses for a reason that is no outcome of a change keeps no other one from its turn."""

import json
import subprocess
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
import redis
from psycopg import sql

from flagschedule.adapters.postgres.process_store import PostgresProcessStore
from flagschedule.domain import backoff
from flagschedule.ports.processing import Batch, ClaimedRow
from flagschedule.services.processing import refusals
from flagschedule.services.processing.report import Summary
from tests import roles
from tests.integration.conftest import Run
from tests.integration.database import Database, connected
from tests.integration.test_process import logged, summary
from tests.support import processing
from tests.waiting import eventually

LONG_AGO = timedelta(hours=-1)


def run_here(database_url: str, seconds: float) -> Summary:
    """Run the processor in this process; without workers, whose connections end with the process only."""
    with PostgresProcessStore(roles.url(database_url, "process")) as store:
        return processing.run(store, concurrency=1, time_budget=seconds)


def refuse(database: Database, body: str, key: str = "refused") -> None:
    """Let the host do this before each change of the flag with this key."""
    database.connection.execute(
        sql.SQL(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN IF NEW.flag_key = {} THEN {}; END IF; RETURN NEW; END $$;"
            "CREATE TRIGGER refuse BEFORE UPDATE ON feature_flags FOR EACH ROW EXECUTE FUNCTION refuse()"
        ).format(sql.Literal(key), sql.SQL(body))
    )


def raising(sqlstate: str) -> str:
    """Return a statement that refuses with this state."""
    return f"RAISE EXCEPTION USING ERRCODE = '{sqlstate}'"


def is_applied(database: Database, schedule: UUID) -> bool:
    """Return whether a row says applied."""
    return bool(database.row(schedule)["status"] == "applied")


def aside(database: Database, schedule: UUID) -> dict[str, Any]:
    """Return how a row stepped aside."""
    (found,) = database.query(
        "SELECT status, retry_count, set_aside_count, set_aside_until - now() AS wait FROM feature_flag_schedules "
        "WHERE id = %s",
        schedule,
    )
    return found


@pytest.mark.parametrize(
    "sqlstate", ["FF001", "42501", "55000", "40001", "55P03", "57014", "08001", "53300", "57P03", "25006", "XX000"]
)
def test_older_rows_that_are_refused_keep_no_later_one_waiting(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch, sqlstate: str
) -> None:
    """150 older rows of a flag that the host refuses, with any SQLSTATE, are set aside; each run applies the others."""
    monkeypatch.setattr(refusals, "PAUSE", 0.0)  # as 0.2 s would be
    refuse(database, raising(sqlstate))
    flag = database.flag("refused")
    database.run(
        "INSERT INTO feature_flag_schedules (flag_id, scheduled_at, updates) SELECT %s, now() - interval '1 h', "
        "jsonb_build_object('rolloutPercentage', n %% 100) FROM generate_series(1, 150) AS n",
        flag,
    )
    runs = 0
    while not runs or database.query(
        "SELECT FROM feature_flag_schedules WHERE flag_id = %s AND last_error IS NULL", flag
    ):
        good = [database.schedule(database.flag(f"good-{runs}-{number}"), {"enabled": True}) for number in range(5)]

        made = run_here(database_url, 3)

        assert {database.row(each)["status"] for each in good} == {"applied"}
        assert (made.processed, made.failed, made.skipped) == (5, 0, 150)
        assert made.set_aside >= 1
        runs += 1
    assert database.value("SELECT min(set_aside_count) FROM feature_flag_schedules WHERE flag_id = %s", flag) >= 1
    assert database.value("SELECT count(*) FROM flag_schedule_attempts WHERE outcome <> 'applied'") == 0
    assert database.value("SELECT count(*) FROM feature_flag_schedules WHERE retry_count > 0") == 0


def test_what_comes_due_while_refused_rows_are_looked_for_is_applied_at_once(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """150 flags are refused in two batches; a change that comes due with the first refusal comes before the others."""
    monkeypatch.setattr(refusals, "ISOLATION", 0.0)  # one try between two batches; as many as 0.2 s allow otherwise
    refuse(database, f"{raising('23514')}; ELSIF NEW.flag_key <> 'good' THEN {raising('23514')}")
    for number in range(150):
        database.schedule(database.flag(f"refused-{number}"), {"enabled": True}, due=LONG_AGO)
    flag = database.flag("good")
    made: list[UUID] = []
    record = PostgresProcessStore.record_failure

    def record_and_plan(store: PostgresProcessStore, row: ClaimedRow, **values: Any) -> Batch:
        if not made:
            made.append(database.schedule(flag, {"enabled": True}, due=timedelta(0)))
        return record(store, row, **values)

    monkeypatch.setattr(PostgresProcessStore, "record_failure", record_and_plan)

    run = run_here(database_url, 50)

    assert (run.processed, run.failed, run.skipped) == (151, 150, 0)
    order = database.query("SELECT schedule_id FROM flag_schedule_attempts ORDER BY attempted_at")
    assert [row["schedule_id"] for row in order].index(made[0]) == 1


def test_who_stepped_aside_is_not_met_first_by_the_next_run(database: Database, flagschedule: Run) -> None:
    """The database remembers for how long a row steps aside: longer each time, and then it counts as failed."""
    refuse(database, raising("FF001"))
    schedule = database.schedule(database.flag("refused"), {"enabled": True})
    waits = []
    for times in range(1, len(backoff.SET_ASIDE_DELAYS) + 1):
        flagschedule("process")
        found = aside(database, schedule)
        assert (found["status"], found["retry_count"], found["set_aside_count"]) == ("pending", 0, times)
        waits.append(found["wait"].total_seconds())
        if times == 1:
            again = flagschedule("process", "--output", "json")  # its time has not come yet
            assert (summary(again)["set_aside"], summary(again)["skipped"]) == (0, 1)
            (line,) = logged(again, "Due schedules left")
            assert (line["reason"], line["schedules"], line["scheduleIds"]) == ("set aside", 1, [str(schedule)])
        database.run("UPDATE feature_flag_schedules SET set_aside_until = now()")
    assert all(wait <= delay < wait + 20 for wait, delay in zip(waits, backoff.SET_ASIDE_DELAYS, strict=True))
    assert database.value("SELECT count(*) FROM flag_schedule_status_outbox") == len(waits)

    run = flagschedule("process", "--output", "json")

    assert (summary(run)["processed"], summary(run)["failed"]) == (1, 1)
    row = database.row(schedule)
    assert (row["status"], row["reason"], row["retry_count"]) == ("failed", "AttemptFailed", 1)
    assert row["last_error"] == "the database refused the change (SQLSTATE FF001)"
    (attempt,) = database.attempts(schedule)
    assert attempt["outcome"] == "failed"

    database.run("DROP TRIGGER refuse ON feature_flags")
    database.run("UPDATE feature_flag_schedules SET next_retry_at = now(), set_aside_until = now()")
    flagschedule("process")
    assert database.row(schedule)["status"] == "applied"


def test_who_stepped_aside_and_failed_for_good_is_not_looked_for(database: Database, flagschedule: Run) -> None:
    """A row that is past its deadline when it is tried again leaves the index of those that stepped aside."""
    past = database.value("SELECT now() - interval '1 min'")
    columns = {"set_aside_count": 2, "set_aside_until": past, "not_after": past}
    schedule = database.schedule(database.flag("late"), {"enabled": True}, due=LONG_AGO, **columns)

    flagschedule("process")

    assert database.row(schedule)["reason"] == "DeadlineExceeded"
    assert aside(database, schedule)["set_aside_count"] == 0


def test_a_slow_flag_makes_no_other_one_late(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a trigger sleeps for 40 s on one flag, the others are changed; the slow one steps aside."""
    monkeypatch.setattr(refusals, "LONGEST_TRY", 5.0)  # as 30 s would be
    refuse(database, "PERFORM pg_sleep(40)")
    slow = [database.schedule(database.flag("refused"), {"enabled": True}, due=LONG_AGO)]
    slow += [
        database.schedule(database.row(slow[0])["flag_id"], {"rolloutPercentage": each}, due=LONG_AGO)
        for each in range(20)
    ]
    stop = threading.Event()

    def run() -> None:
        with PostgresProcessStore(roles.url(database_url, "process")) as store:
            processing.run(store, linger=600, stopping=stop.is_set)

    runner = threading.Thread(target=run)
    runner.start()
    try:
        for number in range(3):  # also while the slow one is being tried alone
            flag = database.flag(f"good-{number}")
            good = database.schedule(flag, {"enabled": True}, due=timedelta(milliseconds=200))
            eventually(partial(is_applied, database, good))
            assert number or not database.query("SELECT FROM feature_flag_schedules WHERE set_aside_count > 0")
        eventually(lambda: database.query("SELECT FROM feature_flag_schedules WHERE set_aside_count > 0"))
    finally:
        stop.set()
        runner.join()
    assert {database.row(each)["status"] for each in slow} == {"pending"}
    assert database.query(
        "SELECT FROM feature_flag_schedules WHERE last_error LIKE 'the change was cancelled, %%(query_canceled)'"
    )


def test_a_row_that_takes_its_time_is_applied(database: Database, flagschedule: Run) -> None:
    """A trigger of a few seconds is longer than a batch may take, and is made all the same, by the same run."""
    refuse(database, "PERFORM pg_sleep(2)")
    schedule = database.schedule(database.flag("refused"), {"enabled": True})
    other = database.schedule(database.flag("other"), {"enabled": True})

    run = flagschedule("process", "--output", "json")

    assert summary(run) == {"processed": 2, "failed": 0, "retried": 0, "superseded": 0, "set_aside": 0}
    assert database.row(other)["applied_at"] < database.row(schedule)["applied_at"]


def test_a_row_refused_by_a_lock_is_tried_again_in_the_same_run(database: Database, flagschedule: Run) -> None:
    """A conflict that has passed at the second try costs neither an attempt nor a run."""
    database.run("CREATE SEQUENCE tries; GRANT USAGE ON tries TO PUBLIC")
    # The batch, its row by itself and the first try on the other connection.
    refuse(database, "IF nextval('tries') < 4 THEN RAISE EXCEPTION USING ERRCODE = '55P03'; END IF")
    schedule = database.schedule(database.flag("refused"), {"enabled": True})

    run = flagschedule("process", "--output", "json")

    assert summary(run) == {"processed": 1, "failed": 0, "retried": 0, "superseded": 0, "set_aside": 0}
    assert database.row(schedule)["status"] == "applied"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("RETURN NULL", "left the flag as it was"),
        ("NEW.enabled := false", "kept enabled at false"),
        ("NEW.rollout_percentage := 25", "kept rolloutPercentage at 25"),
    ],
)
def test_a_change_that_the_host_drops_or_alters_is_a_failed_attempt(
    database: Database, flagschedule: Run, body: str, says: str
) -> None:
    """A change not made as requested is never Applied: it is undone, named, retried, and moves no watermark."""
    refuse(database, body)
    flag = database.flag("refused")
    bent = database.schedule(flag, {"enabled": True, "rolloutPercentage": 23})
    good = database.schedule(database.flag("good"), {"enabled": True})

    run = flagschedule("process", "--output", "json")

    assert summary(run) == {"processed": 2, "failed": 1, "retried": 0, "superseded": 0, "set_aside": 0}
    assert database.row(good)["status"] == "applied"
    row = database.row(bent)
    assert (row["status"], row["reason"], row["retry_count"]) == ("failed", "AttemptFailed", 1)
    assert row["last_error"] == f"the database did not make the change: a trigger, rule or policy {says}"
    (attempt,) = database.attempts(bent)
    assert (attempt["after_enabled"], attempt["after_rollout_percentage"]) == (False, 0)
    assert database.state(flag) == (False, 0)
    assert not database.query("SELECT FROM flag_schedule_watermarks WHERE flag_id = %s", flag)

    database.run("DROP TRIGGER refuse ON feature_flags")
    database.run("UPDATE feature_flag_schedules SET next_retry_at = now() WHERE next_retry_at IS NOT NULL")
    flagschedule("process")
    assert database.state(flag) == (True, 23)


@pytest.mark.parametrize(
    ("undo", "says"),
    [
        ("UPDATE feature_flags SET enabled = false WHERE id = NEW.id", "kept enabled at false"),
        ("UPDATE feature_flags SET rollout_percentage = 25 WHERE id = NEW.id", "kept rolloutPercentage at 25"),
    ],
)
def test_a_change_that_the_host_undoes_afterwards_is_a_failed_attempt(
    database: Database, flagschedule: Run, undo: str, says: str
) -> None:
    """What an AFTER trigger makes of a change is seen, undone and named; other flags are applied."""
    database.run(
        "CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {undo}; RETURN NULL; END $$; "
        "CREATE TRIGGER undo AFTER UPDATE ON feature_flags FOR EACH ROW "
        "WHEN (NEW.flag_key = 'refused' AND pg_trigger_depth() = 0) EXECUTE FUNCTION undo()"
    )
    flag = database.flag("refused")
    undone = database.schedule(flag, {"enabled": True, "rolloutPercentage": 23})
    good = database.schedule(database.flag("good"), {"enabled": True, "rolloutPercentage": 5})

    run = flagschedule("process", "--output", "json")

    assert summary(run) == {"processed": 2, "failed": 1, "retried": 0, "superseded": 0, "set_aside": 0}
    assert (database.row(good)["status"], database.row(undone)["reason"]) == ("applied", "AttemptFailed")
    message = f"the database did not make the change: a trigger, rule or policy {says}"
    assert database.row(undone)["last_error"] == message
    assert database.state(flag) == (False, 0)
    assert not database.query("SELECT FROM flag_schedule_watermarks WHERE flag_id = %s", flag)


def test_the_attempt_shows_what_else_the_host_changed(database: Database, flagschedule: Run) -> None:
    """A trigger that sets another column of the flag along is seen in the attempt."""
    refuse(database, "NEW.rollout_percentage := 100")
    schedule = database.schedule(database.flag("refused"), {"enabled": True})

    flagschedule("process")

    (attempt,) = database.attempts(schedule)
    assert (attempt["outcome"], attempt["after_enabled"], attempt["after_rollout_percentage"]) == ("applied", True, 100)
    assert (attempt["set_enabled"], attempt["set_rollout_percentage"]) == (True, None)


def test_each_attempt_shows_only_what_it_set(database: Database, flagschedule: Run) -> None:
    """Of three schedules of a flag in one batch, none shows another one's value as its own."""
    flag = database.flag("checkout")
    older = database.schedule(flag, {"enabled": True, "rolloutPercentage": 10}, due=timedelta(minutes=-3))
    middle = database.schedule(flag, {"rolloutPercentage": 50}, due=timedelta(minutes=-2))
    latest = database.schedule(flag, {"rolloutPercentage": 90}, due=timedelta(minutes=-1))

    flagschedule("process")

    shown = [
        (attempt["reason"], attempt["after_enabled"], attempt["after_rollout_percentage"])
        for each in (older, middle, latest)
        for attempt in database.attempts(each)
    ]
    assert shown == [("PartlySuperseded", True, 0), ("Superseded", False, 0), ("Applied", False, 90)]


def test_the_reported_time_is_the_time_of_the_change(database: Database, flagschedule: Run) -> None:
    """applied_at comes after what the change waited for; the attempt shows also when it was claimed."""
    refuse(database, "PERFORM pg_sleep(0.2)")
    schedule = database.schedule(database.flag("refused"), {"enabled": True})

    flagschedule("process")

    (attempt,) = database.attempts(schedule)
    applied_at = database.row(schedule)["applied_at"]
    assert attempt["attempted_at"] == applied_at
    assert applied_at - attempt["claimed_at"] >= timedelta(seconds=0.2)


def test_a_long_lock_is_reported(database: Database, flagschedule: Run, database_url: str) -> None:
    """A due schedule whose flag a transaction holds is counted and named as such; the run ends well."""
    flag = database.flag("held")
    held = database.schedule(flag, {"enabled": True})
    with connected(database_url) as other, other.connection.transaction():
        other.run("SELECT FROM feature_flags WHERE id = %s FOR UPDATE", flag)

        run = flagschedule("process", "--output", "json")

    assert (summary(run)["processed"], summary(run)["skipped"]) == (0, 1)
    (line,) = logged(run, "Due schedules left")
    assert (line["reason"], line["scheduleIds"]) == ("locked by another transaction", [str(held)])
    assert database.value("SELECT skipped FROM flag_schedule_runs") == 1


@pytest.mark.parametrize(
    ("policies", "reason"),
    [
        ("", "the flag is hidden from the processor, as by row-level security"),
        (
            "CREATE POLICY see ON feature_flags FOR SELECT USING (true);",
            "locked by another transaction, or kept from the processor by row-level security",
        ),
    ],
    ids=["hidden", "read-only"],
)
def test_flags_that_row_level_security_hides_are_reported(
    database: Database, flagschedule: Run, policies: str, reason: str
) -> None:
    """A due schedule whose flag a policy hides, or shows and does not let change, is counted and reported."""
    database.schedule(database.flag("hidden"), {"enabled": True})
    database.connection.execute(f"ALTER TABLE feature_flags ENABLE ROW LEVEL SECURITY; {policies}".encode())

    run = flagschedule("process", "--output", "json")

    assert (summary(run)["processed"], summary(run)["skipped"]) == (0, 1)
    assert [line["reason"] for line in logged(run, "Due schedules left")] == [reason]


def test_a_policy_that_refuses_the_new_row_keeps_no_other_one(database: Database, flagschedule: Run) -> None:
    """Row-level security that refuses a value (42501) lets that schedule step aside; no right is missing."""
    database.connection.execute(
        b"ALTER TABLE feature_flags ENABLE ROW LEVEL SECURITY;"
        b"CREATE POLICY below_90 ON feature_flags USING (true) WITH CHECK (rollout_percentage < 90)"
    )
    refused = database.schedule(database.flag("refused"), {"rolloutPercentage": 95}, due=LONG_AGO)
    good = database.schedule(database.flag("good"), {"rolloutPercentage": 5})

    run = flagschedule("process", "--output", "json")

    assert summary(run)["set_aside"] == 1
    assert (database.row(good)["status"], database.row(refused)["status"]) == ("applied", "pending")


ODD_TIMES = ["infinity", "-infinity", "0044-03-15 00:00:00+00 BC", "12345-01-01 00:00:00+00"]
ODD_NUMBERS = ["1" + "0" * 5000, "1e100000", "0." + "0" * 5000 + "1"]
DEEP = "[" * 1500 + "]" * 1500
# In a column of the schedule or of its flag; the schedule is due with each of them.
ODD = [
    *[("feature_flags", "updated_at", time) for time in ODD_TIMES],
    *[("feature_flags", "created_at", time) for time in ODD_TIMES],
    *[("feature_flag_schedules", column, time)
      for column in ("created_at", "updated_at", "not_after", "applied_at", "set_aside_until", "next_retry_at")
      for time in ODD_TIMES],
    *[("feature_flag_schedules", "scheduled_at", time) for time in ODD_TIMES[1:3]],
    *[("feature_flag_schedules", "retry_count", number) for number in ("2147483647", "-2147483648")],
    *[("feature_flag_schedules", "arming", number) for number in ("2147483647", "-2147483648")],
    *[("feature_flag_schedules", "set_aside_count", "-2147483648")],
    *[("feature_flag_schedules", "updates", f'{{"rolloutPercentage": {number}}}') for number in ODD_NUMBERS],
    ("feature_flag_schedules", "updates", f'{{"enabled": true, "x": {DEEP}}}'),
    ("feature_flag_schedules", "updates", DEEP),
]  # fmt: skip
REFUSED = ["none", "23514", "FF001"]


@pytest.mark.parametrize("refused", REFUSED)
def test_no_odd_value_stops_a_run(database: Database, flagschedule: Run, refused: str) -> None:
    """With any value that Postgres can hold in a row, refused or not, the run ends well and does the others."""
    if refused != "none":
        database.connection.execute(
            f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.flag_key LIKE 'odd%' THEN "
            f"{raising(refused)}; END IF; RETURN NEW; END $$;"
            "CREATE TRIGGER refuse BEFORE UPDATE ON feature_flags FOR EACH ROW EXECUTE FUNCTION refuse()".encode()
        )
    odd = []
    for number, (table, column, value) in enumerate(ODD):
        flag = database.flag(f"odd-{number}")
        schedule = database.schedule(flag, {"enabled": True}, due=LONG_AGO)
        place = sql.SQL("ALTER TABLE {0} DISABLE TRIGGER USER; UPDATE {0} SET {1} = {2} WHERE id = {3};"
                        "ALTER TABLE {0} ENABLE TRIGGER USER").format(
            sql.Identifier(table), sql.Identifier(column), sql.Literal(value),
            sql.Literal(flag if table == "feature_flags" else schedule),
        )  # fmt: skip
        database.connection.execute(place)
        odd.append(schedule)
    good = [database.schedule(database.flag(f"good-{number}"), {"enabled": True}) for number in range(3)]

    run = flagschedule("process", "--output", "json")

    shown = summary(run)
    assert {database.row(each)["status"] for each in good} == {"applied"}
    assert shown["processed"] + shown["set_aside"] == len(odd) + len(good)
    names = {line["scheduleId"] for line in map(json.loads, run.stderr.splitlines()) if "scheduleId" in line}
    assert names == {str(each) for each in [*odd, *good]}


def test_a_locked_table_lets_a_run_go_on(
    database: Database, database_url: str, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """While the host holds the whole table no row is blamed; once it is free, the same run makes the change."""
    schedule = database.schedule(database.flag("checkout"), {"enabled": True})
    with connected(database_url) as other, other.connection.transaction():
        other.run("LOCK TABLE feature_flags IN SHARE MODE")
        run = start(FLAG_SCHEDULE_LINGER_SECONDS="600")
        waits = "SELECT FROM pg_locks WHERE relation = 'feature_flags'::regclass AND NOT granted"
        eventually(lambda: database.query(waits))
        eventually(lambda: not database.query(waits))  # given up
        eventually(lambda: database.query(waits))

    eventually(partial(is_applied, database, schedule))
    assert run.poll() is None
    assert [attempt["outcome"] for attempt in database.attempts(schedule)] == ["applied"]
    assert not database.query("SELECT FROM feature_flag_schedules WHERE set_aside_count > 0")


def test_one_refused_cache_key_keeps_no_other_one(database: Database, flagschedule: Run, redis_url: str) -> None:
    """A key that Redis refuses to delete is reported and kept for later; the others are deleted, by later runs too."""
    environments = ["production", "forbidden", "staging"]
    for environment in environments:
        database.schedule(database.flag("checkout", environment), {"enabled": True})
        database.schedule(database.flag("cart", environment), {"enabled": True})
    with redis.Redis.from_url(redis_url) as client:
        for environment in environments:
            client.set(f"feature_flags:{environment}", "cached")
        rules = ["reset", "on", ">x", "~feature_flags:production", "~feature_flags:staging", "+del"]
        client.execute_command("ACL SETUSER", "some", *rules)
        url = f"redis://some:x@{redis_url.partition('@')[2]}"
        try:
            run = flagschedule("process", "--output", "json", REDIS_URL=url, FLAG_SCHEDULE_BATCH_SIZE="1")
            again = flagschedule("process", "--output", "json", REDIS_URL=url)
            left = database.query("SELECT environment FROM flag_schedule_cache_outbox")
            keys = client.keys()
            flagschedule("process")
        finally:
            client.execute_command("ACL DELUSER", "some")

        assert keys == [b"feature_flags:forbidden"]
        assert left == [{"environment": "forbidden"}]  # one entry, however many changes there were
        assert client.keys() == []
    assert [summary(each)["refused_cache_keys"] for each in (run, again)] == [1, 1]
    assert [line["environment"] for line in logged(run, "Cache key refused")] == ["forbidden"]
    assert database.query("SELECT FROM flag_schedule_cache_outbox") == []
    assert database.value("SELECT max(refused_cache_keys) FROM flag_schedule_runs") == 1


@pytest.mark.parametrize("time", ["2099-01-01", "infinity"])
def test_a_watermark_of_the_future_silences_no_flag(database: Database, flagschedule: Run, time: str) -> None:
    """What nothing due can have set, as from a row that was migrated, is not believed; a later retry still loses."""
    flag = database.flag("checkout")
    database.run(
        "INSERT INTO flag_schedule_watermarks SELECT %s, %s, gen_random_uuid(), %s, gen_random_uuid()",
        flag, time, time,
    )  # fmt: skip
    older = database.schedule(flag, {"enabled": False}, due=timedelta(minutes=-5), suspended=True)
    newer = database.schedule(flag, {"enabled": True, "rolloutPercentage": 9})

    flagschedule("process")
    database.run("UPDATE feature_flag_schedules SET suspended = false")
    flagschedule("process")

    assert database.state(flag) == (True, 9)
    assert [database.row(each)["reason"] for each in (older, newer)] == ["Superseded", "Applied"]


@pytest.mark.parametrize("batch", ["100", "1"])
def test_a_flag_whose_change_ends_the_connection_keeps_no_other_one(
    database: Database, flagschedule: Run, batch: str
) -> None:
    """A change whose trigger kills the server process is tried alone, on a new connection, and steps aside."""
    refuse(database, "PERFORM pg_terminate_backend(pg_backend_pid())")
    poison = database.schedule(database.flag("refused"), {"enabled": True}, due=LONG_AGO)
    good = [database.schedule(database.flag(f"good-{number}"), {"enabled": True}) for number in range(5)]

    run = flagschedule("process", "--output", "json", FLAG_SCHEDULE_BATCH_SIZE=batch)

    assert {database.row(each)["status"] for each in good} == {"applied"}
    assert (summary(run)["processed"], summary(run)["set_aside"]) == (5, 1)
    assert aside(database, poison)["set_aside_count"] == 1


def test_a_refusal_that_comes_with_the_commit_keeps_no_other_one(database: Database, flagschedule: Run) -> None:
    """A row that a deferred constraint of the host refuses at the commit fails alone."""
    refuse(database, raising("23514"))
    database.run("DROP TRIGGER refuse ON feature_flags")
    database.run(
        "CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON feature_flags DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    refused = database.schedule(database.flag("refused"), {"enabled": True}, due=LONG_AGO)
    good = [database.schedule(database.flag(f"good-{number}"), {"enabled": True}) for number in range(5)]

    run = flagschedule("process", "--output", "json")

    assert {database.row(each)["status"] for each in good} == {"applied"}
    assert (summary(run)["processed"], summary(run)["failed"]) == (6, 1)
    assert database.row(refused)["last_error"] == "the database refused the change (check_violation)"


def test_two_flags_that_may_not_both_be_on_keep_no_other_one(database: Database, flagschedule: Run) -> None:
    """A unique index of the host refuses one of two changes with every try; the rest of the batch is made."""
    database.run("CREATE UNIQUE INDEX only_one ON feature_flags (enabled) WHERE enabled AND flag_key LIKE 'either-%%'")
    either = [database.schedule(database.flag(f"either-{number}"), {"enabled": True}) for number in (1, 2)]
    good = [database.schedule(database.flag(f"good-{number}"), {"enabled": True}) for number in range(5)]

    run = flagschedule("process", "--output", "json")

    assert {database.row(each)["status"] for each in good} == {"applied"}
    assert sorted(database.row(each)["status"] for each in either) == ["applied", "failed"]
    assert (summary(run)["processed"], summary(run)["failed"]) == (7, 1)


def test_a_schedule_whose_flag_is_gone_is_reported(database: Database, flagschedule: Run) -> None:
    """A flag that was deleted while triggers were off, as a restore does it, leaves a row that no claim finds."""
    flag = database.flag("gone")
    dangling = database.schedule(flag, {"enabled": True})
    database.connection.execute(
        b"SET session_replication_role = replica; DELETE FROM feature_flags; SET session_replication_role = origin"
    )

    run = flagschedule("process", "--output", "json")

    assert summary(run)["skipped"] == 1
    (line,) = logged(run, "Due schedules left")
    assert (line["reason"], line["scheduleIds"]) == ("the flag does not exist", [str(dangling)])


def test_schedules_that_row_level_security_hides_are_reported(database: Database, flagschedule: Run) -> None:
    """With row-level security on our own table a run may see nothing that is due: it says so."""
    database.schedule(database.flag("hidden"), {"enabled": True})
    database.connection.execute(b"ALTER TABLE feature_flag_schedules ENABLE ROW LEVEL SECURITY")

    run = flagschedule("process", "--output", "json")

    assert summary(run)["processed"] == 0
    assert logged(run, "Schedules may be hidden by row-level security")
