"""What happens to schedules that the database refuses, so that none of them delays another one.

1. The rows of a refused batch are in quarantine: further batches leave out their flags. Between two batches, for a
   moment each time, the rows are tried in smaller groups, until the refused ones among them are found.
2. If a row was refused for a reason that is no outcome of a change, its flag is suspect: the batches of this run leave
   out all rows of the flag. These rows are tried one by one on a connection of their own, so that no other row waits.
3. A row that is refused there, too, is set aside, for longer each time. This is stored in the database; after five
   times a refusal counts as a failed attempt.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final
from uuid import UUID

from flagschedule.domain import backoff
from flagschedule.domain.errors import (
    ADVICE,
    ConnectionLostError,
    DependencyUnavailableError,
    RowRefusedError,
    StatementRefusedError,
)
from flagschedule.ports.processing import ClaimedRow, ProcessStore
from flagschedule.services.processing.report import Report

ISOLATION: Final = 0.1  # seconds of isolation between two batches, and of the pause after it if nothing else is due
_SLOW_ROW: Final = 0.25  # seconds for a row of a batch that took too long; the flag of a slower row is suspect
PAUSE: Final = 0.2  # seconds before a row that met a lock or a conflict is tried again, or a connection
LONGEST_TRY: Final = 30.0  # seconds for a row that is tried alone
_SHORTEST_TRY: Final = 1.0  # the same at the end of a run, when less time is left
_ROWS: Final = 100  # that are read at a time to be tried alone
_TRIES: Final = 3  # of a row that meets a lock or a conflict
_RESTART: Final = 10.0  # seconds for a server that restarts because one of its processes crashed
_CHECK_VALID: Final = 1.0  # seconds; without it each of hundreds of refused rows would cause a check of its own
_MOST_IN_QUARANTINE: Final = 1000  # rows, because each batch compares what it claims with the flags of all of them


@dataclass(eq=False)
class _Quarantine:
    """Rows of one refused batch; the first `size` of them are tried together next."""

    rows: list[ClaimedRow]
    size: int
    one_by_one: bool


class Refusals:
    """Shared by all connections of a run; owns the lock of what they share.

    Attributes:
        blocked: the last error that no single row caused, with which a run ends that has processed nothing; or None.
    """

    def __init__(
        self, report: Report, time_left: Callable[[], float], found: Callable[[], None], *, show_host_texts: bool
    ) -> None:
        self.blocked: str | None = None
        self._report = report
        self._time_left = time_left
        self._found = found
        self._show_host_texts = show_host_texts
        self._lock = Lock()
        self._suspects: dict[UUID, None] = {}
        self._quarantines: list[_Quarantine] = []
        self._stuck: list[UUID] = []
        self._checked_at = -math.inf

    @property
    def suspects(self) -> list[UUID]:
        """The flags whose rows are tried alone."""
        with self._lock:
            return list(self._suspects)

    @property
    def left_out(self) -> list[UUID]:
        """The flags that batches leave out: those of rows in quarantine, and suspects."""
        with self._lock:
            return list(self._left_out())

    @property
    def has_quarantine(self) -> bool:
        """Whether any row is in quarantine."""
        return bool(self._quarantines)

    def quarantine(
        self, store: ProcessStore, error: StatementRefusedError, rows: Callable[[], Sequence[ClaimedRow]]
    ) -> int:
        """Leave the rows of a refused batch out of further batches, until `isolate` has tried them.

        Args:
            store: the connection on which the batch was refused.
            error: the refusal.
            rows: reads the rows that the batch claimed.

        Returns:
            how many rows are new in quarantine; 0 also if it is full.

        Raises:
            DependencyUnavailableError: the database refuses the statement for any row.
            UnexpectedRefusalError: likewise, for a reason that may be over at once.
        """
        self._check(store)
        claimable, costly = rows(), _is_costly(error)
        with self._lock:
            left_out = self._left_out()
            batch = _latest_flag_first([row for row in claimable if row.flag_id not in left_out])
            if not batch or sum(len(each.rows) for each in self._quarantines) >= _MOST_IN_QUARANTINE:
                return 0
            self._quarantines.append(_Quarantine(batch, 1 if costly else (len(batch) + 1) // 2, costly))
        return len(batch)

    def isolate(self, store: ProcessStore) -> bool:
        """Try rows in quarantine for a moment: each gets its outcome, or makes its flag suspect.

        The latest batch comes first: it is likely to hold what has just come due, and few of its rows are refused.

        Returns:
            whether any row was in quarantine.
        """
        if not self._quarantines:
            return False
        until = time.monotonic() + ISOLATION
        while self._quarantines and self._time_left() > 0:
            self._try_next(store, self._quarantines[-1])
            if time.monotonic() >= until:
                break
        return True

    def try_suspects(self, store: ProcessStore) -> None:
        """Try one by one the rows of suspect flags, and those whose time of being set aside is over."""
        try:
            while self._time_left() > 0:
                rows = store.suspects(self.suspects, self._stuck, _ROWS)
                # In turns, so that a slow flag's second row comes after the first row of all other flags.
                done = [self._try_alone(store, row) for row in _in_turns(rows) if self._time_left() > 0]
                if not any(done):
                    return
        except (StatementRefusedError, DependencyUnavailableError) as error:
            self.blocked = str(error)

    def _check(self, store: ProcessStore) -> None:
        """Run the statement over no row, to distinguish a refusal of one row from a refusal of all.

        Raises:
            DependencyUnavailableError: the database refuses the statement for any row.
            UnexpectedRefusalError: likewise, for a reason that may be over at once.
        """
        self._reconnect(store)
        try:
            store.check()
        except StatementRefusedError as error:
            if error.momentary:
                raise
            raise DependencyUnavailableError(f"{error}; {ADVICE}") from error
        self._checked_at = time.monotonic()

    def _reconnect(self, store: ProcessStore) -> None:
        until = time.monotonic() + _RESTART
        while True:
            try:
                store.reconnect()
            except DependencyUnavailableError:
                if time.monotonic() >= until or self._time_left() <= 0:
                    raise
                time.sleep(PAUSE)
            else:
                return

    def _left_out(self) -> dict[UUID, None]:
        return self._suspects | {row.flag_id: None for each in self._quarantines for row in each.rows}

    def _try_next(self, store: ProcessStore, quarantine: _Quarantine) -> None:
        """Try the next rows of a refused batch together: half as many after a refusal, twice as many after a success.

        So a refused row among good ones costs some tries, and one among refused ones costs one. After a timeout or a
        lost connection they are tried one by one, because each further try might take a second or crash the server.
        """
        rows, suspect = quarantine.rows[: quarantine.size], None
        try:
            seconds = _SLOW_ROW if quarantine.one_by_one else None
            batch = store.apply_only([row.schedule_id for row in rows], seconds=seconds)
        except StatementRefusedError as error:
            self._reconnect(store)
            quarantine.one_by_one |= _is_costly(error)
            quarantine.size = 1 if quarantine.one_by_one else max(len(rows) // 2, 1)
            if len(rows) > 1:
                return
            if not self._record_if_outcome(store, rows[0], error):
                suspect = rows[0].flag_id
        else:
            self._report.finish(batch)
            quarantine.size = 1 if quarantine.one_by_one else len(rows) * 2
        self._release(quarantine, rows, suspect)

    def _release(self, quarantine: _Quarantine, rows: Sequence[ClaimedRow], suspect: UUID | None) -> None:
        """Remove the first rows of a batch from quarantine, and with them all rows of a flag that is now suspect."""
        with self._lock:
            quarantine.rows = [row for row in quarantine.rows[len(rows) :] if row.flag_id != suspect]
            if suspect is not None:
                self._suspects[suspect] = None
            if not quarantine.rows:
                self._quarantines.remove(quarantine)
        if suspect is not None:
            self._found()

    def _try_alone(self, store: ProcessStore, row: ClaimedRow) -> bool:
        """Bring one row to its outcome, or set it aside.

        Returns:
            whether either was done; False if the row was locked, or if it was slow and the time left too short.
        """
        seconds = min(max(self._time_left(), _SHORTEST_TRY), LONGEST_TRY)
        for tries_left in reversed(range(_TRIES)):
            started = time.monotonic()
            try:
                batch = store.apply_only([row.schedule_id], seconds=seconds)
            except StatementRefusedError as error:
                refusal = error
            else:
                self._report.finish(batch)
                return bool(batch.handled)
            slow = refusal.timed_out and time.monotonic() - started >= seconds
            if slow or not refusal.momentary or not tries_left:
                break
            time.sleep(PAUSE)
        if self._record_if_outcome(store, row, refusal):
            return True
        self._reconnect(store)
        if refusal.momentary or time.monotonic() - self._checked_at >= _CHECK_VALID:
            self._check(store)
        if slow and seconds < LONGEST_TRY:
            return False
        self._set_aside(store, row, refusal)
        time.sleep(min(time.monotonic() - started, PAUSE))  # hundreds of them in a row would take a core from others
        return True

    def _record_if_outcome(self, store: ProcessStore, row: ClaimedRow, error: StatementRefusedError) -> bool:
        """Record a refusal that is an outcome of the change. Returns: False if it is none, or cannot be recorded."""
        return isinstance(error, RowRefusedError) and self._record_failure(store, row, error)

    def _record_failure(self, store: ProcessStore, row: ClaimedRow, error: StatementRefusedError) -> bool:
        """Record a failed attempt. Returns: whether the database accepted that."""
        with_text = f"{error}: {error.host_text}" if error.host_text else str(error)
        try:
            batch = store.record_failure(
                row,
                error=with_text if self._show_host_texts else str(error),
                attempt_error=with_text,
            )
        except StatementRefusedError:
            return False
        self._report.finish(batch, error.condition)
        return True

    def _set_aside(self, store: ProcessStore, row: ClaimedRow, error: StatementRefusedError) -> None:
        if row.set_aside_count >= len(backoff.SET_ASIDE_DELAYS) and self._record_failure(store, row, error):
            return
        try:
            aside = store.set_aside(row, error=str(error), delays=backoff.SET_ASIDE_DELAYS)
        except StatementRefusedError as refusal:
            self._stuck.append(row.schedule_id)
            self.blocked = f"{refusal}; {ADVICE}"
            self._report.stuck(row, str(error))
            return
        if aside is not None:  # else the row was changed meanwhile
            self._report.set_aside(row, aside, str(error))


def _is_costly(error: StatementRefusedError) -> bool:
    return error.timed_out or isinstance(error, ConnectionLostError)


def _latest_flag_first(rows: Sequence[ClaimedRow]) -> list[ClaimedRow]:
    """Sort rows so that what has just come due does not wait for what is late anyway; a flag keeps its rows' order."""
    flags: dict[UUID, list[ClaimedRow]] = {}
    for row in rows:
        flags.setdefault(row.flag_id, []).append(row)
    return [row for of_flag in reversed(flags.values()) for row in of_flag]


def _in_turns(rows: Sequence[ClaimedRow]) -> list[ClaimedRow]:
    """Sort rows: the first row of each flag, then the second of each, and so on.

    Among the first rows, and among the second ones, what was set aside more often comes later.
    """
    turns: dict[UUID, int] = {}
    placed = []
    for row in rows:
        turns[row.flag_id] = turn = turns.get(row.flag_id, -1) + 1
        placed.append((turn, row.set_aside_count, row))
    return [row for _, _, row in sorted(placed, key=lambda each: each[:2])]
