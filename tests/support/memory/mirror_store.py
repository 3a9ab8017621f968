"""The operator's store in memory. Implements ports.mirroring.MirrorStore.

tests/conformance compares it with Postgres.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from flagschedule.domain.decision import Decision, Facts, Replay
from flagschedule.domain.errors import ConflictError, FlagScheduleError
from flagschedule.domain.outcome import Reason, Record, Row, Snapshot, State
from flagschedule.domain.schedule import FlagSchedule, ObjectRef, Uid
from flagschedule.ports.measuring import Backlog
from flagschedule.ports.mirroring import StatusEntry
from tests.support.memory.database import MemoryDatabase

if TYPE_CHECKING:
    from flagschedule.domain.actors import Edit

_STALE: Final = timedelta(minutes=10)
_COUNTS: Final = ("processed", "failed", "retried", "superseded", "set_aside", "skipped", "refused_cache_keys")


class MemoryMirrorStore:
    """One cluster's view of a database."""

    def __init__(self, database: MemoryDatabase, cluster: str = "default", namespaces: Sequence[str] = ()) -> None:
        self.database = database
        self.cluster = cluster
        self._namespaces = namespaces
        self._runs_counted_to: datetime | None = None

    @asynccontextmanager
    async def transaction(self, obj: FlagSchedule, *, flag_locked: bool = False) -> AsyncIterator["_Transaction"]:
        """See ports.mirroring.MirrorStore."""
        self.database.check()
        transaction = _Transaction(self.database, self.cluster, obj, flag_locked=flag_locked)
        try:
            yield transaction
            transaction.commit()
        finally:
            transaction.end()

    async def snapshot(self, uid: Uid) -> Snapshot | None:
        """See ports.mirroring.MirrorStore."""
        self.database.check()
        _, record = self.database.records.get(uid, ("", None))
        return self._snapshot(record) if record else None

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """See ports.mirroring.MirrorStore."""
        self.database.check()
        for record in sorted(self._records(), key=lambda record: record.ref.uid):
            yield self._snapshot(record)

    async def waiting(self) -> Sequence[ObjectRef]:
        """See ports.mirroring.MirrorStore."""
        self.database.check()
        flags = {*self.database.flags.values()}
        return [
            record.ref
            for record in sorted(self._records(), key=lambda record: record.scheduled_at or self.database.now)
            if record.state is State.WAITING and (_is_past(record, self.database.now) or _flag_of(record) in flags)
        ]

    async def status_entries(self, limit: int, known: Sequence[int] = ()) -> Sequence[StatusEntry]:
        """See ports.mirroring.MirrorStore."""
        self.database.check()
        refs = {record.schedule_id: record.ref for record in self._records()}
        turns: Counter[str] = Counter()
        found = []
        for entry, schedule in sorted(self.database.status_entries.items()):
            if entry not in known and (ref := refs.get(schedule)):
                found.append((turns[ref.namespace], entry, ref))
                turns[ref.namespace] += 1
        return [StatusEntry(id=entry, ref=ref) for _, entry, ref in sorted(found, key=lambda each: each[:2])[:limit]]

    async def delete_status_entries(self, ids: Sequence[int]) -> None:
        """See ports.mirroring.MirrorStore."""
        self.database.check()
        for entry in ids:
            self.database.status_entries.pop(entry, None)

    async def backlog(self) -> Backlog:
        """See ports.mirroring.MirrorStore."""
        self.database.check()
        now = self.database.now
        rows = [row for _, row in self.database.rows.values() if not row.suspended]
        due = [row.scheduled_at for row in rows if row.state is State.PENDING and row.scheduled_at <= now]
        since, self._runs_counted_to = self._runs_counted_to, now - timedelta(seconds=2)
        runs = Counter(dict.fromkeys(_COUNTS, 0))
        attempts: Counter[str] = Counter()
        for run in self.database.runs:
            if since is not None and since < run.finished_at <= self._runs_counted_to:
                runs.update(run.counts)
                attempts.update(run.attempts)
        last = max(self.database.runs, key=lambda run: run.finished_at, default=None)
        return Backlog(
            due=len(due),
            oldest_due=(now - min(due)).total_seconds() if due else 0,
            retrying=sum(row.retrying for row in rows),
            held=0,
            active_freezes=0,
            orphan_freezes=0,
            status_entries=len(self.database.status_entries),
            cache_entries=self.database.cache_entries,
            notices=0,
            run_age=(now - last.finished_at).total_seconds() if last else None,
            run_duration=(last.finished_at - last.started_at).total_seconds() if last else None,
            attempts=attempts,
            runs=runs,
        )

    async def claim_cluster(self, kube_system_uid: str) -> bool:
        """See ports.mirroring.MirrorStore."""
        self.database.check()
        now = self.database.now
        holder, seen_at = self.database.clusters.get(self.cluster, (kube_system_uid, now))
        if holder != kube_system_uid and now - seen_at <= _STALE:
            return False
        self.database.clusters[self.cluster] = kube_system_uid, now
        return True

    async def ping(self) -> None:
        """See ports.mirroring.MirrorStore."""
        self.database.check()

    async def wait_until_refused(self) -> FlagScheduleError:
        """See ports.mirroring.MirrorStore; there are no credentials here that could be refused."""
        raise NotImplementedError

    def _records(self) -> list[Record]:
        return [
            record
            for cluster, record in self.database.records.values()
            if cluster == self.cluster
            and not record.deleted
            and (not self._namespaces or record.ref.namespace in self._namespaces)
        ]

    def _snapshot(self, record: Record) -> Snapshot:
        row = self.database.row(record.schedule_id)
        holding = self.database.holdings.get(record.ref) if row and row.scheduled_at <= self.database.now else None
        return Snapshot(record=record, row=row, now=self.database.now, holding=holding)


