"""What a file will do, before it is merged: the API server's verdict, times, overlaps and freezes.

A conflict is what a reviewer has to decide: a refusal, a change that will not be made or is held, or another object
that sets the same property of the same flag to another value within the same time.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final
from zoneinfo import ZoneInfo

from flagschedule.domain.zones import parse_zone
from flagschedule.plugin import text
from flagschedule.plugin.forecast import Change, Forecast, forecast, freeze_intervals
from flagschedule.plugin.objects import FREEZE, HANDLED, PLAN, SCHEDULE, Flag, Obj, time
from flagschedule.plugin.timeline import short_time, source

AHEAD: Final = timedelta(days=35)
SHOWN: Final = 5  # times of each object
_LATE: Final = timedelta(minutes=10)  # FLAG_SCHEDULE_MAX_LATENESS_SECONDS by default
_HISTORY: Final = timedelta(days=1)


@dataclass
class Review:
    """What is found of one object of the file."""

    obj: Obj
    lines: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Judged:
    """One object of the file with the API server's answer: what it would be, or why it is refused."""

    obj: Obj
    live: Obj | None = None
    refusal: str | None = None


def accepted(dry: Obj, live: Obj | None) -> Judged:
    """Return an object that the API server accepts, as the operator will see it."""
    if live is None:
        # A dry run invents these.
        metadata = {name: value for name, value in dry.metadata.items() if name not in {"uid", "creationTimestamp"}}
        return Judged(Obj({**dry.raw, "metadata": metadata}))
    edited = dry.metadata.get("generation") != live.metadata.get("generation")
    if edited and live.phase in HANDLED:
        return Judged(dry, live, refusal=_too_late(live))
    if edited and live.phase in {"Failed", "Expired", "Invalid"}:  # an edit plans it again
        return Judged(Obj({name: value for name, value in dry.raw.items() if name != "status"}), live)
    return Judged(dry, live)


def _too_late(live: Obj) -> str:
    return f"it is {live.phase} already, so this edit does nothing (EditTooLate); use a new name"


@dataclass(frozen=True)
class Span:
    """The time in which one object has a say over a flag: a moment, a window, or a chain from first to last step."""

    flag: Flag
    start: datetime
    end: datetime
    values: Mapping[str, frozenset[Any]]
    source: Obj
    shown: str


def horizon(objects: Iterable[Obj], now: datetime) -> datetime:
    """Return up to when a file is judged: 35 days, and longer where it names a later time."""
    named = [obj.spec.get("scheduledAt") for obj in objects]
    named += [step.get(name) for obj in objects for step in obj.steps for name in ("at", "until")]
    later = [found + AHEAD for each in named if (found := time(each))]
    return max([now + AHEAD, *later])


def review(file: Sequence[Judged], cluster: Sequence[Obj], now: datetime, zone: str = "UTC") -> list[Review]:
    """Return what a file will do, object by object."""
    ours = [each.obj for each in file if _accepted(each, now)]
    replaced = {(each.obj.kind, each.obj.namespace, each.obj.name) for each in file}
    others = [obj for obj in cluster if (obj.kind, obj.namespace, obj.name) not in replaced]
    until = horizon(ours, now)
    flags = {flag for obj in ours for flag in obj.flags}
    is_frozen = any(obj.kind == FREEZE for obj in ours)  # a new freeze is compared with everything
    near = [obj for obj in others if is_frozen or obj.kind == FREEZE or flags & set(obj.flags)]
    everything = forecast([*ours, *near], now, until)
    spans = list(_spans(everything))
    return [_review(each, everything, spans, now, parse_zone(zone)) for each in file]


def _accepted(each: Judged, now: datetime) -> bool:
    return each.refusal is None and _old(each, now) is None


def _review(each: Judged, everything: Forecast, spans: Sequence[Span], now: datetime, zone: ZoneInfo) -> Review:
    found = Review(each.obj)
    if old := _old(each, now):
        is_conflict, sentence = old
        (found.conflicts if is_conflict else found.lines).append(sentence)
        return found
    if each.refusal is not None:
        found.conflicts.append(f"refused: {each.refusal}")
        return found
    if each.obj.kind == FREEZE:
        _freeze(found, everything, now, zone)
        return found
    found.conflicts += [fault for fault in everything.faults if fault.startswith(f"{each.obj.shown} cannot")]
    mine = [change for change in everything.changes if change.source is each.obj]
    live = each.live
    # An edit lets a Finished plan go on if something of it is to come then, for example a step that is added.
    if live is not None and live.phase == "Finished" and not each.obj.is_current and not mine:
        found.conflicts.append(f"refused: {_too_late(live)}")
    _times(found, mine, zone)
    found.conflicts += list(_held(mine))
    found.conflicts += list(dict.fromkeys(_overlaps(each.obj, spans)))
    return found


def _old(each: Judged, now: datetime) -> tuple[bool, str] | None:
    """Return what becomes of a file whose time has passed, and whether that is a conflict; None for others."""
    obj, live = each.obj, each.live
    first = obj.spec.get("scheduledAt") if obj.kind == SCHEDULE else next((s.get("at") for s in obj.steps), None)
    at = time(first) if obj.kind in {SCHEDULE, PLAN} else None
    if at is None or at > now:
        return None
    if live is not None and live.is_seen and live.spec.get("scheduledAt") == obj.spec.get("scheduledAt"):
        if obj.kind == SCHEDULE and live.phase in HANDLED | {"Expired", "Failed"} and each.refusal is None:
            return False, f"{live.phase}: it is handled already, and nothing happens again"
        return None
    if live is not None or (each.refusal is not None and "in the future" not in each.refusal):
        return None
    late = now - at
    if late > _HISTORY:
        return False, (
            f"Replayed or Expired: its time, {short_time(at)} UTC, has passed. If this change was made for an earlier "
            "object of this name it will say Replayed, else Expired; no flag is changed"
        )
    if late > _LATE:
        return True, (
            f"Expired: its time, {short_time(at)} UTC, has passed by more than {_LATE.seconds // 60} minutes, so no "
            "flag is changed (Replayed, if it was made for an earlier object of this name); set a later time"
        )
    return True, f"its time, {short_time(at)} UTC, has passed: a person's object is refused; set a later time"


