"""One migration at a time, also through a pooler, and none on tables that it cannot work with."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dev.localkind.servers.pgbouncer import PgBouncer
from dev.localkind.servers.postgres import Postgres
from flagschedule.adapters.postgres.migrate import migrate
from flagschedule.domain.errors import ConfigurationError, DependencyUnavailableError
from tests import roles
from tests.integration.application import Application
from tests.integration.conftest import Run
from tests.integration.database import connected
from tests.waiting import PATIENCE, eventually

LOCK = "SELECT pg_advisory_lock(1718378855)"
END_THE_LOCK = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_locks
WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
LEFT = "CREATE TEMP TABLE feature_flags (); SELECT set_config('search_path', '', false)"
ALL = len(list(Path("migrations").glob("*.sql")))
OUTSIDE = [file for file in sorted(Path("migrations").glob("*.sql")) if "-- transactional: false" in file.read_text()]
BUILDS_AN_INDEX = """
SELECT count(*) FROM pg_stat_activity
WHERE query ~ 'CREATE INDEX CONCURRENTLY' AND state = 'active' AND pid <> pg_backend_pid()
"""
LOSE_AN_INDEX = """
DROP INDEX idx_feature_flag_schedules_due;
DELETE FROM flag_schedule_migrations WHERE migration_id = '0007-index-due'
"""


@pytest.fixture(scope="module", params=["transaction", "session"])
def pooler(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[PgBouncer]:
    """A pooler whose sessions are lent to several clients."""
    with PgBouncer(postgres, request.param, size=3) as pooler:
        yield pooler


@contextmanager
def started(url: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`flagschedule migrate` in the background."""
    command = [sys.executable, "-m", "flagschedule", "migrate"]
    environment |= {"DATABASE_URL": url, "PATH": os.environ["PATH"]}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as program:
        try:
            yield program
        finally:
            program.kill()


def test_a_pooler_is_no_hindrance(pooler: PgBouncer, empty_database_url: str) -> None:
    """All steps, indexes built concurrently too, are made through a pooler; neighbours find sessions as new."""
    url = pooler.url(roles.url(empty_database_url, "migrate"))
    application = Application(url)

    with application.observing():
        assert migrate(url) == ALL
        assert migrate(url) == 0

    assert len(application.found) == 1, application.found
    assert application.found[0]["locks"] == 0


def test_what_neighbours_left_does_no_harm(postgres: Postgres, empty_database_url: str) -> None:
    """Temporary tables, a role or a search_path that another client left in a session mislead no migration."""
    url = roles.url(empty_database_url, "migrate")
    with PgBouncer(postgres, "transaction", size=2) as pooler:
        url = pooler.url(url)
        with connected(url) as one, connected(url) as other, one.connection.transaction():
            other.connection.execute(LEFT)
            one.connection.execute(LEFT)
        assert migrate(url) == ALL

    with connected(empty_database_url) as database:
        found = database.query("SELECT FROM pg_tables WHERE schemaname = 'public' AND tablename ~ '^feature_flag'")
        assert len(found) == 2


def test_a_setting_that_postgres_cannot_put_back_is_not_made(postgres: Postgres, empty_database_url: str) -> None:
    """A keepalive that the kernel refuses cannot be restored after ours, so a shared session keeps what it had."""
    url = roles.url(empty_database_url, "migrate")
    look = "SELECT current_setting('tcp_keepalives_idle')"
    with PgBouncer(postgres, "transaction", size=2) as pooler:
        url = pooler.url(url)
        with connected(url) as one, connected(url) as other, one.connection.transaction():
            for client in (one, other):
                client.run("SET tcp_keepalives_idle = 2147483647")
            before = [client.value(look) for client in (one, other)]
        assert migrate(url) == ALL
        with connected(url) as one, connected(url) as other, one.connection.transaction():
            assert [client.value(look) for client in (one, other)] == before


@pytest.mark.parametrize("file", OUTSIDE, ids=lambda file: file.stem)
def test_a_migration_without_a_transaction_names_its_schema(file: Path) -> None:
    """Where no search_path can be set every relation is named with its schema."""
    assert re.findall(r"(?:IF EXISTS|ON) (?!@schema@\.)\w+", re.sub("--.*", "", file.read_text())) == []


