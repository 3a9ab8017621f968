"""How we connect to Postgres, and what its errors mean to us. Used by every store beside this module.

No text of a database error leaves this module: it may hold values, names and hosts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import PoolTimeout

from flagschedule.domain.errors import (
    ConfigurationError,
    DependencyUnavailableError,
    RowRefusedError,
    UnexpectedRowError,
)

# One statement of ours takes milliseconds; a connection that hangs must not hold locks for long.
SESSION: Final = """
SELECT set_config('lock_timeout', '5s', false),
       set_config('statement_timeout', '30s', false),
       set_config('idle_in_transaction_session_timeout', '10s', false)
"""
_DEFAULTS: Final[dict[str, str | int]] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 15_000,
    "keepalives_idle": 10,
}
_URL: Final = "DATABASE_URL"

# A row's values, a constraint or a trigger said no: SQLSTATE classes.
_REFUSALS: Final = {"22", "23", "P0"}
# What no single row can be blamed for: connection, transaction state, conflict, resources, operator, system.
_INFRASTRUCTURE: Final = {"08", "25", "28", "3D", "40", "53", "55", "57", "58", "XX"}
_INFRASTRUCTURE_STATES: Final = {"42501", "42P01"}  # a missing grant, a missing table


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
        return "connection_failure"
    found = psycopg.errors.lookup(error.sqlstate)
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in found.__name__).lstrip("_")


@contextmanager
def translated() -> Iterator[None]:
    """Turns psycopg's errors into ours: the type carries the decision.

    Raises:
        DependencyUnavailableError: nothing a single row could be blamed for.
        RowRefusedError: SQLSTATE of class 22, 23 or P0.
        UnexpectedRowError: any other refusal.
    """
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, psycopg.InternalError) as error:
        raise _unavailable(error) from error
    except psycopg.Error as error:
        state = error.sqlstate or ""
        if not state or state[:2] in _INFRASTRUCTURE or state in _INFRASTRUCTURE_STATES:
            raise _unavailable(error) from error
        refusal = RowRefusedError if state[:2] in _REFUSALS else UnexpectedRowError
        raise refusal(state, describe(error)) from error


def _unavailable(error: Exception) -> DependencyUnavailableError:
    if not isinstance(error, psycopg.Error) or error.sqlstate is None:
        return DependencyUnavailableError(
            f"the database does not answer; check {_URL} and that Postgres is running and reachable"
        )
    if error.sqlstate in _INFRASTRUCTURE_STATES:
        return DependencyUnavailableError(
            f"the database refuses our statements ({describe(error)}); "
            "run `flagschedule migrate` and check the rights of the database role"
        )
    return DependencyUnavailableError(f"the database cannot serve now ({describe(error)}); check {_URL} and the server")
