"""Decides which rows a plan should have: the rules of FlagPlans, without I/O.

`plan` is called under the lock of the plan's name, with everything it needs to know; the caller stores what it returns.
Planning again what was stored changes nothing. A link that has an outcome is never planned again, except by a request
to retry: that is why nothing is made twice.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, TypedDict

from flagschedule.domain.actors import Edit, record_edit
from flagschedule.domain.calendar import Occurrence
from flagschedule.domain.decision import Rules
from flagschedule.domain.outcome import Reason, State
from flagschedule.domain.plan import Change, Done, Flag, FlagPlan, PlanSpec, Step
from flagschedule.domain.plan_rows import (
    Cancel,
    Changes,
    Content,
    Insert,
    Key,
    Link,
    Note,
    Part,
    PlanFacts,
    PlanRecord,
    Restore,
    Update,
)
from flagschedule.domain.schedule import Values
from flagschedule.domain.zones import TZDATA_VERSION

HORIZON: Final = timedelta(days=7)
MOST_PENDING: Final = 2000
MOST_OVERDUE: Final = 100  # occurrences that fell due while no operator planned
RECENT: Final = timedelta(
    days=3
)  # longer than a window and what time zones can move; links younger than that are facts
_DAY: Final = timedelta(days=1)
_LONGEST_WINDOW: Final = timedelta(hours=26)  # a day on which the clocks go back, and an hour to spare
_SECOND: Final = timedelta(seconds=1)
_HISTORY: Final = timedelta(hours=24)  # see decision
_CLOCK_SKEW: Final = timedelta(minutes=5)
_HANDLED: Final = {Reason.APPLIED, Reason.ALREADY_SET, Reason.PARTLY_SUPERSEDED, Reason.SUPERSEDED}


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Why a chain does not go on; `links` are the changes that were not made, empty where its time had passed."""

    step: str
    links: tuple[Link, ...] = ()
    is_history: bool = False


@dataclass(kw_only=True)
class View:
    """What planning found out that the status shows, apart from the links.

    Attributes:
        approval: the step that waits for an approval.
        missing: flags that cannot be used, and why.
        stop: why the first chain that stopped did.
        too_late: steps that were made, and whose spec is another one by now.
        dropped: the start of the next window without a length, with its step.
        coming: when a step is due that has no row yet, with its changes.
        is_finished: whether nothing is left to do; `can_finish` whether that can ever be so.
    """

    approval: str | None = None
    missing: dict[Flag, Reason] = field(default_factory=dict)
    stop: Stop | None = None
    too_late: list[str] = field(default_factory=list)
    dropped: tuple[datetime, str] | None = None
    coming: tuple[datetime, Step] | None = None
    is_finished: bool = False
    can_finish: bool = False


@dataclass(frozen=True, kw_only=True)
class PlanDecision:
    """Record and changes as they should be; without changes where nothing is to be done."""

    record: PlanRecord
    changes: Changes
    view: View
    edit: Edit | None = None


def plan(obj: FlagPlan, facts: PlanFacts, rules: Rules) -> PlanDecision:
    """What the database should hold for this object; planned again, it finds nothing to change."""
    return _attributed(_plan(obj, facts, rules), obj, facts, rules)


def _attributed(decision: PlanDecision, obj: FlagPlan, facts: PlanFacts, rules: Rules) -> PlanDecision:
    """Add who changed the object, where a version of it is acted on for the first time.

    A plan that was given up keeps the name of the user who gave it up.
    """
    before, record = facts.record, decision.record
    if obj.deleting or facts.replaced or obj.generation != record.generation or (before and before.cancelled):
        return decision
    is_new = before is None or _version(before) != _version(record)
    actors, edit = record_edit(
        obj.actors,
        record.actors,
        is_new=is_new,
        recording=rules.record_actors,
        generation=obj.generation,
        spec=lambda: json.loads(obj.text) if obj.spec else None,
    )
    return replace(decision, record=replace(record, actors=actors), edit=edit)


def _version(record: PlanRecord) -> tuple[object, ...]:
    return record.generation, record.retry_request, record.approval


