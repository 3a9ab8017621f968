"""Objects that come late, flags that come and go, files that come again: the operator on one cluster."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cluster.api import Api, Object, eventually, flagschedule
from tests.cluster.operator_fixtures import Operator, Scene
from tests.cluster.spec_corpus import spec
from tests.integration.database import connected

pytestmark = pytest.mark.apiserver

MINUTES = timedelta(minutes=1)


def conditions(status: Object) -> dict[str, tuple[str, str]]:
    """Return status and reason of each condition."""
    return {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}


def seconds_ahead(scene: Scene, seconds: int) -> str:
    """Return a time by the database's clock, as people write it."""
    now: datetime = scene.database.value("SELECT now()")
    return (now + timedelta(seconds=seconds)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def again(obj: Object) -> Object:
    """Return the same file, as Git has it."""
    metadata = {key: obj["metadata"][key] for key in ("name", "annotations") if key in obj["metadata"]}
    return {**{key: obj[key] for key in ("apiVersion", "kind", "spec")}, "metadata": metadata}


def test_lateness_decides_what_git_brings(scene: Scene) -> None:
    """Late within the allowance is applied, later is Expired, a day later is history; edits are judged the same way."""
    scene.create_by_git("late", late=MINUTES)
    scene.create_by_git("too-late", late=20 * MINUTES)
    scene.create_by_git("allowed", late=20 * MINUTES, startingDeadlineSeconds=3600)
    scene.create_by_git("history", late=25 * 60 * MINUTES)
    scene.create_by_git("forgotten", late=25 * 60 * MINUTES, startingDeadlineSeconds=10**9)
    scene.create_by_git("moved", scheduledAt="2035-01-01T09:00:00Z")

    expired = scene.reaches("too-late", "Expired")
    assert conditions(expired) == dict.fromkeys(("Ready", "Applied"), ("False", "Expired")) | {
        "Stalled": ("True", "Expired")
    }
    history = scene.reaches("history", "Expired")
    assert conditions(history) == {"Ready": ("True", "Expired"), "Applied": ("False", "Expired")}
    assert conditions(scene.reaches("forgotten", "Expired")) == conditions(history)
    scene.reaches("late", "Pending")
    scene.reaches("allowed", "Pending")
    scene.reaches("moved", "Pending")

    assert scene.api.patch("moved", {"spec": {"scheduledAt": seconds_ahead(scene, -1200)}}).ok
    assert "Stalled" in conditions(scene.reaches("moved", "Expired"))
    assert scene.api.patch("moved", {"spec": {"scheduledAt": seconds_ahead(scene, 3600)}}).ok
    scene.reaches("moved", "Pending")
    assert scene.api.patch("too-late", {"spec": {"startingDeadlineSeconds": 7200}}).ok
    scene.reaches("too-late", "Pending")

    scene.process()

    for name in ("late", "allowed", "too-late"):
        assert scene.row(name)["status"] == "applied"
        eventually(lambda: "appliedAt" in scene.status(name), f"{name} says so")  # noqa: B023 -- called at once
    assert scene.row("moved")["status"] == "pending"
    assert "appliedAt" not in scene.status("history")


def test_a_status_that_came_with_the_object_means_nothing(scene: Scene) -> None:
    """A status in the created object neither keeps a change from being made nor makes it look made."""
    forged = {"observedGeneration": 1, "phase": "Applied", "appliedAt": "2026-01-01T00:00:00Z"}
    made = scene.api.create(flagschedule("forged", spec()) | {"status": forged})
    assert made.ok, made.message

    status = scene.reaches("forged", "Pending")

    assert "appliedAt" not in status
    assert scene.row("forged")["status"] == "pending"


def test_what_was_accepted_in_time_is_applied_after_an_outage(
    api: Api, database_url: str, new_operator: Callable[..., Operator]
) -> None:
    """An object created before its time while no operator ran is applied late; one created after it is not."""
    with connected(database_url) as database:
        database.flag("checkout")
        scene = Scene(api, database, new_operator(database_url, FLAG_SCHEDULE_MAX_LATENESS_SECONDS="0"))
        due = seconds_ahead(scene, 10)
        scene.create("accepted", scheduledAt=due)
        eventually(lambda: bool(database.value("SELECT now() > %s::timestamptz + interval '1 second'", due)), "late")
        scene.create_by_git("late", scheduledAt=due)

        scene.operator.start()

        scene.reaches("late", "Expired")
        scene.reaches("accepted", "Pending")
        scene.process()
        scene.reaches("accepted", "Applied")


def test_flags_come_and_go(api: Api, database_url: str, new_operator: Callable[..., Operator]) -> None:
    """Without a flag an object waits until its time has passed; a deleted flag ends what is unfinished."""
    with connected(database_url) as database:
        database.flag("checkout")
        scene = Scene(api, database, new_operator(database_url))
        scene.operator.start()
        scene.create_by_git("flagless", flagKey="never")
        scene.create_by_git("applied", late=timedelta(seconds=0))
        scene.create("planned")
        scene.reaches("flagless", "Waiting")
        scene.reaches("planned", "Pending")
        scene.reaches("applied", "Pending")
        scene.process()
        applied = scene.reaches("applied", "Applied")

        database.run("DELETE FROM feature_flags")
        assert conditions(scene.reaches("planned", "Failed"))["Applied"] == ("False", "FlagDeleted")
        database.flag("checkout")
        request = {"metadata": {"annotations": {"flagschedule.io/retry-requested-at": "now"}}}
        assert scene.api.patch("planned", request).ok

        scene.reaches("planned", "Pending")
        assert scene.status("planned")["lastHandledRetryRequest"] == "now"
        assert scene.row("planned")["status"] == "pending"
        scene.operator.stop()
        scene.operator.start(FLAG_SCHEDULE_MAX_LATENESS_SECONDS="0")  # as if ten minutes had passed
        assert conditions(scene.reaches("flagless", "Expired"))["Ready"] == ("False", "Expired")
        still = scene.reaches("applied", "Applied")
        assert (still["appliedAt"], conditions(still)) == (applied["appliedAt"], conditions(applied))


def test_the_same_file_again_is_not_applied_again(scene: Scene) -> None:
    """Created again, a change that was made is Replayed with its own time, also after its row was purged."""
    file = again(scene.create_by_git("launch"))
    plan = again(scene.create("plan"))
    scene.reaches("launch", "Pending")
    scene.reaches("plan", "Pending")
    scene.process()
    applied = scene.reaches("launch", "Applied")
    flags: Callable[[], Any] = lambda: scene.database.query("SELECT xmin, * FROM feature_flags")  # noqa: E731 -- called twice
    before = flags()

    for purge in (False, True):
        for name in ("launch", "plan"):
            assert scene.api.delete(name).ok
            scene.is_gone(name)
        if purge:
            scene.database.run("DELETE FROM feature_flag_schedules WHERE status = 'applied'")
        assert scene.api.create(file).ok
        assert scene.api.create(plan).ok
        replayed = scene.reaches("launch", "Applied")
        assert replayed["appliedAt"] == applied["appliedAt"]
        assert conditions(replayed) == {"Ready": ("True", "Replayed"), "Applied": ("True", "Replayed")}
        scene.reaches("plan", "Pending")  # given up before its time: planned again
    scene.process()

    assert flags() == before
    states = scene.database.query("SELECT status, count(*) FROM feature_flag_schedules GROUP BY 1 ORDER BY 1")
    assert [tuple(state.values()) for state in states] == [("cancelled", 2), ("pending", 1)]
