"""The processor killed at every step ends, after one more run, where an undisturbed run ends."""

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from tests.integration.conftest import Run
from tests.integration.database import Database, connected
from tests.waiting import PATIENCE, eventually

GATE = 4711  # an advisory lock that the test holds, and that a statement under test must pass


@contextmanager
def held_in_mid_statement(database: Database, database_url: str) -> Iterator[None]:
    """Stop every apply between its claim and its commit, for the length of the block."""
    database.run(
        """
        CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NEW; END $$
        """
    )
    database.run("CREATE TRIGGER hold BEFORE INSERT ON flag_schedule_attempts FOR EACH ROW EXECUTE FUNCTION hold()")
    with connected(database_url) as holder:
        holder.run("SELECT pg_advisory_lock(%s)", GATE)
        yield


def held(database: Database) -> list[dict[str, Any]]:
    """Return the backends of processors that wait for the trigger's advisory lock."""
    return database.query(
        "SELECT pid FROM pg_stat_activity WHERE wait_event = 'advisory' "
        "AND application_name = 'flagschedule-processor' AND datname = current_database()"
    )


def finished(database: Database) -> bool:
    """Return whether no processor is connected any more."""
    return not database.query(
        "SELECT FROM pg_stat_activity "
        "WHERE application_name = 'flagschedule-processor' AND datname = current_database()"
    )


def outcome(database: Database) -> list[dict[str, Any]]:
    """Return everything that an undisturbed run decides: flags, rows, attempts, what is left to do."""
    return database.query(
        """
        SELECT f.flag_key, f.enabled, f.rollout_percentage, s.status, s.reason, s.retry_count,
               (SELECT count(*) FROM flag_schedule_attempts AS a WHERE a.schedule_id = s.id) AS attempts,
               (SELECT count(*) FROM flag_schedule_cache_outbox) AS keys
        FROM feature_flag_schedules AS s JOIN feature_flags AS f ON f.id = s.flag_id
        ORDER BY f.flag_key
        """
    )


def scene(database: Database) -> None:
    """Three due changes of three flags."""
    for number in range(3):
        database.schedule(database.flag(f"flag-{number}"), {"enabled": True, "rolloutPercentage": number})


UNDISTURBED = [
    {
        "flag_key": f"flag-{number}", "enabled": True, "rollout_percentage": number, "status": "applied",
        "reason": "Applied", "retry_count": 0, "attempts": 1, "keys": 0,
    }
    for number in range(3)
]  # fmt: skip


def test_an_undisturbed_run(database: Database, flagschedule: Run) -> None:
    """An undisturbed run reaches the state that every disturbed run is compared with."""
    scene(database)

    flagschedule("process")

    assert outcome(database) == UNDISTURBED