def _plan(obj: FlagPlan, facts: PlanFacts, rules: Rules) -> PlanDecision:
    record = facts.record or PlanRecord(
        ref=obj.ref, created_at=obj.created_at, planned_from=_first_sight(obj, facts.now, rules)
    )
    if facts.replaced or (obj.generation < record.generation and not obj.deleting):
        # An older view of the object never overwrites a newer one; but a deletion is final.
        record = replace(record, deleted=record.deleted or obj.deleting)
        return PlanDecision(record=record, changes=Changes(), view=View())
    retry = obj.retry_request not in {None, record.retry_request}
    edited = facts.record is not None and record.plan_hash != obj.plan_hash
    record = replace(
        record,
        generation=max(obj.generation, record.generation),
        retry_request=record.retry_request if obj.retry_request is None else obj.retry_request,
        approval=obj.approval,
        plan_hash=obj.plan_hash,
        planned_from=facts.now if edited else record.planned_from,
        cancelled=record.cancelled or obj.cancel,
        missing=(),
        deleted=obj.deleting,
    )
    if obj.deleting:
        ours = (link for link in facts.links.values() if link.plan == obj.ref.uid)
        return _give_up(record, ours, Reason.DELETED)
    if record.cancelled:
        return _give_up(record, facts.links.values(), Reason.CANCELLED)
    if obj.spec is None:
        starts = (link for link in facts.links.values() if not _is_open(link, facts))
        return _give_up(record, starts, Reason.INVALID_SPEC)
    planner = _Planner(obj, obj.spec, replace(facts, record=record), rules, is_new=facts.record is None, retry=retry)
    return planner.plan()


def _first_sight(obj: FlagPlan, now: datetime, rules: Rules) -> datetime:
    """From when on starts are planned: an operator that was away for a moment misses none."""
    return now if obj.observed else min(max(obj.created_at, now - rules.max_lateness), now)


def _is_open(link: Link, facts: PlanFacts) -> bool:
    """Whether it is the end of a window whose start was made."""
    start = facts.links.get(link.key.start)
    return link.key.part is Part.END and (start is None or start.applied)


def _give_up(record: PlanRecord, links: Iterable[Link], reason: Reason) -> PlanDecision:
    links = list(links)
    cancels = tuple(Cancel(link=link, reason=reason) for link in links if link.unfinished)
    notes = tuple(_forget(link, reason) for link in links if link.waiting)
    return PlanDecision(record=record, changes=Changes(cancels=cancels, notes=notes), view=View())


def _forget(link: Link, reason: Reason) -> Note:
    return Note(
        key=link.key,
        due_at=link.due_at,
        updates=link.updates,
        state=State.CANCELLED,
        reason=reason,
        relinked=True,
    )


def failed_ends(links: Iterable[Link]) -> Iterator[Link]:
    """Yield, of the ends of each step and flag, the latest one that has an outcome, if it failed."""
    latest: dict[tuple[str, Flag], Link] = {}
    for link in sorted(links, key=lambda link: link.due_at):
        if link.key.part is Part.END and link.ended:
            latest[link.key.step, link.key.flag] = link
    return (link for link in latest.values() if link.state is State.FAILED)


def horizon(now: datetime) -> datetime:
    """Up to when rows are made: at least seven days, in whole days, so that it moves once a day."""
    return (now.astimezone(UTC) + HORIZON + _DAY).replace(hour=0, minute=0, second=0, microsecond=0)


def chain_occurrence(chain: tuple[Step, ...]) -> str:
    """What identifies a chain: the time of its first step."""
    first = chain[0].at
    if first is None:
        raise AssertionError("a chain begins with a time")
    return first.astimezone(UTC).isoformat()


class _Rules(TypedDict):
    """What all rows with the same values share."""

    updates: Mapping[str, bool | int]
    max_retries: int
    retry_initial_seconds: int | None
    retry_max_seconds: int | None