def test_one_session_is_too_few(postgres: Postgres, empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool of one session ends the migration after a bounded time with a sentence that names the pool's size."""
    monkeypatch.setattr("flagschedule.adapters.postgres.migrate._SECOND_WITHIN", 1.0)
    with (
        PgBouncer(postgres, "transaction", size=1) as pooler,
        pytest.raises(DependencyUnavailableError, match="pool size"),
    ):
        migrate(pooler.url(roles.url(empty_database_url, "migrate")))

    with connected(empty_database_url) as database:
        assert database.value("SELECT count(*) FROM pg_tables WHERE tablename ~ 'flag'") == 0


def test_statement_mode_is_refused(postgres: Postgres, empty_database_url: str, flagschedule: Run) -> None:
    """A pooler without transactions ends the migration with 2 and says which mode to choose."""
    with PgBouncer(postgres, "statement") as pooler:
        ended = flagschedule("migrate", DATABASE_URL=pooler.url(empty_database_url))

    assert ended.returncode == 2
    assert "pool_mode=transaction" in ended.stderr


def test_a_second_migration_says_that_it_waits_and_gives_up(empty_database_url: str) -> None:
    """While another migration runs, a second one reports that once, and ends with 3 after a bounded time."""
    waits: list[None] = []
    with connected(empty_database_url) as other:
        other.run(LOCK)

        with pytest.raises(DependencyUnavailableError, match="another migration is running"):
            migrate(roles.url(empty_database_url, "migrate"), on_wait=lambda: waits.append(None), patience=1.2)

    assert len(waits) == 1


def test_a_second_migration_goes_on_when_the_first_has_ended(empty_database_url: str) -> None:
    """The program logs that another migration is running, and does its work as soon as that has ended."""
    with connected(empty_database_url) as other, started(roles.url(empty_database_url, "migrate")) as program:
        other.run(LOCK)
        assert program.stderr
        first = program.stderr.readline()
        other.run("SELECT pg_advisory_unlock_all()")
        rest = program.stderr.read()

    assert "Another migration is running" in first
    assert "Schema is up to date" in rest


@pytest.mark.parametrize("way", ["direct", "pooled"])
def test_a_lost_lock_ends_the_migration(postgres: Postgres, empty_database_url: str, way: str) -> None:
    """When the idle session with the lock is ended, no further migration is applied, and a sentence says why."""
    url = roles.url(empty_database_url, "migrate")
    with PgBouncer(postgres, "transaction") as pooler, connected(empty_database_url) as database:

        def end_the_lock(name: str) -> None:
            if name == "0003-schedule-retries":
                database.run(END_THE_LOCK)

        with pytest.raises(DependencyUnavailableError, match="idle_transaction_timeout"):
            migrate(pooler.url(url) if way == "pooled" else url, end_the_lock)

        assert database.value("SELECT count(*) FROM flag_schedule_migrations") == 2


@pytest.mark.parametrize("way", ["direct", "pooled"])
def test_a_killed_migration_leaves_no_lock(postgres: Postgres, empty_database_url: str, way: str) -> None:
    """After kill -9 in the middle of an index the lock is free, and the next migration ends complete."""
    url = roles.url(empty_database_url, "migrate")
    with (
        PgBouncer(postgres, "transaction") as pooler,
        connected(empty_database_url) as blocker,
        connected(empty_database_url) as database,
    ):
        url = pooler.url(url) if way == "pooled" else url
        assert migrate(url) == ALL
        database.run(LOSE_AN_INDEX)
        with blocker.connection.transaction():
            blocker.run("LOCK TABLE feature_flag_schedules IN ROW EXCLUSIVE MODE")
            with started(url) as program:
                eventually(lambda: database.value(BUILDS_AN_INDEX))
                os.kill(program.pid, signal.SIGKILL)
        assert migrate(url) == 1

        assert database.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0


# Every handler of a signal runs in a destructor, where Python drops exceptions.
_IN_DESTRUCTORS = """
import signal

real = signal.signal


def register(number, handler):
    class Destructed:
        def __del__(self):
            handler(number, None)

    return real(number, (lambda *_: Destructed()) if callable(handler) else handler)


signal.signal = register
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_migration_ends_its_statement(
    empty_database_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    """A migration that is stopped in the middle of an index ends at once and ends the build; the next one completes."""
    (tmp_path / "sitecustomize.py").write_text(_IN_DESTRUCTORS)
    url = roles.url(empty_database_url, "migrate")
    with connected(empty_database_url) as blocker, connected(empty_database_url) as database:
        assert migrate(url) == ALL
        database.run(LOSE_AN_INDEX)
        with blocker.connection.transaction():
            blocker.run("LOCK TABLE feature_flag_schedules IN ROW EXCLUSIVE MODE")
            with started(url, PYTHONPATH=str(tmp_path)) as program:
                eventually(lambda: database.value(BUILDS_AN_INDEX))
                program.send_signal(number)
                assert program.wait(PATIENCE) == 128 + number
                eventually(lambda: not database.value(BUILDS_AN_INDEX))
        assert migrate(url) == 1


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("CREATE VIEW feature_flags AS SELECT 1 AS id", "feature_flags is a view"),
        ("CREATE MATERIALIZED VIEW feature_flags AS SELECT 1 AS id", "feature_flags is a materialized view"),
        ("CREATE FOREIGN TABLE feature_flags (id uuid) SERVER elsewhere", "feature_flags is a foreign table"),
        ("CREATE TABLE feature_flags ({columns}) PARTITION BY LIST (environment)", "no primary key or unique index"),
        ("CREATE TABLE feature_flags ({columns})", "no primary key or unique index"),
        ("CREATE TABLE feature_flags ({columns}, UNIQUE (id) DEFERRABLE)", "no primary key or unique index"),
        ("CREATE TABLE feature_flags ({bigint}, PRIMARY KEY (id))", "feature_flags.id is bigint, and must be uuid"),
        ("CREATE TABLE feature_flags (id uuid PRIMARY KEY)", "lacks the column rollout_percentage (integer)"),
        ("CREATE TABLE feature_flags ({texts}, PRIMARY KEY (id))", "feature_flags.enabled is text"),
        (
            "CREATE TABLE feature_flags ({columns}, PRIMARY KEY (id)); INSERT INTO feature_flags {twice}",
            "2 rows of the key 'x' in the environment 'p'",
        ),
        ("CREATE VIEW feature_flag_schedules AS SELECT 1 AS id", "feature_flag_schedules is a view"),
        ("CREATE TABLE feature_flag_schedules (id bigint)", "feature_flag_schedules.id is bigint"),
    ],
)
def test_tables_that_cannot_be_used_are_named(empty_database_url: str, table: str, sentence: str) -> None:
    """A table of the host that cannot be used ends the migration before any change, and a sentence says why."""
    columns = (
        "id uuid, flag_key text, environment text, enabled boolean, rollout_percentage integer, updated_at timestamptz"
    )
    twice = "(id, flag_key, environment) SELECT gen_random_uuid(), 'x', 'p' FROM generate_series(1, 2)"
    made = table.format(
        columns=columns,
        bigint=columns.replace("id uuid", "id bigint"),
        texts=columns.replace("boolean", "text"),
        twice=twice,
    )
    with connected(empty_database_url) as database:
        database.connection.execute(
            "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER elsewhere FOREIGN DATA WRAPPER nothing"
        )
        database.connection.execute(made.encode())
        before = database.value("SELECT count(*) FROM pg_class")

        with pytest.raises(ConfigurationError, match=re.escape(sentence)):
            migrate(empty_database_url)

        assert database.value("SELECT count(*) FROM pg_class") == before


@pytest.mark.parametrize("table", ["feature_flags", "flag_schedule_runs"])
def test_a_table_that_was_removed_is_named(database_url: str, table: str) -> None:
    """A table that is gone since its migration ends the next one with its name, since no migration makes it again."""
    with connected(database_url) as database:
        database.connection.execute(f"ALTER TABLE {table} RENAME TO away".encode())

    with pytest.raises(ConfigurationError, match=f"^{table} is missing"):
        migrate(roles.url(database_url, "migrate"))
