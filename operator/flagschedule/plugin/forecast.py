"""What changes when, if all goes as planned: from the objects alone, without the database.

The times of plans that recur come from the domain's calendar, which the operator plans with. Of a chain, the times of
steps with `after` are estimates until the step before was made.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Literal

from flagschedule.domain.calendar import Recurrence, parse_date, parse_duration, parse_until
from flagschedule.domain.cron import parse_cron
from flagschedule.domain.zones import parse_zone
from flagschedule.plugin.objects import FREEZE, MADE, NOT_SEEN, PLAN, SCHEDULE, UNUSABLE, Flag, Obj, time
from flagschedule.plugin.text import clean

Part = Literal["start", "end"]
Values = Mapping[str, Any]
_LONGEST_WINDOW: Final = timedelta(days=2)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of one flag that is to come.

    Attributes:
        at: when it is due.
        order: its scheduled time, which decides between changes of one flag; before `at` where it is retried.
        began_at: when the window began that it ends; else `order`.
        identity: what identifies it permanently among all changes of its object.
        blocked: why it is not made by itself; None where it is.
        assumes: what a person must do in time.
        held_by: the freezes that hold it when it is due.
        made_at: when it is made; None if it is blocked, or held by a freeze without an end.
    """

    at: datetime
    order: datetime
    began_at: datetime
    flag: Flag
    values: Values
    source: Obj
    identity: str
    expect: Values | None = None
    on_mismatch: str = "Fail"
    step: str | None = None
    part: Part = "start"
    blocked: str | None = None
    assumes: str | None = None
    notes: tuple[str, ...] = ()
    deadline: timedelta | None = None
    held_by: tuple[str, ...] = ()
    made_at: datetime | None = None

    @property
    def rank(self) -> tuple[datetime, bool, datetime, datetime | str]:
        """What decides between two changes of one property: the later wins, and a FlagSchedule over a plan."""
        created = self.source.created_at
        return self.order, self.source.kind == SCHEDULE, self.began_at, created.isoformat() if created else "~"

    @property
    def remarks(self) -> tuple[str, ...]:
        """What there is to know of it, in a few words each."""
        return tuple(filter(None, (self.blocked, self.assumes, self._held, *self.notes)))

    @property
    def _held(self) -> str | None:
        if not self.held_by:
            return None
        until = f" until {self.made_at:%Y-%m-%d %H:%M} UTC" if self.made_at else ""
        return f"frozen by {', '.join(map(clean, self.held_by))}{until}"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A time in which a freeze holds changes; `end` is None for one without an end, `window` its place in the spec."""

    freeze: Obj
    start: datetime
    end: datetime | None
    window: int = 0


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is to come from `now` to `until`, in the order of time."""

    now: datetime
    until: datetime
    changes: tuple[Change, ...]
    intervals: tuple[Interval, ...]
    faults: tuple[str, ...] = ()

    def of_flag(self, key: str) -> "Forecast":
        """Return what is to come of one flag: its changes, and the freezes that can hold it."""
        changes = tuple(change for change in self.changes if change.flag.key == key)
        intervals = tuple(each for each in self.intervals if _matches(each.freeze.spec.get("flagKeys"), key))
        return replace(self, changes=changes, intervals=intervals)


def forecast(objects: Iterable[Obj], now: datetime, until: datetime) -> Forecast:
    """Compute what is to come of all objects."""
    known = tuple(objects)
    faults: list[str] = []
    intervals: list[Interval] = []
    changes: list[Change] = []
    for obj in known:
        try:
            if obj.kind == FREEZE:
                intervals += freeze_intervals(obj, now, until)
            else:
                changes += changes_of(obj, now, until)
        except UNUSABLE as error:
            faults.append(f"{obj.shown} cannot be used: {clean(error)}")
    made = (_judged(change, intervals, now) for change in changes)
    return Forecast(
        now=now,
        until=until,
        changes=tuple(sorted(made, key=lambda change: (change.at, change.rank[1:], change.flag, change.identity))),
        intervals=tuple(sorted(intervals, key=lambda each: (each.start, each.freeze.name))),
        faults=tuple(faults),
    )


