"""Brings the schema up to date with the SQL files in `migrations`. Called by the program `flagschedule migrate`.

Two connections: one holds the lock in an idle transaction, the other one works. A lock of the session would stay with
a pooler's session when the run has ended, and the work needs statements that allow no transaction around them.
"""

import contextlib
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import psycopg

from flagschedule.adapters.postgres import connection, statements
from flagschedule.adapters.postgres.connection import Url
from flagschedule.adapters.postgres.session import Session
from flagschedule.domain.errors import ConfigurationError, DependencyUnavailableError, FlagScheduleError

_NAME: Final = "flagschedule-migrate"
_LOOK_EVERY: Final = 0.5
_PATIENCE: Final = 600.0
_SECOND_WITHIN: Final = 20.0
_CANCEL_WITHIN: Final = 5.0
_LAST_TABLE: Final = "0041-notices"  # the last one that makes tables
# In files that cannot run in a transaction: without one no search_path can be set in a pooler's session.
_OUTSIDE: Final = "-- transactional: false"
_SCHEMA: Final = "@schema@"
_LOCK_LOST: Final = (
    "the idle session that holds the migration's lock was ended meanwhile; run this again, and if a pooler ends it "
    "(PgBouncer: idle_transaction_timeout), let DATABASE_URL name Postgres itself"
)
_BUSY: Final = "another migration is running and did not end within {seconds:.0f} seconds; run this again later"
_ONE_SESSION: Final = (
    "DATABASE_URL: leads through a pooler that lent no second session, and a migration needs two; "
    "raise its pool size, or let DATABASE_URL name Postgres itself"
)
_DEFAULTS_IN_THE_WAY: Final = (
    "DATABASE_URL: a default of its role or database, or what another client set in the pooler's session "
    "(statement_timeout, default_transaction_read_only, role), ended the build of an index, and cannot be changed "
    "there; let DATABASE_URL name Postgres itself"
)
_BY_SETTINGS: Final = (
    psycopg.errors.QueryCanceled,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.LockNotAvailable,
)
_NO_SCHEMA: Final = (
    "DATABASE_URL: its role has no schema to create tables in; grant it CREATE on one, or name one that exists with "
    "?options=-csearch_path%3Dname"
)
_NO_RIGHT: Final = "DATABASE_URL: its role lacks a right; let an administrator run: {statement};"
_TWO_SCHEMAS: Final = (
    "feature_flags and feature_flag_schedules are in different schemas; move one with ALTER TABLE ... SET SCHEMA"
)


def migrate(
    url: Url,
    report: Callable[[str], None] = lambda _: None,
    on_wait: Callable[[], None] = lambda: None,
    patience: float = _PATIENCE,
    on_work: Callable[[Callable[[], None]], None] = lambda _: None,
) -> int:
    """Apply what is missing, oldest first; re-running changes nothing.

    Args:
        url: the database's URL; what its role must be able to do is in docs/how-to/database-roles.md.
        report: called with the name of each migration before it is applied.
        on_wait: called once if another migration has to be waited for.
        patience: for how many seconds.
        on_work: called when the work begins, with a function that ends the statement at hand. A server goes on to build
            an index for a client that is gone.

    Returns:
        how many migrations were applied.

    Raises:
        ConfigurationError: the URL cannot be parsed, there is no one schema to work in, the host's tables are not as
            they must be, or a right is missing.
        DependencyUnavailableError: the database does not answer or refuses, or another migration takes too long.
    """
    with connection.translated(), _locked(url, on_wait, patience) as lock, _folder() as folder:
        schema = _schema(lock)
        with _open_second(url, lock) as session:
            on_work(partial(session.cancel_safe, timeout=_CANCEL_WITHIN))
            runner = _Runner(session, schema, lock)
            runner.check()
            applied = runner.apply(folder, report)
            runner.grant()
            return applied


