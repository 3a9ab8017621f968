"""A database with good rows and an odd one: what the cases of `columns` are tried in.

The odd row comes first in every order, so that a program that stumbles over it does not reach the others.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from uuid import UUID

import psycopg
from psycopg import sql

from dev.localkind.servers.postgres import Postgres
from flagschedule.adapters.postgres.migrate import migrate
from tests import roles
from tests.integration.database import Database, connected

GOOD: Final = UUID("00000000-0000-7000-8000-0000000000a1")
AGAIN: Final = UUID("00000000-0000-7000-8000-0000000000a2")  # a retry
OLD: Final = UUID("00000000-0000-7000-8000-0000000000a3")  # finished long ago
PLANNED: Final = UUID("00000000-0000-7000-8000-0000000000a4")  # by the good plan
ODD: Final = UUID("00000000-0000-7000-8000-000000000001")
GOOD_UID: Final = UUID("00000000-0000-4000-8000-0000000000b1")
WAITING_UID: Final = UUID("00000000-0000-4000-8000-0000000000b2")
ODD_UID: Final = UUID("00000000-0000-4000-8000-000000000002")
GOOD_PLAN: Final = UUID("00000000-0000-4000-8000-0000000000d2")
ODD_PLAN: Final = UUID("00000000-0000-4000-8000-0000000000d1")

Lane = Literal["pending", "retrying", "set aside", "finished", "without a row"]
Host = Literal["accepts", "refuses: 23514", "refuses: FF001", "refuses: P0001", "refuses: 23503"]
HOSTS: Final[tuple[Host, ...]] = ("accepts", "refuses: 23514", "refuses: FF001", "refuses: P0001")

_FLAG: Final = "00000000-0000-4000-8000-00000000000"
_OLD_TIME: Final = "now() - interval '200 days'"
_STATES: Final[dict[Lane, str]] = {
    "pending": "'pending', 0, NULL, NULL",
    "set aside": "'pending', 0, NULL, NULL",
    "retrying": "'failed', 1, now() - interval '1 hour', NULL",
    "finished": f"'applied', 0, NULL, {_OLD_TIME}",
    "without a row": "'cancelled', 0, NULL, NULL",
}
# Where the odd value goes: one row of each table.
_ODD_ROWS: Final = {
    "feature_flags": f"id = '{_FLAG}1'",
    "feature_flag_schedules": f"id = '{ODD}'",
    "flag_schedule_objects": f"uid = '{ODD_UID}'",
    "flag_schedule_watermarks": f"flag_id = '{_FLAG}1'",
    "flag_schedule_runs": "id = -7",
    "flag_schedule_attempts": f"schedule_id = '{ODD}'",
    "flag_schedule_cache_outbox": "id = -7",
    "flag_schedule_status_outbox": "id = -7",
    "flag_schedule_clusters": "name = 'elsewhere'",
    "flag_schedule_freezes": "id = -7",
    "flag_schedule_changes": "id = -7",
    "flag_schedule_notices": f"id = '{ODD}'",
    "flag_plan_lineages": "id = -7",
    "flag_plans": f"uid = '{ODD_PLAN}'",
    "flag_plan_rows": "lineage = -7",
    "flag_schedule_protocol": "true",
    "flag_schedule_migration_lock": "pid = 1",
    "flag_schedule_migration_log": "migration_id = (SELECT min(migration_id) FROM flag_schedule_migration_log)",
    "flag_schedule_migration_version": "true",
    "flag_schedule_migrations": "migration_id = (SELECT min(migration_id) FROM flag_schedule_migrations)",
}
# What each program writes of the odd row.
_WRITES: Final = {
    "process": f"UPDATE ON feature_flags FOR EACH ROW WHEN (OLD.id = '{_FLAG}1')",
    "operator": f"INSERT OR UPDATE ON feature_flag_schedules FOR EACH ROW WHEN (NEW.flag_id = '{_FLAG}1')",
    "cleanup": f"DELETE ON feature_flag_schedules FOR EACH ROW WHEN (OLD.id = '{ODD}')",
}
_BEGIN: Final = (Path(__file__).parent / "begin.sql").read_text()
_REFUSE: Final = """
CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'not this one' USING ERRCODE = TG_ARGV[0];
END $$;
"""


@dataclass(frozen=True)
class Column:
    """A column as the catalogue has it."""

    table: str
    name: str
    kind: str

    def __str__(self) -> str:
        return f"{self.table}.{self.name}"


def columns_of(database: Database) -> list[Column]:
    """Return every column of every table of the schema, as the catalogue has them."""
    return [
        Column(found["relname"], found["attname"], found["kind"])
        for found in database.query(
            "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS kind "
            "FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid "
            "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') "
            "AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' "
            # Another name of a migration that was applied makes that one apply once more, which is no odd value.
            "AND a.attname <> 'migration_id' "
            # A higher minimum ends every run: that is what it is for.
            "AND (c.relname, a.attname) <> ('flag_schedule_protocol', 'minimum') ORDER BY c.relname, a.attnum"
        )
    ]


class OddScene:
    """One migrated database, and an empty one next to it."""

    def __init__(self, url: str, empty_url: str, database: Database) -> None:
        self.url = url
        self.empty_url = empty_url
        self.database = database
        # Only an owner overrides an identity, and a user who may do so can store any value.
        for table in self.database.query(
            "SELECT attrelid::regclass::text AS name, attname "
            "FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = attrelid "
            "WHERE attidentity = 'a' AND c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'"
        ):
            self._execute(
                sql.SQL("ALTER TABLE {} ALTER {} SET GENERATED BY DEFAULT").format(
                    sql.Identifier(table["name"]), sql.Identifier(table["attname"])
                )
            )
        self.database.run(_REFUSE)
        self._kept = [
            found["relname"]
            for found in self.database.query(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
                "AND starts_with(relname, 'flag_schedule_migration')"
            )
        ]
        self.database.run("CREATE SCHEMA kept")
        for name in self._kept:
            self._execute(sql.SQL("CREATE TABLE kept.{0} AS TABLE {0}").format(sql.Identifier(name)))
        self._dirty = False

    @property
    def name(self) -> str:
        """The name of the database that the programs reach."""
        return self.url.rpartition("/")[2]

    @contextmanager
    def reached_by(self, url: str) -> Iterator[None]:
        """Let the programs reach the database, or another one, by this URL of the superuser."""
        before, self.url = self.url, url
        try:
            yield
        finally:
            self.url = before

    def columns(self) -> list[Column]:
        """Return every column of every table of ours and of the host's that the product touches."""
        return columns_of(self.database)

    def begin(self, lane: Lane) -> None:
        """Good rows, and an odd one that is odd in nothing yet."""
        if self._dirty:
            for name in self._kept:
                self._execute(sql.SQL("DELETE FROM {0}; INSERT INTO {0} TABLE kept.{0}").format(sql.Identifier(name)))
        rowless = lane == "without a row"
        text = _BEGIN
        for place, words in {
            "state": _STATES[lane],
            "updated": _OLD_TIME if lane == "finished" else "now()",
            "odd_row": "NULL" if rowless else f"'{ODD}'",
            "odd_state": "'waiting'" if rowless else "NULL",
        }.items():
            text = text.replace(f"/*{place}*/", words)
        self.database.connection.execute(text.encode())
        if lane == "set aside":
            self.database.run(
                "UPDATE feature_flag_schedules SET set_aside_count = 1, set_aside_until = now() - interval '1 minute' "
                "WHERE id = %s",
                ODD,
            )

    def store(self, column: Column, value: str | None) -> bool:
        """Make the odd row odd; False if the table itself takes no such value."""
        statement = sql.SQL("UPDATE {} SET {} = %s::{} WHERE {}").format(
            sql.Identifier(column.table),
            sql.Identifier(column.name),
            sql.SQL(column.kind),
            sql.SQL(_ODD_ROWS[column.table]),
        )
        if column.table in self._kept:
            self._dirty = True
            if column.table == "flag_schedule_migration_lock":
                self.database.run("DELETE FROM flag_schedule_migration_lock")
                self.database.run("INSERT INTO flag_schedule_migration_lock (locked, pid) VALUES (1, 1)")
        try:
            changed = self.database.connection.execute(statement, [value]).rowcount
        except (psycopg.IntegrityError, psycopg.DataError, psycopg.OperationalError):  # the last: too long for an index
            return False
        if changed != 1:
            raise AssertionError(f"{column} has no odd row")
        return True

    def refuse(self, host: Host, program: str) -> None:
        """Let the host have its way with what this program would do to the odd row."""
        if host != "accepts":
            state = host.rpartition(" ")[2]
            self._execute(
                sql.SQL("CREATE TRIGGER refuse BEFORE {} EXECUTE FUNCTION refuse({})").format(
                    sql.SQL(_WRITES[program]), sql.Literal(state)
                )
            )

    def is_due(self, schedule: UUID) -> bool:
        """Return whether this row is due."""
        return bool(
            self.database.query(
                "SELECT FROM feature_flag_schedules WHERE id = %s AND NOT suspended AND (status = 'pending' "
                "AND scheduled_at <= now() OR status = 'failed' AND next_retry_at <= now())",
                schedule,
            )
        )

    def exists(self, schedule: UUID) -> bool:
        """Return whether there is such a row."""
        return bool(self.database.query("SELECT FROM feature_flag_schedules WHERE id = %s", schedule))

    def is_applied(self, schedule: UUID) -> bool:
        """Return whether the row's change was made."""
        return bool(self.database.row(schedule)["status"] == "applied")

    def _execute(self, statement: sql.Composed) -> None:
        self.database.connection.execute(statement)


@contextmanager
def odd_scene(postgres: Postgres, name: str = "odd") -> Iterator[OddScene]:
    """Make a database on a server that has the product's roles."""
    url = postgres.create_database(name)
    empty_url = postgres.create_database(f"{name}_empty")
    migrate(roles.url(url, "migrate"))
    try:
        with connected(url) as database:
            yield OddScene(url, empty_url, database)
    finally:
        postgres.drop_database(name)
        postgres.drop_database(f"{name}_empty")