def changes_of(obj: Obj, now: datetime, until: datetime) -> Iterator[Change]:
    """Yield what a FlagSchedule or a FlagPlan changes from now on.

    Raises:
        ValueError: the spec cannot be used; the message says why.
    """
    if obj.spec.get("cancel") or obj.metadata.get("deletionTimestamp"):
        return
    common = _common(obj)
    found = _of_schedule(obj, now) if obj.kind == SCHEDULE else _of_plan(obj, now, until)
    yield from (_with(change, common) for change in found if change.at <= until)


@dataclass(frozen=True)
class _Common:
    """What holds for all changes of an object."""

    blocked: str | None = None
    notes: tuple[str, ...] = ()
    deadline: timedelta | None = None


def _common(obj: Obj) -> _Common:
    seconds = obj.spec.get("startingDeadlineSeconds")
    deadline = None if seconds is None else timedelta(seconds=seconds)
    notes = () if obj.is_seen or "uid" not in obj.metadata else (NOT_SEEN,)
    return _Common("suspended" if obj.spec.get("suspend") else None, notes, deadline)


def _with(change: Change, common: _Common) -> Change:
    return replace(
        change,
        blocked=common.blocked or change.blocked,
        notes=change.notes + common.notes,
        deadline=common.deadline if change.part == "start" else None,
    )


def _of_schedule(obj: Obj, now: datetime) -> Iterator[Change]:
    if obj.is_over:
        return
    order = _instant(obj.spec.get("scheduledAt"), "scheduledAt")
    retry_at = time(obj.status.get("nextRetryAt")) if obj.phase == "Retrying" and obj.is_current else None
    blocked = "waits for its flag" if obj.phase == "Waiting" else None
    notes = ("retry",) if retry_at else ("overdue",) if order < now and obj.phase not in {"Frozen", NOT_SEEN} else ()
    yield Change(
        at=retry_at or order,
        order=order,
        began_at=order,
        flag=Flag.of(obj.spec),
        values=obj.spec["updates"],
        expect=obj.spec.get("expect"),
        on_mismatch=obj.spec.get("onMismatch") or "Fail",
        source=obj,
        identity=obj.uid,
        blocked=blocked,
        notes=notes,
    )


def _of_plan(obj: Obj, now: datetime, until: datetime) -> Iterator[Change]:
    if obj.is_over:
        return
    if any("cron" in step for step in obj.steps):
        for step in obj.steps:
            yield from _of_recurring(obj, step, now, until)
        return
    for chain in _chains(obj.steps):
        yield from _of_chain(obj, chain, now)


@lru_cache(maxsize=4096)
def _recurrence(
    cron: str, zone: str, until: str | None, dates: tuple[date, ...], ends_at: datetime | None
) -> Recurrence:
    return Recurrence(
        cron=parse_cron(cron),
        zone=parse_zone(zone),
        until=None if until is None else parse_until(until),
        except_dates=frozenset(dates),
        ends_at=ends_at,
    )


def recurrence_of(obj: Obj, step: Mapping[str, Any]) -> Recurrence:
    """Return the times of a step with `cron`.

    Raises:
        ValueError: the spec cannot be used.
    """
    dates = tuple(parse_date(each) for each in obj.spec.get("exceptDates") or ())
    ends_at = None if obj.spec.get("endsAt") is None else _instant(obj.spec["endsAt"], "endsAt")
    try:
        return _recurrence(step["cron"], obj.spec.get("timeZone") or "", step.get("until"), dates, ends_at)
    except ValueError as error:
        raise ValueError(f"step {step.get('name')}: {error}") from error


def _of_recurring(obj: Obj, step: Mapping[str, Any], now: datetime, until: datetime) -> Iterator[Change]:
    recurrence = recurrence_of(obj, step)
    name = str(step["name"])
    since = _handled_until(obj, now)
    for found in recurrence.between(since - _LONGEST_WINDOW, until).planned:
        if found.start > since and _outcome(obj, name, "Start", found.start) is None:
            for change in _at(obj, step, found.start, found.start, f"{name}-{found.identity}-start"):
                yield replace(change, notes=("overdue",) * (found.start < now))
        if found.end is None or found.end <= since or _outcome(obj, name, "End", found.end) is not None:
            continue
        if _is_begun(obj, name, found.start, now):
            for change in _at(obj, step, found.end, found.start, f"{name}-{found.identity}-end", part="end"):
                yield replace(change, notes=("overdue",) * (found.end < now))


