"""How we connect to Postgres, and what its errors mean to us. Used by every store beside this module.

No text of a database error leaves this module: it may hold values, names and hosts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from flagschedule.domain.errors import (
    ConfigurationError,
    DependencyUnavailableError,
    FlagScheduleError,
    RowRefusedError,
    UnexpectedRefusalError,
)

# One statement of ours takes milliseconds; a connection that hangs must not hold locks for long.
# Whatever the server's or the role's defaults: statements see what was committed before them, and names mean the
# tables of the schema that the migrations chose, not of one that comes earlier in somebody's search_path. Until then
# every name is qualified: a function of that earlier schema may fit better than Postgres' own.
SESSION: Final = """
SELECT pg_catalog.set_config('lock_timeout', '5s', false),
       pg_catalog.set_config('statement_timeout', '30s', false),
       pg_catalog.set_config('idle_in_transaction_session_timeout', '10s', false),
       pg_catalog.set_config('default_transaction_isolation', 'read committed', false),
       pg_catalog.set_config('search_path', coalesce(
           (SELECT pg_catalog.quote_ident(n.nspname::pg_catalog.text)
            FROM pg_catalog.pg_class AS c
            JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
            WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('flag_schedule_runs')::pg_catalog.oid),
           pg_catalog.current_setting('search_path')), false)
"""
_DEFAULTS: Final[dict[str, str | int]] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 15_000,
    "keepalives_idle": 10,
}
_URL: Final = "DATABASE_URL"
_AWAY: Final = f"the database does not answer; check {_URL} and that Postgres is running and reachable"

# SQLSTATE classes. A row's values, a constraint or a trigger said no:
_REFUSALS: Final = {"22", "23", "P0"}
# Connection, login, transaction state, resources, shutdown, system: nothing works now, whatever the row.
_LOST: Final = {"08", "25", "28", "3D", "53", "58"}
_SHUTDOWN: Final = "57P"
# Conflict, lock, timeout, internal error, missing right, table or column: likely so, yet one row's trigger can
# provoke each of them.
_SYSTEMIC: Final = {"40", "55", "57", "XX"}
_SYSTEMIC_STATES: Final = {"42501", "42P01", "42703"}


def parameters(url: str, application_name: str) -> dict[str, Any]:
    """The connection parameters of a database URL, with our timeouts where it names none.

    Raises:
        ConfigurationError: the URL cannot be parsed.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise ConfigurationError(
            [f"{_URL}: cannot be parsed; it must look like postgresql://user:password@host:port/database"]
        ) from None
    return {**_DEFAULTS, "application_name": application_name, **given}


def describe(error: psycopg.Error) -> str:
    """The name of the error's condition, as Postgres' manual lists it: safe to show to anybody."""
    if error.sqlstate is None:
        return "unknown"
    try:
        name = psycopg.errors.lookup(error.sqlstate).__name__
    except KeyError:  # a trigger may raise a state of its own making
        return f"SQLSTATE {error.sqlstate}"
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).strip("_")


@contextmanager
def translated() -> Iterator[None]:
    """Turns psycopg's errors into ours: the type carries the decision.

    Raises:
        DependencyUnavailableError: the database cannot serve anybody.
        RowRefusedError: SQLSTATE of class 22, 23 or P0.
        UnexpectedRefusalError: any other refusal.
    """
    try:
        yield
    except psycopg.Error as error:
        raise _meaning(error) from error


def _meaning(error: psycopg.Error) -> FlagScheduleError:
    state = error.sqlstate
    if state is None:
        # psycopg itself refuses some values before they reach the server; all else is the connection.
        if isinstance(error, psycopg.DataError):
            return UnexpectedRefusalError("", "the value cannot be sent", systemic=False)
        return DependencyUnavailableError(_AWAY)
    condition = describe(error)
    if state[:2] in _REFUSALS:
        return RowRefusedError(state, condition)
    if state[:2] in _LOST or state.startswith(_SHUTDOWN):
        return DependencyUnavailableError(f"the database cannot serve now ({condition}); check {_URL} and the server")
    systemic = state[:2] in _SYSTEMIC or state in _SYSTEMIC_STATES
    return UnexpectedRefusalError(state, condition, systemic=systemic)
