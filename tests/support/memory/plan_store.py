"""The operator's store of plans in memory. Implements ports.planning.PlanStore.

tests/conformance compares it with Postgres.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import Final
from uuid import UUID, uuid4

from flagschedule.domain.errors import ConflictError
from flagschedule.domain.outcome import Holding, Reason, Row, State
from flagschedule.domain.plan import Flag, FlagPlan
from flagschedule.domain.plan_rows import Content, Insert, Key, Link, Note, PlanFacts, PlanRecord
from flagschedule.domain.planning import RECENT, PlanDecision, chain_occurrence
from flagschedule.domain.schedule import ObjectRef
from flagschedule.ports.mirroring import StatusEntry
from flagschedule.ports.planning import KnownPlan
from tests.support.memory.database import MemoryDatabase, Planned

_FIELDS: Final = tuple(Content.__dataclass_fields__)
_LAST: Final = 60  # outcomes that are read, however old they are
_Links = dict[Key, Link]


class MemoryPlanStore:
    """One cluster's view of the plans of a database."""

    def __init__(self, database: MemoryDatabase, cluster: str = "default", namespaces: Sequence[str] = ()) -> None:
        self._database = database
        self._cluster = cluster
        self._namespaces = namespaces

    @asynccontextmanager
    async def transaction(self, obj: FlagPlan) -> AsyncIterator["_Transaction"]:
        """See ports.planning.PlanStore."""
        self._database.check()
        transaction = _Transaction(self._database, self._cluster, obj)
        try:
            yield transaction
            transaction.commit()
        finally:
            transaction.end()

    async def hold(self, obj: FlagPlan) -> None:
        """See ports.planning.PlanStore."""
        self._database.check()
        planned = self._database.plans.get(obj.ref.uid)
        if planned is None or planned.record.deleted or planned.record.generation > obj.generation:
            return
        for link in _unfinished(self._database, self._database.links[planned.lineage].values()):
            if link.schedule_id is not None and link.schedule_id not in self._database.locked:
                self._database.change_row(link.schedule_id, suspended=True)

    async def facts(self, obj: FlagPlan) -> PlanFacts:
        """See ports.planning.PlanStore."""
        self._database.check()
        return _Reader(self._database, self._cluster, obj).facts()

    async def known(self) -> Sequence[KnownPlan]:
        """See ports.planning.PlanStore."""
        self._database.check()
        return [KnownPlan(ref=it.ref, created_at=it.created_at, generation=it.generation) for it in self._records()]

    async def waiting(self) -> Sequence[ObjectRef]:
        """See ports.planning.PlanStore."""
        self._database.check()
        flags = {*self._database.flags.values()}
        return [record.ref for record in self._records() if flags & {*record.missing}]

    async def status_entries(self, limit: int, known: Sequence[int] = ()) -> Sequence[StatusEntry]:
        """See ports.planning.PlanStore."""
        self._database.check()
        refs = {record.ref.uid: record.ref for record in self._records()}
        plans = {
            link.schedule_id: refs[link.plan]
            for links in self._database.links.values()
            for link in links.values()
            if link.plan in refs
        }
        turns: Counter[str] = Counter()
        found = []
        for entry, schedule in sorted(self._database.status_entries.items()):
            if entry not in known and (ref := plans.get(schedule)):
                found.append((turns[ref.namespace], entry, ref))
                turns[ref.namespace] += 1
        return [StatusEntry(id=entry, ref=ref) for _, entry, ref in sorted(found, key=lambda each: each[:2])[:limit]]

    async def delete_status_entries(self, ids: Sequence[int]) -> None:
        """See ports.planning.PlanStore."""
        self._database.check()
        for entry in ids:
            self._database.status_entries.pop(entry, None)

    def _records(self) -> Iterable[PlanRecord]:
        return [
            planned.record
            for planned in self._database.plans.values()
            if planned.cluster == self._cluster
            and not planned.record.deleted
            and (not self._namespaces or planned.record.ref.namespace in self._namespaces)
        ]


