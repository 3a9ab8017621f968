"""The processor's store: one connection, one statement per batch. Implements ports.processing.ProcessStore."""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import starmap
from typing import Any, Final, LiteralString, NamedTuple, Self
from uuid import UUID

import orjson
import psycopg
from psycopg.types.json import Jsonb, set_json_loads

from flagschedule.adapters.postgres import connection, statements
from flagschedule.adapters.postgres.connection import Url
from flagschedule.adapters.postgres.session import Session
from flagschedule.domain.errors import DependencyUnavailableError
from flagschedule.ports.processing import Batch, ClaimedRow, Due, ProcessedSchedule, SetAside, Skipped

_EMPTY: Final = Batch(handled=(), cache_entries={})
_NEEDS_NEWER: Final = (
    "the database needs a newer version of the processor: a FlagFreeze exists, which this version would not obey; "
    "upgrade FlagSchedule here, too"
)
# 0 knows plain changes only, 1 also expectations, windows and freezes. The claims take rows that require no more.
PROTOCOL: Final = 1
_PRUNED: Final = 10_000  # entries at a time
_SLOW_LOOK: Final = 0.002  # seconds; after a slower look the next ones begin behind the rows that a freeze holds
_RESCAN: Final = 100  # times the time of that look, after which they begin with the first row again
_LONGEST_RESCAN: Final = 10.0  # seconds


class _Place(NamedTuple):
    """Where a batch begins, in the order of its index; the fields are parameters of the claims."""

    since: str
    since_id: str
    since_retry: str


_FIRST: Final = _Place("-infinity", "00000000-0000-0000-0000-000000000000", "-infinity")


class _Answer(NamedTuple):
    """What one statement did, the place of its last claimed row, how many it claimed, and if it needs the full text."""

    batch: Batch
    place: _Place
    claimed: int
    needs_full: bool


