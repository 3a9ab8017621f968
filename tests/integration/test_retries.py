"""Retries: how many, how long apart, and what consumes none."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, LiteralString

import pytest

from flagschedule.adapters.postgres.process_store import PostgresProcessStore
from flagschedule.bootstrap import processing
from flagschedule.domain.errors import DependencyUnavailableError, StatementRefusedError
from flagschedule.ports.processing import ClaimedRow
from flagschedule.settings import Settings
from tests import roles
from tests.integration.conftest import Run
from tests.integration.database import Database, connected
from tests.integration.test_failures import guard, make_due
from tests.integration.test_process import logged
from tests.waiting import PATIENCE, eventually

MOST: Final = 10
# The rule of the original in seconds, with its cap of an hour less the jitter; written down, not computed.
WAITS: Final = (120, 240, 480, 960, 1920, 3570, 3570, 3570, 3570, 3570)
JITTER: Final = 30


def wait(database: Database, schedule: object) -> float | None:
    """Return the seconds from the last failure to the next attempt, or None."""
    found: float | None = database.value(
        "SELECT extract(epoch FROM next_retry_at - updated_at)::float8 FROM feature_flag_schedules WHERE id = %s",
        schedule,
    )
    return found


def test_max_retries_follow_the_first_attempt(database: Database, flagschedule: Run) -> None:
    """For each maximum from 0 to 10: exactly so many retries, each after its wait; then the end is logged, once."""
    guard(database, "23514")
    bad = [
        database.schedule(database.flag(f"bad-{most}"), {"rolloutPercentage": 95}, max_retries=most)
        for most in range(MOST + 1)
    ]

    for attempt in range(1, MOST + 3):
        run = flagschedule("process")

        for most, schedule in enumerate(bad):
            row = database.row(schedule)
            if attempt <= most:
                waited = wait(database, schedule)
                assert (row["status"], row["reason"], row["retry_count"]) == ("failed", "AttemptFailed", attempt)
                assert waited is not None
                assert WAITS[attempt - 1] <= waited <= WAITS[attempt - 1] + JITTER
            else:
                assert (row["status"], row["reason"], row["retry_count"]) == ("failed", "RetriesExhausted", most)
                assert row["next_retry_at"] is None
        ends = [(line["flagKey"], line["retryCount"]) for line in logged(run, "Retry limit exceeded")]
        assert ends == [(f"bad-{attempt - 1}", attempt - 1)] * (attempt <= MOST + 1)
        make_due(database)

    for most, schedule in enumerate(bad):
        attempts = database.attempts(schedule)
        assert [each["attempt"] for each in attempts] == list(range(1, most + 2))
        assert [each["reason"] for each in attempts] == ["AttemptFailed"] * most + ["RetriesExhausted"]


def test_the_jitter_is_even(database: Database, database_url: str) -> None:
    """2,500 waits drawn by Postgres lie in their rule's 30 seconds, evenly by the test of Kolmogorov and Smirnov."""
    each = 250
    flag = database.flag("bad")
    database.run(
        "INSERT INTO feature_flag_schedules "
        "(flag_id, scheduled_at, updates, status, max_retries, retry_count, next_retry_at) "
        "SELECT %s, now(), '{}', 'failed', 10, c, now() FROM generate_series(0, 9) AS c, generate_series(1, %s)",
        flag,
        each,
    )
    rows = database.query(
        "SELECT id, retry_count, xmin::text AS version FROM feature_flag_schedules ORDER BY retry_count"
    )
    with PostgresProcessStore(roles.url(database_url, "process")) as store:
        store.start_run()
        store._connection.execute("SELECT setseed(0.4711)")  # the same draw in every run of this test
        for row in rows:
            seen = ClaimedRow(schedule_id=row["id"], flag_id=flag, version=row["version"])
            store.record_failure(seen, error="no", attempt_error="no")

    jitters = sorted((wait(database, row["id"]) or 0) - WAITS[row["retry_count"]] for row in rows)

    assert len(jitters) == MOST * each
    assert jitters[0] >= 0
    assert jitters[-1] <= JITTER
    steps = [(number / len(jitters), value / JITTER) for number, value in enumerate(jitters)]
    distance = max(max(value - low, low + 1 / len(jitters) - value) for low, value in steps)
    assert distance < 1.63 / len(jitters) ** 0.5  # an even draw is farther off once in a hundred seeds


