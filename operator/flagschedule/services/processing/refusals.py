"""What happens to schedules that the database refuses: none of them may keep another one from its turn.

The rows of a refused batch are held: batches leave out their flags until the refused rows among them are found, which
is done a moment at a time between batches. A refusal that is no outcome of a change makes the row's flag suspect: this
run's batches leave its rows out, and they are tried alone on a connection of their own, which no other row waits for.
A row that is refused there, too, steps aside for longer each time. The database remembers that; after five times a
refusal counts as a failed attempt.
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
    ConnectionLostError,
    DependencyUnavailableError,
    RowRefusedError,
    StatementRefusedError,
    UnexpectedRefusalError,
)
from flagschedule.ports.processing import ClaimedRow, ProcessStore
from flagschedule.services.processing.report import Report

ISOLATION: Final = 0.1  # seconds of isolation between two batches, and of the pause after it if nothing else is due
ADVICE: Final = "run `flagschedule migrate`, and check the database and the rights of its role"
_GLANCE: Final = 0.25  # seconds for a row whose batch took too long; if it takes longer it is suspect
PAUSE: Final = 0.2  # seconds between two tries of a row that meets a lock or a conflict, or of a connection
LONGEST: Final = 30.0  # seconds for a row that is tried alone
_SHORTEST: Final = 1.0  # of these at the end of a run
_ROWS: Final = 100
_TRIES: Final = 3  # of a row that meets a lock or a conflict
_RESTART: Final = 10.0  # seconds for a server that restarts because one of its processes crashed
_CHECKED: Final = 1.0  # seconds for which a check is believed: with hundreds of refused rows each would have its own
_HELD: Final = 1000  # rows at most, because each batch compares what it claims with the flags of all that are held


@dataclass(eq=False)
class _Held:
    """Rows of a refused batch; the first `size` of them are tried together next."""

    rows: list[ClaimedRow]
    size: int
    one_by_one: bool


class Refusals:
    """Shared by all connections of a run; owns the lock of what they share.

    Attributes:
        blocked: why nothing could be done that no row is to blame for; None if there was no such reason.
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
        self._held: list[_Held] = []
        self._stuck: list[UUID] = []
        self._checked = -math.inf

    @property
    def suspects(self) -> list[UUID]:
        """The flags whose rows are tried alone."""
        with self._lock:
            return list(self._suspects)

    @property
    def left_out(self) -> list[UUID]:
        """The flags that batches leave out: those of rows that are held, and suspects."""
        with self._lock:
            return list(self._left_out())

    @property
    def is_holding(self) -> bool:
        """Whether there is anything to isolate."""
        return bool(self._held)

    def hold(self, store: ProcessStore, error: StatementRefusedError, rows: Callable[[], Sequence[ClaimedRow]]) -> int:
        """Hold the rows of a refused batch back until `isolate` has found those for which it was refused.

        Returns:
            how many rows are held now that were not; 0 also if enough are held already.

        Raises:
            DependencyUnavailableError: no row is to blame.
            UnexpectedRefusalError: likewise, but it may be over at once.
        """
        self._check(store)
        claimable, costly = rows(), _is_costly(error)
        with self._lock:
            left_out = self._left_out()
            batch = _latest_flag_first([row for row in claimable if row.flag_id not in left_out])
            if not batch or sum(len(held.rows) for held in self._held) >= _HELD:
                return 0
            self._held.append(_Held(batch, 1 if costly else (len(batch) + 1) // 2, costly))
        return len(batch)

    def isolate(self, store: ProcessStore) -> bool:
        """Bring rows that are held to their outcome, or make their flags suspect, for a moment; the latest batch first.

        What comes due meanwhile is likely to be in that one, and its refused rows are few.

        Returns:
            whether any row was held.
        """
        if not self._held:
            return False
        until = time.monotonic() + ISOLATION
        while self._held and self._time_left() > 0:
            self._try_next(store, self._held[-1])
            if time.monotonic() >= until:
                break
        return True

    def try_suspects(self, store: ProcessStore) -> None:
        """Try alone what is suspect, and what stepped aside and is due again."""
        try:
            while self._time_left() > 0:
                rows = store.suspects(self.suspects, self._stuck, _ROWS)
                # A slow flag's second row comes after the first of the others.
                if not sum([self._try_alone(store, row) for row in _in_turns(rows) if self._time_left() > 0]):
                    return
        except (StatementRefusedError, DependencyUnavailableError) as error:
            self.blocked = str(error)

    def _check(self, store: ProcessStore) -> None:
        """Run the statement over no row: what it raises now concerns all of them."""
        self._reconnect(store)
        try:
            store.check()
        except UnexpectedRefusalError as error:
            if error.passing:
                raise
            raise DependencyUnavailableError(f"{error}; {ADVICE}") from error
        except StatementRefusedError as error:
            raise DependencyUnavailableError(f"{error}; {ADVICE}") from error
        self._checked = time.monotonic()

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
        return self._suspects | {row.flag_id: None for held in self._held for row in held.rows}

    def _try_next(self, store: ProcessStore, held: _Held) -> None:
        """Try the next rows of a refused batch together: half as many after a refusal, twice as many after none.

        So a refused row among good ones costs some tries, and one among refused ones costs one. One by one where each
        further try might take a second again, or might crash the server again.
        """
        rows, suspect = held.rows[: held.size], None
        try:
            batch = store.apply_only([row.schedule_id for row in rows], seconds=_GLANCE if held.one_by_one else None)
        except StatementRefusedError as error:
            self._reconnect(store)
            held.one_by_one |= _is_costly(error)
            held.size = 1 if held.one_by_one else max(len(rows) // 2, 1)
            if len(rows) > 1:
                return
            if not self._is_recorded(store, rows[0], error):
                suspect = rows[0].flag_id
        else:
            self._report.finish(batch)
            held.size = 1 if held.one_by_one else len(rows) * 2
        self._release(held, rows, suspect)

    def _release(self, held: _Held, rows: Sequence[ClaimedRow], suspect: UUID | None) -> None:
        """Hold the first rows of a batch no longer. The others of a suspect flag are left to its turn."""
        with self._lock:
            held.rows = [row for row in held.rows[len(rows) :] if row.flag_id != suspect]
            if suspect is not None:
                self._suspects[suspect] = None
            if not held.rows:
                self._held.remove(held)
        if suspect is not None:
            self._found()

    def _try_alone(self, store: ProcessStore, row: ClaimedRow) -> bool:
        """Returns whether the row came to an outcome or stepped aside; not, if it was locked or the time was short."""
        seconds = min(max(self._time_left(), _SHORTEST), LONGEST)
        for tries_left in reversed(range(_TRIES)):
            started = time.monotonic()
            try:
                batch = store.apply_only([row.schedule_id], seconds=seconds)
            except StatementRefusedError as error:
                refusal = error
            else:
                self._report.finish(batch)
                return bool(batch.handled)
            slow = _timed_out(refusal) and time.monotonic() - started >= seconds
            if slow or not _is_passing(refusal) or not tries_left:
                break
            time.sleep(PAUSE)
        if self._is_recorded(store, row, refusal):
            return True
        self._reconnect(store)
        if _is_passing(refusal) or time.monotonic() - self._checked >= _CHECKED:
            self._check(store)
        if slow and seconds < LONGEST:
            return False
        self._set_aside(store, row, refusal)
        time.sleep(min(time.monotonic() - started, PAUSE))  # hundreds of them in a row would take a core from others
        return True

    def _is_recorded(self, store: ProcessStore, row: ClaimedRow, error: StatementRefusedError) -> bool:
        """Record a refusal that is an outcome of the change. Returns False if it is none, or cannot be recorded."""
        return isinstance(error, RowRefusedError) and self._fail(store, row, error)

    def _fail(self, store: ProcessStore, row: ClaimedRow, error: StatementRefusedError) -> bool:
        with_text = f"{error}: {error.host_text}" if error.host_text else str(error)
        try:
            batch = store.record_failure(
                row,
                error=with_text if self._show_host_texts else str(error),
                attempt_error=with_text,
            )
        except StatementRefusedError:
            return False
        self._report.finish(batch)
        return True

    def _set_aside(self, store: ProcessStore, row: ClaimedRow, error: StatementRefusedError) -> None:
        if row.set_aside_count >= len(backoff.SET_ASIDE_DELAYS) and self._fail(store, row, error):
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


def _timed_out(error: StatementRefusedError) -> bool:
    return isinstance(error, UnexpectedRefusalError) and error.timed_out


def _is_costly(error: StatementRefusedError) -> bool:
    return _timed_out(error) or isinstance(error, ConnectionLostError)


def _is_passing(error: StatementRefusedError) -> bool:
    return isinstance(error, UnexpectedRefusalError) and error.passing


def _latest_flag_first(rows: Sequence[ClaimedRow]) -> list[ClaimedRow]:
    """Sort rows so that what has just come due does not wait for what is late anyway; a flag keeps its rows' order."""
    flags: dict[UUID, list[ClaimedRow]] = {}
    for row in rows:
        flags.setdefault(row.flag_id, []).append(row)
    return [row for of_flag in reversed(flags.values()) for row in of_flag]


def _in_turns(rows: Sequence[ClaimedRow]) -> list[ClaimedRow]:
    """The first row of each flag, the second of each, and so on; what stepped aside often comes last in its turn."""
    turns: dict[UUID, int] = {}
    placed = []
    for row in rows:
        turns[row.flag_id] = turn = turns.get(row.flag_id, -1) + 1
        placed.append((turn, row.set_aside_count, row))
    return [row for _, _, row in sorted(placed, key=lambda each: each[:2])]
