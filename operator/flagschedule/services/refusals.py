"""What happens to schedules that the database refuses: none of them may keep another one from its turn.

A refused batch is taken apart until the row is found. A refusal that is no outcome of a change makes the row's flag
suspect: this run's batches leave its rows out, and they are tried alone on a connection of their own, which no other
row waits for. A row that is refused there, too, steps aside for longer each time. The database remembers that; after
five times a refusal counts as a failed attempt.
"""

import time
from collections.abc import Callable, Sequence
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
from flagschedule.ports import Claimable, ProcessStore
from flagschedule.services.report import Report

ADVICE: Final = "run `flagschedule migrate`, and check the database and the rights of its role"
_GLANCE: Final = 0.25  # seconds for a row whose batch took too long; if it takes longer it is suspect
LONGEST: Final = 30.0  # seconds for a row that is tried alone
_SHORTEST: Final = 1.0  # of these at the end of a run
_ROWS: Final = 100
_TRIES: Final = 3  # of a row that meets a lock or a conflict
_PAUSE: Final = 0.2
_RESTART: Final = 10.0  # seconds for a server that restarts because one of its processes crashed


class Refusals:
    """Shared by all connections of a run.

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
        self._suspects: dict[UUID, None] = {}
        self._stuck: list[UUID] = []

    @property
    def suspects(self) -> list[UUID]:
        """The flags that batches pass."""
        return list(self._suspects)

    def isolate(
        self, store: ProcessStore, error: StatementRefusedError, rows: Callable[[], Sequence[Claimable]]
    ) -> int:
        """Find the rows for which a batch was refused, and bring the others to their outcome.

        Returns:
            how many rows were done or are suspect now.

        Raises:
            DependencyUnavailableError: no row is to blame.
            UnexpectedRefusalError: likewise, but it may be over at once.
        """
        self._check(store)
        return self._split(store, rows(), one_by_one=_is_costly(error))

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

    def _reconnect(self, store: ProcessStore) -> None:
        until = time.monotonic() + _RESTART
        while True:
            try:
                store.reconnect()
            except DependencyUnavailableError:
                if time.monotonic() >= until or self._time_left() <= 0:
                    raise
                time.sleep(_PAUSE)
            else:
                return

    def _split(self, store: ProcessStore, rows: Sequence[Claimable], *, one_by_one: bool) -> int:
        # By halves where a refusal comes at once; one by one where each further try might take a second again, or
        # might crash the server again.
        rows = [row for row in rows if row.flag_id not in self._suspects]
        if not rows or self._time_left() <= 0:
            return 0
        if one_by_one and len(rows) > 1:
            return sum(self._split(store, [row], one_by_one=True) for row in rows)
        try:
            batch = store.apply_only([row.schedule_id for row in rows], seconds=_GLANCE if len(rows) == 1 else None)
        except StatementRefusedError as error:
            self._reconnect(store)
            if len(rows) == 1:
                if not self._is_recorded(store, rows[0], error):
                    self._suspects[rows[0].flag_id] = None
                    self._found()
                return 1
            middle, costly = len(rows) // 2, _is_costly(error)
            return self._split(store, rows[:middle], one_by_one=costly) + self._split(
                store, rows[middle:], one_by_one=costly
            )
        self._report.finish(batch)
        return len(batch.handled)

    def _try_alone(self, store: ProcessStore, row: Claimable) -> bool:
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
            time.sleep(_PAUSE)
        if self._is_recorded(store, row, refusal):
            return True
        self._check(store)
        if slow and seconds < LONGEST:
            return False
        self._set_aside(store, row, refusal)
        return True

    def _is_recorded(self, store: ProcessStore, row: Claimable, error: StatementRefusedError) -> bool:
        """Record a refusal that is an outcome of the change. Returns False if it is none, or cannot be recorded."""
        return isinstance(error, RowRefusedError) and self._fail(store, row, error)

    def _fail(self, store: ProcessStore, row: Claimable, error: StatementRefusedError) -> bool:
        with_text = f"{error}: {error.host_text}" if error.host_text else str(error)
        try:
            batch = store.record_failure(
                row,
                error=with_text if self._show_host_texts else str(error),
                attempt_error=with_text,
                delays=backoff.delays(),
                jitter=backoff.JITTER,
            )
        except StatementRefusedError:
            return False
        self._report.finish(batch)
        return True

    def _set_aside(self, store: ProcessStore, row: Claimable, error: StatementRefusedError) -> None:
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


def _in_turns(rows: Sequence[Claimable]) -> list[Claimable]:
    """The first row of each flag, the second of each, and so on; what stepped aside often comes last in its turn."""
    turns: dict[UUID, int] = {}
    placed = []
    for row in rows:
        turns[row.flag_id] = turn = turns.get(row.flag_id, -1) + 1
        placed.append((turn, row.set_aside_count, row))
    return [row for _, _, row in sorted(placed, key=lambda each: each[:2])]