class PostgresProcessStore:
    """The processor's view of the database. In autocommit: every statement is a transaction of its own."""

    def __init__(self, url: Url, run_id: int = 0) -> None:
        self._url = url
        self._apply = _texts("process/apply")
        self._claimable = _texts("process/claimable")
        self._seconds_until_due = {
            True: statements.full("process/seconds_until_due"),
            False: statements.plain("process/seconds_until_due"),
        }
        self._is_retry_due = statements.read("process/is_retry_due")
        self._is_anything_due = statements.anything_due()
        self._is_aside_due = statements.read("process/is_aside_due")
        self._look = statements.look()
        self._apply_only = statements.full_claim("process/apply", "process/claim_only")
        self._run_id = run_id
        self._has_after_triggers = False
        self._needs_full = False
        self._first = _FIRST
        self._places = {True: _FIRST, False: _FIRST}
        self._rescan_at = -math.inf
        self._freezes: list[int] | None = None

    def __enter__(self) -> Self:
        self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self) -> None:
        self._connection = Session.open(self._url, "flagschedule-processor", statements.read("process/settings"))
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
        found = self._fetch(statements.read("process/start_run"), protocol=PROTOCOL)
        if not found:
            raise DependencyUnavailableError(_NEEDS_NEWER)
        ((self._run_id, may_be_hidden, self._has_after_triggers),) = found
        return bool(may_be_hidden)

    def connect_another(self) -> Self:
        """See ports.processing.ProcessStore."""
        other = type(self)(self._url, self._run_id).__enter__()
        other._has_after_triggers = self._has_after_triggers  # noqa: SLF001 -- of the same class
        return other

    def finish_run(self, summary: Mapping[str, Any]) -> None:
        """See ports.processing.ProcessStore."""
        attempts = Jsonb(summary["attempts"])
        self._run(statements.read("process/finish_run"), run_id=self._run_id, **{**summary, "attempts": attempts})

    def apply(self, *, retries: bool, limit: int, left_out: Sequence[UUID]) -> Batch:
        """See ports.processing.ProcessStore."""
        if retries:
            # To start the whole statement for nothing takes a tenth of a full batch, and retries are rare.
            ((due,),) = self._fetch(self._is_retry_due, left_out=list(left_out))
            if not due:
                return _EMPTY
        # Rows that another transaction held when earlier batches skipped them may be free now. So before an empty batch
        # is returned, the claim begins once more with the first row.
        begin_again = self._places[retries] != self._first
        while True:
            statement = statements.limited(self._apply[self._needs_full, retries], limit)
            with connection.translated_for_rows(self._connection):
                answer = self._batch(statement, left_out=list(left_out), **self._places[retries]._asdict())
            if answer.needs_full and not self._needs_full:
                self._needs_full = True
                continue
            if self._needs_full and not answer.needs_full:
                self._leave_full()
            at_end = answer.claimed < limit
            self._places[retries] = self._first if at_end else answer.place
            if answer.batch.handled or (at_end and not begin_again):
                return answer.batch
            begin_again = begin_again and not at_end

    def claimable(self, *, retries: bool, limit: int, left_out: Sequence[UUID]) -> Sequence[ClaimedRow]:
        """See ports.processing.ProcessStore. In autocommit the locks of the claim end with its statement."""
        text = statements.limited(self._claimable[self._needs_full, retries], limit)
        rows = self._fetch(text, left_out=list(left_out), **self._places[retries]._asdict())
        return [ClaimedRow(schedule_id=row[0], flag_id=row[1], version=row[2]) for row in rows]

    def what_is_due(self, left_out: Sequence[UUID]) -> Due:
        """See ports.processing.ProcessStore."""
        ((due,),) = self._fetch(self._is_anything_due, left_out=list(left_out))
        if self._needs_full and not due:
            self._leave_full()
        if not due:
            return Due.NOTHING
        return Due.NOW if not self._needs_full or self._can_anything_be_applied(left_out) else Due.WAITING

    def _can_anything_be_applied(self, left_out: Sequence[UUID]) -> bool:
        """Look with the full text, which leaves out rows that a freeze holds or that wait for an earlier change.

        To read thousands of held rows takes long. After a slow look the next ones begin behind these rows, for a
        hundred times its time, ten seconds at most, or until the freezes change. A row that becomes applicable before
        them waits as long.
        """
        if time.monotonic() >= self._rescan_at:
            self._begin_at(_FIRST)
        started = time.monotonic()
        ((due, at, freezes),) = self._fetch(self._look, left_out=list(left_out), **self._first._asdict())
        if freezes != self._freezes and self._first != _FIRST:
            self._begin_at(_FIRST)
            return self._can_anything_be_applied(left_out)
        self._freezes = freezes
        taken = time.monotonic() - started
        if not due and self._first == _FIRST and taken > _SLOW_LOOK:
            self._begin_at(_FIRST._replace(since=at, since_retry=at))
            self._rescan_at = time.monotonic() + min(_RESCAN * taken, _LONGEST_RESCAN)
        return bool(due)

    def _leave_full(self) -> None:
        self._needs_full = False
        self._begin_at(_FIRST)

    def _begin_at(self, place: _Place) -> None:
        self._first = place
        self._places = {True: place, False: place}

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
        ((seconds,),) = self._fetch(self._seconds_until_due[self._needs_full])
        return None if seconds is None else float(seconds)

    def apply_only(self, ids: Sequence[UUID], *, seconds: float | None = None) -> Batch:
        """See ports.processing.ProcessStore."""
        if seconds is None:
            with connection.translated_for_rows(self._connection):
                return self._batch(self._apply_only, ids=list(ids)).batch
        with connection.translated_for_rows(self._connection), self._connection.transaction():
            timeout = {"milliseconds": f"{max(int(seconds * 1000), 1)}ms"}
            self._connection.execute(statements.read("process/set_timeout"), timeout)
            return self._batch(self._apply_only, ids=list(ids)).batch

    def check(self) -> None:
        """See ports.processing.ProcessStore."""
        with connection.translated():
            self._batch(self._apply_only, ids=[])

    def _batch(self, statement: LiteralString, **values: object) -> _Answer:
        """Run a statement that applies.

        By a raw cursor: psycopg's usual one searches the text for parameters, which takes longer than to send it.
        """
        text, names = statements.numbered(statement)
        values["run_id"] = self._run_id
        with self._connection.transaction() if self._has_after_triggers else self._connection.unit():
            cursor = psycopg.RawCursor(self._connection).execute(text, [values[name] for name in names])
            if self._has_after_triggers:
                # AFTER triggers run after the statement has returned the flags: read them again before the commit.
                ((handled, *_),) = cursor.fetchall()
                cursor.scroll(0, "absolute")
                self._connection.execute(statements.read("process/refuse_undone"), {"ids": handled[0] or []})
        ((handled, cache_entries, latest, claimed, needs_full),) = cursor.fetchall()
        place = _Place(*latest, *_FIRST[len(latest) :]) if claimed else _FIRST  # the plain text returns the time alone
        if not handled[0]:
            return _Answer(_EMPTY, place, claimed, needs_full)
        batch = Batch(
            handled=list(starmap(ProcessedSchedule, zip(*handled, strict=True))),
            cache_entries={int(entry): environment for entry, environment in (cache_entries or {}).items()},
        )
        return _Answer(batch, place, claimed, needs_full)

    def record_failure(self, row: ClaimedRow, *, error: str, attempt_error: str) -> Batch:
        """See ports.processing.ProcessStore."""
        rows = self._fetch(
            statements.read("process/record_failure"),
            schedule_id=row.schedule_id,
            version=row.version,
            error=error,
            attempt_error=attempt_error,
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
        """See ports.processing.ProcessStore. The entries stay locked meanwhile, so that another run skips them."""
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
        return self._run(statements.limited(statements.read("process/prune_status_entries"), _PRUNED)) == _PRUNED


def _texts(name: str) -> Mapping[tuple[bool, bool], LiteralString]:
    """Return the four texts of a statement, by whether it is the full one and whether it claims retries."""
    claims = {True: "process/claim_retries", False: "process/claim_due"}
    plain = {(False, retries): statements.plain_claim(name, claim) for retries, claim in claims.items()}
    return plain | {(True, retries): statements.full_claim(name, claim) for retries, claim in claims.items()}
