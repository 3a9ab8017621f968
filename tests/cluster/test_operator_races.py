"""Edits, cancellations and deletions around the instant of a change, with the real operator and processor."""

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from os import environ
from typing import Any, Final

import pytest

from tests import roles
from tests.cluster.api import Object, eventually, flagschedule
from tests.cluster.operator_fixtures import Scene
from tests.cluster.spec_corpus import spec
from tests.waiting import PATIENCE

pytestmark = pytest.mark.apiserver

ACTIONS: Final = ("reschedule", "change", "suspend", "cancel", "delete", "force delete")
OBJECTS: Final = 60
AHEAD: Final = timedelta(seconds=20)  # enough to create and mirror all of them, also on a busy machine
LATER: Final = "2035-01-01T09:00:00Z"
EDITS: Final[dict[str, Object]] = {
    "reschedule": {"scheduledAt": LATER},
    "change": {"updates": {"rolloutPercentage": 22}},
    "suspend": {"suspend": True},
    "cancel": {"cancel": True},
}
# Where the edit comes first: phase, and state of the row.
FIRST: Final = {
    "reschedule": ("Pending", "pending"),
    "suspend": ("Suspended", "pending"),
    "cancel": ("Cancelled", "cancelled"),
    "delete": (None, "cancelled"),
    "force delete": (None, "cancelled"),
}


@contextmanager
def lingering_processor(scene: Scene, seconds: int) -> Iterator[None]:
    """Run a lingering processor for so long, and wait for its end."""
    command = [sys.executable, "-m", "flagschedule", "process"]
    settings = {
        "PATH": environ["PATH"],
        "DATABASE_URL": roles.url(scene.operator.database_url, "process"),
        "FLAG_SCHEDULE_LINGER_SECONDS": str(seconds),
    }
    process = subprocess.Popen(command, env=settings, stderr=subprocess.DEVNULL)
    try:
        yield
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


def act(scene: Scene, name: str, action: str) -> None:
    """Do the action; a refusal is one of its two outcomes, and is judged later."""
    if action in EDITS:
        scene.api.patch(name, {"spec": EDITS[action]})
        return
    if action == "force delete":
        scene.api.patch(name, {"metadata": {"finalizers": None}})
    scene.api.delete(name)


def judge(action: str, obj: Object, row: dict[str, Any]) -> str:
    """Return which write was first; row, attempts, flag and status must agree on it."""
    status = obj.get("status", {}) if obj["kind"] == "FlagSchedule" else {}
    value = row["updates"]["rolloutPercentage"]
    applied = row["status"] == "applied"
    assert row["attempts"] == (["applied"] if applied else [])
    assert row["flag"] == (value if applied else 0)
    if action in EDITS:
        assert (status["phase"] == "Applied") == applied
        assert status["change"] == f"rolloutPercentage={value}"
        assert status["observedGeneration"] == obj["metadata"]["generation"]
    else:
        assert not status
    if action == "change":
        assert applied
        return "edit" if value == 22 else "processor"
    if applied:
        return "processor"
    phase, state = FIRST[action]
    assert (status.get("phase"), row["status"]) == (phase, state)
    return "edit"


def rows(scene: Scene) -> dict[str, dict[str, Any]]:
    """Return each object's row, with its attempts and its flag's percentage."""
    found = scene.database.query(
        "SELECT o.name, s.status, s.updates, f.rollout_percentage AS flag, "
        "ARRAY(SELECT a.outcome FROM flag_schedule_attempts AS a WHERE a.schedule_id = s.id) AS attempts "
        "FROM flag_schedule_objects AS o JOIN feature_flag_schedules AS s ON s.id = o.schedule_id "
        "JOIN feature_flags AS f ON f.id = s.flag_id"
    )
    return {row["name"]: row for row in found}