class _Planner:
    """Plans one object. Collects changes, and the keys of links that stay."""

    def __init__(
        self, obj: FlagPlan, spec: PlanSpec, facts: PlanFacts, rules: Rules, *, is_new: bool, retry: bool
    ) -> None:
        if facts.record is None:
            raise AssertionError("made by the caller")
        self._obj = obj
        self._spec = spec
        self._facts = facts
        self._record = facts.record
        self._rules = rules
        self._is_new = is_new
        self._retry = retry
        self._now = facts.now
        self._horizon = horizon(facts.now)
        self._inserts: list[Insert] = []
        self._updates: list[Update] = []
        self._notes: list[Note] = []
        self._stays: set[Key] = set()
        self._known = {
            (key.step, Occurrence.local_of(key.occurrence)) for key, link in facts.links.items() if not link.is_chain
        }
        self._lost = _lost(obj, facts)
        self._restores: list[Restore] = []
        self._view = View()
        self._rendered: dict[int, Mapping[str, bool | int]] = {}

    def plan(self) -> PlanDecision:
        """Plan."""
        record = self._record
        if self._spec.is_recurring:
            record = replace(record, planned_until=self._plan_recurring(), tzdata=TZDATA_VERSION)
        else:
            record = replace(record, planned_until=None, tzdata=None)
            done = [self._plan_chain(chain) for chain in self._spec.chains]
            self._view.can_finish = True
            self._view.is_finished = all(done) and not self._has_unfinished()
        self._retry_ends()
        if self._view.stop is not None:
            self._view.is_finished = False
        record = replace(record, missing=tuple(sorted(self._view.missing)))
        held = {link.suspended for link in self._facts.links.values() if link.unfinished}
        changes = Changes(
            inserts=tuple(self._inserts),
            updates=tuple(self._updates),
            cancels=tuple(self._cancels()),
            restores=tuple(self._restores),
            notes=(*self._notes, *self._forgotten()),
            suspend=self._spec.suspend if held - {self._spec.suspend} else None,
        )
        return PlanDecision(record=record, changes=changes, view=self._view)

    # What both kinds of plans share.

    def _start(self, change: Change, at: datetime) -> Content:
        deadline = self._spec.starting_deadline
        return Content(
            **self._rules_for(change.updates),
            scheduled_at=at,
            expect=self._json(change.expect) if change.expect else None,
            on_mismatch=change.on_mismatch,
            not_after=None if deadline is None else at + deadline,
        )

    def _content(self, values: Values, at: datetime) -> Content:
        return Content(**self._rules_for(values), scheduled_at=at)

    def _rules_for(self, values: Values) -> _Rules:
        retry = self._spec.retry
        return {
            "updates": self._json(values),
            "max_retries": self._rules.max_retries if self._spec.max_retries is None else self._spec.max_retries,
            "retry_initial_seconds": retry.initial_seconds if retry else None,
            "retry_max_seconds": retry.max_seconds if retry else None,
        }

    def _json(self, values: Values) -> Mapping[str, bool | int]:
        """Render values once: a plan has thousands of rows with the same."""
        if id(values) not in self._rendered:
            self._rendered[id(values)] = values.as_json()
        return self._rendered[id(values)]

    def _keep(self, link: Link, content: Content) -> None:
        """A row that is there stays, with the content of the spec."""
        self._stays.add(link.key)
        handled = self._lost.get((link.key.step, link.key.part))
        if handled and link.unfinished and not link.retrying and _in_seconds(link.due_at) <= handled.at:
            # A database that was restored to before the change makes nothing twice.
            self._restores.append(Restore(link=link, applied_at=handled.applied_at))
        elif link.unfinished and link.content != content:
            self._updates.append(Update(link=link, content=content))

    def _insert(
        self, key: Key, content: Content, *, began_at: datetime, is_chain: bool, is_moved: bool = False
    ) -> bool:
        """Plan a row. Returns whether its flag can be used."""
        flag_id = self._facts.flags.get(key.flag)
        if flag_id is None or key.flag in self._facts.unusable:
            self._view.missing[key.flag] = self._facts.unusable.get(key.flag, Reason.FLAG_NOT_FOUND)
            return False
        self._stays.add(key)
        self._inserts.append(
            Insert(
                key=key,
                content=content,
                flag_id=flag_id,
                began_at=began_at,
                is_chain=is_chain,
                relinked=key in self._facts.links,
                is_moved=is_moved,
            )
        )
        return True

    def _plan_end(self, start: Link, change: Change, ends_at: datetime, began_at: datetime) -> None:
        """Plan the end of a window whose start has a link: it keeps the values with which the window began."""
        if change.then is None:
            return
        content = self._content(change.then, ends_at)
        end = self._facts.links.get(start.key.end)
        if end is not None and start.applied:
            content = replace(content, updates=end.updates)
        if end is not None and not end.revivable:
            self._keep(end, content)
        elif start.unfinished or (start.applied and ends_at > self._record.planned_from):
            self._insert(start.key.end, content, began_at=began_at, is_chain=start.is_chain)

    def _cancels(self) -> Iterator[Cancel]:
        """Rows that the spec does not name any more. The end of an open window stays, regardless of the spec."""
        replaced = {insert.key for insert in self._inserts if insert.relinked}
        for link in self._facts.links.values():
            if not link.unfinished:
                continue
            if link.key in replaced or not (link.key in self._stays or self._is_kept_end(link)):
                yield Cancel(link=link, reason=Reason.REPLACED)

    def _is_kept_end(self, link: Link) -> bool:
        start = self._facts.links.get(link.key.start)
        return link.key.part is Part.END and (start is None or start.ended)

    def _forgotten(self) -> Iterator[Note]:
        changed = {insert.key for insert in self._inserts} | {note.key for note in self._notes}
        for link in self._facts.links.values():
            if link.waiting and link.key not in self._stays | changed:
                yield _forget(link, Reason.REPLACED)

    def _has_unfinished(self) -> bool:
        return bool(self._inserts) or any(link.unfinished for link in self._facts.links.values())

    def _retry_ends(self) -> None:
        """A request to retry makes the latest end again that failed: it is all that can close the window.

        Without a request the plan is stopped there, because its flag is as the window left it.
        """
        for link in failed_ends(self._facts.links.values()):
            if not self._retry:
                self._stop(Stop(step=link.key.step, links=(link,)))
            elif link.content is not None:
                self._updates.append(Update(link=link, content=link.content))

    # Steps with cron.

    def _plan_recurring(self) -> datetime | None:
        """Plan every occurrence up to the horizon. Returns up to when all are planned."""
        fresh: list[tuple[Occurrence, Step]] = []
        links = [link for link in self._facts.links.values() if not link.is_chain]
        oldest = min((link.due_at for link in links if link.unfinished), default=self._now)
        unplanned = self._record.planned_until or self._record.planned_from
        # A plan that was suspended for long has older starts: only the newest of them could be made.
        lower = min(oldest, max(unplanned, self._now - HORIZON), self._now - min(self._rules.max_lateness, _DAY))
        upper = self._now
        self._plan_span(lower - _SECOND, upper, fresh, reach=_LONGEST_WINDOW)
        # No further than there is room for rows, because other plans and stops wait for this one.
        while upper < self._horizon and sum(map(_rows_of, fresh)) <= self._room:
            begin, upper = upper, min(upper + self._span, self._horizon)
            self._plan_span(begin, upper, fresh)
        self._view.can_finish = self._spec.ends_at is not None
        planned_until = self._record.planned_until if self._spec.suspend else self._plan_fresh(fresh, upper)
        if not self._has_unfinished():
            after = max(self._now, planned_until or self._now)
            recurrences = self._spec.recurrences
            found = [(recurrences[step.name].next_after(after), step) for step in self._spec.steps]
            following = [(each.start, step) for each, step in found if each is not None]
            self._view.coming = min(following, key=lambda each: each[0], default=None)
            self._view.is_finished = not following and self._view.can_finish
        return planned_until

    @property
    def _room(self) -> int:
        """How many rows may still be made."""
        return MOST_PENDING - sum(link.unfinished for link in self._facts.links.values())

    @property
    def _span(self) -> timedelta:
        """A time in which not many more rows start than a plan may have."""
        a_day = sum(len(step.cron.times) * len(step.changes) for step in self._spec.steps if step.cron is not None)
        return _DAY if a_day <= MOST_PENDING else timedelta(hours=1)

    def _plan_span(
        self, after: datetime, to: datetime, fresh: list[tuple[Occurrence, Step]], reach: timedelta = timedelta(0)
    ) -> None:
        """Keep what has links of the occurrences that start then, and add to `fresh` what is to be planned.

        For windows it begins earlier by `reach`, because one that is open may have begun before.
        """
        for step in self._spec.steps:
            begin = after if step.until is None else after - reach
            spanned = self._spec.recurrences[step.name].between(begin, to)
            fresh += [(each, step) for each in spanned.planned if self._plan_known(each, step)]
            without_length = [each.start for each in spanned.dropped if each.start > self._now]
            if without_length and self._view.dropped is None:
                self._view.dropped = without_length[0], step.name

    def _plan_known(self, occurrence: Occurrence, step: Step) -> bool:
        """Keep what has links. Returns whether anything is to be planned."""
        if (step.name, occurrence.local) not in self._known:  # so for most occurrences of a plan with many changes
            return self._may_start(step, occurrence.start)
        is_fresh = False
        for change in step.changes:
            key = Key(occurrence.identity, step.name, Part.START, *change.flag)
            link = self._facts.links.get(key)
            if link is None or link.revivable:
                is_fresh = is_fresh or self._may_start(step, occurrence.start)
                continue
            if link.unfinished and link.due_at != occurrence.start <= self._record.planned_from:
                continue  # an edit of the time zone moved it into the past: nothing starts before its edit
            self._keep(link, self._start(change, occurrence.start))
            if occurrence.end is not None:
                self._plan_end(link, change, occurrence.end, occurrence.start)
        return is_fresh

    def _may_start(self, step: Step, at: datetime) -> bool:
        handled = self._lost.get((step.name, Part.START))
        if at <= self._record.planned_from or (handled is not None and at <= handled.at):
            return False
        unplanned = at > (self._record.planned_until or self._record.planned_from)
        late = self._now - at
        # What was planned and has no row waited for its flag. Nothing is made later than a day after its time.
        return late < timedelta(0) or late <= self._rules.max_lateness or (unplanned and late <= _HISTORY)

    def _plan_fresh(self, fresh: list[tuple[Occurrence, Step]], upper: datetime) -> datetime:
        """Plan as many as there is room for. Returns up to when all are planned."""
        fresh.sort(key=lambda each: each[0].start)
        overdue = [each for each in fresh if each[0].start <= self._now]
        coming = fresh[len(overdue) :]
        room = self._room
        for occurrence, step in [*overdue[-MOST_OVERDUE:], *coming]:
            room -= _rows_of((occurrence, step))
            if room < 0:
                return occurrence.start - _SECOND
            for change in step.changes:
                self._plan_occurrence(occurrence, step, change)
        return upper

    def _plan_occurrence(self, occurrence: Occurrence, step: Step, change: Change) -> None:
        key = Key(occurrence.identity, step.name, Part.START, *change.flag)
        link = self._facts.links.get(key)
        if link is not None and not link.revivable:
            return
        start = occurrence.start
        if not self._insert(key, self._start(change, start), began_at=start, is_chain=False):
            return
        if occurrence.end is not None and change.then is not None:
            self._insert(key.end, self._content(change.then, occurrence.end), began_at=start, is_chain=False)

    # Steps with at and after.

    def _plan_chain(self, chain: tuple[Step, ...]) -> bool:
        """Plan the step that is next. Returns whether every step was made."""
        occurrence = self._occurrence(chain)
        made_at: datetime | None = None
        for number, step in enumerate(chain):
            base = step.at if made_at is None or step.after is None else made_at + step.after
            if base is None:
                raise AssertionError("a step of a chain has at or after")
            links = self._links_of(occurrence, step)
            if links and all(link.made for link in links.values()):
                if self._differs(step, links, occurrence, chain):
                    self._view.too_late.append(step.name)
                self._keep_ends(step, links)
                made_at = max(link.applied_at or link.due_at for link in links.values())
                continue
            if not links and (handled := self._lost_after(chain[number:])) is not None:
                self._restore_step(step, occurrence, handled)
                made_at = handled.applied_at
                continue
            if not links:
                self._begin(step, occurrence, base, is_first=number == 0)
                return False
            if self._go_on(step, occurrence, base, links, is_last=number == len(chain) - 1):
                continue
            return False
        return True

    def _lost_after(self, steps: tuple[Step, ...]) -> "_Handled | None":
        """The first of these steps that the status shows as made: so all before it were made, too."""
        shown = (self._lost.get((step.name, Part.START)) for step in steps)
        return next((handled for handled in shown if handled is not None and handled.is_made), None)

    def _restore_step(self, step: Step, occurrence: str, handled: "_Handled") -> None:
        """Note a step that was made, by the status, and of which a restored database knows nothing."""
        for change in step.changes:
            key = Key(occurrence, step.name, Part.START, *change.flag)
            self._stays.add(key)
            self._notes.append(
                Note(
                    key=key,
                    due_at=handled.at,
                    updates=self._json(change.updates),
                    state=State.APPLIED,
                    reason=Reason.RESTORED_FROM_STATUS,
                    relinked=key in self._facts.links,
                    applied_at=handled.applied_at,
                )
            )

    def _occurrence(self, chain: tuple[Step, ...]) -> str:
        """What identifies the chain; an edit of its first time moves no chain of which a step was made."""
        names = {step.name for step in chain}
        made = [
            link
            for link in self._facts.links.values()
            if link.is_chain and link.plan == self._obj.ref.uid and link.key.step in names and link.made
        ]
        return max(made, key=lambda link: link.due_at).key.occurrence if made else chain_occurrence(chain)

    def _links_of(self, occurrence: str, step: Step) -> dict[Flag, Link]:
        """The starts of a step that were planned; of a flag that the step gave up only if it was made.

        A step that was made keeps its chain: an edit that joins two chains makes nothing again.
        """
        flags = {change.flag for change in step.changes}
        starts = [
            link
            for link in self._facts.links.values()
            if link.is_chain and (link.key.step, link.key.part) == (step.name, Part.START) and not link.revivable
        ]
        made = {link.key.flag: link for link in starts if link.made and link.plan == self._obj.ref.uid}
        of_this_chain = {
            link.key.flag: link
            for link in starts
            if link.key.occurrence == occurrence and (link.made or link.key.flag in flags)
        }
        return made | of_this_chain

    def _differs(self, step: Step, links: Mapping[Flag, Link], occurrence: str, chain: tuple[Step, ...]) -> bool:
        wanted = {change.flag: self._json(change.updates) for change in step.changes}
        moved = step is chain[0] and occurrence != chain_occurrence(chain)
        return moved or wanted != {flag: link.updates for flag, link in links.items()}

    def _begin(self, step: Step, occurrence: str, base: datetime, *, is_first: bool) -> None:
        """Plan a step that has no rows yet."""
        if is_first and not step.approval and self._is_late(base):
            self._stop(Stop(step=step.name, is_history=self._record.planned_from - base > _HISTORY))
            return
        if step.approval and self._record.approval != step.name:
            self._view.approval = self._view.approval or step.name
            return
        due = max(base, self._now) if step.approval else base
        if due > self._horizon:
            if self._view.coming is None or due < self._view.coming[0]:
                self._view.coming = due, step
            return
        for change in step.changes:
            self._plan_change(step, occurrence, change, due, is_moved=due != base)

    def _plan_change(self, step: Step, occurrence: str, change: Change, due: datetime, *, is_moved: bool) -> None:
        key = Key(occurrence, step.name, Part.START, *change.flag)
        content = self._start(change, due)
        if self._insert(key, content, began_at=due, is_chain=True, is_moved=is_moved):
            if step.ends_at is not None and change.then is not None:
                end = self._content(change.then, step.ends_at)
                self._insert(key.end, end, began_at=due, is_chain=True)
            return
        self._stays.add(key)
        known = self._facts.links.get(key)
        if known is None or not known.waiting or (known.due_at, known.updates) != (due, content.updates):
            self._notes.append(
                Note(
                    key=key,
                    due_at=due,
                    updates=content.updates,
                    state=State.WAITING,
                    reason=self._view.missing[key.flag],
                    relinked=known is not None,
                    is_moved=is_moved,
                )
            )

    def _is_late(self, at: datetime) -> bool:
        """Whether a first step is too late to begin. One that was accepted in time is made up to a day later."""
        allowed = self._spec.starting_deadline or self._rules.max_lateness
        in_time = self._is_new and not self._obj.observed and self._obj.created_at < at
        return self._now - at > (_HISTORY if in_time else min(allowed, _HISTORY))

    def _go_on(self, step: Step, occurrence: str, base: datetime, links: Mapping[Flag, Link], *, is_last: bool) -> bool:
        """Plan a step of which some changes are not made. Returns whether the chain ends here, as planned."""
        stopped: list[Link] = []
        due = max((_due(link, base) for link in links.values()), default=base)
        for change in step.changes:
            link = links.get(change.flag)
            if link is None:
                self._plan_change(step, occurrence, change, due, is_moved=due != base)
            elif link.waiting:
                self._wait_on(step, change, link, _due(link, base))
            elif link.ended and not link.made:
                if not self._make_again(step, change, link, base):
                    stopped.append(link)
            else:
                at = link.due_at if link.ended else _due(link, base)
                self._keep(link, self._start(change, at))
                if step.ends_at is not None:
                    self._plan_end(link, change, step.ends_at, at)
        if not stopped:
            return False
        pending = any(link.unfinished or link.waiting for link in links.values())
        if is_last and not pending and all(_was_passed_over(link) for link in stopped):
            return True
        self._stop(Stop(step=step.name, links=tuple(stopped)))
        return False

    def _wait_on(self, step: Step, change: Change, link: Link, due: datetime) -> None:
        """Plan a change whose flag did not exist. Only a step with a time of its own can be too late."""
        if step.at is not None and not step.approval and self._is_late(due) and not self._spec.suspend:
            self._notes.append(replace(_forget(link, Reason.EXPIRED), state=State.EXPIRED))
            return
        self._plan_change(step, link.key.occurrence, change, due, is_moved=link.is_moved and due == link.due_at)

    def _make_again(self, step: Step, change: Change, link: Link, base: datetime) -> bool:
        """Plan a change again that was not made: on request, or with the values of an edit. Returns whether."""
        edited = link.updates != self._json(change.updates) or (
            link.content is not None
            and (link.content.expect, link.content.on_mismatch)
            != (self._json(change.expect) if change.expect else None, change.on_mismatch)
        )
        over = step.ends_at is not None and step.ends_at <= self._now
        if over or not (self._retry or edited):
            return False
        self._plan_change(step, link.key.occurrence, change, max(base, self._now), is_moved=base < self._now)
        return True

    def _keep_ends(self, step: Step, links: Mapping[Flag, Link]) -> None:
        if step.ends_at is None:
            return
        for change in step.changes:
            if (link := links.get(change.flag)) is not None:
                self._plan_end(link, change, step.ends_at, link.due_at)

    def _stop(self, stop: Stop) -> None:
        if self._view.stop is None or (self._view.stop.is_history and not stop.is_history):
            self._view.stop = stop


