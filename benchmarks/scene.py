"""The table under test: a server with fsync on, flags, and schedules that are due."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg

from dev.localkind.servers.postgres import Postgres
from flagschedule.adapters.postgres.migrate import migrate
from tests import roles

_NAME = "bench"
_TABLES = (
    "feature_flag_schedules, flag_schedule_attempts, flag_schedule_status_outbox, flag_schedule_cache_outbox, "
    "flag_schedule_watermarks, flag_schedule_runs"
)


class Scene:
    """One database with the product's schema."""

    def __init__(self, url: str, flags: int) -> None:
        self.url = url
        self.session = _session(url)
        self._flags = flags
        self.add_flags()

    def add_flags(self) -> None:
        """Add the missing flags: a copy has all, an application may have deleted some."""
        self.session.execute(
            "INSERT INTO feature_flags (flag_key) SELECT 'flag-' || n FROM generate_series(1, %s) AS n "
            "ON CONFLICT DO NOTHING",
            [self._flags],
        )

    def fill(self, due: int, *, history: int = 0, future: int = 0, bad: float = 0, retries: float = 0) -> None:
        """Begin again: so many rows that are due, behind so many that were applied and before so many to come.

        Their ids are of version 7, as the mirror makes them.

        Args:
            due: rows whose time has come, spread over an hour and over all flags.
            history: rows that were applied before.
            future: rows of the next days.
            bad: which part of those that are due holds a change that cannot be made.
            retries: which part of those that are due has failed once and is to be tried again.
        """
        plan = (
            "INSERT INTO feature_flag_schedules (id, flag_id, scheduled_at, updates, status, applied_at) "
            "SELECT uuidv7(), f.id, {at}, "
            "CASE WHEN n %% 1000 < %(bad)s * 1000 THEN '{{\"rolloutPercentage\": 700}}'::jsonb "
            "ELSE jsonb_build_object('enabled', n %% 2 = 0, 'rolloutPercentage', n %% 101) END, {status} "
            "FROM generate_series(1, %(rows)s) AS n "
            "JOIN (SELECT id, row_number() OVER (ORDER BY id) AS place FROM feature_flags) AS f "
            "ON f.place = n %% %(flags)s + 1"
        )
        with self._begun_again() as run:
            for rows, part, at, status in (
                (history, 0.0, "now() - interval '30 days' - n * interval '1 second'", "'applied', now()"),
                (due, bad, "now() - interval '1 hour' + n * interval '1 hour' / %(rows)s", "'pending', NULL"),
                (future, 0.0, "now() + interval '1 day' + n * interval '1 second'", "'pending', NULL"),
            ):
                if rows:
                    run(plan.format(at=at, status=status), {"rows": rows, "bad": part, "flags": self._flags})
            if retries:
                run(
                    "UPDATE feature_flag_schedules SET status = 'failed', retry_count = 1, next_retry_at = now() "
                    "WHERE status = 'pending' AND scheduled_at <= now() AND random() < %(part)s",
                    {"part": retries},
                )

    def scatter(self, due: int, *, among: int) -> None:
        """Begin again: rows that are due, each of them among rows of history that were made at the same time."""
        with self._begun_again() as run:
            run(
                """
                INSERT INTO feature_flag_schedules (id, flag_id, scheduled_at, updates, status, applied_at)
                SELECT uuidv7(made - now()), f.id, CASE WHEN waits THEN now() - interval '1 minute' ELSE made END,
                       jsonb_build_object('enabled', n %% 2 = 0, 'rolloutPercentage', n %% 101),
                       CASE WHEN waits THEN 'pending' ELSE 'applied' END, CASE WHEN NOT waits THEN made END
                FROM (
                    SELECT n, n %% %(every)s = 0 AS waits,
                           now() - interval '30 days' + n * interval '30 days' / %(rows)s AS made
                    FROM generate_series(1, %(rows)s) AS n
                ) AS r
                JOIN (SELECT id, row_number() OVER (ORDER BY id) AS place FROM feature_flags) AS f
                    ON f.place = n * 7919::bigint %% %(flags)s + 1
                ORDER BY n
                """,
                {"rows": due * (among // due + 1), "every": among // due + 1, "flags": self._flags},
            )

    @contextmanager
    def _begun_again(self) -> Iterator[Callable[[str, dict[str, Any]], object]]:
        """Fill the empty tables by statements, so that measurements start from fresh statistics and pages."""
        self.session.execute(f"TRUNCATE {_TABLES}".encode())
        yield lambda statement, values: self.session.execute(statement.encode(), values)
        self.session.execute("ANALYZE")
        self.session.execute("CHECKPOINT")

    def add_future(self, rows: int) -> None:
        """Add rows of the next days to what is there."""
        self.session.execute(
            "INSERT INTO feature_flag_schedules (id, flag_id, scheduled_at, updates) "
            "SELECT uuidv7(), f.id, now() + interval '1 day' + n * interval '1 second', '{\"enabled\": true}' "
            "FROM generate_series(1, %s) AS n "
            "JOIN (SELECT id, row_number() OVER (ORDER BY id) AS place FROM feature_flags) AS f "
            "ON f.place = n %% %s + 1",
            [rows, self._flags],
        )
        self.session.execute("ANALYZE")

    @contextmanager
    def copy(self) -> Iterator["Scene"]:
        """Copy the database for a round that uses it up: copied file by file, its pages lie as in the original."""
        name = "copy"
        self.session.close()
        url = self.url.rpartition("/")[0]
        with _session(f"{url}/postgres") as server:
            server.execute(f"CREATE DATABASE {name} TEMPLATE {_NAME} STRATEGY file_copy".encode())
            copy = Scene(f"{url}/{name}", self._flags)
            copy.session.execute("CHECKPOINT")
            try:
                yield copy
            finally:
                copy.session.close()
                server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        self.session = _session(self.url)

    def left(self) -> int:
        """Return how many rows are still due."""
        return self._number(
            "SELECT count(*) FROM feature_flag_schedules "
            "WHERE status = 'pending' AND scheduled_at <= now() OR status = 'failed' AND next_retry_at <= now()"
        )

    def waiting(self) -> int:
        """Return how many sessions wait for a lock."""
        return self._number("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")

    def deadlocks(self) -> int:
        """Return the number of deadlocks since the database was made."""
        return self._number("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")

    def _number(self, question: LiteralString) -> int:
        found = self.session.execute(question).fetchone()
        assert found
        return int(found[0])


@contextmanager
def scene(flags: int = 5000) -> Iterator[Scene]:
    """Start a server with fsync on, as in production, and a database with this many flags."""
    with Postgres(fsync=True, shared_buffers="1GB") as server:
        roles.create(server)
        url = server.create_database(_NAME)
        migrate(roles.url(url, "migrate"))
        found = Scene(url, flags)
        try:
            yield found
        finally:
            found.session.close()


def _session(url: str) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(url, autocommit=True)
