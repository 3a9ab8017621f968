"""The timeline as a table, as JSON and as a calendar; `page` makes the HTML of it."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from flagschedule.domain.times import rfc3339
from flagschedule.plugin import text
from flagschedule.plugin.forecast import Change, Forecast, Interval
from flagschedule.plugin.objects import PLAN, SHORT, Obj

_HEAD: Final = ("TIME (UTC)", "FLAG", "CHANGE", "BY", "REMARKS")
_LINE: Final = 75  # octets, RFC 5545 section 3.1
_YEAR: Final = timedelta(days=365)
_SHOWN: Final = timedelta(minutes=15)  # the length of a change in a calendar


def source(change: Change) -> str:
    """Return what makes a change, for example `fplan shop/hours, end of hours`."""
    if change.step is None:
        return change.source.shown
    return f"{change.source.shown}, {'end of ' * (change.part == 'end')}{text.clean(change.step)}"


def short_time(at: datetime) -> str:
    """Return a time for people, in UTC and to the minute; with its seconds where it has some."""
    return at.strftime("%Y-%m-%d %H:%M:%S" if at.second else "%Y-%m-%d %H:%M")


def as_table(plan: Forecast) -> list[str]:
    """Return the lines of a table: changes and freezes in the order of time."""
    rows = [(change.at, _row(change)) for change in plan.changes]
    for interval in plan.intervals:
        what = f"freeze: {text.clean(interval.freeze.spec.get('reason', ''))}"
        scope = _scope(interval.freeze)
        end = "no end" if interval.end is None else f"until {short_time(interval.end)}"
        start = max(interval.start, plan.now)
        rows.append((start, (short_time(start), scope, what, interval.freeze.shown, end)))
    if not rows:
        return [f"Nothing changes until {short_time(plan.until)} UTC."]
    return text.table(_HEAD, [row for _, row in sorted(rows, key=lambda each: each[0])])


def _row(change: Change) -> tuple[str, ...]:
    return (
        short_time(change.at),
        str(change.flag),
        text.values(change.values),
        source(change),
        "; ".join(change.remarks),
    )


def _scope(freeze: Obj) -> str:
    parts = [f"{name}={','.join(freeze.spec[key])}" for key, name in _SCOPES if freeze.spec.get(key)]
    return text.clean(" ".join(parts) or "everything")


_SCOPES: Final = (("flagKeys", "flags"), ("environments", "environments"), ("namespaces", "namespaces"))


def as_json(plan: Forecast, notes: tuple[str, ...] = ()) -> str:
    """Return the timeline for programs. Every character outside of ASCII is escaped."""
    whole = {
        "from": rfc3339(plan.now),
        "until": rfc3339(plan.until),
        "changes": [_change(change) for change in plan.changes],
        "freezes": [_interval(interval) for interval in plan.intervals],
        "notes": [*plan.faults, *notes],
    }
    return json.dumps(whole, indent=2)


def _change(change: Change) -> dict[str, Any]:
    return {
        "at": rfc3339(change.at),
        "madeAt": rfc3339(change.made_at) if change.made_at else None,
        "flagKey": change.flag.key,
        "environment": change.flag.environment,
        "values": dict(change.values),
        "kind": change.source.kind,
        "namespace": change.source.namespace,
        "name": change.source.name,
        "step": change.step,
        "part": change.part if change.source.kind == PLAN else None,
        "blocked": change.blocked,
        "assumes": change.assumes,
        "freezes": list(change.held_by),
        "notes": list(change.notes),
    }


def _interval(interval: Interval) -> dict[str, Any]:
    return {
        "name": interval.freeze.name,
        "reason": interval.freeze.spec.get("reason"),
        "from": rfc3339(interval.start),
        "until": rfc3339(interval.end) if interval.end else None,
        **{key: interval.freeze.spec[key] for key, _ in _SCOPES if interval.freeze.spec.get(key)},
    }


# The calendar, RFC 5545. What does not change has the same bytes, so that a calendar sees no update.


def as_calendar(plan: Forecast) -> str:
    """Return a calendar. An event keeps its UID, so that a calendar that reads it again updates and adds nothing."""
    content = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//flagschedule.io//kubectl-flagschedule//EN"]
    for change in plan.changes:
        title = f"{change.flag}: {text.values(change.values)}"
        lines = [source(change), *change.remarks]
        event = (change.identity, change.at, change.at + _SHOWN, title, lines, change.source)
        content += _event(*event, is_sure=not (change.blocked or change.assumes or change.held_by))
    for interval in plan.intervals:
        # A freeze without an end has one event, which is shown up to an anniversary: an end that moves with each run
        # would be a change. Two windows may begin at the same time, and are distinguished by their places in the spec.
        end = interval.end or interval.start + _YEAR * ((plan.until - interval.start) // _YEAR + 1)
        own = f"{interval.window}-{rfc3339(interval.start)}" if interval.end else "open"
        identity = f"{interval.freeze.uid}-{own}"
        title = f"Freeze {text.clean(interval.freeze.name)} ({_scope(interval.freeze)})"
        lines = [text.clean(interval.freeze.spec.get("reason", ""))]
        content += _event(identity, interval.start, end, title, lines, interval.freeze)
    content.append("END:VCALENDAR")
    return "".join(f"{line}\r\n" for each in content for line in _folded(each))


def _event(
    identity: str, start: datetime, end: datetime, title: str, lines: list[str], obj: Obj, *, is_sure: bool = True
) -> Iterator[str]:
    yield "BEGIN:VEVENT"
    yield f"UID:{_escaped(text.clean(identity))}@flagschedule.io"
    yield f"DTSTAMP:{_calendar_time(obj.created_at or start)}"
    yield f"SEQUENCE:{obj.metadata.get('generation', 0)}"
    yield f"DTSTART:{_calendar_time(start)}"
    yield f"DTEND:{_calendar_time(end)}"
    yield f"SUMMARY:{_escaped(title)}"
    yield f"DESCRIPTION:{_escaped(chr(10).join(lines))}"
    yield f"STATUS:{'CONFIRMED' if is_sure else 'TENTATIVE'}"
    yield f"CATEGORIES:{SHORT[obj.kind]}"
    yield "TRANSP:TRANSPARENT"  # no one is busy because of it
    yield "END:VEVENT"


def _calendar_time(at: datetime) -> str:
    return rfc3339(at).replace("-", "").replace(":", "")


def _escaped(content: str) -> str:
    for special, instead in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\n", "\\n")):
        content = content.replace(special, instead)
    return content


def _folded(line: str) -> Iterator[str]:
    """Yield a line in parts of at most 75 octets; no character is cut, or a calendar shows garbage."""
    part, size = "", 0
    for character in line:
        width = len(character.encode())
        if size + width > _LINE:
            yield part
            part, size = " ", 1
        part, size = part + character, size + width
    yield part
