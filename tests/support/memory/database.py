"""The operator's database in memory: what stores share, and what other programs do to it.

Behind `mirror_store`, which implements the port. It leaves out what only a real database has: statements that are
refused, rows that other programs have made, and tables that are locked as a whole.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from flagschedule.domain.errors import DependencyUnavailableError
from flagschedule.domain.outcome import Holding, Reason, Record, Row, State
from tests.unit.builders import NOW

if TYPE_CHECKING:
    from flagschedule.domain.actors import Edit
    from flagschedule.domain.plan_rows import Key, Link, PlanRecord
    from flagschedule.domain.schedule import ObjectRef, Uid


@dataclass(frozen=True)
class Run:
    """A run of the processor that has ended."""

    started_at: datetime
    finished_at: datetime
    counts: Counter[str]
    attempts: Mapping[str, int]


@dataclass(frozen=True)
class Planned:
    """The record of a plan, with its cluster's name and its lineage."""

    cluster: str
    lineage: int
    record: "PlanRecord"


class MemoryDatabase:
    """What stores share, and what other programs do to it.

    Attributes:
        now: the database's time; tests move it.
        away: whether the database serves nothing.
        locked: flags, rows and objects (by uid) that a transaction holds.
        records: by uid, each with its cluster's name.
        rows: by id, each with its flag's id.
        status_entries: the outbox: entries with the ids of their rows.
        holdings: what holds the schedules of objects, while they are due.
        edits: by uid, the versions of objects that were acted on.
        plans: by uid; lineages by cluster, namespace and name; links by lineage.
        locked_plans: namespaces and names whose plans a transaction holds.
    """

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now
        self.away = False
        self.locked: set[UUID] = set()
        self.flags: dict[UUID, tuple[str, str]] = {}
        self.records: dict[Uid, tuple[str, Record]] = {}
        self.rows: dict[UUID, tuple[UUID, Row]] = {}
        self.status_entries: dict[int, UUID] = {}
        self.holdings: dict[ObjectRef, Holding] = {}
        self.edits: list[tuple[Uid, Edit]] = []
        self.plans: dict[Uid, Planned] = {}
        self.lineages: dict[tuple[str, str, str], int] = {}
        self.links: dict[int, dict[Key, Link]] = {}
        self.locked_plans: set[tuple[str, str]] = set()
        self.cache_entries = 0
        self.clusters: dict[str, tuple[str, datetime]] = {}
        self.runs: list[Run] = []
        self._numbers = itertools.count(1)

    def flag(self, key: str, environment: str = "production") -> UUID:
        """Add a flag, as the application does."""
        made = uuid4()
        self.flags[made] = (key, environment)
        return made

    def delete_flag(self, flag: UUID) -> None:
        """Delete a flag, and with it its rows."""
        del self.flags[flag]
        for schedule, (of, _) in [*self.rows.items()]:
            if of == flag:
                self.delete_row(schedule)

    def delete_row(self, schedule: UUID) -> None:
        """Delete a row, as retention does; its record keeps the outcome."""
        _, row = self.rows.pop(schedule)
        for uid, (cluster, record) in self.records.items():
            if record.schedule_id != schedule:
                continue
            state, reason = (row.state, row.reason) if row.finished else (State.FAILED, Reason.FLAG_DELETED)
            self.records[uid] = cluster, replace(record, state=state, reason=reason, applied_at=row.applied_at)
            if not row.finished and not record.deleted:
                self.notify(schedule)
        for links in self.links.values():
            for key, link in links.items():
                if link.schedule_id == schedule:
                    self._keep_outcome(links, key, row)

    def _keep_outcome(self, links: "dict[Key, Link]", key: "Key", row: Row) -> None:
        link = links[key]
        state, reason = (row.state, row.reason) if row.finished else (State.FAILED, Reason.FLAG_DELETED)
        links[key] = replace(link, state=state, reason=reason, applied_at=row.applied_at)
        if not row.finished and link.schedule_id and not self.plans[link.plan].record.deleted:
            self.notify(link.schedule_id)

    def change_row(self, schedule: UUID, **fields: Any) -> None:
        """Change a row, as the processor does."""
        flag, row = self.rows[schedule]
        self.rows[schedule] = flag, replace(row, **fields)

    def apply(self, schedule: UUID) -> None:
        """Record that a row's change was made, and that its object must show it."""
        self.change_row(schedule, state=State.APPLIED, reason=Reason.APPLIED, applied_at=self.now)
        self.notify(schedule)

    def notify(self, schedule: UUID) -> None:
        """Put a row's outcome into the outbox."""
        self.status_entries[next(self._numbers)] = schedule

    @contextmanager
    def held(self, found: UUID) -> Iterator[None]:
        """Hold the lock on a flag or a row, as another program's transaction does."""
        self.locked.add(found)
        try:
            yield
        finally:
            self.locked.remove(found)

    def finish_run(self, seconds: float, attempts: Mapping[str, int], **counts: int) -> None:
        """Record a run of the processor that has ended now."""
        self.runs.append(Run(self.now - timedelta(seconds=seconds), self.now, Counter(counts), attempts))

    def row(self, schedule: UUID | None) -> Row | None:
        """Return the row of this id, None if there is none."""
        return self.rows[schedule][1] if schedule in self.rows else None

    def new_id(self, created_at: datetime) -> UUID:
        """The id of a new row: by creation to the second, then by the order of insertion. A UUID of version 7."""
        created = 1000 * int(created_at.timestamp())
        return UUID(int=(created << 80) | (7 << 76) | (2 << 62) | next(self._numbers))

    def check(self) -> None:
        """Serve a request.

        Raises:
            DependencyUnavailableError: the database is away.
        """
        if self.away:
            raise DependencyUnavailableError("the database is away")
