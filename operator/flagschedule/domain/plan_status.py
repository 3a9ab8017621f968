"""What a FlagPlan's status says of its links, and the Events of the step from one status to the next.

Called by the status writer of plans. It must not do I/O and must not read a clock.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import groupby
from typing import Final

from flagschedule.domain.conditions import Condition, ConditionStatus, find, with_transition_times
from flagschedule.domain.events import Event
from flagschedule.domain.messages import cut, held_by
from flagschedule.domain.outcome import Reason, State
from flagschedule.domain.plan import (
    APPROVAL_ANNOTATION,
    Coming,
    ConditionReason,
    ConditionType,
    Done,
    Flag,
    FlagPlan,
    Phase,
    PlanSpec,
    PlanStatus,
    Retrying,
    WaitingFor,
)
from flagschedule.domain.plan_rows import Link, Part, PlanFacts
from flagschedule.domain.planning import PlanDecision, View, failed_ends
from flagschedule.domain.schedule import DEFAULT_ENVIRONMENT, RETRY_ANNOTATION
from flagschedule.domain.status import describe
from flagschedule.domain.times import rfc3339

_TRUE, _FALSE, _UNKNOWN = ConditionStatus
_RECENT: Final = 10
_LONGEST_LINE: Final = 256  # the CRD's bounds
_LONGEST_MESSAGE: Final = 1024
_OVERDUE: Final = timedelta(minutes=5)
_PARTS: Final = {Part.START: "Start", Part.END: "End"}
# Given up, and not judged by the processor: nothing that a person waits for.
_GIVEN_UP: Final = {Reason.DELETED, Reason.REPLACED, Reason.INVALID_SPEC, Reason.CANCELLED}
_MADE: Final = ("Applied", "AlreadySet", "PartlySuperseded")
# Of a step's changes the one that is last here gives the outcome of all.
_OUTCOMES: Final = (*_MADE, "Superseded", "Cancelled", "NotStarted", "Skipped", "Expired", "DeadlineExceeded")
_NAMED_FAILURES: Final = {Reason.EXPECTATION_NOT_MET, Reason.DEADLINE_EXCEEDED, Reason.EXPIRED}
_SENTENCES: Final = {
    ConditionReason.CANCELLED: "Given up by spec.cancel{by}; create a FlagPlan with a new name for a new plan.",
    ConditionReason.SUSPENDED: (
        "Held by spec.suspend{by}, ends of windows included; set it to false, and what is overdue is made at once."
    ),
    ConditionReason.FINISHED: "Every step was handled; nothing is left to do.",
}
_MISSING: Final = {
    Reason.FLAG_NOT_FOUND: ConditionReason.FLAG_NOT_FOUND,
    Reason.FLAG_LOCKED: ConditionReason.FLAG_LOCKED,
    Reason.FLAG_AMBIGUOUS: ConditionReason.FLAG_AMBIGUOUS,
}


def compute(obj: FlagPlan, facts: PlanFacts, decision: PlanDecision) -> PlanStatus | None:
    """The status the object should have; None where it is not to be written."""
    record, view = decision.record, decision.view
    if obj.deleting or facts.replaced or obj.generation < record.generation:
        return None
    links = list(facts.links.values())
    coming = _coming(links, view)
    phase, reason = _phase(obj, facts, decision, links)
    message = cut(_message(obj, facts, decision, reason, coming), _LONGEST_MESSAGE * 4)
    ready = partial(Condition, observed_generation=record.generation, message=message)
    recent = tuple(_recent(links))
    return PlanStatus(
        observed_generation=record.generation,
        phase=phase,
        reason=reason,
        message=message,
        flags=_flags(obj.spec) if obj.spec else None,
        by=record.actors.changed_by,
        next=coming if phase not in {Phase.CANCELLED, Phase.FINISHED} else None,
        last=recent[0] if recent else None,
        recent=recent,
        retrying=tuple(_retrying(links)),
        waiting_for=_waiting_for(view),
        planned_until=_in_seconds(record.planned_until),
        window_open_past_end=True if _is_open_past_end(links, facts.now) else None,
        last_handled_retry_request=record.retry_request,
        last_handled_approval=record.approval,
        conditions=with_transition_times(_conditions(phase, reason, ready, view), obj.status.conditions, facts.now),
    )


def _phase(obj: FlagPlan, facts: PlanFacts, decision: PlanDecision, links: list[Link]) -> tuple[Phase, ConditionReason]:
    view = decision.view
    if decision.record.cancelled:
        return Phase.CANCELLED, ConditionReason.CANCELLED if obj.cancel else ConditionReason.EDIT_TOO_LATE
    if obj.spec is None:
        return Phase.INVALID, ConditionReason.INVALID_SPEC
    is_over = not any(link.unfinished or link.waiting for link in links) and view.coming is None
    if view.stop is not None and view.stop.is_history and is_over:
        return Phase.FINISHED, ConditionReason.EXPIRED
    too_late = ConditionReason.EDIT_TOO_LATE if view.too_late else None
    if view.is_finished:
        return Phase.FINISHED, too_late or ConditionReason.FINISHED
    if obj.spec.suspend:
        return Phase.SUSPENDED, too_late or ConditionReason.SUSPENDED
    if view.stop is not None and not view.stop.is_history:
        return Phase.FAILED, ConditionReason.STEP_NOT_MADE if view.stop.links else ConditionReason.EXPIRED
    if view.missing:
        return Phase.WAITING, _MISSING[next(iter(view.missing.values()))]
    if facts.holding is not None:
        return Phase.FROZEN, too_late or ConditionReason.FROZEN
    if view.approval is not None:
        return Phase.WAITING, too_late or ConditionReason.AWAITING_APPROVAL
    return Phase.ACTIVE, too_late or ConditionReason.PLANNED


def _conditions(phase: Phase, reason: ConditionReason, made: "partial[Condition]", view: View) -> Iterator[Condition]:
    is_stalled = phase in {Phase.FAILED, Phase.INVALID}
    is_ready = not is_stalled and reason not in _MISSING.values()
    yield made(type=ConditionType.READY, status=_TRUE if is_ready else _FALSE, reason=reason)
    if is_stalled:
        yield made(type=ConditionType.STALLED, status=_TRUE, reason=reason)
    if phase is Phase.FINISHED:
        why = ConditionReason.EXPIRED if reason is ConditionReason.EXPIRED else ConditionReason.FINISHED
        yield made(type=ConditionType.FINISHED, status=_TRUE, reason=why)
    elif phase is Phase.CANCELLED:
        yield made(type=ConditionType.FINISHED, status=_FALSE, reason=ConditionReason.CANCELLED)
    elif view.can_finish:
        why = reason if phase is Phase.FAILED else ConditionReason.IN_PROGRESS
        yield made(type=ConditionType.FINISHED, status=_FALSE, reason=why)


def _message(
    obj: FlagPlan, facts: PlanFacts, decision: PlanDecision, reason: ConditionReason, coming: Coming | None
) -> str:
    view, by = decision.view, decision.record.actors.changed_by
    if reason in _SENTENCES:
        return _SENTENCES[reason].format(by=f" (last changed by {by})" if by else "")
    match reason:
        case ConditionReason.INVALID_SPEC:
            fault = cut(obj.fault or "see the schema", _LONGEST_MESSAGE)
            return f"The spec cannot be used: {fault}. Correct it; until then nothing starts, and open windows end."
        case ConditionReason.EDIT_TOO_LATE:
            return _edit_too_late(view)
        case ConditionReason.STEP_NOT_MADE:
            return _step_not_made(view)
        case ConditionReason.EXPIRED:
            return _expired(view)
        case ConditionReason.AWAITING_APPROVAL:
            step = view.approval
            return f"Step {step} waits for an approval: set the annotation {APPROVAL_ANNOTATION} to {step}."
    if reason is ConditionReason.FROZEN and facts.holding is not None:
        return f"What is due is {held_by(facts.holding)}"
    return _following(view, coming)


def _following(view: View, coming: Coming | None) -> str:
    if view.missing:
        return _missing(*next(iter(view.missing.items())))
    following = "Nothing is planned."
    if coming is not None and coming.at is not None:
        following = f"Next is step {coming.step} at {rfc3339(coming.at)}: {coming.change}."
    if view.dropped is not None:
        at, step = view.dropped
        following += f" The window of step {step} at {rfc3339(at)} is left out, because the clocks skip it as a whole."
    return following


def _edit_too_late(view: View) -> str:
    if not view.too_late:
        return (
            "This plan was given up; the spec now differs, and what differs does nothing. Create one with a new name."
        )
    names = ", ".join(view.too_late)
    return (
        f"What the spec changes of step {names} does nothing, because it was made before. Revert it, and create a "
        "FlagPlan with a new name for the next change."
    )


def _step_not_made(view: View) -> str:
    stop = view.stop
    if stop is None:
        return "A step was not made."
    return (
        f"Step {stop.step} was not made, and no step after it is: {'; '.join(map(_explain, stop.links))}. Fix the "
        f"cause, then request a retry with the annotation {RETRY_ANNOTATION}, or edit the step."
    )


def _expired(view: View) -> str:
    step = view.stop.step if view.stop else ""
    if view.stop is not None and view.stop.is_history:
        return (
            f"The time of step {step} had passed by more than a day before it was first seen, so neither it nor the "
            "steps after it are made; nothing is left to do."
        )
    return (
        f"The time of step {step} had passed by more than is allowed before it could be planned, so neither it nor "
        "the steps after it are made. Set a later time to make them."
    )


def _missing(flag: Flag, reason: Reason) -> str:
    name = f'flag "{flag[0]}" in environment "{flag[1]}"'
    if reason is Reason.FLAG_LOCKED:
        return f"Another transaction has locked the {name}; its changes are planned once the lock is released."
    if reason is Reason.FLAG_AMBIGUOUS:
        return f"There are two rows for the {name}, so none can be changed. Delete one of them."
    return f"The {name} does not exist; its changes wait for it, and the steps after them. Create it, or edit the step."


def _explain(link: Link) -> str:
    """Why a change was not made."""
    reasons = {
        Reason.SUPERSEDED: "a later change had set the flag",
        Reason.SKIPPED: "the flag was not as expected, and onMismatch is Skip",
        Reason.DEADLINE_EXCEEDED: "it would have been later than startingDeadlineSeconds allow",
        Reason.FLAG_DELETED: "the flag was deleted",
        Reason.EXPIRED: "its flag did not exist in time",
        Reason.NOT_STARTED: "the start of the window was not made",
    }
    why = reasons.get(link.reason) if link.reason else None
    return f"{_name(link.key.flag)}: {why or link.error or 'the reason was not recorded'}"


def _coming(links: Iterable[Link], view: View) -> Coming | None:
    pending = sorted(
        (link for link in links if link.unfinished and not link.retrying),
        key=lambda link: (link.due_at, link.key.part != Part.END, link.key),
    )
    if not pending:
        if view.coming is None:
            return None
        at, step = view.coming
        changes = ((change.flag, change.updates.as_json()) for change in step.changes)
        return Coming(step=step.name, at=_in_seconds(at), change=_change(changes))
    first = pending[0]
    together = [
        link
        for link in pending
        if (link.due_at, link.key.step, link.key.part) == (first.due_at, first.key.step, first.key.part)
    ]
    return Coming(step=first.key.step, at=_in_seconds(first.due_at), change=_change_of(together))


def _recent(links: Iterable[Link]) -> Iterator[Done]:
    """The last occurrences all of whose changes have an outcome, the newest first."""

    def occurrence(link: Link) -> tuple[datetime, Part, str, str]:
        return link.due_at, link.key.part, link.key.step, link.key.occurrence

    found = 0
    for (at, part, step, _), group in groupby(sorted(links, key=occurrence, reverse=True), key=occurrence):
        together = sorted(group, key=lambda link: link.key)
        if found == _RECENT:
            return
        if not all(link.ended for link in together) or all(link.reason in _GIVEN_UP for link in together):
            continue
        found += 1
        outcome = max(map(_outcome, together), key=_severity)
        made_at = max((link.applied_at for link in together if link.applied_at), default=None)
        is_made = outcome in _MADE
        yield Done(
            step=step,
            part=_PARTS[part],
            at=_in_seconds(at),
            outcome=outcome,
            applied_at=_in_seconds(made_at) if is_made else None,
            change=_change_of(together),
            message=None
            if is_made
            else cut("; ".join(_explain(it) for it in together if not it.made), _LONGEST_MESSAGE),
        )


def _retrying(links: Iterable[Link]) -> Iterator[Retrying]:
    """What is tried again, the next one first."""
    failed = sorted(
        (link for link in links if link.retrying and link.next_retry_at is not None),
        key=lambda link: (link.next_retry_at, link.key),
    )
    for link in failed[:_RECENT]:
        most = 1 + (link.content.max_retries if link.content else 0)
        error = (link.error or "the reason was not recorded").rstrip(".")
        yield Retrying(
            step=link.key.step,
            part=_PARTS[link.key.part],
            at=_in_seconds(link.due_at),
            flag=cut(_name(link.key.flag), _LONGEST_LINE),
            attempt=link.retry_count,
            next_retry_at=_in_seconds(link.next_retry_at),
            message=cut(f"Attempt {link.retry_count} of {most} failed: {error}.", _LONGEST_MESSAGE),
        )


def _outcome(link: Link) -> str:
    if link.state is State.APPLIED:
        return (
            link.reason
            if link.reason in {Reason.ALREADY_SET, Reason.PARTLY_SUPERSEDED, Reason.SUPERSEDED}
            else "Applied"
        )
    if link.state is State.CANCELLED:
        return link.reason if link.reason in {Reason.SKIPPED, Reason.NOT_STARTED} else "Cancelled"
    return link.reason if link.reason in _NAMED_FAILURES else "Failed"


def _severity(outcome: str) -> int:
    return _OUTCOMES.index(outcome) if outcome in _OUTCOMES else len(_OUTCOMES)


def _is_open_past_end(links: list[Link], now: datetime) -> bool:
    """Whether a window is open though it should have ended: its end is held, late, between two attempts, or failed."""
    overdue = any(
        link.unfinished and link.key.part is Part.END and link.due_at < (now if link.suspended else now - _OVERDUE)
        for link in links
    )
    return overdue or any(failed_ends(links))


def _waiting_for(view: View) -> WaitingFor | None:
    flag = next(iter(view.missing), None)
    if flag is None and view.approval is None:
        return None
    return WaitingFor(
        approval=view.approval, flag=None if flag is None else cut(f"{flag[0]} ({flag[1]})", _LONGEST_LINE)
    )


def _flags(spec: PlanSpec) -> str:
    return cut(", ".join(map(_name, spec.flags)), _LONGEST_LINE)


def _name(flag: Flag) -> str:
    key, environment = flag
    return key if environment == DEFAULT_ENVIRONMENT else f"{key} ({environment})"


def _change_of(links: Iterable[Link]) -> str:
    return _change((link.key.flag, link.updates) for link in links)


def _change(changes: Iterable[tuple[Flag, Mapping[str, object]]]) -> str:
    return cut("; ".join(f"{_name(flag)}: {describe(updates)}" for flag, updates in changes), _LONGEST_LINE)


def _in_seconds(instant: datetime | None) -> datetime | None:
    """As the API keeps it, so that a computed status equals the stored one."""
    return instant and instant.replace(microsecond=0)


class EventReason(StrEnum):
    """What happened to a FlagPlan."""

    PLANNED = "Planned"
    STEP_MADE = "StepMade"
    STEP_NOT_MADE = "StepNotMade"
    STEP_PASSED_OVER = "StepPassedOver"  # as planned: another change came first, or it was to be skipped
    ATTEMPT_FAILED = "AttemptFailed"
    AWAITING_APPROVAL = "AwaitingApproval"
    FLAG_NOT_FOUND = "FlagNotFound"
    FLAG_AMBIGUOUS = "FlagAmbiguous"
    EDIT_TOO_LATE = "EditTooLate"
    EXPIRED = "Expired"
    FINISHED = "Finished"
    SUSPENDED = "Suspended"
    RESUMED = "Resumed"
    EDITED = "Edited"
    CANCELLED = "Cancelled"
    INVALID_SPEC = "InvalidSpec"


_WARNINGS: Final = {
    EventReason.ATTEMPT_FAILED,
    EventReason.STEP_NOT_MADE,
    EventReason.FLAG_NOT_FOUND,
    EventReason.FLAG_AMBIGUOUS,
    EventReason.EDIT_TOO_LATE,
    EventReason.EXPIRED,
    EventReason.INVALID_SPEC,
}
_NOT_RESUMED: Final = {
    EventReason.SUSPENDED,
    EventReason.CANCELLED,
    EventReason.EDIT_TOO_LATE,
    EventReason.INVALID_SPEC,
}
_PASSED_OVER: Final = {"Superseded", "Skipped", "NotStarted"}


@dataclass(frozen=True, kw_only=True)
class PlanTransition:
    """The step from one status of a plan to the next."""

    old: PlanStatus
    new: PlanStatus

    @property
    def events(self) -> tuple[Event, ...]:
        """What happened that people wait for: outcomes, the oldest first, failed attempts, another reason of Ready."""
        known = {_identity(failed) for failed in self.old.retrying}
        failed = (_of_attempt(failed) for failed in self.new.retrying if _identity(failed) not in known)
        return (*reversed([*map(_of_done, self._done)]), *failed, *self._of_ready())

    @property
    def _done(self) -> list[Done]:
        known = set(self.old.recent)
        return [done for done in self.new.recent if done not in known]

    def _of_ready(self) -> Iterator[Event]:
        before, after = (find(status.conditions, ConditionType.READY) for status in (self.old, self.new))
        if after is None or after.reason not in set(EventReason):
            return
        same_edit = self.old.observed_generation == self.new.observed_generation
        is_new = before is None or before.reason != after.reason
        if after.reason == EventReason.EDIT_TOO_LATE:
            is_new = is_new or not same_edit
        elif after.reason == EventReason.STEP_NOT_MADE:  # its outcome has an Event
            is_new = is_new and not self._done
        elif after.reason == EventReason.PLANNED:  # at first; to go on is no news
            is_new = before is None
        if is_new:
            yield _event(EventReason(after.reason), after.message)
        if not same_edit and before is not None:
            yield from self._of_edit(before, after)

    def _of_edit(self, before: Condition, after: Condition) -> Iterator[Event]:
        """What a person did to a plan that goes on; one Event for each version of the object at most."""
        by = f" by {self.new.by}" if self.new.by else ""
        if before.reason == EventReason.SUSPENDED and after.reason not in _NOT_RESUMED:
            yield _event(EventReason.RESUMED, f"Resumed{by}. {after.message}")
        elif before.reason == after.reason == EventReason.PLANNED:
            yield _event(EventReason.EDITED, f"Edited{by}. {after.message}")


def _of_done(done: Done) -> Event:
    part = "" if done.part == "Start" else "the end of "
    if done.outcome in _MADE:
        text = f"Made {part}step {done.step}: {done.change}."
        return Event(type="Normal", reason=EventReason.STEP_MADE, message=cut(text, _LONGEST_MESSAGE))
    text = f"{done.outcome}: {part}step {done.step}: {done.message or done.change}."
    passed_over = done.outcome in _PASSED_OVER
    return _event(EventReason.STEP_PASSED_OVER if passed_over else EventReason.STEP_NOT_MADE, text)


def _identity(failed: Retrying) -> tuple[object, ...]:
    """Return what makes one failed attempt another than a former one."""
    return failed.step, failed.part, failed.at, failed.flag, failed.attempt


def _of_attempt(failed: Retrying) -> Event:
    part = "" if failed.part == "Start" else "the end of "
    following = f" The next one is at {rfc3339(failed.next_retry_at)}." if failed.next_retry_at else ""
    return _event(
        EventReason.ATTEMPT_FAILED, f"For {part}step {failed.step}, flag {failed.flag}: {failed.message}{following}"
    )


def _event(reason: EventReason, message: str) -> Event:
    return Event(
        type="Warning" if reason in _WARNINGS else "Normal", reason=reason, message=cut(message, _LONGEST_MESSAGE)
    )