class _Transaction:
    """Implements ports.mirroring.Transaction. What it writes is kept until the end of the block."""

    def __init__(self, database: MemoryDatabase, cluster: str, obj: FlagSchedule, *, flag_locked: bool) -> None:
        self._database = database
        self._cluster = cluster
        self._obj = obj
        self._flag_locked = flag_locked
        self._now = database.now
        self._locks: set[UUID] = set()
        self._records: dict[Uid, tuple[str, Record]] = {}
        self._rows: dict[UUID, tuple[UUID, Row]] = {}
        self._edits: list[tuple[Uid, Edit]] = []

    async def facts(self) -> Facts:
        """See ports.mirroring.Transaction."""
        obj = self._obj
        self._lock(obj.ref.uid)
        _, record = self._database.records.get(obj.ref.uid, ("", None))
        row = self._database.row(record.schedule_id) if record else None
        if row is not None:
            self._lock(row.id)
        if record is not None:
            self._records[obj.ref.uid] = self._cluster, record  # its cluster's name may have changed
        self._facts = Facts(record=record, row=row, flag_id=None, replay=None, now=self._now)
        if record is not None and (obj.deleting or (row is not None and not self._is_moved(record))):
            return self._facts
        planned = not obj.deleting and obj.spec is not None and not obj.spec.cancel
        flags = self._flags() if planned and not self._flag_locked else []
        ambiguous = Reason.FLAG_AMBIGUOUS if len(flags) > 1 else None
        self._facts = replace(
            self._facts,
            flag_id=flags[0] if flags else None,
            replay=self._replay(),
            flag_trouble=Reason.FLAG_LOCKED if self._flag_locked else ambiguous,
        )
        return self._facts

    async def save(self, decision: Decision) -> Snapshot:
        """See ports.mirroring.Transaction."""
        facts = self._facts
        if self._obj.deleting and facts.record is None:
            return Snapshot(record=None, row=None, now=self._now)
        record = replace(decision.record, schedule_id=self._store_row(decision))
        if facts.undecided:
            self._replace_predecessors()
            if self._replay() != facts.replay:
                raise ConflictError
        self._records[self._obj.ref.uid] = self._cluster, record
        if decision.edit is not None:
            self._edits.append((self._obj.ref.uid, decision.edit))
        _, row = self._rows.get(record.schedule_id, (None, None)) if record.schedule_id else (None, None)
        return Snapshot(record=record, row=row or self._database.row(record.schedule_id), now=self._now)

    def commit(self) -> None:
        """Store what was written."""
        self._database.records |= self._records
        self._database.edits += self._edits
        self._database.rows |= self._rows

    def end(self) -> None:
        """Release the locks."""
        self._database.locked -= self._locks

    def _lock(self, found: UUID | None) -> None:
        assert found
        if found in self._database.locked:
            raise ConflictError
        self._locks.add(found)
        self._database.locked.add(found)

    def _flags(self) -> list[UUID]:
        spec = self._obj.spec
        wanted = (spec.flag_key, spec.effective_environment) if spec else None
        return [flag for flag, known in self._database.flags.items() if known == wanted]

    def _is_moved(self, record: Record) -> bool:
        spec = self._obj.spec
        return spec is not None and _flag_of(record) != (spec.flag_key, spec.effective_environment)

    def _namesakes(self) -> list[Record]:
        """Records of other objects of this name."""
        name = self._cluster, self._obj.ref.namespace, self._obj.ref.name
        return [
            record
            for cluster, record in self._database.records.values()
            if (cluster, record.ref.namespace, record.ref.name) == name and record.ref.uid != self._obj.ref.uid
        ]

    def _replay(self) -> Replay | None:
        spec = self._obj.spec
        if spec is None:
            return None
        plan = (spec.flag_key, spec.effective_environment, spec.scheduled_at)
        found = []
        for record in self._namesakes():
            row = self._database.row(record.schedule_id)
            outcome = Snapshot(record=record, row=row, now=self._now).outcome
            if (*_flag_of(record), record.scheduled_at) == plan and outcome.state is State.APPLIED:
                found.append(Replay(applied_at=outcome.applied_at, change_hash=record.change_hash or ""))
        return max(found, key=lambda replay: (replay.applied_at is not None, replay.applied_at), default=None)

    def _store_row(self, decision: Decision) -> UUID | None:
        if decision.replaced is not None and decision.replaced != self._facts.row:
            self._update(decision.replaced)
        row = decision.row
        if row is not None and row.id is None:
            flag = self._facts.flag_id
            if flag not in self._database.flags:
                raise ConflictError  # deleted since the look
            if flag in self._database.locked:
                raise ConflictError(flag_locked=True)
            made = self._database.new_id(decision.record.created_at)
            self._rows[made] = flag, replace(row, id=made)
            return made
        if row is not None and row != self._facts.row:
            self._update(row)
        return decision.record.schedule_id

    def _update(self, row: Row) -> None:
        assert row.id
        flag, _ = self._database.rows[row.id]
        self._rows[row.id] = flag, replace(row, set_aside_until=None, set_aside_count=0)

    def _replace_predecessors(self) -> None:
        for record in self._namesakes():
            if record.deleted or record.created_at > self._obj.created_at:
                continue
            row = self._database.row(record.schedule_id)
            if row is not None:
                self._lock(row.id)
                if not row.finished:
                    self._update(replace(row, state=State.CANCELLED, reason=Reason.REPLACED, next_retry_at=None))
            self._records[record.ref.uid] = self._cluster, replace(record, deleted=True)


def _flag_of(record: Record) -> tuple[str | None, str | None]:
    return record.flag_key, record.environment


def _is_past(record: Record, now: datetime) -> bool:
    return record.scheduled_at is not None and record.scheduled_at < now
