"""Sixty stops and edits around the moment of a change: row, attempts, flag, status, Event and columns agree.

The oracle knows both stories of each deed, by hand; a mixture is a bug.
"""

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.cluster.api import Object
from tests.neighbours.world import World, until, world

DEEDS: Final = ("reschedule", "change", "suspend", "cancel", "delete")
_LATER: Final = "2035-01-01T09:00:00Z"
_EDITS: Final[dict[str, Object]] = {
    "reschedule": {"scheduledAt": _LATER},
    "change": {"updates": {"rolloutPercentage": 22}},
    "suspend": {"suspend": True},
    "cancel": {"cancel": True},
}
# Where the stop or edit comes first: state of the row, phase, and what the columns show in their order.
_FIRST: Final = {
    "reschedule": ("pending", "Pending"),
    "suspend": ("pending", "Suspended"),
    "cancel": ("cancelled", "Cancelled"),
    "delete": ("cancelled", None),
}
_QUIET: Final = 40.0  # seconds until everything must have settled


@dataclass
class Race:
    """How often each side was first, and every trial whose traces contradict each other."""

    firsts: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Markdown."""
        lines = ["| stop or edit | it was first | the change was first |", "|---|---|---|"]
        lines += [f"| {deed} | {self.firsts[deed, 'edit']} | {self.firsts[deed, 'processor']} |" for deed in DEEDS]
        return "\n".join([*lines, "", f"Trials with contradictions: {len(self.faults)}.", ""])

    def text(self) -> str:
        """Return the text for the report."""
        lines = [f"{sum(self.firsts.values())} trials, {len(self.faults)} with contradictions"]
        lines += [f"  {deed}: {first} first {count} times" for (deed, first), count in sorted(self.firsts.items())]
        return "\n".join([*lines, *(f"  FAILED {fault}" for fault in self.faults[:20])])


@dataclass(frozen=True)
class Traces:
    """All that can be seen of one object."""

    deed: str
    due: str
    granted: bool
    row: dict[str, Any]
    obj: Object
    events: Counter[str]
    columns: str

    def judge(self) -> str:
        """Return which side was first.

        Raises:
            AssertionError: the traces contradict each other; its text names the first contradiction.
        """
        applied = self.row["status"] == "applied"
        value = self.row["updates"]["rolloutPercentage"]
        assert self.row["attempts"] == (["applied"] if applied else []), "attempts"
        assert self.row["flag"] == (value if applied else 0), "flag"
        assert (self.row["applied_at"] is not None) == applied, "applied_at"
        if self.obj["kind"] == "Status":
            assert self.deed == "delete", "the object is gone"
            assert applied or self.row["status"] == "cancelled", "row of a deleted object"
            return "processor" if applied else "edit"
        if applied and not (self.deed == "change" and value == 22):
            self._judge_processor()
            return "processor"
        if self.deed == "change":
            self._agree("Applied", "Applied", "rolloutPercentage=22")
            return "edit"
        state, phase = _FIRST[self.deed]
        assert self.row["status"] == state, "row"
        self._agree(phase, None, "rolloutPercentage=11")
        assert self.events["Applied"] == 0, "an Event says Applied"
        assert self.events["Cancelled"] == int(self.deed == "cancel"), "Event of the cancellation"
        if self.deed == "reschedule":
            assert "2035-01-01" in self.columns, "SCHEDULED"
        return "edit"

    def _judge_processor(self) -> None:
        late = self.granted
        ready = self._agree("Applied", "EditTooLate" if late else "Applied", "rolloutPercentage=11")
        assert self.events["Applied"] == 1, "Event of the change"
        applied_at = self.row["applied_at"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert self.obj["status"]["appliedAt"] == applied_at, "appliedAt"
        assert applied_at in self.columns, "APPLIED-AT"
        if late:
            assert "EditTooLate" in self.columns, "the columns do not say that the edit came too late"
            assert self.events["EditTooLate"] == 1, "no Event says that the edit came too late"
            assert "2035" not in self.columns, "SCHEDULED shows a time that nothing was done at"
            assert ready["message"], "message"

    def _agree(self, phase: str | None, reason: str | None, change: str) -> Object:
        status = self.obj["status"]
        assert status["phase"] == phase, "phase"
        assert status["change"] == change, "change"
        assert status["observedGeneration"] == self.obj["metadata"]["generation"], "generation"
        assert f" {phase} " in self.columns, "PHASE"
        assert change in self.columns, "CHANGE"
        conditions: dict[str, Object] = {each["type"]: each for each in status["conditions"]}
        assert reason in {None, conditions["Ready"]["reason"]}, "Ready"
        return conditions["Ready"]


def measure(objects: int, rounds: int, seed: int, say: Callable[[str], None]) -> Race:
    """So many races of so many objects in one world."""
    found = Race()
    with world() as on:
        for number in range(rounds):
            run(on, objects, f"race{number}-", random.Random(seed + number), found)  # noqa: S311 -- a scene, no secret
    say(found.text())
    return found


def run(on: World, objects: int, prefix: str, chance: random.Random, found: Race, *, ahead: float = 3) -> None:
    """Run one race; `ahead` seconds, and more for many objects, must suffice to create and mirror all of them."""
    trials = {f"{prefix}{number}": DEEDS[number % len(DEEDS)] for number in range(objects)}
    on.flags(trials)
    due = (datetime.now(UTC) + timedelta(seconds=ahead + objects / 10)).replace(microsecond=0)
    at = due.strftime("%Y-%m-%dT%H:%M:%SZ")
    on.create(on.quiet, trials, scheduledAt=at, updates={"rolloutPercentage": 11})
    assert until(lambda: all((name, "Pending") in on.shown.phases for name in trials), 60), "all are mirrored"
    offsets = {name: chance.uniform(-0.8, 1.5) for name in trials}

    def disturb(name: str) -> bool:
        time.sleep(max(0.0, due.timestamp() + offsets[name] - time.time()))  # the tested moment
        deed = trials[name]
        answer = on.quiet.delete(name) if deed == "delete" else on.quiet.patch(name, {"spec": _EDITS[deed]})
        return answer.ok

    with ThreadPoolExecutor(objects) as pool:
        granted = dict(zip(trials, pool.map(disturb, trials), strict=True))
    until(lambda: not _stories(on, trials, at, granted)[1], _QUIET)
    firsts, faults = _stories(on, trials, at, granted)
    found.firsts += firsts
    found.faults += faults


def _stories(
    on: World, trials: dict[str, str], due: str, granted: dict[str, bool]
) -> tuple[Counter[tuple[str, str]], list[str]]:
    rows = {row["name"]: row for row in on.database.query(_ROWS)}
    shown = on.quiet.list()
    events: dict[str, Counter[str]] = {name: Counter() for name in trials}
    for event in on.quiet.request("GET", "/api/v1/namespaces/quiet/events").body["items"]:
        if (name := event["involvedObject"]["name"]) in events:
            events[name][event["reason"]] += event.get("count", 1)
    table = on.control_plane.kubectl("get", "flagschedules", "--namespace=quiet", "--output=wide", "--no-headers")
    columns = {line.split(" ", 1)[0]: line for line in table.splitlines()}
    firsts: Counter[tuple[str, str]] = Counter()
    faults: list[str] = []
    for name, deed in trials.items():
        if name not in rows:
            faults.append(f"{deed}: no row")
            continue
        traces = Traces(
            deed,
            due,
            granted[name],
            rows[name],
            shown.get(name, {"kind": "Status"}),
            events[name],
            columns.get(name, ""),
        )
        try:
            firsts[deed, traces.judge()] += 1
        except (AssertionError, KeyError) as error:
            faults.append(f"{deed}: {error}: {traces.columns} {dict(traces.events)} {traces.row}")
    return firsts, faults


_ROWS: Final = (
    "SELECT o.name, s.status, s.updates, s.applied_at, f.rollout_percentage AS flag, "
    "ARRAY(SELECT a.outcome FROM flag_schedule_attempts AS a WHERE a.schedule_id = s.id) AS attempts "
    "FROM flag_schedule_objects AS o JOIN feature_flag_schedules AS s ON s.id = o.schedule_id "
    "JOIN feature_flags AS f ON f.id = s.flag_id WHERE o.namespace = 'quiet'"
)
