"""A clock that a test sets, in one database: weeks pass in a second, and the same instants come in every run.

Postgres' own functions are replaced in that database alone. The new ones are simple enough to be inlined everywhere;
sessions that are opened after a change of the clock see it. A session keeps its instant.
"""

from datetime import datetime
from typing import Final

import psycopg
from psycopg import sql

_FUNCTIONS: Final = """
CREATE OR REPLACE FUNCTION pg_catalog.now() RETURNS timestamptz LANGUAGE sql STABLE
AS $$ SELECT coalesce(current_setting('clock.now', true)::timestamptz, transaction_timestamp()) $$;
CREATE OR REPLACE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
AS $$ SELECT coalesce(current_setting('clock.now', true)::timestamptz, timeofday()::timestamptz) $$;
"""


class PostgresClock:
    """The clock of the database at a superuser's URL."""

    def __init__(self, url: str) -> None:
        self._url = url
        with psycopg.connect(url, autocommit=True) as session:
            session.execute(_FUNCTIONS)

    def set(self, now: datetime) -> None:
        """Let it be this instant for every session that is opened from now on."""
        with psycopg.connect(self._url, autocommit=True) as session:
            name = sql.Identifier(session.info.dbname)
            session.execute(sql.SQL("ALTER DATABASE {} SET clock.now = {}").format(name, now.isoformat()))
        with psycopg.connect(self._url, autocommit=True) as session:
            (found,) = session.execute("SELECT ARRAY[now(), clock_timestamp()]").fetchone() or ([],)
            assert found == [now, now], found
