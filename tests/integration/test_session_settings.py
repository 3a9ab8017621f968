"""The timeouts that a role or a database carries do not hold for our sessions; `tests.cases` tries all settings."""

from contextlib import closing

import pytest

from flagschedule.adapters.postgres.session import Session
from tests import roles
from tests.integration.database import connected


@pytest.mark.parametrize("of", ["role", "database"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("statement_timeout", "60"),
        ("lock_timeout", "60"),
        ("idle_session_timeout", "60"),
        ("idle_in_transaction_session_timeout", "60"),
        ("transaction_timeout", "60"),
    ],
)
def test_a_timeout_of_a_session_ends_nothing(database_url: str, of: str, name: str, value: str) -> None:
    """A timeout that a role or a database carries does not hold for our sessions."""
    if name == "transaction_timeout" and not _has(database_url, name):
        pytest.skip("Postgres 17 has it first")
    own = database_url.rpartition("/")[2]
    target = f"ROLE flags_process IN DATABASE {own}" if of == "role" else f"DATABASE {own}"
    with connected(database_url) as database:
        database.connection.execute(f"ALTER {target} SET {name} = {value}".encode())
        with closing(Session.open(roles.url(database_url, "process"), "test")) as session:
            ((now,),) = session.execute("SELECT setting::int FROM pg_settings WHERE name = %s", [name])

    assert now == {
        "statement_timeout": 30_000,
        "lock_timeout": 5_000,
        "idle_in_transaction_session_timeout": 10_000,
    }.get(name, 0)


def _has(url: str, name: str) -> bool:
    with connected(url) as database:
        return bool(database.query("SELECT FROM pg_settings WHERE name = %s", name))
