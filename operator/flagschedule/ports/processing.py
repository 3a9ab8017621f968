"""What the processor needs from the database and from the cache."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, Protocol
from uuid import UUID


class ProcessedSchedule(NamedTuple):
    """One schedule that a batch brought to an end or to its next retry. A tuple, because there are many of them."""

    schedule_id: str
    flag_key: str
    environment: str
    state: str
    reason: str
    retry_count: int
    error: str | None
    retried: bool
    next_retry_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class ClaimedRow:
    """A row that is due, as it was when it was read; any change of it makes another `version`."""

    schedule_id: UUID
    flag_id: UUID
    version: str
    set_aside_count: int = 0


class SetAside(NamedTuple):
    """A row that stepped aside: how often by now, and until when."""

    flag_key: str
    environment: str
    times: int
    until: str


class Skipped(NamedTuple):
    """Rows that are due and were left: why, how many, and some of their ids."""

    reason: str
    schedules: int
    schedule_ids: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one statement did; `cache_entries` maps outbox ids to the environments whose cache key must go."""

    handled: Sequence[ProcessedSchedule]
    cache_entries: Mapping[int, str]


class Due(Enum):
    """What a look found."""

    NOTHING = "nothing"
    WAITING = "waiting"  # rows that are due and wait: for a freeze to end, an earlier change, or a newer processor
    NOW = "now"  # rows that `apply` would claim if it could, also ones that another transaction holds now


class ProcessStore(Protocol):
    """The processor's view of the database; synchronous, one connection, for one thread at a time.

    Every method raises DependencyUnavailableError where the database cannot serve it.
    """

    def start_run(self) -> bool:
        """Record that a run begins. Returns whether row-level security may hide schedules from it."""

    def connect_another(self) -> "ProcessStore":
        """The same run on one more connection, for another thread; to be closed.

        Raises:
            StatementRefusedError: the database refuses the first statement.
        """

    def close(self) -> None:
        """End the connection."""

    def reconnect(self) -> None:
        """Connect again if the connection has ended."""

    def finish_run(self, summary: Mapping[str, Any]) -> None:
        """Record what the run did."""

    def apply(self, *, retries: bool, limit: int, left_out: Sequence[UUID]) -> Batch:
        """Claim up to `limit` due rows (first attempts, or retries) and bring each to its outcome, atomically.

        Rows of the flags in `left_out` and rows that are set aside are not claimed.

        Each call begins behind the last row of the call before, so that rows which another transaction held then are
        not tried each time. At the end, and before an empty batch is returned, it begins with the first row again.

        Raises:
            RowRefusedError: a constraint or trigger refused some row of the batch; nothing was changed.
            ConnectionLostError: the connection has ended; `reconnect` before the next statement.
            UnexpectedRefusalError: the database failed otherwise; nothing was changed.
        """

    def claimable(self, *, retries: bool, limit: int, left_out: Sequence[UUID]) -> Sequence[ClaimedRow]:
        """The rows that `apply` would claim now; they are not locked when this returns."""

    def what_is_due(self, left_out: Sequence[UUID]) -> Due:
        """Look for rows that are due, except those that are set aside and those of the flags in `left_out`."""

    def is_aside_due(self) -> bool | None:
        """Return whether a row that was set aside is to be tried again; None if no row is set aside."""

    def suspects(self, flags: Sequence[UUID], stuck: Sequence[UUID], limit: int) -> Sequence[ClaimedRow]:
        """Rows to be tried alone: due ones of these flags, and those that stepped aside and whose time has come.

        Rows in `stuck` are left out. None is locked.
        """

    def skipped(self) -> Sequence[Skipped]:
        """What is due and was left, by reason."""

    def seconds_until_due(self) -> float | None:
        """How soon the next row comes due that is not due yet; None if that is not within a second."""

    def apply_only(self, ids: Sequence[UUID], *, seconds: float | None = None) -> Batch:
        """As `apply`, for those of `ids` that are still due and free; within so many seconds, or as long as a batch."""

    def check(self) -> None:
        """Run the statement that applies over no row; what it raises, it would raise for any rows."""

    def record_failure(self, row: ClaimedRow, *, error: str, attempt_error: str) -> Batch:
        """Record a failed attempt of one due row, with its retry if one is left; do nothing if the row has changed.

        `error` is for the row, which many may read; `attempt_error` for the history.
        """

    def set_aside(self, row: ClaimedRow, *, error: str, delays: Sequence[float]) -> SetAside | None:
        """Set a due row aside.

        Args:
            row: the row.
            error: why the database refused it.
            delays: for how many seconds, the first time, the second time and so on.

        Returns:
            None if the row has changed.
        """

    def drain_cache(self, after: int, limit: int, invalidate: Callable[[Sequence[str]], Collection[str]]) -> int | None:
        """Invalidate what earlier runs left in the outbox, each environment once, and delete the entries.

        Args:
            after: only entries with a higher id.
            limit: how many entries.
            invalidate: deletes the keys of environments, and returns the environments whose key is deleted.

        Returns:
            the last entry's id if there may be more behind it.
        """

    def forget_cache_entries(self, ids: Sequence[int]) -> None:
        """Delete entries whose cache keys were deleted."""

    def prune_status_entries(self) -> bool:
        """Delete status entries of rows without an object, a minute old or more. Returns whether more may be left."""


class Cache(Protocol):
    """The host's cache of flags."""

    def invalidate(self, environments: Sequence[str]) -> Mapping[str, str]:
        """Delete the key of each environment.

        Returns:
            the environments whose key the cache refuses to delete, each with the cache's word for why.

        Raises:
            DependencyUnavailableError: it does not answer within 500 ms.
        """