class _Reader:
    """Reads what a decision depends on."""

    def __init__(self, database: MemoryDatabase, cluster: str, obj: FlagPlan) -> None:
        self._database = database
        self._obj = obj
        self._name = cluster, obj.ref.namespace, obj.ref.name

    @property
    def lineage(self) -> int | None:
        """The lineage of the object, or of its name."""
        planned = self._database.plans.get(self._obj.ref.uid)
        return planned.lineage if planned else self._database.lineages.get(self._name)

    def facts(self, locked: Iterable[Flag] = ()) -> PlanFacts:
        """Read."""
        planned = self._database.plans.get(self._obj.ref.uid)
        is_over = self._obj.deleting or self._obj.cancel or self._obj.spec is None
        wanted = () if is_over or self._obj.spec is None else self._obj.spec.flags
        found = {flag: [uid for uid, known in self._database.flags.items() if known == flag] for flag in wanted}
        unusable = {flag: Reason.FLAG_AMBIGUOUS for flag, ids in found.items() if len(ids) > 1}
        return PlanFacts(
            record=planned.record if planned else None,
            links=self._links(),
            flags={flag: ids[0] for flag, ids in found.items() if ids},
            unusable=unusable | dict.fromkeys(locked, Reason.FLAG_LOCKED),
            now=self._database.now,
            replaced=self._is_replaced(planned),
            holding=self._holding(),
        )

    def _holding(self) -> Holding | None:
        links = self._links().values()
        due = any(it.unfinished and not it.suspended and it.due_at <= self._database.now for it in links)
        return self._database.holdings.get(self._obj.ref) if due else None

    def _links(self) -> _Links:
        if self.lineage is None:
            return {}
        links = self._database.links[self.lineage]
        past = sorted((link.due_at for link in links.values() if link.due_at <= self._database.now), reverse=True)
        oldest = min(self._database.now - RECENT, past[_LAST - 1]) if len(past) >= _LAST else None
        chains = _chains(self._obj)
        return {
            key: _with_row(self._database, link)
            for key, link in links.items()
            if (link.state is State.PENDING or link.waiting)
            or oldest is None
            or link.due_at >= oldest
            or key.occurrence in chains
            or (link.is_chain and link.plan == self._obj.ref.uid)
        }

    def _is_replaced(self, planned: Planned | None) -> bool:
        others = (
            other.record
            for uid, other in self._database.plans.items()
            if uid != self._obj.ref.uid and other.lineage == self.lineage and not other.record.deleted
        )
        if planned is not None:
            return planned.record.deleted and any(others)
        return any(other.created_at > self._obj.created_at for other in others)


