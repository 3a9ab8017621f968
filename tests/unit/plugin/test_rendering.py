"""What the plugin prints: tables, JSON, calendars, the page, and nothing that harms a terminal."""

import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import pytest

from flagschedule.plugin import page, text, timeline
from flagschedule.plugin.forecast import Forecast, forecast
from flagschedule.plugin.objects import Obj
from tests.unit.plugin.objects import NOW, freeze, plan, schedule, step

ESCAPE = "\x1b[2Jgone\u202e\r\n<script>alert(1)</script>; a,b\\c"


def week(*objects: Obj) -> Forecast:
    """Return the forecast of a week."""
    return forecast(objects, NOW, NOW + timedelta(days=7))


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_colours_are_for_terminals_that_want_them() -> None:
    """A pipe, NO_COLOR and a dumb terminal get none."""
    assert text.Style(Terminal(), {})("x", "red") == "\x1b[31mx\x1b[0m"
    assert text.Style(io.StringIO(), {})("x", "red") == "x"
    assert text.Style(Terminal(), {"NO_COLOR": "1"})("x", "red") == "x"
    assert text.Style(Terminal(), {"TERM": "dumb"})("x", "red") == "x"


def hostile() -> Sequence[Obj]:
    """Return objects whose every free text is hostile."""
    window = {"from": "2027-03-23T08:00:00Z", "until": "2027-03-23T10:00:00Z"}
    return (
        schedule(flagKey=ESCAPE),
        plan("p", steps=[step(ESCAPE, 5, at="2027-03-24T09:00:00Z")]),
        freeze(reason=ESCAPE, windows=[window]),
    )


@pytest.mark.parametrize("form", ["table", "json", "ics", "html"])
def test_control_characters_are_escaped(form: str) -> None:
    """No form has a control character that an object's text contains, nor HTML."""
    found = week(*hostile())
    printed = {
        "table": "\n".join(timeline.as_table(found)),
        "json": timeline.as_json(found),
        "ics": timeline.as_calendar(found).replace("\r\n", "\n"),
        "html": page.as_page(found, "Timeline"),
    }[form]

    assert all(line.isprintable() for line in printed.split("\n"))
    assert form != "html" or "<script" not in printed
    assert "gone" in printed


def test_the_table_has_changes_and_freezes_in_the_order_of_time() -> None:
    """Each row says when, which flag, what, by whom and what to know."""
    window = {"from": "2027-03-23T08:00:00Z", "until": "2027-03-23T10:00:00Z"}
    lines = timeline.as_table(week(schedule(), freeze(windows=[window]), plan()))

    assert re.split(r" {3,}", lines[0]) == ["TIME (UTC)", "FLAG", "CHANGE", "BY", "REMARKS"]
    assert re.split(r" {3,}", lines[4]) == [
        "2027-03-23 09:00",
        "checkout",
        "enabled=true",
        "fsched shop/launch",
        "frozen by holidays until 2027-03-23 10:00 UTC",
    ]
    assert [line[:16] for line in lines[1:]] == sorted(line[:16] for line in lines[1:])
    assert timeline.as_table(week()) == ["Nothing changes until 2027-03-29 08:00 UTC."]


def test_json_is_for_programs() -> None:
    """Every change has its times, its flag, its source and what holds it."""
    found = json.loads(timeline.as_json(week(schedule(), plan()), ("a note",)))

    assert found["notes"] == ["a note"]
    assert found["changes"][0] | {"at": "", "madeAt": ""} == {
        "at": "",
        "madeAt": "",
        "flagKey": "chat",
        "environment": "production",
        "values": {"enabled": False},
        "kind": "FlagPlan",
        "namespace": "shop",
        "name": "hours",
        "step": "hours",
        "part": "end",
        "blocked": None,
        "assumes": None,
        "freezes": [],
        "notes": [],
    }


def uids(*objects: Obj, later: timedelta = timedelta(0)) -> list[str]:
    """Return the UIDs of a calendar that is made at a time."""
    at = NOW + later
    made = timeline.as_calendar(forecast(objects, at, at + timedelta(days=7)))
    return re.findall(r"UID:(.*)\r", made.replace("\r\n ", ""))


def test_a_calendar_keeps_its_uids() -> None:
    """A calendar that reads it again, also hours later, updates its events and adds none twice."""
    objects = [schedule(), plan(), freeze()]

    assert uids(*objects) == uids(*objects)
    first, later = set(uids(*objects)), set(uids(*objects, later=timedelta(hours=20)))
    assert len(first) == len(uids(*objects))
    assert len(first & later) >= len(first) - 2  # those of the 20 hours that have passed


