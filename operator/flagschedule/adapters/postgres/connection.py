"""How we connect to Postgres, and what its errors mean to us. Used by every store beside this module.

No text of a database error leaves this module: it may hold values, names and hosts.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from flagschedule.adapters.postgres.unreachable import AWAY, READ_ONLY, URL
from flagschedule.domain.errors import (
    ConfigurationError,
    DependencyUnavailableError,
    FlagScheduleError,
    RowRefusedError,
    UnexpectedRefusalError,
)

Url = str | Callable[[], str]  # a function is called at each connect, so that a rotated password is taken up

_DEFAULTS: Final[dict[str, str | int]] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 15_000,
    "keepalives_idle": 10,
}
_UNPARSABLE: Final = f"{URL}: cannot be parsed; it must look like postgresql://user:password@host:port/database"
_UNESCAPED: Final = (
    f"{URL}: a character of the user or the password is not escaped; write @ as %40, / as %2F, : as %3A, % as %25"
)
# SQLSTATE classes. A row's values, a constraint or a trigger said no:
_REFUSALS: Final = {"22", "23", "P0"}
# Connection, login, transaction state, resources, shutdown, system: nothing works now, whatever the row.
_LOST: Final = {"08", "25", "28", "3D", "53", "58"}
_SHUTDOWN: Final = "57P"
_READ_ONLY_STATE: Final = "25006"
# Conflict, lock, timeout, internal error, missing right, table or column: likely so, yet one row's trigger can
# provoke each of them.
_SYSTEMIC: Final = {"40", "55", "57", "XX"}
_SYSTEMIC_STATES: Final = {"42501", "42P01", "42703"}


def parameters(url: Url, application_name: str) -> dict[str, Any]:
    """Read the connection parameters from a database URL, with our timeouts where it names none.

    The client's encoding is set because a database of encoding SQL_ASCII has the driver return bytes instead of text.

    Raises:
        ConfigurationError: the URL cannot be parsed.
        DependencyUnavailableError: the URL cannot be read.
    """
    text = (url if isinstance(url, str) else url()).strip()
    try:
        given = conninfo_to_dict(text)
    except psycopg.ProgrammingError as error:
        is_unescaped = _has_unescaped_login(text) or "percent-encoded" in str(error)
        raise ConfigurationError([_UNESCAPED if is_unescaped else _UNPARSABLE]) from None
    if _has_unescaped_login(text):
        raise ConfigurationError([_UNESCAPED])
    if "," in str(given.get("host", "")) + str(given.get("hostaddr", "")):
        given = {"target_session_attrs": "primary", **given}
    return {**_DEFAULTS, "application_name": application_name, **given, "client_encoding": "UTF8"}


def _has_unescaped_login(url: str) -> bool:
    """Whether libpq would take a part of the login for the host: it looks for the first @, and no further than to /."""
    authority, _, rest = url.partition("://")[2].partition("/")
    return authority.count("@") > 1 or (bool(authority) and "@" not in authority and "@" in rest.partition("?")[0])


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
        return DependencyUnavailableError(AWAY)
    condition = describe(error)
    if state == _READ_ONLY_STATE:
        return DependencyUnavailableError(READ_ONLY)
    if state[:2] in _REFUSALS:
        return RowRefusedError(state, condition)
    if state[:2] in _LOST or state.startswith(_SHUTDOWN):
        return DependencyUnavailableError(f"the database cannot serve now ({condition}); check {URL} and the server")
    systemic = state[:2] in _SYSTEMIC or state in _SYSTEMIC_STATES
    return UnexpectedRefusalError(state, condition, systemic=systemic)