def _handled_until(obj: Obj, now: datetime) -> datetime:
    """Return up to when everything has an outcome: now, or just before what is next and overdue."""
    following = time(obj.next.get("at"))
    return now if following is None else min(now, following - timedelta(seconds=1))


def _outcome(obj: Obj, step: str, part: str, at: datetime) -> str | None:
    """Return the outcome of an occurrence that the status shows as handled."""
    for done in obj.recent:
        if (done.get("step"), done.get("part"), time(done.get("at"))) == (step, part, at):
            return str(done.get("outcome"))
    return None


def _is_begun(obj: Obj, step: str, start: datetime, now: datetime) -> bool:
    """Whether the start of a window was made, or is to come."""
    if start > now:
        return True
    outcome = _outcome(obj, step, "Start", start)
    if outcome is not None:
        return outcome in MADE
    return obj.created_at is not None and obj.created_at < start


def _chains(steps: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    chain: list[Mapping[str, Any]] = []
    for step in steps:
        if "at" in step and chain:
            yield chain
            chain = []
        chain.append(step)
    if chain:
        yield chain


def _of_chain(obj: Obj, chain: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[Change]:
    coming = obj.next
    approval = obj.waiting_for.get("approval")
    made_at: datetime | None = None
    blocked: str | None = None
    estimated = False
    for step in chain[_first_open(obj, chain) :]:
        name = str(step["name"])
        if made_at is None and "at" not in step:
            made_at = _made_at(obj, chain, step) or now
        due = _instant(step["at"], "at") if "at" in step else (made_at or now) + parse_duration(step["after"])
        if coming.get("step") == name and (shown := time(coming.get("at"))):
            due, estimated = shown, False
        if obj.is_seen and due < now and name != coming.get("step"):
            due = now
        failed = _failed(obj, name)
        blocked = blocked or (f"stopped: step {clean(name)} was not made ({clean(failed)})" if failed else None)
        assumes = "waits for approval" if approval == name else "needs approval" if step.get("approval") else None
        notes = ("estimated",) if estimated else ()
        for change in _at(obj, step, due, due, f"{name}-start"):
            yield replace(change, blocked=blocked, assumes=assumes, notes=notes)
        if (ends_at := time(step.get("until"))) and ends_at > now:
            for change in _at(obj, step, ends_at, due, f"{name}-end", part="end"):
                yield replace(change, blocked=blocked, assumes=assumes)
        made_at, estimated = max(due, now), True
    yield from _open_ends(obj, chain, now)


def _first_open(obj: Obj, chain: Sequence[Mapping[str, Any]]) -> int:
    """Return the place in the chain of the first step that was not made, by the status."""
    names = [step["name"] for step in chain]
    made = {
        done.get("step")
        for done in obj.recent
        if done.get("part") != "End" and (done.get("outcome") in MADE or obj.phase == "Finished")
    }
    waiting = obj.next.get("step"), obj.waiting_for.get("approval")
    by_next = [number for number, name in enumerate(names) if name in waiting and name not in made]
    by_made = [number + 1 for number, name in enumerate(names) if name in made]
    return max([0, *by_next, *by_made])


def _open_ends(obj: Obj, chain: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[Change]:
    for step in chain[: _first_open(obj, chain)]:
        ends_at = time(step.get("until"))
        if ends_at is not None and ends_at > now:
            began = time(step.get("at")) or now
            yield from _at(obj, step, ends_at, began, f"{step['name']}-end", part="end")


def _made_at(obj: Obj, chain: Sequence[Mapping[str, Any]], step: Mapping[str, Any]) -> datetime | None:
    before = chain[list(chain).index(step) - 1]
    made = [
        time(done.get("appliedAt"))
        for done in obj.recent
        if done.get("step") == before["name"] and done.get("part") != "End"
    ]
    return next(filter(None, made), None)


def _failed(obj: Obj, step: str) -> str | None:
    if obj.phase != "Failed" or not obj.is_current:
        return None
    starts = (done for done in obj.recent if done.get("part") != "End")
    outcome = next((done.get("outcome") for done in starts if done.get("step") == step), None)
    return None if outcome in MADE else outcome


def _at(
    obj: Obj, step: Mapping[str, Any], at: datetime, began_at: datetime, identity: str, part: Part = "start"
) -> Iterator[Change]:
    for change in step["changes"]:
        flag = Flag.of(change)
        yield Change(
            at=at,
            order=at,
            began_at=began_at,
            flag=flag,
            values=change["updates"] if part == "start" else change["then"],
            expect=change.get("expect") if part == "start" else None,
            on_mismatch=change.get("onMismatch") or "Fail",
            source=obj,
            identity=f"{obj.uid}-{identity}-{flag.key}-{flag.environment}",
            step=str(step["name"]),
            part=part,
        )


def _instant(written: object, name: str) -> datetime:
    found = time(written)
    if found is None:
        raise ValueError(f"{name} is not an RFC 3339 time")
    return found


# Freezes.


def freeze_intervals(obj: Obj, now: datetime, until: datetime) -> Iterator[Interval]:
    """Yield the times in which a freeze holds changes, from now on.

    Raises:
        ValueError: the spec cannot be used.
    """
    windows = obj.spec.get("windows")
    if windows is None:
        yield Interval(freeze=obj, start=obj.created_at or now, end=None)
        return
    for number, window in enumerate(windows):
        if "cron" not in window:
            start, end = _instant(window["from"], "from"), _instant(window["until"], "until")
            if end > now and start <= until:
                yield Interval(freeze=obj, start=start, end=end, window=number)
            continue
        length = parse_duration(window["for"])
        recurrence = _recurrence(window["cron"], window["timeZone"], None, (), None)
        for found in recurrence.between(now - length, until).planned:
            yield Interval(freeze=obj, start=found.start, end=found.start + length, window=number)


def holds(freeze: Obj, change: Change) -> bool:
    """Whether a freeze, while it is active, holds a change."""
    spec = freeze.spec
    overridden = change.source.status.get("overridesFreeze") or (
        "" if change.source.is_seen else change.source.annotations.get("flagschedule.io/override-freeze", "")
    )
    if change.source.kind == SCHEDULE and str(overridden).partition(":")[0].strip() == freeze.name:
        return False
    if spec.get("allowSwitchOff") and dict(change.values) == {"enabled": False}:
        return False
    return (
        _matches(spec.get("environments"), change.flag.environment)
        and _matches(spec.get("namespaces"), change.source.namespace)
        and _matches(spec.get("flagKeys"), change.flag.key)
    )


def _matches(globs: Sequence[str] | None, name: str) -> bool:
    if globs is None:
        return True
    return any(name.startswith(glob[:-1]) if glob.endswith("*") else name == glob for glob in globs)


def _judged(change: Change, intervals: Sequence[Interval], now: datetime) -> Change:
    """Return the change with the freezes that hold it, and when it is made."""
    if change.blocked:
        return change
    made_at: datetime | None = max(change.at, now)  # what is overdue is made at once
    held: list[str] = []
    mine = [each for each in intervals if holds(each.freeze, change)]
    while made_at is not None:
        holding = [each for each in mine if each.start <= made_at and (each.end is None or made_at < each.end)]
        if not holding:
            break
        held += [each.freeze.name for each in holding if each.freeze.name not in held]
        ends = [each.end for each in holding]
        made_at = None if None in ends else max(filter(None, ends))
    blocked = None
    if change.deadline is not None and held and (made_at is None or made_at > change.order + change.deadline):
        blocked, made_at = "the freeze outlasts startingDeadlineSeconds: it will fail", None
    return replace(change, held_by=tuple(held), made_at=made_at, blocked=blocked)


# Values at a time.


UNDECIDED: Final = "?"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What sets one property of a flag at a time; `also` has those that could win as well."""

    value: object
    source: Obj
    step: str | None
    rank: tuple[Any, ...] = field(compare=False)
    also: tuple[Obj, ...] = ()


def simulate(objects: Iterable[Obj], plan: Forecast, at: datetime) -> tuple[dict[tuple[Flag, str], Setting], list[str]]:
    """Return what each property of each flag is at a time, and what will not be made, if all goes as planned.

    What no object of the cluster has set is unknown, and absent.
    """
    notes: list[str] = []
    found = _known(objects, notes)
    coming = [change for change in plan.changes if change.made_at is not None and change.made_at <= at]
    for change in sorted(coming, key=lambda change: (change.made_at, change.rank)):
        fault = _mismatch(change, found)
        if fault:
            notes.append(fault)
            continue
        for name, value in change.values.items():
            before = found.get((change.flag, name))
            if before is not None and before.value != value and _is_tie(before, change):
                notes.append(
                    f"{before.source.shown} and {change.source.shown} set {clean(name)} of {change.flag} at the same "
                    "time, and which of them wins cannot be chosen"
                )
                found[change.flag, name] = replace(before, value=UNDECIDED, also=(*before.also, change.source))
            elif before is None or before.rank <= change.rank:
                found[change.flag, name] = Setting(
                    value=value, source=change.source, step=change.step, rank=change.rank
                )
    return found, notes


def _is_tie(before: Setting, change: Change) -> bool:
    """Whether nothing that a person can choose decides: two plans, or two schedules created in the same second."""
    if before.source.uid == change.source.uid or before.rank[:3] != change.rank[:3]:
        return False
    return change.source.kind == PLAN or before.rank == change.rank


def _mismatch(change: Change, found: Mapping[tuple[Flag, str], Setting]) -> str | None:
    for name, wanted in (change.expect or {}).items():
        known = found.get((change.flag, name))
        if known is not None and known.value not in {wanted, UNDECIDED}:
            return (
                f"{change.source.shown} is not made at {change.made_at:%Y-%m-%d %H:%M} UTC: it expects {name}="
                f"{_json(wanted)} of {change.flag}, and {known.source.shown} sets {_json(known.value)}"
            )
    return None


def _json(value: object) -> str:
    return str(value).lower()


def _known(objects: Iterable[Obj], notes: list[str]) -> dict[tuple[Flag, str], Setting]:
    """What the statuses show as set: the values after the changes that were made, the latest change last."""
    made: list[_Made] = []
    for obj in objects:
        try:
            made += _made_by_schedule(obj) if obj.kind == SCHEDULE else _made_by_plan(obj) if obj.kind == PLAN else ()
        except UNUSABLE as error:
            notes.append(f"the status of {obj.shown} cannot be used: {clean(error)}")
    found: dict[tuple[Flag, str], Setting] = {}
    for _, flag, after, own, obj, step, rank in sorted(made, key=lambda each: (each[0], each[6])):
        for name, value in after.items():
            before = found.get((flag, name))
            if name not in own and before is not None and before.value == value:
                continue  # it was there before
            found[flag, name] = Setting(value=value, source=obj, step=step, rank=rank)
    return found


_Made = tuple[datetime, Flag, Values, Values, Obj, str | None, tuple[Any, ...]]


def _made_by_schedule(obj: Obj) -> Iterator[_Made]:
    if obj.phase == "Applied" and (at := time(obj.status.get("appliedAt"))):
        own: Values = dict(obj.spec.get("updates") or {})
        after: Values = dict((obj.status.get("flag") or {}).get("after") or own)
        order = time(obj.status.get("scheduledAt")) or at
        created = obj.created_at
        rank = (order, True, order, created.isoformat() if created else "~")
        yield at, Flag.of(obj.spec), after, own, obj, None, rank


def _made_by_plan(obj: Obj) -> Iterator[_Made]:
    steps = {step.get("name"): step for step in obj.steps}
    created = obj.created_at
    for done in obj.recent:
        step, at = steps.get(done.get("step")), time(done.get("at"))
        if step is None or at is None or done.get("outcome") not in MADE:
            continue
        for change in step.get("changes") or ():
            is_end = done.get("part") == "End"
            values = change.get("then" if is_end else "updates") or {}
            # A window began before its end, so at the same instant a start wins over an end.
            began_at = at - timedelta(seconds=1) if is_end else at
            rank = (at, False, began_at, created.isoformat() if created else "~")
            made_at = time(done.get("appliedAt")) or at
            yield made_at, Flag.of(change), values, values, obj, str(step.get("name")), rank