class _Runner:
    """Applies migrations on one connection while the other one holds the lock."""

    def __init__(self, session: Session, schema: str, lock: Session) -> None:
        self._session = session
        self._schema = schema
        self._lock = lock

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Session]:
        """A transaction in which names mean what is in the one schema of ours."""
        with self._session.transaction():
            self._session.execute(statements.read("migrate/set_schema"), {"schema": self._schema})
            yield self._session

    def check(self) -> None:
        """Find what would stop the migrations half way.

        Raises:
            ConfigurationError: with a sentence for each fault.
        """
        with self._transaction() as session:
            faults = [fault for (fault,) in session.execute(statements.read("migrate/unfit_tables"))]
            if not faults:
                missing = session.execute(statements.read("migrate/missing_rights"))
                faults = [_NO_RIGHT.format(statement=statement) for (statement,) in missing]
            ((can_read,),) = session.execute(statements.read("migrate/can_read_flags"))
            if not faults and can_read:
                faults = [fault for (fault,) in session.execute(statements.read("migrate/doubled_flags"))]
        if faults:
            raise ConfigurationError(faults)

    def apply(self, folder: Traversable, report: Callable[[str], None]) -> int:
        """Apply what the log does not name; the number of migrations.

        Raises:
            ConfigurationError: tables were removed since; with a sentence for each of them.
        """
        with self._transaction() as session:
            session.execute(statements.read("migrate/create_log"))
            done = {name for (name,) in session.execute(statements.read("migrate/applied"))}
            # No migration makes a table again that was removed after it.
            if _LAST_TABLE in done and (lost := session.execute(statements.read("migrate/missing_tables")).fetchall()):
                raise ConfigurationError([fault for (fault,) in lost])
        found = {file.name.removesuffix(".sql"): file for file in folder.iterdir() if file.name.endswith(".sql")}
        missing = sorted(found.keys() - done)
        for name in missing:
            report(name)
            self._request_lock()
            self._apply_one(name, found[name].read_text())
        return len(missing)

    def _request_lock(self) -> None:
        """Make sure that no other migration can have begun.

        Raises:
            DependencyUnavailableError: the session with the lock was ended from outside.
        """
        try:
            self._lock.execute("SELECT")
        except psycopg.Error as error:
            raise DependencyUnavailableError(_LOCK_LOST) from error

    def _apply_one(self, name: str, text: str) -> None:
        if _OUTSIDE in text:
            with _explained(is_own=self._session.is_own):
                for statement in re.split(r";\s*$", text.replace(_SCHEMA, self._schema), flags=re.MULTILINE):
                    if re.sub("--.*", "", statement).strip():
                        self._session.execute_outside(statement.encode())
        with self._transaction() as session:
            if _OUTSIDE not in text:
                session.execute(text.encode())
            entry = {"hash": hashlib.sha256(name.encode()).hexdigest(), "name": name}
            session.execute(statements.read("migrate/log"), entry)

    def grant(self) -> None:
        """Make the rights of the programs' roles exact."""
        with self._transaction() as session:
            session.execute(statements.read("migrate/grants"))


@contextlib.contextmanager
def _explained(*, is_own: bool) -> Iterator[None]:
    """Name the cause where a setting of the session ended a statement that no setting of ours can reach."""
    try:
        yield
    except _BY_SETTINGS as error:
        if is_own:
            raise
        raise ConfigurationError([_DEFAULTS_IN_THE_WAY]) from error


@contextlib.contextmanager
def _locked(url: Url, on_wait: Callable[[], None], patience: float) -> Iterator[Session]:
    """One migration at a time, as long as the transaction on this session lasts.

    Tries again and again instead of waiting in the server. A session that waits there holds a snapshot, and CREATE
    INDEX CONCURRENTLY waits for every snapshot: both would wait for each other. The transaction that holds the lock
    has none, because it is READ COMMITTED and idle; a prepared statement would leave one behind.
    """
    deadline = time.monotonic() + patience
    with contextlib.closing(Session.open(url, _NAME, statements.read("migrate/settings"))) as session:
        session.prepare_threshold = None
        if session.is_own:
            session.execute(statements.read("migrate/keep_alive"))
        while True:
            with session.transaction():
                ((is_locked,),) = session.execute(statements.read("migrate/try_lock"))
                if is_locked:
                    yield session
                    return
            if time.monotonic() > deadline:
                raise DependencyUnavailableError(_BUSY.format(seconds=patience))
            on_wait()
            on_wait = _nothing
            time.sleep(_LOOK_EVERY)


def _nothing() -> None: ...


def _open_second(url: Url, first: Session) -> contextlib.closing[Session]:
    """A connection to work on.

    Raises:
        DependencyUnavailableError: a pooler lends no second session in time; it makes its clients wait without a word.
    """
    if first.is_own:
        return contextlib.closing(Session.open(url, _NAME, statements.read("migrate/settings")))
    opened: Future[Session] = Future()

    def connect() -> None:
        try:
            session = Session.open(url, _NAME, statements.read("migrate/settings"))
        except FlagScheduleError as error:
            opened.set_exception(error)
            return
        if not opened.set_running_or_notify_cancel():  # the caller does not wait any more
            session.close()
            return
        opened.set_result(session)

    threading.Thread(target=connect, daemon=True).start()  # the program can end without it
    try:
        return contextlib.closing(opened.result(_SECOND_WITHIN))
    except TimeoutError:
        opened.cancel()
        raise DependencyUnavailableError(_ONE_SESSION) from None


def _schema(session: Session) -> str:
    """The schema of the host's tables, else the role's own, quoted: everything of ours goes there.

    By its search_path alone a role whose own schema comes first would not see that the tables exist in another one,
    and would create them again.
    """
    found = session.execute(statements.read("migrate/find_schema")).fetchone()
    flags, schedules, default = found or (None, None, None)
    if flags and schedules and flags != schedules:
        raise ConfigurationError([_TWO_SCHEMAS])
    schema: str | None = flags or schedules or default
    if schema is None:
        raise ConfigurationError([_NO_SCHEMA])
    return schema


@contextlib.contextmanager
def _folder() -> Iterator[Traversable]:
    """The migrations: inside of the installed package, else at the top of the repository."""
    packaged = files("flagschedule").joinpath("migrations")
    if packaged.is_dir():
        yield packaged
    else:
        yield Path(__file__).parents[4] / "migrations"
