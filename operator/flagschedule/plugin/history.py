"""What happened to a flag, by the statuses; and the YAML that puts it back."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from flagschedule.domain.times import rfc3339
from flagschedule.plugin import text
from flagschedule.plugin.errors import PluginError
from flagschedule.plugin.forecast import Forecast
from flagschedule.plugin.objects import DEFAULT_ENVIRONMENT, PLAN, SCHEDULE, UNUSABLE, Flag, Obj, time
from flagschedule.plugin.timeline import short_time, source

_HEAD: Final = ("TIME (UTC)", "FLAG", "OUTCOME", "BEFORE", "AFTER", "BY", "WHO")
_LONGEST_NAME: Final = 63


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One attempt or outcome. `before` and `after` are empty where the status does not show them."""

    at: datetime
    flag: str
    outcome: str
    before: str = ""
    after: str = ""
    by: str
    who: str


def entries(objects: Iterable[Obj], flag: str | None, faults: list[str]) -> list[Entry]:
    """Return what happened, the newest first, of all flags or of one; statuses that cannot be used go to `faults`."""
    found: list[Entry] = []
    for obj in objects:
        try:
            found += _entries(obj, flag)
        except UNUSABLE as error:
            faults.append(f"the status of {obj.shown} cannot be used: {text.clean(error)}")
    return sorted(found, key=lambda entry: entry.at, reverse=True)


def as_table(found: list[Entry]) -> list[str]:
    """Return the lines of a table."""
    if not found:
        return ["Nothing was tried yet."]
    return text.table(
        _HEAD,
        ((short_time(each.at), each.flag, each.outcome, each.before, each.after, each.by, each.who) for each in found),
    )


def _entries(obj: Obj, flag: str | None) -> Iterator[Entry]:
    if obj.kind == SCHEDULE:
        if flag in {None, obj.spec.get("flagKey")}:
            yield from _of_schedule(obj)
    elif obj.kind == PLAN:
        yield from _of_plan(obj, flag)


def _of_schedule(obj: Obj) -> Iterator[Entry]:
    status, shown = obj.status, str(Flag.of(obj.spec))
    values = status.get("flag") or {}
    applied_at = time(status.get("appliedAt"))
    attempts = status.get("attempts") or ()
    is_listed = False
    for attempt in attempts:
        at = time(attempt.get("at"))
        if at is None:
            continue
        outcome = str(attempt.get("outcome") or "")
        is_made = outcome == "applied" and not is_listed
        is_listed = is_listed or is_made
        details = [attempt.get("reason"), attempt.get("error")]
        words = " ".join([outcome, *(f"({text.clean(each)})" for each in details if each and each.lower() != outcome)])
        yield Entry(
            at=at,
            flag=shown,
            outcome=f"{words}, attempt {attempt.get('number', '?')}",
            before=text.values(values.get("before")) if is_made else "",
            after=text.values(values.get("after")) if is_made else "",
            by=obj.shown,
            who=obj.who,
        )
    if not attempts and obj.is_seen and obj.phase not in {"Pending", "Waiting", "Frozen"}:
        at = applied_at or time(obj.condition("Applied").get("lastTransitionTime"))
        if at is not None:
            message = text.clean(status.get("message") or "")
            yield Entry(at=at, flag=shown, outcome=f"{obj.phase}: {message}", by=obj.shown, who=obj.who)


def _of_plan(obj: Obj, flag: str | None) -> Iterator[Entry]:
    steps = {step.get("name"): step for step in obj.steps}
    for done in obj.recent:
        at = time(done.get("appliedAt")) or time(done.get("at"))
        step = steps.get(done.get("step"))
        if at is None:
            continue
        changes = (step or {}).get("changes") or ()
        keys = {change.get("flagKey") for change in changes}
        if flag is not None and flag not in (keys if step else _keys(done)):
            continue
        end = "end of " if done.get("part") == "End" else ""
        message = f": {text.clean(done['message'])}" if done.get("message") else ""
        yield Entry(
            at=at,
            flag=", ".join(str(Flag.of(change)) for change in changes),
            outcome=f"{text.clean(done.get('outcome'))}{message}",
            after=text.clean(done.get("change") or ""),
            by=f"{obj.shown}, {end}{text.clean(done.get('step'))}",
            who=obj.who,
        )


def _keys(done: Mapping[str, Any]) -> set[str]:
    """Return the keys in the status' text of a change, for a step that an edit has removed."""
    names = (part.partition(": ")[0] for part in str(done.get("change")).split("; "))
    return {key for name in names for key in (name, name.partition(" (")[0])}


@dataclass(frozen=True)
class Reverted:
    """The YAML of a FlagSchedule that sets a flag's former values, and what to know before it is created."""

    yaml: str
    warnings: tuple[str, ...]


def revert(obj: Obj, others: Iterable[Obj], plan: Forecast, now: datetime, lead: timedelta) -> Reverted:
    """Return the change that takes a change back.

    Raises:
        PluginError: the object made no change, or its status does not show the values before.
    """
    before, after = obj.values
    if obj.kind != SCHEDULE:
        raise PluginError(
            f"{obj.shown}: the status of a plan does not show the values before; `kubectl flagschedule history --flag "
            "KEY` shows what was set before, and an object of your own sets it"
        )
    if obj.phase != "Applied":
        raise PluginError(f"{obj.shown} is {obj.phase}: it has changed nothing that could be put back")
    if not before:
        raise PluginError(f"{obj.shown}: its status does not show the values before")
    wanted = {name: value for name, value in before.items() if value is not None and after.get(name) != value}
    if not wanted:
        raise PluginError(f"{obj.shown}: the flag had the same values before, so there is nothing to put back")
    flag = Flag.of(obj.spec)
    name = f"{obj.name[: _LONGEST_NAME - 18].rstrip('-.')}-back-{now:%Y%m%d%H%M}"
    comment = f"# Puts {flag} back to what it was before {obj.shown}: {text.values(before)}."
    spec: list[tuple[str, Any]] = [("flagKey", flag.key)]
    if flag.environment != DEFAULT_ENVIRONMENT:
        spec.append(("environment", flag.environment))
    lines = [
        comment,
        "apiVersion: flagschedule.io/v1alpha1",
        "kind: FlagSchedule",
        "metadata:",
        f"  name: {json.dumps(name)}",
        *([f"  namespace: {json.dumps(obj.namespace)}"] if obj.namespace else []),
        "spec:",
        *(f"  {key}: {json.dumps(value)}" for key, value in spec),
        f"  scheduledAt: {json.dumps(rfc3339(now + lead))}",
        "  updates:",
        *(f"    {key}: {json.dumps(value)}" for key, value in sorted(wanted.items())),
    ]
    return Reverted("\n".join(lines) + "\n", tuple(_warnings(obj, flag, others, plan)))


def _warnings(obj: Obj, flag: Flag, others: Iterable[Obj], plan: Forecast) -> Iterator[str]:
    made_at = time(obj.status.get("appliedAt"))
    for other in others:
        later = time(other.status.get("appliedAt"))
        is_same = other.kind == SCHEDULE and other.uid != obj.uid and flag in other.flags
        if is_same and made_at and later and later > made_at:
            yield f"{other.shown} has changed {flag} since, at {short_time(later)} UTC"
    coming = next((change for change in plan.changes if change.flag == flag and not change.blocked), None)
    if coming:
        yield (
            f"{source(coming)} changes {flag} at {short_time(coming.at)} UTC ({text.values(coming.values)}); "
            f"`kubectl flagschedule suspend --flag {flag.key} -A` holds it"
        )
