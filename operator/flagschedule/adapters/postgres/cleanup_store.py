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

_TABLES: Final[Mapping[Table, LiteralString]] = {
    "runs": "flag_schedule_runs",
    "records": "flag_schedule_objects",
    "plan_rows": "flag_plan_rows",
    "plans": "flag_plans",
    "lineages": "flag_plan_lineages",
    "changes": "flag_schedule_changes",
    "notices": "flag_schedule_notices",
    "attempts": "flag_schedule_attempts",
    "schedules": "feature_flag_schedules",
}
_LABELS: Final[Mapping[Table, Table]] = {"plan_rows": "records", "plans": "records", "lineages": "records"}


def _statement(kind: Table, *, dry_run: bool) -> LiteralString:
    """The statement that deletes what old_`kind`.sql names and counts it by label, or only counts it."""
    form = ("count" if dry_run else "delete") + ("_by_state" if kind == "schedules" else "")
    return statements.read(f"cleanup/{form}", old=statements.read(f"cleanup/old_{kind}"))


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
            found = self._connection.execute(statements.read("cleanup/pages"), {"table": _TABLES[kind]}).fetchone()
        return int(found[0]) if found else 0

    def purge(self, kind: Table, start: Place, end: Place, *, dry_run: bool) -> Mapping[str, int]:
        """See ports.cleanup.CleanupStore."""
        values = {
            **self._days,
            "kind": _LABELS.get(kind, kind),
            "first": "({},{})".format(*start),
            "end": "({},{})".format(*end),
        }
        with connection.translated_for_rows(self._connection):
            return dict(self._connection.execute(_statement(kind, dry_run=dry_run), values).fetchall())
