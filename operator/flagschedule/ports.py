"""What the services need from the world, by capability. Adapters implement these; tests may too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:  # half of what is here concerns one program only, and loads what the other must not wait for
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime, timedelta
    from uuid import UUID

    from flagschedule.domain.decision import Decision, Facts
    from flagschedule.domain.errors import FlagScheduleError
    from flagschedule.domain.events import Event, Transition
    from flagschedule.domain.outcome import Snapshot
    from flagschedule.domain.schedule import FlagSchedule, ObjectRef, Phase, Status, Uid

# ---- the operator's side ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StatusEntry:
    """A row's outcome that waits to be written to its object; `id` deletes the entry."""

    id: int
    ref: ObjectRef


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What waits in the database, and what the processor did lately. Ages and durations in seconds.

    Attributes:
        due: schedules whose time has come and that were not tried yet; counted up to 100,000, like all of these.
        oldest_due: since when the oldest of them is due; 0 if there is none.
        retrying: schedules that wait for a retry.
        status_entries: outcomes that wait to be written to an object.
        cache_entries: cache keys that wait to be deleted.
        run_age: how long ago a run finished last; None if none ever did.
        run_duration: how long that run took.
        runs: what the runs that finished since the last look did, by column of flag_schedule_runs.
    """

    due: int
    oldest_due: float
    retrying: int
    status_entries: int
    cache_entries: int
    run_age: float | None
    run_duration: float | None
    runs: Mapping[str, int]


class Transaction(Protocol):
    """One decision on one object; waits for no other transaction."""

    async def facts(self) -> Facts:
        """Lock and read what the decision depends on."""

    async def save(self, decision: Decision) -> Snapshot:
        """Store the decision. Returns record and row as stored."""


class MirrorStore(Protocol):
    """Records and rows of this operator's own cluster name.

    Every method raises DependencyUnavailableError where the database cannot serve it.
    """

    def transaction(self, obj: FlagSchedule, *, flag_locked: bool = False) -> AbstractAsyncContextManager[Transaction]:
        """Lock record and row of an object for one decision; committed at the end of the block.

        Args:
            obj: the object.
            flag_locked: the flag is known to be locked, and is not looked at.

        Raises:
            ConflictError: another transaction holds a lock; nothing was changed.
            StatementRefusedError: the database refuses this object's row, and would again.
        """

    async def snapshot(self, uid: Uid) -> Snapshot | None:
        """Record and row as they are; None if the object was never mirrored.

        Raises:
            StatementRefusedError: this object's values cannot be read.
        """

    def snapshots(self) -> AsyncIterator[Snapshot]:
        """Every record that is not marked deleted, with its row, in the operator's namespaces."""

    async def waiting(self) -> Sequence[ObjectRef]:
        """Objects in state Waiting whose flag exists by now, or whose time has passed."""

    async def status_entries(self, limit: int, known: Sequence[int] = ()) -> Sequence[StatusEntry]:
        """Return outcomes that wait to be written, of objects that live: the oldest of each namespace, in turns.

        Args:
            limit: how many at most.
            known: the ids of entries to leave out.
        """

    async def delete_status_entries(self, ids: Sequence[int]) -> None:
        """Delete entries that were served."""

    async def backlog(self) -> Backlog:
        """Return what waits in the whole database; `runs` are those since the last call, at first none."""

    async def claim_cluster(self, kube_system_uid: str) -> bool:
        """Take or keep this cluster name for this cluster; False while another live cluster holds it."""

    async def ping(self) -> None:
        """Return if the database can serve."""

    async def wait_until_refused(self) -> FlagScheduleError:
        """Return when no connection can ever be had: the reason to end the program with.

        The login has been refused for a minute, or the URL cannot be right, and no file holds another one.
        """


