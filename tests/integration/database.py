"""Speaks SQL to the database under test: sets the scene and reads the results."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

_COLUMNS = """
SELECT id, flag_id, scheduled_at, status, updates, applied_at, error_message, last_error, retry_count, max_retries,
       next_retry_at, reason, suspended, not_after, arming, updated_at
FROM feature_flag_schedules
"""


class Database:
    """One connection in autocommit."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        self.connection = connection

    def query(self, statement: LiteralString, *values: object) -> list[dict[str, Any]]:
        """Return the rows of a statement."""
        return self.connection.execute(statement, values or None).fetchall()

    def run(self, statement: LiteralString, *values: object) -> None:
        """Execute a statement without rows."""
        self.connection.execute(statement, values or None)

    def value(self, statement: LiteralString, *values: object) -> Any:
        """Return the one value of a statement."""
        (row,) = self.query(statement, *values)
        (value,) = row.values()
        return value

    def flag(self, key: str, environment: str = "production") -> UUID:
        """Insert a flag, off and at 0 %. Returns: its id."""
        found: UUID = self.value(
            "INSERT INTO feature_flags (flag_key, environment) VALUES (%s, %s) RETURNING id", key, environment
        )
        return found

    def schedule(self, flag: UUID, updates: object, *, due: timedelta = timedelta(minutes=-1), **columns: Any) -> UUID:
        """Insert a row, by default due since a minute; `columns` are set after that."""
        made: UUID = self.value(
            "INSERT INTO feature_flag_schedules (flag_id, scheduled_at, updates) "
            "VALUES (%s, now() + %s, %s) RETURNING id",
            flag,
            due,
            json.dumps(updates),
        )
        for name, value in columns.items():
            self.connection.execute(
                psycopg.sql.SQL("UPDATE feature_flag_schedules SET {} = %s WHERE id = %s").format(
                    psycopg.sql.Identifier(name)
                ),
                [value, made],
            )
        return made

    def row(self, schedule: UUID) -> dict[str, Any]:
        """Return a schedule's row."""
        (found,) = self.query(_COLUMNS + "WHERE id = %s", schedule)
        return found

    def state(self, flag: UUID) -> tuple[bool, int]:
        """Return a flag's two values."""
        (found,) = self.query("SELECT enabled, rollout_percentage FROM feature_flags WHERE id = %s", flag)
        return found["enabled"], found["rollout_percentage"]

    def attempts(self, schedule: UUID) -> list[Mapping[str, Any]]:
        """Return a schedule's history, oldest first."""
        return list(
            self.query("SELECT * FROM flag_schedule_attempts WHERE schedule_id = %s ORDER BY arming, attempt", schedule)
        )


@contextmanager
def connected(url: str) -> Iterator[Database]:
    """Open a `Database` on a connection of its own."""
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        yield Database(connection)
