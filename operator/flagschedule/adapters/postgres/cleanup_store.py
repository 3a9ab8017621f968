"""The cleaner's store: one connection; each purge is one short statement over a few pages of one table.

Implements ports.cleanup.CleanupStore. A table is walked in the order in which it lies on disk: no index finds what is
finished, because an index on status or time would cost the processor more than the walk costs once a day.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Final, LiteralString, Self

from flagschedule.adapters.postgres import connection, statements
from flagschedule.adapters.postgres.connection import Url
from flagschedule.adapters.postgres.session import Session
from flagschedule.domain.retention import Retention
from flagschedule.ports.cleanup import Place, Table

_PAGES: Final = "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::bigint"
_TABLES: Final[Mapping[Table, LiteralString]] = {
    "runs": "flag_schedule_runs",
    "records": "flag_schedule_objects",
    "attempts": "flag_schedule_attempts",
    "schedules": "feature_flag_schedules",
}


# Locked rows are left to the next run: their transaction may be long, and may wait for us.
_DELETE_FREE: Final = "DELETE FROM feature_flag_schedules AS old WHERE old.ctid = ANY (ARRAY(SELECT old.ctid "
_BY_LABEL: Final = ") SELECT label, count(*) FROM gone GROUP BY label"
_FREE: Final = "FOR UPDATE SKIP LOCKED))"


def _delete(kind: Table) -> LiteralString:
    """The statement that deletes what old_`kind`.sql names, and counts it by label."""
    old = statements.read(f"cleanup/old_{kind}")
    delete = _DELETE_FREE + old + _FREE if kind == "schedules" else "DELETE " + old
    return "WITH gone AS (" + delete + " RETURNING " + _label(kind) + _BY_LABEL


def _count(kind: Table) -> LiteralString:
    """The statement that counts the same rows, and deletes nothing."""
    old = statements.read(f"cleanup/old_{kind}")
    return "SELECT " + _label(kind) + ", count(*) " + old + " GROUP BY label"


def _label(kind: Table) -> LiteralString:
    return "old.status::text AS label" if kind == "schedules" else "'" + kind + "' AS label"


class PostgresCleanupStore:
    """The cleaner's view of the database. In autocommit: every statement is a transaction of its own."""

    def __init__(self, url: Url, retention: Retention) -> None:
        self._url = url
        self._days = {**asdict(retention), "attempt_days": retention.attempt_days}

    def __enter__(self) -> Self:
        self._connection = Session.open(self._url, "flagschedule-cleanup")
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def pages(self, kind: Table) -> int:
        """See ports.cleanup.CleanupStore."""
        with connection.translated():
            found = self._connection.execute(_PAGES, [_TABLES[kind]]).fetchone()
        return int(found[0]) if found else 0

    def purge(self, kind: Table, start: Place, end: Place, *, dry_run: bool) -> Mapping[str, int]:
        """See ports.cleanup.CleanupStore."""
        statement = _count(kind) if dry_run else _delete(kind)
        window = {"first": "({},{})".format(*start), "end": "({},{})".format(*end)}
        with connection.translated_for_rows(self._connection):
            return dict(self._connection.execute(statement, {**self._days, **window}).fetchall())
