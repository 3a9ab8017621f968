"""What an object waits for: every condition of its change in order, and the one command that helps.

It judges by the object and by the freezes, with the clock of this machine; the database's clock decides.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from flagschedule.plugin import text
from flagschedule.plugin.forecast import forecast
from flagschedule.plugin.objects import FREEZE, HANDLED, NOT_SEEN, SCHEDULE, Obj
from flagschedule.plugin.timeline import short_time

_SYSTEM: Final = "flagschedule-system"  # the namespace of manifests/base


class Mark(StrEnum):
    """How a condition stands; each is another character, for those who see no colours."""

    PASSED = "+"
    WAITS = "?"
    STOPS = "x"
    OPEN = " "


@dataclass(frozen=True)
class Check:
    """One condition of a change, and how it stands."""

    mark: Mark
    name: str
    state: str


@dataclass(frozen=True)
class Verdict:
    """All conditions in order, one sentence, and what helps; None where nothing needs to be done."""

    checks: tuple[Check, ...]
    sentence: str
    helps: str | None = None


def explain(obj: Obj, freezes: Sequence[Obj] | None, now: datetime) -> Verdict:
    """Return what an object waits for. `freezes` is None where they cannot be read."""
    if obj.kind == FREEZE:
        return _freeze(obj)
    checks = tuple(_checks(obj, freezes, now))
    stopping = next((check for check in checks if check.mark in {Mark.STOPS, Mark.WAITS}), None)
    sentence = f"nothing: it is {obj.phase}"
    if stopping:
        sentence = f"{'a person' if stopping.mark is Mark.STOPS else stopping.name}: {stopping.state}"
    return Verdict(checks, sentence, _help(obj, checks))


def _checks(obj: Obj, freezes: Sequence[Obj] | None, now: datetime) -> Iterator[Check]:
    if not obj.is_seen:
        yield Check(Mark.WAITS, "seen by the operator", f"{NOT_SEEN}: the operator has written no status")
        return
    is_old = not obj.is_current and obj.phase not in HANDLED
    if is_old:
        yield Check(Mark.WAITS, "seen by the operator", "the last edit is not handled yet")
    else:
        yield Check(Mark.PASSED, "seen by the operator", "yes")
    phase, message = obj.phase, text.clean(obj.status.get("message") or "")
    if phase == "Invalid" and not is_old:
        yield Check(Mark.STOPS, "valid", message)
        return
    yield Check(Mark.PASSED, "valid", "yes")
    if phase in HANDLED or (phase == "Finished" and not is_old):
        mark = Mark.PASSED if phase in {"Applied", "Finished"} else Mark.OPEN
        yield Check(mark, "outcome", f"{phase}: {message}")
        return
    if phase in {"Failed", "Expired"} and not is_old:
        yield Check(Mark.STOPS, "outcome", f"{phase}: {message}")
        return
    yield from _of_flag(obj, message)
    held = obj.spec.get("suspend")
    by = f" by {obj.who}" if held else ""
    yield Check(Mark.WAITS if held else Mark.PASSED, "not suspended", f"suspended{by}" if held else "yes")
    yield from _of_approval(obj)
    yield from _of_time(obj, freezes, now)


def _of_flag(obj: Obj, message: str) -> Iterator[Check]:
    missing = obj.waiting_for.get("flag")
    waits = obj.kind == SCHEDULE and obj.phase == "Waiting"
    if missing or waits:
        yield Check(Mark.WAITS, "the flag exists", message or f"{text.clean(missing)} is not there")
    else:
        yield Check(Mark.PASSED, "the flag exists", "yes")


def _of_approval(obj: Obj) -> Iterator[Check]:
    step = obj.waiting_for.get("approval")
    if step:
        yield Check(Mark.WAITS, "approved", f"step {text.clean(step)} waits for approval")


def _of_time(obj: Obj, freezes: Sequence[Obj] | None, now: datetime) -> Iterator[Check]:
    found = forecast([obj, *(freezes or ())], now, now + timedelta(days=400))
    for fault in found.faults:
        yield Check(Mark.OPEN, "readable", fault)
    coming = found.changes
    if not coming:
        return
    first = coming[0]
    if first.at > now:
        yield Check(Mark.WAITS, "its time has come", f"{short_time(first.at)} UTC, in {_length(first.at - now)}")
    else:
        yield Check(Mark.PASSED, "its time has come", f"{short_time(first.order)} UTC")
    if obj.phase == "Frozen" and not first.held_by:
        yield Check(Mark.WAITS, "not frozen", text.clean(obj.status.get("message") or "frozen"))
    elif freezes is None:
        yield Check(Mark.OPEN, "not frozen", "not known: FlagFreezes cannot be read")
    elif first.held_by:
        names = ", ".join(map(text.clean, first.held_by))
        end = f"until {short_time(first.made_at)} UTC" if first.made_at else "without an end"
        yield Check(Mark.WAITS, "not frozen", f"frozen by {names} {end}")
    else:
        yield Check(Mark.PASSED if first.at <= now else Mark.OPEN, "not frozen", "no freeze holds it")
    if obj.phase == "Retrying":
        error = text.clean(obj.status.get("lastError") or "")
        count, most = obj.status.get("retryCount", 0), obj.status.get("maxRetries", "?")
        yield Check(Mark.WAITS, "accepted by the database", f"retry {count} of {most} follows; {error}".rstrip("; "))
    if first.expect:
        yield Check(Mark.OPEN, "the flag is as expected", f"judged when it is made: {text.values(first.expect)}")
    if first.at <= now and not first.held_by and not first.blocked and obj.phase != "Retrying":
        yield Check(Mark.WAITS, "made by the processor", f"due for {_length(now - first.at)}")
    else:
        yield Check(Mark.OPEN, "made by the processor", "not due yet" if first.at > now else "held")


def _help(obj: Obj, checks: Sequence[Check]) -> str | None:
    waiting = {check.name: check for check in checks if check.mark in {Mark.WAITS, Mark.STOPS}}
    place = f" -n {shlex.quote(obj.namespace)}" if obj.namespace else ""
    name = shlex.quote(obj.name if obj.kind == SCHEDULE else f"{obj.kind.lower()}/{obj.name}")
    if "seen by the operator" in waiting:
        return f"kubectl logs --namespace={_SYSTEM} --selector=app.kubernetes.io/component=operator --tail=50"
    if "valid" in waiting:
        return f"kubectl edit {obj.resource}{place} --field-manager=flagschedule"
    if "outcome" in waiting:
        return _help_with_outcome(obj, name, place)
    if "the flag exists" in waiting:
        return None  # the flag is made in the application
    if "not suspended" in waiting:
        return f"kubectl flagschedule resume {name}{place}"
    if "approved" in waiting:
        return f"kubectl flagschedule promote {shlex.quote(obj.name)}{place}"
    if "not frozen" in waiting and "its time has come" not in waiting:
        return "kubectl get flagfreezes"
    if "accepted by the database" in waiting:
        return f"kubectl flagschedule retry {name}{place}"
    if "made by the processor" in waiting:
        return f"kubectl get cronjobs,jobs,pods --namespace={_SYSTEM}"
    return None


def _help_with_outcome(obj: Obj, name: str, place: str) -> str | None:
    reason = obj.status.get("reason")
    late = obj.phase == "Expired" or reason in {"DeadlineExceeded", "Expired", "InvalidUpdates"}
    if late:
        return f"kubectl edit {obj.resource}{place} --field-manager=flagschedule"
    return f"kubectl flagschedule retry {name}{place}" if obj.phase == "Failed" else None


def _freeze(obj: Obj) -> Verdict:
    held = obj.status.get("held", 0)
    message = text.clean(obj.status.get("message") or f"{NOT_SEEN}: the operator has written no status")
    check = Check(Mark.WAITS if obj.phase == "Active" else Mark.OPEN, obj.phase, message)
    helps = f"kubectl flagschedule unfreeze {shlex.quote(obj.name)}" if obj.phase == "Active" else None
    return Verdict((check,), f"It holds {held} changes.", helps)


def _length(length: timedelta) -> str:
    minutes, seconds = divmod(int(length.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{days} d" * bool(days), f"{hours} h" * bool(hours), f"{minutes} min" * bool(minutes and not days)]
    return " ".join(filter(None, parts)) or f"{seconds} s"
