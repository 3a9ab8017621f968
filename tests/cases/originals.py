"""Every column of the predecessor's tables, at its extremes, under the migration: `python -m tests.cases originals`.

With any value in one row, all migrations are applied, and the processor then applies another row that is due.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from tests import roles
from tests.cases import extremes, programs
from tests.cases.report import Report, some
from tests.cases.scene import Column, OddScene, columns_of
from tests.integration.database import Database, connected

_FOLDER: Final = Path(__file__).parents[1] / "integration" / "original"
_TEMPLATE: Final = "original"
_NEW: Final = "original_odd"
_STATES: Final = ("pending", "applied", "failed", "cancelled")
_MAKE_DUE: Final = """
INSERT INTO feature_flag_schedules (flag_id, scheduled_at, updates)
SELECT id, now() - interval '1 minute', '{"enabled": true}' FROM feature_flags WHERE environment = 'staging'
"""
_STORE: Final = """
UPDATE {table} SET {column} = %s::{kind}
WHERE ctid = (SELECT min(ctid) FROM {table} WHERE {key} = %s)
"""


@dataclass(frozen=True)
class Case:
    """One value in one column of the row in one state, or of its flag."""

    column: Column
    extreme: str
    value: str | None
    state: str

    def __str__(self) -> str:
        return f"{self.column} {self.extreme}, {self.state}"


@contextmanager
def template(scene: OddScene) -> Iterator[str]:
    """Make a database as the predecessor left it. Returns: its URL."""
    url = _next_to(scene, _TEMPLATE)
    with connected(scene.url) as database:
        database.run(f"CREATE DATABASE {_TEMPLATE}")
        try:
            with connected(url) as original:
                original.connection.execute(f"SET ROLE {roles.HOST}".encode())
                for name in ("flags", "schedules", "retries"):
                    original.connection.execute((_FOLDER / f"{name}.sql").read_bytes())
                original.connection.execute(roles.FLAGS.encode())
                original.connection.execute(_MAKE_DUE.encode())
            yield url
        finally:
            database.run(f"DROP DATABASE {_TEMPLATE} WITH (FORCE)")


def _next_to(scene: OddScene, name: str) -> str:
    return scene.url.removesuffix(scene.name) + name


def cases(url: str, number: int | None, seed: int, only: str = "") -> list[Case]:
    """Run every column with every extreme in a row of each state."""
    with connected(url) as original:
        everything = [
            Case(column, extreme, value, state)
            for column in columns_of(original)
            for extreme, value in extremes.of(column.kind).items()
            for state in (_STATES if column.table == "feature_flag_schedules" else ("production",))
        ]
    return some(everything, number, seed, only)


def run(scene: OddScene, report: Report, chosen: list[Case]) -> None:
    """Try them, one after the other."""
    url = _next_to(scene, _NEW)
    for case in report.progress(chosen):
        scene.database.run(f"CREATE DATABASE {_NEW} TEMPLATE {_TEMPLATE}")
        try:
            with connected(url) as database:
                if not _store(database, case):
                    report.skip("the table itself refuses the value")
                    continue
                failure = _check(database, url)
            report.case("migrate", failure and f"{case}: {failure}")
        finally:
            scene.database.run(f"DROP DATABASE {_NEW} WITH (FORCE)")


def _store(database: Database, case: Case) -> bool:
    statement = sql.SQL(_STORE).format(
        table=sql.Identifier(case.column.table),
        column=sql.Identifier(case.column.name),
        kind=sql.SQL(case.column.kind),
        key=sql.Identifier("status" if case.column.table == "feature_flag_schedules" else "environment"),
    )
    try:
        database.connection.execute(statement, [case.value, case.state])
    except (psycopg.IntegrityError, psycopg.DataError, psycopg.OperationalError):
        return False
    return True


def _check(database: Database, url: str) -> str | None:
    for program in ("migrate", "process"):
        if fault := programs.run(program, url).fault():
            return f"{program}: {fault}"
    is_made = database.query("SELECT FROM feature_flags WHERE environment = 'staging' AND enabled")
    return None if is_made else "a good row is not applied"