class ObjectClient(Protocol):
    """The API server, for FlagSchedules.

    Every method raises DependencyUnavailableError where the API server cannot serve it.
    """

    async def get(self, ref: ObjectRef) -> FlagSchedule:
        """The live object. Raises ObjectGoneError if it is gone or another uid has its name."""

    def list(self) -> AsyncIterator[FlagSchedule]:
        """Every live object in the operator's namespaces, page by page; one that cannot be read is left out."""

    async def write_status(self, ref: ObjectRef, resource_version: str, status: Status) -> None:
        """Replace the status, only of this uid and only at this version.

        Raises:
            ObjectChangedError: the object changed meanwhile, or another uid has its name.
            ObjectGoneError: there is no such object.
        """

    async def write_finalizers(self, ref: ObjectRef, resource_version: str, finalizers: Sequence[str]) -> FlagSchedule:
        """Replace the finalizers, only of this uid and only at this version.

        Returns:
            The object as it is then.

        Raises:
            ObjectChangedError: the object changed meanwhile, or another uid has its name.
            ObjectGoneError: there is no such object.
        """

    async def post_event(self, ref: ObjectRef, event: Event, at: datetime) -> None:
        """Post an Event that says what happened to the object."""

    async def cluster_uid(self) -> str:
        """Return the uid of the namespace that names the cluster, kube-system unless a setting says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """Who works, and until when without another renewal.

    `renewal` changes with each renewal and has no other meaning; `body` goes back with the next write.
    """

    holder: str
    renewal: str
    duration: float
    body: Mapping[str, Any]


class LeaseStore(Protocol):
    """Stores which of the operator's replicas holds the lease.

    Both methods raise DependencyUnavailableError where the API server cannot serve them.
    """

    async def read(self) -> Lease | None:
        """The lease as it is now; None if there was never one."""

    async def write(self, before: Lease | None, holder: str, duration: float) -> None:
        """Replace the lease that was read by one of this holder, or of none (the empty string).

        Raises:
            ObjectChangedError: another replica has written it since it was read, or it was deleted since.
            ObjectGoneError: its namespace does not exist.
        """


class Telemetry(Protocol):
    """Counts what the operator does; must not fail, nor wait."""

    def reconciled(self, seconds: float) -> None:
        """An object was mirrored or released, in so much time."""

    def status_written(self, transition: Transition) -> None:
        """Count a transition that was written to an object's status."""

    def compared(self, phases: Mapping[Phase | None, int]) -> None:
        """How many objects stand in each phase."""


class MetricsText(Protocol):
    """Everything that was counted, for a scrape."""

    def text(self, backlog: Backlog | None, *, leads: bool) -> bytes:
        """Everything in the format of the scraper; `backlog` is None where the database was not queried or is away."""


# ---- the processor's side -----------------------------------------------------------------------


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


class ProcessStore(Protocol):
    """The processor's view of the database; synchronous, one connection, for one thread at a time.

    Every method raises DependencyUnavailableError where the database cannot serve it.
    """

    def start_run(self) -> bool:
        """Record that a run begins. Returns whether row-level security may hide schedules from it."""

    def connect_another(self) -> ProcessStore:
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

    def apply(self, *, retries: bool, limit: int, suspects: Sequence[UUID]) -> Batch:
        """Claim up to `limit` due rows (first attempts, or retries) and bring each to its outcome, atomically.

        Rows of the flags in `suspects` and rows that stepped aside are left out.

        First attempts go on behind the last full batch, so that what another transaction held then is passed; as soon
        as nothing is left behind it, and before nothing is returned, everything is looked at.

        Raises:
            RowRefusedError: a constraint or trigger refused some row of the batch; nothing was changed.
            ConnectionLostError: the connection has ended; `reconnect` before the next statement.
            UnexpectedRefusalError: the database failed otherwise; nothing was changed.
        """

    def claimable(self, *, retries: bool, limit: int, suspects: Sequence[UUID]) -> Sequence[ClaimedRow]:
        """The rows that `apply` would claim now; they are not locked when this returns."""

    def is_anything_due(self, suspects: Sequence[UUID]) -> bool:
        """Whether rows are due that `apply` would claim if it could, also ones that another transaction holds now."""

    def is_aside_due(self) -> bool | None:
        """Of the rows that stepped aside one is to be tried again (True), none is yet (False); None if none did."""

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
        """Run the statement that applies over no row: what it raises is raised for any rows."""

    def record_failure(
        self, row: ClaimedRow, *, error: str, attempt_error: str, delays: Sequence[float], jitter: timedelta
    ) -> Batch:
        """A transient failure of one due row: count it, plan the retry or end it; nothing if the row has changed.

        `error` is for the row, which many may read; `attempt_error` for the history.
        """

    def set_aside(self, row: ClaimedRow, *, error: str, delays: Sequence[float]) -> SetAside | None:
        """Let a due row step aside; `delays` are seconds by how often it did. None if the row has changed."""

    def drain_cache(self, after: int, limit: int, invalidate: Callable[[Sequence[str]], Collection[str]]) -> int | None:
        """Serve leftover cache entries behind the id `after`; entries of one environment become one.

        `invalidate` deletes the keys of environments and returns those that are done; their entries are forgotten.

        Returns:
            the last entry's id if there may be more behind it.
        """

    def forget_cache_entries(self, ids: Sequence[int]) -> None:
        """The cache keys of these entries were deleted."""

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


# ---- the cleaner's side -------------------------------------------------------------------------

Table = Literal["runs", "records", "attempts", "schedules"]


Place = tuple[int, int]  # a page, and a row on it


class CleanupStore(Protocol):
    """What is kept for a time only, table by table, in windows of pages as they lie on disk.

    Every method raises DependencyUnavailableError where the database cannot serve it.
    """

    def pages(self, kind: Table) -> int:
        """How many pages the table has."""

    def purge(self, kind: Table, start: Place, end: Place, *, dry_run: bool) -> Mapping[str, int]:
        """Delete what is past its time from `start` on and before `end`, in one short transaction; or only count it.

        Returns:
            how many rows, by what they are: the kind, or the state of a schedule.

        Raises:
            StatementRefusedError: the database refused; nothing was deleted.
        """
