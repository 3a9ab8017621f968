"""The one function from (object, what the database has of it) to the status of a FlagFreeze.

Called by the service `freezing` only. It does no I/O and reads no clock: the database's time comes with what it has.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from flagschedule.domain.conditions import Condition, ConditionStatus, with_transition_times
from flagschedule.domain.freeze import ConditionReason, ConditionType, FlagFreeze, NextWindow, Phase, Status
from flagschedule.domain.messages import cut
from flagschedule.domain.times import rfc3339

_TRUE, _FALSE, _UNKNOWN = ConditionStatus
_LONGEST_FAULT: Final = 1024


@dataclass(frozen=True, kw_only=True)
class FreezeState:
    """What the database has of one freeze, by its own clock.

    Attributes:
        active: whether it is in an interval now.
        until: when that ends; None where it has no end.
        next_from: when the next interval begins; None where there is none.
        next_until: when that one ends.
        held: how many changes are due and held by it.
    """

    active: bool = False
    until: datetime | None = None
    next_from: datetime | None = None
    next_until: datetime | None = None
    held: int = 0


def compute(obj: FlagFreeze, state: FreezeState, *, obeyed: bool, fault: str | None, now: datetime) -> Status:
    """Return the status that the object should have.

    Args:
        obj: the object.
        state: what the database has.
        obeyed: whether no processor is at work that does not know freezes.
        fault: why the spec cannot be used; None where it can.
        now: the database's time.
    """
    phase = _phase(state, obeyed=obeyed, fault=fault)
    message = _message(phase, state, fault)
    conditions = _conditions(phase, state, message, obj.generation, obeyed=obeyed)
    return Status(
        observed_generation=obj.generation,
        phase=phase,
        held=state.held,
        until=_in_seconds(state.until) if state.active else None,
        next_window=NextWindow(start=_in_seconds(state.next_from), until=_in_seconds(state.next_until))
        if state.next_from
        else None,
        message=message,
        conditions=with_transition_times(conditions, obj.status.conditions, now),
    )


def _phase(state: FreezeState, *, obeyed: bool, fault: str | None) -> Phase:
    if fault is not None:
        return Phase.INVALID
    if state.active:
        return Phase.ACTIVE if obeyed else Phase.PENDING
    return Phase.SCHEDULED if state.next_from else Phase.FINISHED


def _message(phase: Phase, state: FreezeState, fault: str | None) -> str:
    """Return a sentence or two; they stay true while time passes within the phase."""
    match phase:
        case Phase.INVALID:
            known = state.active or state.next_from
            kept = "What was frozen before this edit stays frozen" if known else "Nothing is frozen"
            return f"The spec cannot be used: {cut(fault or 'see the schema', _LONGEST_FAULT)}. {kept}; correct it."
        case Phase.PENDING:
            return (
                "Changes are to be held, but a processor of an older version that does not know freezes may be at "
                "work. Upgrade FlagSchedule in every cluster that uses this database."
            )
        case Phase.ACTIVE if state.until is None:
            return "Changes are held until this object is deleted; then they are made in their order."
        case Phase.ACTIVE if state.until is not None:
            return f"Changes are held until {rfc3339(state.until)}; then they are made in their order."
        case Phase.SCHEDULED if state.next_from is not None:
            return f"Changes are held from {rfc3339(state.next_from)} on."
    return "No window is left; delete this object, or add windows."


def _conditions(phase: Phase, state: FreezeState, message: str, observed: int, *, obeyed: bool) -> Iterator[Condition]:
    made = partial(Condition, observed_generation=observed, message=message)
    invalid = phase is Phase.INVALID
    ready = ConditionReason.INVALID_SPEC if invalid else ConditionReason.MIRRORED
    yield made(type=ConditionType.READY, status=_FALSE if invalid else _TRUE, reason=ready)
    status, reason = _active(state, obeyed=obeyed, invalid=invalid)
    yield made(type=ConditionType.ACTIVE, status=status, reason=reason)
    if invalid:
        yield made(type=ConditionType.STALLED, status=_TRUE, reason=ConditionReason.INVALID_SPEC)


def _active(state: FreezeState, *, obeyed: bool, invalid: bool) -> tuple[ConditionStatus, ConditionReason]:
    if state.active:
        if obeyed:
            return _TRUE, ConditionReason.FROZEN
        return _UNKNOWN, ConditionReason.WAITING_FOR_PROCESSORS
    if invalid:
        return _FALSE, ConditionReason.INVALID_SPEC
    return _FALSE, ConditionReason.NOT_YET if state.next_from else ConditionReason.OVER


def _in_seconds(instant: datetime | None) -> datetime | None:
    """As the API keeps it, so that a computed status equals the stored one."""
    return instant and instant.replace(microsecond=0)
