"""Plans in memory: what planning changes is stored, and due rows are made, as the database and the processor do it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from flagschedule.domain.actors import Edit
from flagschedule.domain.decision import Rules
from flagschedule.domain.outcome import Reason, State
from flagschedule.domain.plan import Flag, FlagPlan
from flagschedule.domain.plan_rows import Content, Insert, Key, Link, Note, Part, PlanFacts, PlanRecord, Update
from flagschedule.domain.planning import RECENT, PlanDecision, chain_occurrence, plan
from tests.support.mirroring import RULES
from tests.unit.builders import rfc3339

UID: Final = "00000000-0000-4000-8000-0000000000a1"


def plan_body(
    *steps: Mapping[str, Any],
    created_at: datetime,
    uid: str = UID,
    generation: int = 1,
    annotations: Mapping[str, str] | None = None,
    deleting: bool = False,
    status: Mapping[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """Return a raw FlagPlan."""
    metadata: dict[str, Any] = {
        "uid": uid,
        "namespace": "shop",
        "name": "plan",
        "generation": generation,
        "resourceVersion": "1",
        "creationTimestamp": rfc3339(created_at),
        "annotations": dict(annotations or {}),
    }
    if deleting:
        metadata["deletionTimestamp"] = rfc3339(created_at)
    status = {"observedGeneration": -1} if status is None else status
    return {"metadata": metadata, "spec": {"steps": [dict(step) for step in steps], **spec}, "status": status}


def plan_object(*steps: Mapping[str, Any], **fields: Any) -> FlagPlan:
    """Return a parsed FlagPlan; takes what `plan_body` takes."""
    return FlagPlan.from_body(plan_body(*steps, **fields))


def change(key: str = "chat", *, then: Mapping[str, Any] | None = None, **updates: Any) -> dict[str, Any]:
    """Return a change; it switches the flag on unless something else is given."""
    made: dict[str, Any] = {"flagKey": key, "updates": updates or {"enabled": True}}
    return made if then is None else {**made, "then": then}


@dataclass
class PlanWorld:
    """One name of a plan. Time passes when a test says so."""

    now: datetime
    flags: dict[Flag, UUID] = field(default_factory=dict)
    links: dict[Key, Link] = field(default_factory=dict)
    records: dict[str, PlanRecord] = field(default_factory=dict)
    values: dict[Flag, dict[str, Any]] = field(default_factory=dict)
    history: list[tuple[datetime, str, Mapping[str, Any]]] = field(default_factory=list)
    rules: Rules = RULES
    edits: list[Edit] = field(default_factory=list)
    _order: dict[UUID, tuple[datetime, int]] = field(default_factory=dict)
    _marks: dict[tuple[Flag, str], tuple[datetime, tuple[datetime, int]]] = field(default_factory=dict)

    def add_flags(self, *keys: str) -> None:
        """Create flags that are off, at 0 %."""
        for key in keys:
            self.flags[key, "production"] = uuid4()
            self.values[key, "production"] = {"enabled": False, "rolloutPercentage": 0}

    def facts(self, obj: FlagPlan) -> PlanFacts:
        """What the store reads."""
        record = self.records.get(str(obj.ref.uid))
        return PlanFacts(record=record, links=dict(self._visible(record)), flags=dict(self.flags), now=self.now)

    def _visible(self, record: PlanRecord | None) -> Mapping[Key, Link]:
        oldest = min(self.now, record.planned_from if record else self.now) - RECENT
        open_ends = {key.start for key, link in self.links.items() if link.unfinished}
        return {
            key: link
            for key, link in self.links.items()
            if link.is_chain or link.due_at >= oldest or not link.ended or key in open_ends
        }

    def reconcile(self, obj: FlagPlan) -> PlanDecision:
        """Plan, store, and plan again until nothing changes; that must be so soon."""
        if str(obj.ref.uid) not in self.records:  # as the store does at the first sight of an object
            chains = {chain_occurrence(chain) for chain in obj.spec.chains} if obj.spec else set()
            for key, link in self.links.items():
                if not link.ended or key.occurrence in chains:
                    self.links[key] = replace(link, plan=obj.ref.uid)
        for _ in range(3):
            decision = plan(obj, self.facts(obj), self.rules)
            if decision.edit is not None:
                self.edits.append(decision.edit)
            self.records[str(obj.ref.uid)] = decision.record
            self._store(decision, obj)
            if not decision.changes:
                return decision
        raise AssertionError(f"planning does not come to an end: {decision.changes}")

    def _store(self, decision: PlanDecision, obj: FlagPlan) -> None:
        changes = decision.changes
        for cancel in changes.cancels:
            self._set(cancel.link, state=State.CANCELLED, reason=cancel.reason, retrying=False)
        for update in changes.updates:
            self._update(update)
        for insert in changes.inserts:
            self._insert(insert, obj)
        for restore in changes.restores:
            self._set(
                restore.link,
                state=State.APPLIED,
                reason=Reason.RESTORED_FROM_STATUS,
                applied_at=restore.applied_at,
            )
        for note in changes.notes:
            self._note(note, obj)
        if changes.suspend is not None:
            for link in [link for link in self.links.values() if link.unfinished]:
                self._set(link, suspended=changes.suspend)

    def _set(self, link: Link, **fields: Any) -> None:
        self.links[link.key] = replace(self.links[link.key], **fields)

    def _update(self, update: Update) -> None:
        link = update.link
        assert self.links[link.key] == link
        self._set(
            link,
            content=update.content,
            updates=update.content.updates,
            due_at=update.content.scheduled_at,
            state=State.PENDING,
            reason=None,
            retrying=False,
            arming=link.arming + 1,
        )

    def _insert(self, insert: Insert, obj: FlagPlan) -> None:
        assert (insert.key in self.links) == insert.relinked, insert
        schedule = uuid4()
        self._order[schedule] = (insert.began_at, int(insert.key.part is Part.END))
        self.links[insert.key] = Link(
            key=insert.key,
            plan=obj.ref.uid,
            schedule_id=schedule,
            is_chain=insert.is_chain,
            due_at=insert.content.scheduled_at,
            updates=insert.content.updates,
            state=State.PENDING,
            suspended=bool(obj.spec and obj.spec.suspend),
            content=insert.content,
            is_moved=insert.is_moved,
        )

    def _note(self, note: Note, obj: FlagPlan) -> None:
        assert (note.key in self.links) == note.relinked, note
        self.links[note.key] = Link(
            key=note.key,
            plan=obj.ref.uid,
            schedule_id=None,
            is_chain=True,
            due_at=note.due_at,
            updates=note.updates,
            state=note.state,
            reason=note.reason,
            applied_at=note.applied_at,
            is_moved=note.is_moved,
        )

    def pending(self, part: Part = Part.START) -> list[Link]:
        """The unfinished rows of a part, by time."""
        return sorted(
            (link for link in self.links.values() if link.unfinished and link.key.part is part),
            key=lambda link: (link.due_at, link.key),
        )

    def refuse(self, step: str) -> None:
        """Let all retries of a step's pending rows fail."""
        for link in [link for link in self.links.values() if link.unfinished and link.key.step == step]:
            self._set(link, state=State.FAILED, reason=Reason.RETRIES_EXHAUSTED, error="refused", retrying=False)

    def process(self) -> list[Link]:
        """Make what is due, one after the other by time. Returns what has an outcome now."""
        due = [
            link
            for link in self.links.values()
            if link.unfinished and not link.suspended and link.content and link.content.scheduled_at <= self.now
        ]
        for link in sorted(due, key=self._rank):
            self._judge(link)
        return [self.links[link.key] for link in due]

    def _rank(self, link: Link) -> tuple[datetime, tuple[datetime, int]]:
        assert link.content
        assert link.schedule_id
        return link.content.scheduled_at, self._order[link.schedule_id]

    def _judge(self, link: Link) -> None:
        content, flag = link.content, link.key.flag
        assert content
        start = self.links.get(link.key.start)
        if link.key.part is Part.END and start is not None and not start.applied:
            self._set(link, state=State.CANCELLED, reason=Reason.NOT_STARTED)
        elif content.not_after is not None and content.not_after < self.now:
            self._set(link, state=State.FAILED, reason=Reason.DEADLINE_EXCEEDED)
        elif content.expect is not None and any(self.values[flag][name] != it for name, it in content.expect.items()):
            self._set(link, state=State.FAILED, reason=Reason.EXPECTATION_NOT_MET)
        else:
            self._apply(link, content, flag)

    def _apply(self, link: Link, content: Content, flag: Flag) -> None:
        won = False
        for name, value in content.updates.items():
            if self._marks.get((flag, name), (datetime.min.replace(tzinfo=self.now.tzinfo),)) <= self._rank(link):
                self._marks[flag, name] = self._rank(link)
                self.values[flag][name] = value
                won = True
        reason = Reason.APPLIED if won else Reason.SUPERSEDED
        self._set(link, state=State.APPLIED, reason=reason, applied_at=self.now)
        if won:
            self.history.append((self.now, flag[0], content.updates))

    def set_by_hand(self, key: str, **values: Any) -> None:
        """Let another schedule, due now, set values."""
        flag = key, "production"
        for name, value in values.items():
            self.values[flag][name] = value
            self._marks[flag, name] = (self.now, (self.now + timedelta(days=3650), 1))

    def run(self, obj: FlagPlan, until: datetime, step: timedelta) -> None:
        """Let time pass: at each step the processor makes what is due, and the plan is planned again."""
        while self.now < until:
            self.now = min(self.now + step, until)
            if self.process():
                self.reconcile(obj)
