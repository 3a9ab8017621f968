"""The timeline as one HTML page: an SVG with a lane for each flag, and a list. It needs no server, script or font.

Positions are in percent and texts in pixels, so the picture is as readable at 400 pixels as on a wall. What a colour
says, a shape or a word says, too.
"""

import html
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from flagschedule.plugin import text
from flagschedule.plugin.forecast import Change, Forecast, Interval
from flagschedule.plugin.objects import Flag
from flagschedule.plugin.timeline import short_time, source

_LANE: Final = 64  # pixels
_TOP: Final = 34
_LABEL: Final = 13.5  # percent that a label needs at 400 pixels
_MOST_TICKS: Final = 6
_LEGEND: Final = (
    "<p>Filled diamond: a change. Dashed diamond: it waits for a person, a freeze or another step. "
    "Bar: a window. Hatched: a freeze.</p>"
)
_STYLE: Final = """
:root { color-scheme: light dark }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1rem auto; padding: 0 1rem; max-width: 75rem }
h1 { font-size: 1.35rem; margin: 0 }
svg { display: block; width: 100%; overflow: visible; margin: 1rem 0 }
svg text { font: 12px system-ui, sans-serif; fill: currentColor }
svg .flag { font-weight: 600; font-size: 13px }
.line { stroke: currentColor; opacity: .35 }
.tick { stroke: currentColor; opacity: .15 }
.window { fill: #2f7d5b; opacity: .45; stroke: currentColor }
.change { fill: #1f6fb2; stroke: currentColor }
.unsure { fill: none; stroke: currentColor; stroke-width: 2; stroke-dasharray: 3 2 }
.frozen { fill: url(#hatch); stroke: currentColor; stroke-dasharray: 6 3 }
ul { list-style: none; padding: 0; margin: 0 }
li { border-top: 1px solid #8886; padding: .45rem 0; overflow-wrap: anywhere }
.when { font-variant-numeric: tabular-nums; font-weight: 600; margin-right: .75em; white-space: nowrap }
.rest { opacity: .75 }
"""


def as_page(plan: Forecast, title: str, notes: Sequence[str] = ()) -> str:
    """Return the page."""
    heading = _text(title)
    span = f"{short_time(plan.now)} to {short_time(plan.until)} UTC"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>{heading}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{heading}</h1><p>{span}</p>",
            *(f"<p><strong>Note:</strong> {_text(note)}</p>" for note in (*plan.faults, *notes)),
            *_picture(plan),
            _LEGEND,
            "<ul>",
            *_list(plan),
            "</ul></body></html>",
            "",
        ]
    )


def _text(content: object) -> str:
    return html.escape(text.clean(content))


def _list(plan: Forecast) -> Iterator[str]:
    entries = [(change.at, _entry(change)) for change in plan.changes]
    for interval in plan.intervals:
        start = max(interval.start, plan.now)
        entries.append((start, _frozen_entry(interval, start)))
    if not entries:
        yield "<li>Nothing changes.</li>"
    yield from (entry for _, entry in sorted(entries, key=lambda each: each[0]))


def _entry(change: Change) -> str:
    remarks = "".join(f" \u2014 <em>{_text(remark)}</em>" for remark in change.remarks)
    return (
        f'<li><span class="when">{short_time(change.at)}</span><strong>{_text(change.flag)}</strong>: '
        f'{_text(text.values(change.values))} <span class="rest">{_text(source(change))}{remarks}</span></li>'
    )


def _frozen_entry(interval: Interval, start: datetime) -> str:
    end = "no end" if interval.end is None else f"until {short_time(interval.end)}"
    return (
        f'<li><span class="when">{short_time(start)}</span><strong>Freeze {_text(interval.freeze.name)}</strong>, '
        f'{end} <span class="rest">{_text(interval.freeze.spec.get("reason", ""))}</span></li>'
    )