def test_the_lines_of_a_calendar_are_folded_between_characters() -> None:
    """No line is longer than 75 octets, and each can be decoded by itself."""
    made = timeline.as_calendar(week(freeze(reason="Gr\u00f6\u00dfe \u2603 " * 40))).encode()

    for line in made.split(b"\r\n"):
        assert len(line) <= 75
        line.decode()
    assert "Gr\u00f6\u00dfe \u2603 Gr" in made.decode().replace("\r\n ", "")


def svg(made: str) -> ET.Element:
    """Return the picture of a page."""
    (found,) = re.findall(r"<svg height.*\n</svg>", made, re.DOTALL)
    return ET.fromstring(found)  # noqa: S314 -- made by this test


def test_the_page_has_a_lane_for_each_flag() -> None:
    """The picture has lanes, changes and freezes, and is well-formed."""
    window = {"from": "2027-03-24T08:00:00Z", "until": "2027-03-25T10:00:00Z"}
    picture = svg(page.as_page(week(schedule(), plan(), freeze(windows=[window])), "Timeline"))
    texts = [element.text for element in picture.iter("text")]

    assert [element.text for element in picture.iter("text") if element.get("class") == "flag"] == ["chat", "checkout"]
    assert "freeze holidays" in texts
    assert len([each for each in picture.iter("rect") if each.get("class") == "window"]) == 5
    assert len(list(picture.iter("path"))) == 11


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    """It has no script, no address of another host, and forbids both."""
    made = page.as_page(week(schedule()), "Timeline")

    assert "default-src 'none'" in made
    assert not re.search(r"<script|https?://|\bsrc=|<link|@import|url\((?!#)", made)


def test_the_page_is_readable_at_400_pixels_and_without_colours() -> None:
    """Positions are relative, texts are not scaled, and what a colour says a shape or a word says, too."""
    made = page.as_page(week(schedule(suspend=True), plan()), "Timeline")

    assert 'name="viewport" content="width=device-width' in made
    assert "viewBox" not in made
    assert "overflow-wrap" in made
    assert "stroke-dasharray" in made
    assert "suspended" in made
    labels = [float(each) for each in re.findall(r'<text x="([\d.]+)%" y="\d+" text-anchor="start">o', made)]
    assert all(later - earlier >= 13.5 for earlier, later in pairwise(labels) if later > earlier)


def test_the_page_is_the_same_for_the_same_facts() -> None:
    """A job that publishes it changes no byte while nothing changes."""
    assert page.as_page(week(schedule(), plan()), "T") == page.as_page(week(schedule(), plan()), "T")


def test_a_table_is_clean_and_aligned() -> None:
    """For any text in a cell, each row is one printable line, and an empty cell is a dash."""
    assert text.table(("A", "B"), [("x\x1b", ""), ("y", "z\n")]) == ["A       B", r"x\x1b   -", r"y       z\n"]


def test_one_flag_is_shown_without_the_others_of_its_objects() -> None:
    """Also in the picture and for programs; a freeze of other flags is left out."""
    both = [{"flagKey": key, "updates": {"enabled": True}} for key in ("search", "other-key")]
    steps = [{"name": "a", "at": "2027-03-23T09:00:00Z", "changes": both}]
    plan_of_one = week(plan("ramp", steps=steps), freeze("narrow", flagKeys=["other-key"])).of_flag("search")

    shown = [*timeline.as_table(plan_of_one), timeline.as_json(plan_of_one), timeline.as_calendar(plan_of_one)]
    assert [change.flag.key for change in plan_of_one.changes] == ["search"]
    assert "other-key" not in "".join([*shown, page.as_page(plan_of_one, "x")])


def test_two_windows_of_a_freeze_are_two_events() -> None:
    """A calendar shows one event for each UID, also where the windows begin at the same time."""
    start, short, long = "2027-03-23T00:00:00Z", "2027-03-23T01:00:00Z", "2027-03-24T01:00:00Z"
    both = freeze(windows=[{"from": start, "until": short}, {"from": start, "until": long}])

    found = re.findall(r"UID:(.*)\r", timeline.as_calendar(week(both)).replace("\r\n ", ""))
    assert len(set(found)) == 2


def test_a_freeze_without_an_end_is_the_same_event_in_every_run() -> None:
    """An end that moves would be an update of the event at each reading."""
    later = NOW + timedelta(hours=1)

    first = timeline.as_calendar(week(freeze()))
    assert timeline.as_calendar(forecast([freeze()], later, later + timedelta(days=7))) == first
