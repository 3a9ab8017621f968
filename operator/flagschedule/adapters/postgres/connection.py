"""How we connect to Postgres, and what its errors mean to us. Used by every store of this folder.

No text of a database error leaves this module: it may hold values, names and hosts.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from flagschedule.adapters.postgres.unreachable import AWAY, READ_ONLY, URL
from flagschedule.domain.errors import (
    ChangeNotMadeError,
    ConfigurationError,
    ConnectionLostError,
    DependencyUnavailableError,
    FlagScheduleError,
    RowRefusedError,
    StatementRefusedError,
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
_INVISIBLE: Final = (
    f"{URL}: holds a space, a line break or another invisible character; remove it (it is often the end of a password "
    "that the URL was put together from), or write it escaped, a space as %20"
)
_UNKNOWN_OPTION: Final = (
    f"{URL}: has an option behind the question mark that libpq does not know; remove it "
    "(a schema is named by ?options=-csearch_path%3Dname)"
)
_NOT_REPLACED: Final = (
    f"{URL}: holds a placeholder such as $(NAME) that was not replaced; in a pod that happens where the variable is "
    "defined later or not at all; write ( ) { } of a password as %28 %29 %7B %7D"
)
_NAME: Final = r"\$?[({]+[A-Za-z_.][\w.]*[)}]+"
# A whole part of the URL, before it is unescaped: the parts that come from files are escaped, so a password of theirs
# that looks like a placeholder is taken as it is.
_PLACEHOLDER: Final = re.compile(rf"(?<=[/:@]){_NAME}(?=[/:@,?]|$)|[?&]\w+={_NAME}(?=&|$)")
# SQLSTATE classes. A row's values, a constraint or a trigger said no:
_REFUSALS: Final = {"22", "23", "P0"}
# Connection, login, transaction state, resources, shutdown, system: nothing works now, for any row.
_LOST: Final = {"08", "25", "28", "3D", "53", "58"}
_SHUTDOWN: Final = "57P"
_READ_ONLY_STATE: Final = "25006"
# A conflict, a lock or a timeout: may be over at once.
_MOMENTARY: Final = {"40001", "40P01", "55P03", "57014"}
_TIMED_OUT: Final = "57014"
# Raised by our own statement, where the row that an UPDATE returned is not the requested one (apply.sql).
_NOT_MADE: Final = "FSNOT"
_EFFECTS: Final = {
    "nothing": "left the flag as it was",
    "enabled true": "kept enabled at true",
    "enabled false": "kept enabled at false",
    "enabled null": "kept enabled at null",
}
_RAISED: Final = "P0001"
_LONGEST_TEXT: Final = 500


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
    except UnicodeEncodeError:  # a byte that is no UTF-8, such as an umlaut of a Latin-1 password
        raise ConfigurationError([_UNESCAPED]) from None
    except psycopg.ProgrammingError as error:
        raise ConfigurationError([_fault(text) or _meaning_of_parser(str(error))]) from None
    if fault := _fault(text):
        raise ConfigurationError([fault])
    if _PLACEHOLDER.search(text):
        raise ConfigurationError([_NOT_REPLACED])
    if "," in str(given.get("host", "")) + str(given.get("hostaddr", "")):
        given = {"target_session_attrs": "primary", **given}
    return {**_DEFAULTS, "application_name": application_name, **given, "client_encoding": "UTF8"}


def name_of(url: Url) -> str:
    """Return the settings that hold the address, for messages."""
    return URL if isinstance(url, str) else getattr(url, "name", URL)


def _fault(url: str) -> str | None:
    """What is wrong with a URL that libpq would misread instead of refusing it."""
    if " " in url or not url.isprintable():
        return _INVISIBLE
    return _UNESCAPED if _has_unescaped_login(url) else None


def _meaning_of_parser(text: str) -> str:
    """What libpq's parser says, in a sentence that shows nothing of the URL."""
    if "percent-encoded" in text:
        return _UNESCAPED
    return _UNKNOWN_OPTION if "query parameter" in text else _UNPARSABLE