def test_the_status_shows_which_write_came_first(scene: Scene) -> None:
    """Of an action from a second before to a second after the instant and the change, exactly one happens."""
    seed = random.randrange(10**6)  # noqa: S311 -- a scene, not a secret
    print(f"seed {seed}")  # noqa: T201 -- pytest shows it when the test fails
    chance = random.Random(seed)  # noqa: S311 -- the same
    trials = {f"trial-{number}": ACTIONS[number % len(ACTIONS)] for number in range(OBJECTS)}
    offsets = {name: chance.uniform(-1, 1.5) for name in trials}
    for name in trials:
        scene.database.flag(name)
    due = (datetime.now(UTC) + AHEAD).replace(microsecond=0)
    for name in trials:
        wish = spec(flagKey=name, scheduledAt=due.isoformat(), updates={"rolloutPercentage": 11})
        assert scene.api.create(flagschedule(name, wish)).ok
    eventually(lambda: len(rows(scene)) == OBJECTS, "all are mirrored")

    def disturb(name: str) -> None:
        time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds() + offsets[name]))  # the tested instant
        act(scene, name, trials[name])

    left = max(0.0, (due - datetime.now(UTC)).total_seconds())
    with lingering_processor(scene, round(left) + 9), ThreadPoolExecutor(OBJECTS) as pool:
        list(pool.map(disturb, trials))

    eventually(lambda: _is_quiet(scene, trials), "all is quiet")
    found, objects = rows(scene), {name: scene.api.get(name) for name in trials}
    firsts = Counter((action, judge(action, objects[name], found[name])) for name, action in trials.items())
    print(sorted(firsts.items()))  # noqa: T201 -- the same
    assert {first for _, first in firsts} == {"edit", "processor"}


def test_a_late_edit_is_reported_and_can_be_taken_back(scene: Scene) -> None:
    """It changes neither row nor record, and the object says so until the edit is reverted; then it is frozen."""
    plan = {"updates": {"rolloutPercentage": 11}}
    for name in EDITS:
        scene.database.flag(name)
        scene.create_by_git(name, flagKey=name, late=timedelta(seconds=1), **plan)
        scene.reaches(name, "Pending")
    specs = {name: scene.api.get(name)["spec"] for name in EDITS}
    with scene.operator.frozen():  # the API server still shows them as pending
        scene.process()
        before = _kept(scene)
        for name, edit in EDITS.items():
            assert scene.api.patch(name, {"spec": edit}).ok

    for name in EDITS:
        status = _ready(scene, name, "EditTooLate")
        assert status["change"] == "rolloutPercentage=11"
        assert status["observedGeneration"] == 2
        reverted = scene.api.replace(scene.api.get(name) | {"spec": specs[name]})
        assert reverted.ok, reverted.message
    for name, edit in EDITS.items():
        assert _ready(scene, name, "Applied")["observedGeneration"] == 3
        annotations: dict[str, str | None] = dict.fromkeys(scene.api.get(name)["metadata"]["annotations"])
        annotations["flagschedule.io/retry-requested-at"] = "now"
        assert scene.api.patch(name, {"metadata": {"annotations": annotations}}).ok  # a person's object from now on
        verb = "cancel" if name == "cancel" else "change"
        assert f"Cannot {verb} schedule with status: applied" in scene.api.patch(name, {"spec": edit}).message
    eventually(
        lambda: all(scene.status(name).get("lastHandledRetryRequest") == "now" for name in EDITS), "requests are noted"
    )
    assert _kept(scene) == before
    assert scene.database.value("SELECT count(*) FROM flag_schedule_attempts") == len(EDITS)


def _kept(scene: Scene) -> list[dict[str, Any]]:
    """Return rows and records without the recorded retry request."""
    return scene.database.query(
        "SELECT s.*, o.generation, o.arming_hash, o.state FROM flag_schedule_objects AS o "
        "JOIN feature_flag_schedules AS s ON s.id = o.schedule_id ORDER BY s.id"
    )


def _ready(scene: Scene, name: str, reason: str) -> Object:
    """Wait until Ready has this reason; the phase stays Applied. Returns: the status."""

    def is_shown() -> bool:
        status = scene.status(name)
        conditions = {condition["type"]: condition["reason"] for condition in status["conditions"]}
        return (status["phase"], conditions["Ready"], conditions["Applied"]) == ("Applied", reason, "Applied")

    eventually(is_shown, f"{name} is {reason}")
    return scene.status(name)


def _is_quiet(scene: Scene, trials: dict[str, str]) -> bool:
    """Return whether each live object shows what its row says, and each lost one's row is finished."""
    found, alive = rows(scene), scene.api.list()
    ended = {"applied", "cancelled"}
    return all(
        _is_reported(alive[name], found[name]) if name in alive else found[name]["status"] in ended for name in trials
    )


def _is_reported(obj: Object, row: dict[str, Any]) -> bool:
    status = obj.get("status", {})
    observed = status.get("observedGeneration") == obj["metadata"]["generation"]
    return bool(observed and (status["phase"] == "Applied") == (row["status"] == "applied"))