def _times(found: Review, mine: Sequence[Change], zone: ZoneInfo) -> None:
    if not mine and not found.conflicts:
        found.lines.append("changes nothing in this time")
    place = found.obj.spec.get("timeZone")
    own = parse_zone(place) if place and not found.conflicts else zone
    together = [list(group) for _, group in groupby(mine, key=lambda change: (change.at, change.step, change.part))]
    for changes in together[:SHOWN]:
        first = changes[0]
        local = f" ({first.at.astimezone(own):%a %Y-%m-%d %H:%M %Z}, {own.key})" if own.key != "UTC" else ""
        what = "; ".join(f"{change.flag}: {text.values(change.values)}" for change in changes)
        step = f" {'end of ' * (first.part == 'end')}{text.clean(first.step)}" if first.step else ""
        remarks = [*(each for each in (first.blocked, first.assumes) if each), *first.notes]
        marks = f" [{', '.join(remarks)}]" if remarks else ""
        found.lines.append(f"{short_time(first.at)} UTC{local}{step}: {what}{marks}")
    if len(together) > SHOWN:
        found.lines.append(f"and {len(together) - SHOWN} more until {short_time(together[-1][0].at)} UTC")


def _freeze(found: Review, everything: Forecast, now: datetime, zone: ZoneInfo) -> None:
    try:
        intervals = list(freeze_intervals(found.obj, now, everything.until))
    except (ValueError, KeyError) as error:
        found.conflicts.append(f"cannot be used: {text.clean(error)}")
        return
    for interval in intervals[:SHOWN]:
        end = "without an end" if interval.end is None else f"until {short_time(interval.end)} UTC"
        local = f" ({interval.start.astimezone(zone):%a %H:%M %Z})" if zone.key != "UTC" else ""
        found.lines.append(f"freezes from {short_time(interval.start)} UTC{local} {end}")
    held = [change for change in everything.changes if found.obj.name in change.held_by]
    for change in held[:SHOWN]:
        found.lines.append(f"holds {source(change)}: {change.flag} at {short_time(change.at)} UTC")
    if len(held) > SHOWN:
        found.lines.append(f"and holds {len(held) - SHOWN} more")


def _held(mine: Sequence[Change]) -> Iterator[str]:
    held = [change for change in mine if change.held_by]
    for change in held[:SHOWN]:
        until = f"until {short_time(change.made_at)} UTC" if change.made_at else "without an end"
        names = ", ".join(map(text.clean, change.held_by))
        yield f"{change.flag} at {short_time(change.at)} UTC is held {until} by the freeze {names}"
    if len(held) > SHOWN:
        yield f"and {len(held) - SHOWN} more are held"


def _spans(everything: Forecast) -> Iterator[Span]:
    groups: dict[tuple[str, Flag, object], list[Change]] = {}
    for change in everything.changes:
        recurs = change.source.kind == PLAN and any("cron" in step for step in change.source.steps)
        key = (change.step, change.began_at) if recurs else None
        groups.setdefault((change.source.uid, change.flag, key), []).append(change)
    for (_, flag, _), changes in groups.items():
        values: dict[str, set[Any]] = {}
        for change in changes:
            for name, value in change.values.items():
                values.setdefault(name, set()).add(value)
        start = min(change.began_at if change.part == "end" else change.at for change in changes)
        yield Span(
            flag=flag,
            start=start,
            end=max(change.at for change in changes),
            values={name: frozenset(each) for name, each in values.items()},
            source=changes[0].source,
            shown=changes[0].source.shown,
        )


def _overlaps(obj: Obj, spans: Sequence[Span]) -> Iterator[str]:
    mine = [span for span in spans if span.source is obj]
    others: dict[Flag, list[Span]] = {}
    for span in spans:
        if span.source is not obj:
            others.setdefault(span.flag, []).append(span)
    for span in mine:
        for other in others.get(span.flag, ()):
            if span.start <= other.end and other.start <= span.end and _differ(span, other):
                yield _overlap(span, other)


def _differ(one: Span, other: Span) -> bool:
    return any(
        name in other.values and (values != other.values[name] or len(values) > 1)
        for name, values in one.values.items()
    )


def _overlap(span: Span, other: Span) -> str:
    when = f"at {short_time(other.start)} UTC"
    if other.end > other.start:
        when = f"from {short_time(other.start)} to {short_time(other.end)} UTC"
    tie = ""
    if span.start == span.end == other.start == other.end:
        kinds = {span.source.kind, other.source.kind}
        winner = "which of them wins cannot be chosen"
        if kinds == {SCHEDULE, PLAN}:
            winner = "the FlagSchedule wins over the plan"
        elif kinds == {SCHEDULE} and span.source.created_at != other.source.created_at:
            winner = "the one created later wins"
        tie = f"; both at the same time, so {winner}"
    return f"{span.flag} is also changed by {other.shown} {when}{tie}"


def as_lines(reviews: Iterable[Review]) -> list[str]:
    """Return the result for people, object by object."""
    found: list[str] = []
    for each in reviews:
        found.append(each.obj.shown)
        found += [f"  {text.clean(line)}" for line in each.lines]
        found += [f"  conflict: {text.clean(line)}" for line in each.conflicts]
    return found