class _Transaction:
    """Implements ports.planning.PlanTransaction. What it writes is taken back if the block fails."""

    def __init__(self, database: MemoryDatabase, cluster: str, obj: FlagPlan) -> None:
        self._database = database
        self._cluster = cluster
        self._obj = obj
        self._reader = _Reader(database, cluster, obj)
        self._before = dict(database.plans), dict(database.lineages)
        self._rows_before: dict[UUID, tuple[UUID, Row] | None] = {}  # of those that it has written
        self._links_before = {lineage: dict(links) for lineage, links in database.links.items()}
        self._name = obj.ref.namespace, obj.ref.name
        self._locked: set[Flag] = set()
        self._is_locked = False
        self._is_committed = False

    async def facts(self) -> PlanFacts:
        """See ports.planning.PlanTransaction."""
        database, obj = self._database, self._obj
        if not self._is_locked:
            if self._name in database.locked_plans:
                raise ConflictError
            database.locked_plans.add(self._name)
            self._is_locked = True
            self._adopt()
        name = self._cluster, obj.ref.namespace, obj.ref.name
        if self._reader.lineage is None:
            database.lineages[name] = max(database.links, default=0) + 1
            database.links[database.lineages[name]] = {}
        if not self._reader.facts().replaced and obj.ref.uid not in database.plans and not obj.deleting:
            self._take_over()
        links = self._links
        for key, link in links.items():
            row = database.row(link.schedule_id)
            if row is not None and row.finished and link.state is State.PENDING:
                links[key] = _with_row(database, link)
        self._facts = self._reader.facts(self._locked)
        return self._facts

    async def save(self, decision: PlanDecision) -> None:
        """See ports.planning.PlanTransaction."""
        changes = decision.changes
        if changes.suspend is not None:
            for link in _unfinished(self._database, self._links.values()):
                self._change_row(link, suspended=changes.suspend)
        for cancel in changes.cancels:
            self._change(cancel.link, state=State.CANCELLED, reason=cancel.reason, next_retry_at=None)
        for update in changes.updates:
            self._update(update.link, update.content)
        for restore in changes.restores:
            restored = Reason.RESTORED_FROM_STATUS
            self._change(restore.link, state=State.APPLIED, reason=restored, applied_at=restore.applied_at)
        for note in changes.notes:
            self._note(note)
        for insert in changes.inserts:
            self._insert(insert)
        record = decision.record
        if self._locked:
            record = replace(record, retry_request=self._facts.record.retry_request if self._facts.record else None)
        if not (self._facts.record is None and record.deleted):
            lineage = self._reader.lineage
            assert lineage is not None
            self._database.plans[self._obj.ref.uid] = Planned(self._cluster, lineage, record)

    def commit(self) -> None:
        """Keep what was written."""
        self._is_committed = True

    def end(self) -> None:
        """Release the lock; take back what was not committed."""
        if self._is_locked:
            self._database.locked_plans.discard(self._name)
        if not self._is_committed:
            self._database.plans, self._database.lineages = self._before
            self._database.links = self._links_before
            for schedule, before in self._rows_before.items():
                if before is None:
                    self._database.rows.pop(schedule, None)
                else:
                    self._database.rows[schedule] = before

    @property
    def _links(self) -> _Links:
        lineage = self._reader.lineage
        assert lineage is not None
        return self._database.links[lineage]

    def _adopt(self) -> None:
        planned = self._database.plans.get(self._obj.ref.uid)
        if planned is None or planned.cluster == self._cluster:
            return
        self._database.plans[self._obj.ref.uid] = replace(planned, cluster=self._cluster)
        old = planned.cluster, self._obj.ref.namespace, self._obj.ref.name
        new = (self._cluster, *old[1:])
        if new not in self._database.lineages and self._database.lineages.get(old) == planned.lineage:
            self._database.lineages[new] = self._database.lineages.pop(old)

    def _take_over(self) -> None:
        obj, links, chains = self._obj, self._links, _chains(self._obj)
        for key, link in links.items():
            if link.state is State.PENDING or link.waiting or (link.is_chain and key.occurrence in chains):
                links[key] = replace(link, plan=obj.ref.uid)
        for uid, other in self._database.plans.items():
            if other.lineage == self._reader.lineage and other.record.created_at <= obj.created_at:
                self._database.plans[uid] = replace(other, record=replace(other.record, deleted=True))

    def _change(self, link: Link, **fields: object) -> None:
        """Change a row, with what its link keeps of it, if it is as it was read."""
        row = self._database.row(link.schedule_id)
        if row is None or (row.state, row.arming) != (link.state, link.arming):
            raise ConflictError
        self._change_row(link, **fields)
        self._links[link.key] = _with_row(self._database, replace(self._links[link.key], error=None))

    def _change_row(self, link: Link, **fields: object) -> None:
        assert link.schedule_id
        self._rows_before.setdefault(link.schedule_id, self._database.rows[link.schedule_id])
        self._database.change_row(link.schedule_id, **fields)

    def _update(self, link: Link, content: Content) -> None:
        fields = asdict(content) | {"suspended": self._is_suspended, "arming": link.arming + 1, "retry_count": 0}
        nothing = dict.fromkeys(("reason", "next_retry_at", "last_error", "applied_at"))
        self._change(link, state=State.PENDING, **fields, **nothing)
        changed = self._links[link.key]
        new = replace(changed, due_at=content.scheduled_at, updates=content.updates, plan=self._obj.ref.uid)
        self._links[link.key] = new

    def _note(self, note: Note) -> None:
        known = self._links.get(note.key)
        self._links[note.key] = Link(
            key=note.key,
            plan=self._obj.ref.uid,
            schedule_id=None,
            is_chain=known.is_chain if known else True,
            due_at=note.due_at,
            updates=note.updates,
            state=note.state,
            reason=note.reason,
            applied_at=note.applied_at,
            is_moved=note.is_moved,
        )

    def _insert(self, insert: Insert) -> None:
        if insert.flag_id in self._database.locked:
            self._locked.add(insert.key.flag)
            return
        known = self._links.get(insert.key)
        if known is not None and not insert.relinked:
            return
        row = Row(id=uuid4(), state=State.PENDING, suspended=self._is_suspended, **vars(insert.content))
        assert row.id
        self._rows_before[row.id] = None
        self._database.rows[row.id] = insert.flag_id, row
        self._links[insert.key] = Link(
            key=insert.key,
            plan=self._obj.ref.uid,
            schedule_id=row.id,
            is_chain=known.is_chain if known else insert.is_chain,
            due_at=row.scheduled_at,
            updates=row.updates,
            state=State.PENDING,
            is_moved=insert.is_moved,
        )

    @property
    def _is_suspended(self) -> bool:
        return self._obj.spec is not None and self._obj.spec.suspend


def _chains(obj: FlagPlan) -> set[str]:
    chains = obj.spec.chains if obj.spec is not None and not obj.spec.is_recurring else ()
    return {chain_occurrence(chain) for chain in chains}


def _unfinished(database: MemoryDatabase, links: Iterable[Link]) -> Iterable[Link]:
    return [link for link in links if _with_row(database, link).unfinished]


def _with_row(database: MemoryDatabase, link: Link) -> Link:
    """A link, with the row's state while there is a row."""
    row = database.row(link.schedule_id)
    if row is None:
        return replace(link, content=None)
    return replace(
        link,
        state=row.state,
        reason=row.reason,
        applied_at=row.applied_at,
        error=row.last_error,
        retrying=row.retrying,
        next_retry_at=row.next_retry_at,
        retry_count=row.retry_count,
        arming=row.arming,
        suspended=row.suspended,
        content=Content(**{name: getattr(row, name) for name in _FIELDS}),
    )
