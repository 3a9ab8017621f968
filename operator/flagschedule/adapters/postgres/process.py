"""The processor's store: one connection, one statement per batch. Implements ports.ProcessStore."""

from collections.abc import Callable, Mapping, Sequence
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
from flagschedule.ports import Batch, Claimable, Handled

_START_RUN: Final = "INSERT INTO flag_schedule_runs DEFAULT VALUES RETURNING id"
_NOTHING: Final = Batch(handled=(), cache_entries={})
_THE_FIRST: Final = "-infinity"
# To plan the statement that applies takes as long as a tenth of a batch, and no batch wants another plan.
# Each flag of a batch is looked up once as a rule: to remember those found takes longer than to look twice.
_PLANS: Final[More] = {"plan_cache_mode": "force_generic_plan", "enable_memoize": "off"}


class PostgresProcessStore:
    """The processor's view of the database. In autocommit: every statement is a transaction of its own."""

    def __init__(self, url: Url, run_id: int = 0) -> None:
        self._url = url
        self._claim = {True: statements.read("claim_retries"), False: statements.read("claim_due")}
        self._apply = {retries: statements.apply_with(claim) for retries, claim in self._claim.items()}
        self._is_retry_due = statements.read("is_retry_due")
        self._is_anything_due = statements.either(statements.read("is_first_attempt_due"), self._is_retry_due)
        self._apply_only = statements.apply_with(statements.read("claim_only"))
        self._run_id = run_id
        self._since = _THE_FIRST

    def __enter__(self) -> Self:
        self._connection = Session.open(self._url, "flagschedule-processor", _PLANS)
        set_json_loads(orjson.loads, self._connection)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """See ports.ProcessStore."""
        self._connection.close()

    def _fetch(self, statement: LiteralString, **values: object) -> list[tuple[Any, ...]]:
        with connection.translated():
            return self._connection.execute(statement, {"run_id": self._run_id, **values}).fetchall()

    def _run(self, statement: LiteralString, **values: object) -> int:
        with connection.translated():
            return self._connection.execute(statement, values).rowcount

    def start_run(self) -> int:
        """See ports.ProcessStore."""
        ((run_id,),) = self._fetch(_START_RUN)
        self._run_id = run_id
        return self._run_id

    def beside(self) -> Self:
        """See ports.ProcessStore."""
        return type(self)(self._url, self._run_id).__enter__()

    def finish_run(self, summary: Mapping[str, Any]) -> None:
        """See ports.ProcessStore."""
        self._run(statements.read("finish_run"), run_id=self._run_id, **summary)

    def apply(self, *, retries: bool, limit: int, set_aside: Sequence[UUID]) -> Batch:
        """See ports.ProcessStore."""
        statement = statements.limited(self._apply[retries], limit)
        if retries:
            # To start the whole statement for nothing takes a tenth of a full batch, and retries are seldom.
            if not self._is(self._is_retry_due, set_aside):
                return _NOTHING
            return self._batch(statement, set_aside=list(set_aside))[0]
        while True:
            since = self._since
            batch, latest = self._batch(statement, set_aside=list(set_aside), since=since)
            self._since = latest if len(batch.handled) == limit else _THE_FIRST
            # What others held when a former batch passed it may be free by now.
            if batch.handled or since == _THE_FIRST:
                return batch

    def claimable(self, *, retries: bool, limit: int, set_aside: Sequence[UUID]) -> Sequence[Claimable]:
        """See ports.ProcessStore. In autocommit the claim's locks are gone with its answer."""
        text = statements.limited(self._claim[retries], limit)
        rows = self._fetch(text, set_aside=list(set_aside), since=self._since)
        return [Claimable(schedule_id=row[0], version=row[-1]) for row in rows]

    def is_anything_due(self, set_aside: Sequence[UUID]) -> bool:
        """See ports.ProcessStore."""
        return self._is(self._is_anything_due, set_aside)

    def seconds_until_due(self) -> float | None:
        """See ports.ProcessStore."""
        ((seconds,),) = self._fetch(statements.read("seconds_until_due"))
        return None if seconds is None else float(seconds)

    def _is(self, question: LiteralString, set_aside: Sequence[UUID]) -> bool:
        ((answer,),) = self._fetch(question, set_aside=list(set_aside))
        return bool(answer)

    def apply_only(self, ids: Sequence[UUID]) -> Batch:
        """See ports.ProcessStore."""
        return self._batch(self._apply_only, ids=list(ids))[0]

    def _batch(self, statement: LiteralString, **values: object) -> tuple[Batch, str]:
        """What the statement did, and the time of the latest schedule that it claimed.

        A statement of this length takes psycopg's usual cursor longer to look through than to send.
        """
        text, names = statements.numbered(statement)
        values["run_id"] = self._run_id
        with connection.translated():
            with self._connection.unit():
                cursor = psycopg.RawCursor(self._connection).execute(text, [values[name] for name in names])
            ((handled, cache_entries, latest),) = cursor.fetchall()
        if not latest:
            return _NOTHING, _THE_FIRST
        never = repeat(None, len(handled[0]))  # what the statement brings to its end is not tried again
        batch = Batch(
            handled=list(map(Handled._make, zip(*handled, never, strict=True))),
            cache_entries={int(entry): environment for entry, environment in (cache_entries or {}).items()},
        )
        return batch, latest

    def record_failure(self, row: Claimable, *, error: str, delays: Sequence[float], jitter: timedelta) -> Batch:
        """See ports.ProcessStore."""
        rows = self._fetch(
            statements.read("record_failure"),
            schedule_id=row.schedule_id,
            version=row.version,
            error=error,
            delays=list(delays),
            jitter=jitter.total_seconds(),
        )
        handled = [
            Handled(
                schedule_id=str(schedule_id),
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

    def drain_cache(self, limit: int, invalidate: Callable[[Sequence[str]], None]) -> int:
        """See ports.ProcessStore. The entries stay locked meanwhile, so that two runs do not do the same work."""
        with connection.translated(), self._connection.transaction():
            text = statements.limited(statements.read("lock_cache_entries"), limit)
            entries = self._connection.execute(text).fetchall()
            if entries:
                invalidate(sorted({environment for _, environment in entries}))
                self.forget_cache_entries([entry for entry, _ in entries])
        return len(entries)

    def forget_cache_entries(self, ids: Sequence[int]) -> None:
        """See ports.ProcessStore."""
        self._run(statements.read("forget_cache_entries"), ids=list(ids))

    def prune_status_entries(self) -> int:
        """See ports.ProcessStore."""
        return self._run(statements.read("prune_status_entries"))
