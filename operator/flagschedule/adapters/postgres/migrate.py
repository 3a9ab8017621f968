"""Brings the schema up to date with the SQL files in `migrations`. Called by the program `flagschedule migrate`.

yoyo reads and runs the files; the lock is Postgres' own, because yoyo's is a row that a killed run leaves behind.
"""

import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

import psycopg
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import parse_uri

from flagschedule.adapters.postgres import connection, statements
from flagschedule.domain.errors import ConfigurationError

_LOCK: Final = 0x666C6167  # "flag": any number that no other program of this database locks
_TRY_LOCK: Final = "SELECT pg_catalog.pg_try_advisory_lock(%s::pg_catalog.int8)"
_NO_SCHEMA: Final = (
    "DATABASE_URL: its role has no schema to create tables in; grant it CREATE on one, or name one that exists with "
    "?options=-csearch_path%3Dname"
)
_NO_RIGHT: Final = "DATABASE_URL: its role lacks a right; let an administrator run: {statement};"
_TWO_SCHEMAS: Final = (
    "feature_flags and feature_flag_schedules are in different schemas; move one with ALTER TABLE ... SET SCHEMA"
)


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc] # yoyo is untyped
    """yoyo on our connection parameters, with table names of our own: the host may use yoyo too."""

    log_table = "flag_schedule_migration_log"
    lock_table = "flag_schedule_migration_lock"
    version_table = "flag_schedule_migration_version"

    def __init__(self, parameters: dict[str, Any]) -> None:
        self._parameters = parameters
        super().__init__(parse_uri("postgresql+psycopg://"), "flag_schedule_migrations")
        self.init_database()

    def connect(self, _: object) -> psycopg.Connection:
        session = psycopg.connect(**self._parameters, autocommit=True)
        _settle(session)
        return session

    def copy(self) -> "_Backend":
        return _Backend(self._parameters)

    def get_log_data(self, migration: Any = None, operation: str = "apply") -> dict[str, Any]:
        # yoyo's own asks for the names of user and host: a container may have neither.
        return {
            "id": str(uuid.uuid4()),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": self._parameters.get("user"),
            "hostname": None,
            "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
            "operation": operation,
        }


def migrate(url: str, report: Callable[[str], None] = lambda _: None) -> int:
    """Apply what is missing, oldest first; re-running changes nothing.

    Args:
        url: the database's URL; what its role must be able to do is in docs/database-roles.md.
        report: is told the name of each migration before it is applied.

    Returns:
        how many migrations were applied.

    Raises:
        ConfigurationError: the URL cannot be parsed, or there is no one schema to work in, or a right is missing.
        DependencyUnavailableError: the database does not answer or refuses.
    """
    logging.getLogger("yoyo").setLevel(logging.WARNING)
    parameters = connection.parameters(url, "flagschedule-migrate")
    with connection.translated(), _locked(parameters) as session, _folder() as folder:
        _settle(session)
        _check_rights(session)
        applied = _apply(parameters, folder, report)
        session.execute(statements.read("grants"))
        return applied


def _apply(parameters: dict[str, Any], folder: Path, report: Callable[[str], None]) -> int:
    with _Backend(parameters) as backend:
        backend.break_lock()  # of a run that was killed: we hold the real lock
        missing = backend.to_apply(read_migrations(str(folder)))
        for migration in missing:
            report(migration.id)
            backend.apply_one(migration)
        return len(missing)


def _settle(session: psycopg.Connection) -> None:
    """From now on names mean what is in the one schema of ours."""
    session.execute("SELECT pg_catalog.set_config('search_path', %s, false)", [_schema(session)])


def _check_rights(session: psycopg.Connection) -> None:
    missing = session.execute(statements.read("missing_rights")).fetchall()
    if missing:
        raise ConfigurationError([_NO_RIGHT.format(statement=statement) for (statement,) in missing])


def _schema(session: psycopg.Connection) -> str:
    """The schema of the host's tables, else the role's own, quoted: everything of ours goes there.

    By its search_path alone a role whose own schema comes first would not see that the tables exist in another one,
    and would create them anew.
    """
    found = session.execute(statements.read("find_schema")).fetchone()
    flags, schedules, default = found or (None, None, None)
    if flags and schedules and flags != schedules:
        raise ConfigurationError([_TWO_SCHEMAS])
    schema: str | None = flags or schedules or default
    if schema is None:
        raise ConfigurationError([_NO_SCHEMA])
    return schema


@contextlib.contextmanager
def _locked(parameters: dict[str, Any]) -> Iterator[psycopg.Connection]:
    """One migrator at a time, on the session that holds the lock.

    Asks again and again instead of waiting in the server.
    A session that waits there holds a snapshot, and CREATE INDEX CONCURRENTLY waits for every snapshot: both
    would wait for ever.
    """
    with psycopg.connect(**parameters, autocommit=True) as session:
        while session.execute(_TRY_LOCK, [_LOCK]).fetchone() != (True,):
            time.sleep(0.5)
        yield session


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """The migrations: inside of the installed package, else at the top of the repository."""
    packaged = files("flagschedule").joinpath("migrations")
    if packaged.is_dir():
        with as_file(packaged) as folder:
            yield folder
    else:
        yield Path(__file__).parents[4] / "migrations"