def test_a_retry_that_can_never_succeed_is_the_last(database: Database, flagschedule: Run) -> None:
    """Updates that became no valid change fail for good also on a retry, however many retries are left."""
    now = database.value("SELECT now()")
    bad = database.schedule(
        database.flag("bad"), {"enabled": "yes"}, status="failed", retry_count=1, max_retries=10, next_retry_at=now
    )

    flagschedule("process")

    row = database.row(bad)
    assert (row["reason"], row["next_retry_at"], row["retry_count"]) == ("InvalidUpdates", None, 1)


def process(url: str) -> None:
    """Run the processor's service; a run that cannot work is no error here."""
    settings = Settings(DATABASE_URL=url)
    try:
        with processing.processor(settings, stopping=lambda: False) as processor:
            processor.run()
    except (DependencyUnavailableError, StatementRefusedError):
        return


TROUBLE = """
CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql {0} AS $$ BEGIN {1}; RETURN NEW; END $$;
CREATE TRIGGER trouble BEFORE UPDATE ON feature_flags FOR EACH ROW EXECUTE FUNCTION trouble();
"""


@contextmanager
def trouble(database: Database, body: LiteralString, options: LiteralString = "") -> Iterator[None]:
    """Execute this before each change of a flag, for the length of the block."""
    database.connection.execute(TROUBLE.format(options, body).encode())
    yield
    database.run("DROP FUNCTION trouble CASCADE")


def consumes_nothing(database: Database, url: str, body: LiteralString, options: LiteralString = "") -> None:
    """Neither a first attempt nor a retry is used up by the trouble; both are made by the run after it."""
    url = roles.url(url, "process")
    database.run("UPDATE feature_flags SET enabled = false")
    now = database.value("SELECT now()")
    first = database.schedule(database.flag("first"), {"enabled": True})
    retry = database.schedule(
        database.flag("retry"), {"enabled": True}, status="failed", retry_count=2, next_retry_at=now, last_error="no"
    )
    before = [database.row(first), database.row(retry)]
    with trouble(database, body, options):
        process(url)
    for then, found in zip(before, [database.row(first), database.row(retry)], strict=True):
        assert {**found, "last_error": then["last_error"]} == then
    assert database.attempts(first) + database.attempts(retry) == []
    database.run("UPDATE feature_flag_schedules SET set_aside_until = now() WHERE set_aside_count > 0")

    process(url)

    assert [(row["status"], row["retry_count"]) for row in (database.row(first), database.row(retry))] == [
        ("applied", 0),
        ("applied", 2),
    ]
    assert [each["attempt"] for each in database.attempts(first) + database.attempts(retry)] == [1, 3]


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ("PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(10)", ""),
        ("PERFORM pg_cancel_backend(pg_backend_pid()), pg_sleep(10)", ""),
        ("SET CONSTRAINTS ALL DEFERRED; INSERT INTO nowhere DEFAULT VALUES", ""),
        ("PERFORM pg_advisory_xact_lock(1)", "SET lock_timeout = '10ms'"),
    ],
    ids=["lost connection", "cancelled statement", "missing table", "lock timeout"],
)
def test_real_trouble_consumes_nothing(
    database: Database, database_url: str, body: LiteralString, options: LiteralString
) -> None:
    """A lost connection, a cancelled statement, a missing table and a lock that is not free use up no attempt."""
    with connected(database_url) as other:
        other.run("SELECT pg_advisory_lock(1)")

        consumes_nothing(database, database_url, body, options)


@pytest.mark.parametrize(
    "sqlstate",
    ["40001", "40P01", "55P03", "57014", "57P03", "53100", "53200", "53300", "25006", "42501", "58030", "XX000"],
)
def test_imitated_trouble_consumes_nothing(database: Database, database_url: str, sqlstate: str) -> None:
    """What is hard to provoke (serialization, a full disk, no memory, ...), raised by a trigger, uses up no attempt."""
    consumes_nothing(database, database_url, f"RAISE EXCEPTION USING ERRCODE = '{sqlstate}'")