def _rows_of(each: tuple[Occurrence, Step]) -> int:
    occurrence, step = each
    return len(step.changes) * (1 if occurrence.end is None else 2)


@dataclass(frozen=True)
class _Handled:
    """An occurrence of a step that the status shows as handled."""

    at: datetime
    applied_at: datetime
    is_made: bool


def _lost(obj: FlagPlan, facts: PlanFacts) -> Mapping[tuple[str, Part], _Handled]:
    """What the status shows as handled, and no link does: the latest of each step and part.

    The database was restored from a backup. What cannot be true is not believed.
    """
    known = {(link.key.step, link.key.part, _in_seconds(link.due_at)) for link in facts.links.values() if link.ended}
    found: dict[tuple[str, Part], _Handled] = {}
    for done in obj.status.recent:  # the newest first
        if (
            done.step is None
            or done.at is None
            or done.outcome not in _HANDLED
            or not _can_be_true(obj, done, facts.now)
        ):
            continue
        part = Part.END if done.part == "End" else Part.START
        if (done.step, part, done.at) not in known:
            is_made = done.outcome != Reason.SUPERSEDED
            found.setdefault((done.step, part), _Handled(done.at, done.applied_at or done.at, is_made))
    return found


def _due(link: Link, base: datetime) -> datetime:
    """When an unfinished change is due: at the time of the spec, or at that of an approval or retry that came later."""
    return max(link.due_at, base) if link.is_moved else base


def _can_be_true(obj: FlagPlan, done: Done, now: datetime) -> bool:
    """Whether an occurrence that a status shows can have been handled then; others may have written the status."""
    times = {step.name: step.at for step in obj.spec.steps} if obj.spec else {}
    earliest = times.get(done.step or "") or done.at
    if done.at is None or earliest is None or _in_seconds(earliest) > done.at:
        return False
    return done.at <= (done.applied_at or done.at) <= now + _CLOCK_SKEW


def _in_seconds(instant: datetime) -> datetime:
    return instant.replace(microsecond=0)


def _was_passed_over(link: Link) -> bool:
    """Whether it was handled, though the flag was set by another change; no person needs to act."""
    return link.reason in {Reason.SUPERSEDED, Reason.SKIPPED}