def _picture(plan: Forecast) -> Iterator[str]:
    lanes: dict[Flag, list[Change]] = {}
    for change in plan.changes:
        lanes.setdefault(change.flag, []).append(change)
    height = _TOP + max(len(lanes), 1) * _LANE
    yield f'<svg height="{height}" role="img" aria-label="Timeline: {len(plan.changes)} changes of {len(lanes)} flags">'
    yield (
        '<defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<line x1="0" y1="0" x2="0" y2="7" stroke="currentColor" stroke-width="1.2" opacity=".45"/></pattern></defs>'
    )
    yield from _ticks(plan, height)
    for interval in plan.intervals:
        yield from _frozen(plan, interval, height)
    for number, (flag, changes) in enumerate(sorted(lanes.items())):
        yield from _lane(plan, flag, changes, _TOP + number * _LANE)
    yield "</svg>"


def _x(plan: Forecast, at: datetime) -> float:
    share = (at - plan.now) / max(plan.until - plan.now, timedelta(seconds=1))
    return round(min(max(share, 0), 1) * 98 + 1, 2)  # a marker at an edge is not cut


def _ticks(plan: Forecast, height: int) -> Iterator[str]:
    span = plan.until - plan.now
    unit = timedelta(days=1) if span > timedelta(days=2) else timedelta(hours=1)
    step = unit * max(1, -(-int(span / unit) // _MOST_TICKS))
    midnight = plan.now.replace(hour=0, minute=0, second=0, microsecond=0)
    at = midnight + step
    while at <= plan.until:
        if at >= plan.now:
            x = _x(plan, at)
            anchor = "end" if x > 100 - _LABEL else "start"
            label = f"{at:%b %d}" if unit >= timedelta(days=1) else f"{at:%H:%M}"
            yield f'<line class="tick" x1="{x}%" x2="{x}%" y1="16" y2="{height}"/>'
            yield f'<text x="{x}%" y="12" text-anchor="{anchor}">{label}</text>'
        at += step


def _frozen(plan: Forecast, interval: Interval, height: int) -> Iterator[str]:
    start, end = _x(plan, interval.start), _x(plan, interval.end or plan.until)
    name = _text(interval.freeze.name)
    yield (
        f'<rect class="frozen" x="{start}%" y="{_TOP - 4}" width="{round(end - start, 2)}%" '
        f'height="{height - _TOP + 4}"><title>Freeze {name}</title></rect>'
    )
    anchor, x = ("end", end) if start > 100 - 2 * _LABEL else ("start", start)
    yield f'<text x="{x}%" y="{_TOP - 9}" text-anchor="{anchor}">freeze {name}</text>'


def _lane(plan: Forecast, flag: Flag, changes: Sequence[Change], top: int) -> Iterator[str]:
    middle = top + 32
    yield f'<g><text class="flag" x="0" y="{top + 14}">{_text(flag)}</text>'
    yield f'<line class="line" x1="0" x2="100%" y1="{middle}" y2="{middle}"/>'
    for start, end in _windows(plan, changes):
        x = _x(plan, start)
        width = round(_x(plan, end) - x, 2)
        yield f'<rect class="window" x="{x}%" y="{middle - 6}" width="{width}%" height="12" rx="3"/>'
    free_from = 0.0
    for change in changes:
        x = _x(plan, change.at)
        kind = "change" if not (change.blocked or change.assumes or change.held_by or change.notes) else "unsure"
        hint = _text(f"{short_time(change.at)} {text.values(change.values)} {source(change)}")
        yield (
            f'<svg x="{x}%" y="{middle}" width="1" height="1" overflow="visible">'
            f'<path class="{kind}" d="M0 -7L7 0L0 7L-7 0Z"><title>{hint}</title></path></svg>'
        )
        if x >= free_from:
            anchor = "end" if x > 100 - _LABEL else "start"
            yield f'<text x="{x}%" y="{middle + 22}" text-anchor="{anchor}">{_text(_short(change.values))}</text>'
            free_from = x + _LABEL
    yield "</g>"


def _windows(plan: Forecast, changes: Sequence[Change]) -> Iterator[tuple[datetime, datetime]]:
    for change in changes:
        if change.part == "end" and not change.blocked:
            yield max(change.began_at, plan.now), change.at


def _short(values: Mapping[str, Any]) -> str:
    """Return values in a word or two, for example `on 25%`."""
    enabled, share = values.get("enabled"), values.get("rolloutPercentage")
    words = [] if enabled is None else ["on" if enabled else "off"]
    return " ".join([*words, *([] if share is None else [f"{share}%"])])