def _has_unescaped_login(url: str) -> bool:
    """Whether libpq would take a part of the login for the host: it looks for the first @, and no further than to /."""
    authority, _, rest = url.partition("://")[2].partition("/")
    return authority.count("@") > 1 or (bool(authority) and "@" not in authority and "@" in rest.partition("?")[0])


def describe(error: psycopg.Error) -> str:
    """Return the name of the error's condition, as Postgres' manual lists it: safe to show to every user."""
    if error.sqlstate is None:
        return "unknown"
    try:
        name = psycopg.errors.lookup(error.sqlstate).__name__
    except KeyError:  # a trigger may raise a state of its own making
        return f"SQLSTATE {error.sqlstate}"
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).strip("_")


def _host_text(error: psycopg.Error) -> str | None:
    """What a trigger of the host wrote for people, if the text is certainly not the server's.

    PL/pgSQL's RAISE has a state of its own, and the server raises no state that the driver does not know.
    """
    state, text = error.sqlstate, error.diag.message_primary
    if not text or (state != _RAISED and _is_known(state)):
        return None
    cut = text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def _is_known(sqlstate: str | None) -> bool:
    try:
        psycopg.errors.lookup(sqlstate or "")
    except KeyError:
        return False
    return True


def _effect(error: psycopg.Error) -> str:
    """Return what became of a flag instead of the request, as apply.sql describes it."""
    text = error.diag.message_primary or ""
    name, _, value = text.partition(" ")
    if name == "rolloutPercentage" and value.lstrip("-").isdecimal():
        return f"kept rolloutPercentage at {value[:12]}"
    return _EFFECTS.get(text, "kept it from being made")


def refusal(error: psycopg.Error) -> StatementRefusedError | None:
    """What an error says of one statement, if the connection is still there to run another.

    A trigger may raise each state: also one that would mean that the server goes, were it the server's.
    """
    state = error.sqlstate
    if state is None or error.diag.severity_nonlocalized in {"FATAL", "PANIC"}:
        return None
    if state == _NOT_MADE:
        return ChangeNotMadeError(state, _effect(error))
    condition, text = describe(error), _host_text(error)
    if state[:2] in _REFUSALS:
        return RowRefusedError(state, condition, text)
    return UnexpectedRefusalError(state, condition, text, momentary=state in _MOMENTARY, timed_out=state == _TIMED_OUT)


@contextmanager
def translated() -> Iterator[None]:
    """Turns psycopg's errors into ours: the type carries the decision.

    Raises:
        DependencyUnavailableError: the database cannot serve any statement.
        RowRefusedError: SQLSTATE of class 22, 23 or P0.
        UnexpectedRefusalError: any other refusal.
    """
    try:
        yield
    except psycopg.Error as error:
        raise _meaning(error) from error


@contextmanager
def translated_for_rows(session: psycopg.Connection[Any]) -> Iterator[None]:
    """As `translated`; but an error may be one row's.

    A trigger that queries another server passes on its errors: that it takes no connections, is read-only, ...
    A trigger that crashes its server process, or has it ended, takes the connection along.

    Raises:
        ConnectionLostError: the connection has ended.
    """
    try:
        yield
    except psycopg.Error as error:
        refused = ConnectionLostError() if session.closed else refusal(error)
        raise refused or _meaning(error) from error


def _meaning(error: psycopg.Error) -> FlagScheduleError:
    state = error.sqlstate
    if state is None:
        # psycopg itself refuses some values before they reach the server; all else is the connection.
        if isinstance(error, psycopg.DataError):
            return UnexpectedRefusalError("", "the value cannot be sent", momentary=False)
        return DependencyUnavailableError(AWAY)
    if state == _READ_ONLY_STATE:
        return DependencyUnavailableError(READ_ONLY)
    refused = refusal(error)
    if refused is None or state[:2] in _LOST or state.startswith(_SHUTDOWN):
        return DependencyUnavailableError(
            f"the database cannot serve now ({describe(error)}); check {URL} and the server"
        )
    return refused
