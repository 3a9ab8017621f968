"""The processor's store: one connection, one statement per batch. Implements ports.processing.ProcessStore."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from itertools import repeat
from typing import Any, Final, LiteralString, Self
from uuid import UUID

import orjson
import psycopg
from psycopg.types.json import set_json_loads

from flagschedule.adapters.postgres import connection, statements
from flagschedule.adapters.postgres.connection import Url
from flagschedule.adapters.postgres.session import More, Session
from flagschedule.ports.processing import Batch, ClaimedRow, ProcessedSchedule, SetAside, Skipped

_NOTHING: Final = Batch(handled=(), cache_entries={})
_THE_FIRST: Final = "-infinity"
# To plan the statement that applies takes as long as a tenth of a batch, and no batch wants another plan.
# Each flag of a batch is looked up once as a rule: to remember those found takes longer than to look twice.
# A batch takes milliseconds: one that takes a second holds a slow row, and all others wait for it.
_SETTINGS: Final[More] = {
    "plan_cache_mode": "force_generic_plan",
    "enable_memoize": "off",
    "statement_timeout": "1s",
}
_TIMEOUT: Final = "SELECT pg_catalog.set_config('statement_timeout', %(milliseconds)s, true)"
_PRUNED: Final = 10_000  # as prune_status_entries.sql


class PostgresProcessStore:
    """The processor's view of the database. In autocommit: every statement is a transaction of its own."""

    def __init__(self, url: Url, run_id: int = 0) -> None:
        self._url = url
        self._claim = {True: statements.read("process/claim_retries"), False: statements.read("process/claim_due")}
        self._apply = {retries: statements.apply_with(claim) for retries, claim in self._claim.items()}
        self._claimable = {retries: statements.claimable_with(claim) for retries, claim in self._claim.items()}
        self._is_retry_due = statements.read("process/is_retry_due")
        self._is_anything_due = statements.either(statements.read("process/is_first_attempt_due"), self._is_retry_due)
        self._is_aside_due = statements.read("process/is_aside_due")
        self._apply_only = statements.apply_with(statements.read("process/claim_only"))
        self._run_id = run_id
        self._has_after_triggers = False
        self._since = _THE_FIRST

    def __enter__(self) -> Self:
        self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self) -> None:
        self._connection = Session.open(self._url, "flagschedule-processor", _SETTINGS)
        set_json_loads(orjson.loads, self._connection)

    def close(self) -> None:
        """See ports.processing.ProcessStore."""
        self._connection.close()

    def reconnect(self) -> None:
        """See ports.processing.ProcessStore."""
        if self._connection.closed:
            self._connect()

    def _fetch(self, statement: LiteralString, **values: object) -> list[tuple[Any, ...]]:
        with connection.translated():
            return self._connection.execute(statement, {"run_id": self._run_id, **values}).fetchall()

    def _run(self, statement: LiteralString, **values: object) -> int:
        with connection.translated():
            return self._connection.execute(statement, values).rowcount

    def start_run(self) -> bool:
        """See ports.processing.ProcessStore."""
        ((self._run_id, may_be_hidden, self._has_after_triggers),) = self._fetch(statements.read("process/start_run"))
        return bool(may_be_hidden)

    def connect_another(self) -> Self:
        """See ports.processing.ProcessStore."""
        other = type(self)(self._url, self._run_id).__enter__()
        other._has_after_triggers = self._has_after_triggers  # noqa: SLF001 -- of the same class
        return other

    def finish_run(self, summary: Mapping[str, Any]) -> None:
        """See ports.processing.ProcessStore."""
        self._run(statements.read("process/finish_run"), run_id=self._run_id, **summary)

    def apply(self, *, retries: bool, limit: int, suspects: Sequence[UUID]) -> Batch:
        """See ports.processing.ProcessStore."""
        statement = statements.limited(self._apply[retries], limit)
        if retries:
            # To start the whole statement for nothing takes a tenth of a full batch, and retries are rare.
            ((due,),) = self._fetch(self._is_retry_due, suspects=list(suspects))
            if not due:
                return _NOTHING
            with connection.translated_for_rows(self._connection):
                return self._batch(statement, suspects=list(suspects))[0]
        while True:
            since = self._since
            with connection.translated_for_rows(self._connection):
                batch, latest = self._batch(statement, suspects=list(suspects), since=since)
            self._since = latest if len(batch.handled) == limit else _THE_FIRST
            # What others held when a former batch passed it may be free by now.
            if batch.handled or since == _THE_FIRST:
                return batch

    def claimable(self, *, retries: bool, limit: int, suspects: Sequence[UUID]) -> Sequence[ClaimedRow]:
        """See ports.processing.ProcessStore. In autocommit the claim's locks are gone with its answer."""
        text = statements.limited(self._claimable[retries], limit)
        rows = self._fetch(text, suspects=list(suspects), since=self._since)
        return [ClaimedRow(schedule_id=row[0], flag_id=row[1], version=row[2]) for row in rows]

    def is_anything_due(self, suspects: Sequence[UUID]) -> bool:
        """See ports.processing.ProcessStore."""
        ((due,),) = self._fetch(self._is_anything_due, suspects=list(suspects))
        return bool(due)

    def is_aside_due(self) -> bool | None:
        """See ports.processing.ProcessStore."""
        found = self._fetch(self._is_aside_due)
        return bool(found[0][0]) if found else None

    def suspects(self, flags: Sequence[UUID], stuck: Sequence[UUID], limit: int) -> Sequence[ClaimedRow]:
        """See ports.processing.ProcessStore."""
        text = statements.limited(statements.read("process/suspects"), limit)
        rows = self._fetch(text, suspects=list(flags), stuck=list(stuck))
        return [
            ClaimedRow(schedule_id=schedule_id, flag_id=flag_id, version=version, set_aside_count=count)
            for schedule_id, flag_id, version, count in rows
        ]

    def skipped(self) -> Sequence[Skipped]:
        """See ports.processing.ProcessStore."""
        return [Skipped._make(found) for found in self._fetch(statements.read("process/skipped"))]

    def seconds_until_due(self) -> float | None:
        """See ports.processing.ProcessStore."""
        ((seconds,),) = self._fetch(statements.read("process/seconds_until_due"))
        return None if seconds is None else float(seconds)

    def apply_only(self, ids: Sequence[UUID], *, seconds: float | None = None) -> Batch:
        """See ports.processing.ProcessStore."""
        if seconds is None:
            with connection.translated_for_rows(self._connection):
                return self._batch(self._apply_only, ids=list(ids))[0]
        with connection.translated_for_rows(self._connection), self._connection.transaction():
            self._connection.execute(_TIMEOUT, {"milliseconds": f"{max(int(seconds * 1000), 1)}ms"})
            return self._batch(self._apply_only, ids=list(ids))[0]

    def check(self) -> None:
        """See ports.processing.ProcessStore."""
        with connection.translated():
            self._batch(self._apply_only, ids=[])

    def _batch(self, statement: LiteralString, **values: object) -> tuple[Batch, str]:
        """What the statement did, and the time of the latest schedule that it claimed.

        A statement of this length takes psycopg's usual cursor longer to look through than to send.
        """
        text, names = statements.numbered(statement)
        values["run_id"] = self._run_id
        with self._connection.transaction() if self._has_after_triggers else self._connection.unit():
            cursor = psycopg.RawCursor(self._connection).execute(text, [values[name] for name in names])
            if self._has_after_triggers:
                self._refuse_undone(cursor)
        ((handled, cache_entries, latest),) = cursor.fetchall()
        if not latest:
            return _NOTHING, _THE_FIRST
        never = repeat(None, len(handled[0]))  # what the statement brings to its end is not tried again
        batch = Batch(
            handled=list(map(ProcessedSchedule._make, zip(*handled, never, strict=True))),
            cache_entries={int(entry): environment for entry, environment in (cache_entries or {}).items()},
        )
        return batch, latest

    def _refuse_undone(self, applied: psycopg.Cursor[Any]) -> None:
        """Read the flags once more in the same transaction: AFTER triggers run behind what the statement returns."""
        ((ids, *_), *_) = applied.fetchone() or ((None,),)
        applied.scroll(-1)
        self._connection.execute(statements.read("process/refuse_undone"), {"ids": ids or []})

    def record_failure(
        self, row: ClaimedRow, *, error: str, attempt_error: str, delays: Sequence[float], jitter: timedelta
    ) -> Batch:
        """See ports.processing.ProcessStore."""
        rows = self._fetch(
            statements.read("process/record_failure"),
            schedule_id=row.schedule_id,
            version=row.version,
            error=error,
            attempt_error=attempt_error,
            delays=list(delays),
            jitter=jitter.total_seconds(),
        )
        handled = [
            ProcessedSchedule(
                schedule_id=schedule_id,
                flag_key=flag_key,
                environment=environment,
                state="failed",
                reason=reason,
                retry_count=retry_count,
                error=error,
                retried=retried,
                next_retry_at=next_retry_at,
            )
            for schedule_id, flag_key, environment, reason, retry_count, next_retry_at, retried in rows
        ]
        return Batch(handled=handled, cache_entries={})

    def set_aside(self, row: ClaimedRow, *, error: str, delays: Sequence[float]) -> SetAside | None:
        """See ports.processing.ProcessStore."""
        values = {"schedule_id": row.schedule_id, "version": row.version, "error": error, "delays": list(delays)}
        found = self._fetch(statements.read("process/set_aside"), **values)
        return SetAside._make(found[0]) if found else None

    def drain_cache(self, after: int, limit: int, invalidate: Callable[[Sequence[str]], Collection[str]]) -> int | None:
        """See ports.processing.ProcessStore. The entries stay locked, so that two runs do not do the same work."""
        with connection.translated(), self._connection.transaction():
            text = statements.limited(statements.read("process/lock_cache_entries"), limit)
            entries = self._connection.execute(text, {"after": after}).fetchall()
            if not entries:
                return None
            latest = {environment: entry for entry, environment in entries}
            done = invalidate(sorted(latest))
            self.forget_cache_entries(
                [entry for entry, environment in entries if environment in done or entry != latest[environment]]
            )
        return int(entries[-1][0]) if len(entries) == limit else None

    def forget_cache_entries(self, ids: Sequence[int]) -> None:
        """See ports.processing.ProcessStore."""
        self._run(statements.read("process/forget_cache_entries"), ids=list(ids))

    def prune_status_entries(self) -> bool:
        """See ports.processing.ProcessStore."""
        return self._run(statements.read("process/prune_status_entries")) == _PRUNED