def test_killed_between_claim_and_commit(
    database: Database, database_url: str, flagschedule: Run, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """kill -9 of the processor in mid-statement: the next run ends like an undisturbed one."""
    scene(database)
    with held_in_mid_statement(database, database_url):
        process = start()
        eventually(lambda: held(database))
        process.send_signal(signal.SIGKILL)
        process.wait()
    eventually(lambda: finished(database))

    assert flagschedule("process").returncode == 0

    assert outcome(database) == UNDISTURBED


def test_connection_lost_between_claim_and_commit(
    database: Database, database_url: str, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """A backend that dies in mid-statement changes nothing; the run connects again and makes the changes."""
    scene(database)
    with held_in_mid_statement(database, database_url):
        process = start()
        (backend,) = eventually(lambda: held(database))
        database.run("SELECT pg_terminate_backend(%s)", backend["pid"])
        eventually(lambda: held(database) not in ([], [backend]))

    assert process.wait(PATIENCE) == 0

    assert outcome(database) == UNDISTURBED


def test_the_database_is_lost_between_claim_and_commit(
    database: Database, database_url: str, flagschedule: Run, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """A database that refuses new connections has changed nothing; the run ends with 3, the next one works."""
    scene(database)
    name = database.connection.info.dbname
    with held_in_mid_statement(database, database_url):
        process = start()
        (backend,) = eventually(lambda: held(database))
        database.connection.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT 0'.encode())
        database.run("SELECT pg_terminate_backend(%s)", backend["pid"])
        assert process.wait(PATIENCE) == 3
        assert process.stderr
        assert process.stderr.read().splitlines()[-1].startswith("flagschedule: the database")
    database.connection.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1'.encode())
    assert {row["attempts"] for row in outcome(database)} == {0}

    assert flagschedule("process").returncode == 0

    assert outcome(database) == UNDISTURBED


def test_killed_between_commit_and_cache(
    database: Database, redis_url: str, flagschedule: Run, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """kill -9 after the commit, before the key was deleted: the next run deletes it."""
    scene(database)
    client = redis.Redis.from_url(redis_url)
    client.set("feature_flags:production", "cached")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts and never answers
        process = start(REDIS_URL=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        eventually(lambda: database.value("SELECT count(*) FROM flag_schedule_attempts"))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert {row["keys"] for row in outcome(database)} == {1}

    flagschedule("process")

    assert outcome(database) == UNDISTURBED
    assert client.keys() == []


def test_stopped_orderly_in_mid_batch(
    database: Database, database_url: str, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """SIGTERM lets the batch at hand finish and the run end with 0."""
    scene(database)
    with held_in_mid_statement(database, database_url):
        process = start()
        eventually(lambda: held(database))
        process.send_signal(signal.SIGTERM)

    assert process.wait(PATIENCE) == 0
    assert outcome(database) == UNDISTURBED


@pytest.mark.parametrize("linger", ["0", "60"])
def test_a_stop_undoes_a_change_that_takes_long(
    database: Database, start: Callable[..., subprocess.Popen[str]], linger: str
) -> None:
    """A change that the database is still working on when the run ends is not committed afterwards."""
    database.run(
        """
        CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_sleep(6); RETURN NEW; END $$
        """
    )
    database.run("CREATE TRIGGER be_slow BEFORE UPDATE ON feature_flags FOR EACH ROW EXECUTE FUNCTION be_slow()")
    database.schedule(database.flag("slow"), {"enabled": True})
    process = start(FLAG_SCHEDULE_LINGER_SECONDS=linger)
    eventually(
        lambda: database.query(
            "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database() "
            "AND query_start < clock_timestamp() - interval '2 seconds'"  # longer than any batch may take
        ),
        "the change is tried alone",
    )

    process.send_signal(signal.SIGTERM)

    assert process.wait(PATIENCE) == 0
    eventually(lambda: finished(database), "the database has noticed")
    assert [(row["enabled"], row["status"], row["attempts"]) for row in outcome(database)] == [(False, "pending", 0)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_orderly_where_signals_were_ignored(
    database: Database, database_url: str, start: Callable[..., subprocess.Popen[str]], number: signal.Signals
) -> None:
    """A run whose parent ignores the signals, as a shell's background command does, still stops when it gets one."""
    scene(database)
    with held_in_mid_statement(database, database_url):
        process = start(before=("sh", "-c", "trap '' INT TERM; exec \"$@\"", "sh"))
        eventually(lambda: held(database))
        process.send_signal(number)

    assert process.wait(PATIENCE) == 0
    assert outcome(database) == UNDISTURBED


def test_a_row_that_another_transaction_holds_is_not_waited_for(
    database: Database, database_url: str, flagschedule: Run
) -> None:
    """A held flag delays no other flag, and its own schedule is applied by a later run."""
    scene(database)
    with connected(database_url) as other, other.connection.transaction():
        other.run("SELECT FROM feature_flags WHERE flag_key = 'flag-1' FOR UPDATE")
        flagschedule("process")
        assert [row["status"] for row in outcome(database)] == ["applied", "pending", "applied"]

    flagschedule("process")

    assert outcome(database) == UNDISTURBED