def test_a_real_deadlock_consumes_nothing(database: Database, database_url: str) -> None:
    """Where another program's locks and ours go round in a circle and Postgres ends us, no attempt is used up."""
    schedule = database.schedule(database.flag("checkout"), {"enabled": True})
    before = database.row(schedule)
    body = """
        WHILE EXISTS (SELECT FROM pg_stat_activity
                      WHERE application_name = 'other' AND wait_event_type IS DISTINCT FROM 'Lock') LOOP
            PERFORM pg_sleep(0.01);
            PERFORM pg_stat_clear_snapshot();
        END LOOP;
        PERFORM pg_advisory_xact_lock(1)
    """

    def other() -> None:
        with connected(database_url + "?application_name=other&options=-cdeadlock_timeout%3D60s") as session:
            session.run("SELECT pg_advisory_lock(1)")
            held.set()
            while not session.query("SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
                pass
            session.query("SELECT FROM feature_flags FOR UPDATE")

    held = threading.Event()
    thread = threading.Thread(target=other)
    with trouble(database, body):
        thread.start()
        held.wait(PATIENCE)
        process(database_url + "?options=-cdeadlock_timeout%3D20ms")  # as for what the trigger sees: a superuser
        thread.join(PATIENCE)

    deadlocks: LiteralString = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    # A backend counts it when it ends, after its client has gone; and it is two, if the repeated row was quicker than
    # the other program, which then waits for it once more.
    eventually(lambda: database.value(deadlocks) >= 1)
    assert database.row(schedule)["status"] in {"pending", "applied"}  # applied once the other one had let go
    assert database.row(schedule)["retry_count"] == before["retry_count"]
    process(roles.url(database_url, "process"))
    assert [each["outcome"] for each in database.attempts(schedule)] == ["applied"]
    assert database.value(deadlocks) <= 2


def test_a_missing_right_consumes_nothing(database: Database, database_url: str) -> None:
    """A role that may not change flags uses up no attempt; with the right granted the next run applies."""
    name = database.value("SELECT 'clerk_' || current_database()")
    run = database.connection.execute
    run(f"CREATE ROLE {name} LOGIN PASSWORD 'x'".encode())
    try:
        run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}".encode())
        run(f"REVOKE UPDATE ON feature_flags FROM {name}".encode())
        url = f"postgresql://{name}:x@{database_url.partition('@')[2]}"
        schedule = database.schedule(database.flag("checkout"), {"enabled": True})
        before = database.row(schedule)

        process(url)

        assert database.row(schedule) == before
        assert database.attempts(schedule) == []
        run(f"GRANT UPDATE ON feature_flags TO {name}".encode())
        process(url)
        assert database.row(schedule)["status"] == "applied"
    finally:
        run(f"DROP OWNED BY {name}".encode())
        run(f"DROP ROLE {name}".encode())


@pytest.mark.parametrize(("initial", "longest"), [(10, 600), (5, 5), (3600, 86_400), (None, 200), (7, None), (-4, 0)])
def test_a_policy_of_its_own_sets_the_pauses(
    database: Database, database_url: str, initial: int | None, longest: int | None
) -> None:
    """Doubled from the first pause, with a quarter of jitter (30 s at most), and never above the longest."""
    first, most = max(initial or 120, 1), max(3600 if longest is None else longest, 1)
    flag = database.flag("bad")
    database.run(
        "INSERT INTO feature_flag_schedules (flag_id, scheduled_at, updates, status, max_retries, retry_count, "
        "next_retry_at, retry_initial_seconds, retry_max_seconds) "
        "SELECT %s, now(), '{}', 'failed', 10, c, now(), %s, %s FROM generate_series(0, 9) AS c",
        flag,
        initial,
        longest,
    )
    rows = database.query(
        "SELECT id, retry_count, xmin::text AS version FROM feature_flag_schedules ORDER BY retry_count"
    )

    with PostgresProcessStore(roles.url(database_url, "process")) as store:
        store.start_run()
        for row in rows:
            seen = ClaimedRow(schedule_id=row["id"], flag_id=flag, version=row["version"])
            store.record_failure(seen, error="no", attempt_error="no")

    for row in rows:
        pause = min(first * 2 ** row["retry_count"], most)
        jitter = min(30, pause / 4)
        waited = wait(database, row["id"])
        assert waited is not None
        assert min(pause, most - jitter) - 0.001 <= waited <= min(pause + jitter, most) + 0.001
