"""The operator, from the object to the row and back, as users see it."""

import pytest

from dev.localkind.control_plane import ControlPlane
from tests.cluster.api import eventually
from tests.cluster.operator_fixtures import Scene

pytestmark = pytest.mark.apiserver


def test_a_new_object_is_mirrored_and_says_so(scene: Scene) -> None:
    """A created object gets a row with its plan, and a status that speaks of its current generation."""
    made = scene.create("launch", updates={"enabled": True, "rolloutPercentage": 25})

    status = scene.reaches("launch", "Pending")

    row = scene.row("launch")
    assert (row["status"], row["updates"]) == ("pending", {"enabled": True, "rolloutPercentage": 25})
    assert row["scheduled_at"].isoformat() == "2035-01-01T09:00:00+00:00"
    assert status["scheduleId"] == str(row["id"])
    assert status["observedGeneration"] == made["metadata"]["generation"]
    conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}
    assert conditions == {"Ready": "True", "Applied": "Unknown"}


def test_kubectl_shows_where_a_schedule_stands(scene: Scene, installed: ControlPlane) -> None:
    """`kubectl get` shows flag, change, time and phase of a mirrored object."""
    scene.create("launch", updates={"enabled": True, "rolloutPercentage": 25})
    scene.reaches("launch", "Pending")

    header, line = installed.kubectl("get", "fsched", f"--namespace={scene.api.namespace}").splitlines()

    assert header.split() == ["NAME", "FLAG", "CHANGE", "SCHEDULED", "PHASE", "AGE"]
    assert line.split()[:-1] == [
        *("launch", "checkout", "enabled=true,", "rolloutPercentage=25"),
        *("2035-01-01T09:00:00Z", "Pending"),
    ]


def test_an_object_waits_for_its_flag(scene: Scene) -> None:
    """An object whose flag does not exist is Waiting, and is mirrored once the flag is created."""
    scene.create("early", flagKey="not-yet")
    scene.reaches("early", "Waiting")

    scene.database.flag("not-yet")

    scene.reaches("early", "Pending")
    assert scene.row("early")["status"] == "pending"


def test_an_edit_moves_the_row(scene: Scene) -> None:
    """The row follows an edit of the object's time and change."""
    scene.create("launch")
    scene.reaches("launch", "Pending")

    edit = {"scheduledAt": "2036-01-01T00:00:00Z", "updates": {"rolloutPercentage": 50}}
    assert scene.api.patch("launch", {"spec": edit}).ok

    scene.reaches("launch", "Pending")
    row = scene.row("launch")
    assert row["scheduled_at"].year == 2036
    assert row["updates"] == {"enabled": True, "rolloutPercentage": 50}


def test_suspend_holds_the_row(scene: Scene) -> None:
    """A suspended object's row is held, and goes on when it is no longer suspended."""
    scene.create("launch", suspend=True)
    scene.reaches("launch", "Suspended")
    assert scene.row("launch")["suspended"] is True

    assert scene.api.patch("launch", {"spec": {"suspend": False}}).ok

    scene.reaches("launch", "Pending")
    assert scene.row("launch")["suspended"] is False


def test_deletion_cancels_before_the_object_goes(scene: Scene) -> None:
    """When a deleted object is gone, its plan is cancelled already."""
    scene.create("launch")
    scene.reaches("launch", "Pending")

    assert scene.api.delete("launch").ok

    eventually(lambda: "status" not in scene.api.get("launch") or scene.api.get("launch")["kind"] == "Status", "gone")
    row = scene.row("launch")
    assert (row["status"], row["reason"]) == ("cancelled", "Deleted")


def test_cancel_keeps_the_object(scene: Scene) -> None:
    """`spec.cancel` gives the plan up and leaves the object to look at."""
    scene.create("launch")
    scene.reaches("launch", "Pending")

    assert scene.api.patch("launch", {"spec": {"cancel": True}}).ok

    scene.reaches("launch", "Cancelled")
    assert scene.row("launch")["status"] == "cancelled"


def test_what_the_processor_did_reaches_the_object(scene: Scene) -> None:
    """An outcome committed with an outbox entry reaches the status; no event of the object is needed."""
    scene.create("launch")
    scene.reaches("launch", "Pending")
    row = scene.row("launch")

    scene.database.run(
        "WITH done AS (UPDATE feature_flag_schedules SET status = 'applied', reason = 'Applied', applied_at = now() "
        "WHERE id = %s RETURNING id) INSERT INTO flag_schedule_status_outbox (schedule_id) SELECT id FROM done",
        row["id"],
    )

    status = scene.reaches("launch", "Applied")
    assert status["appliedAt"]
    eventually(
        lambda: scene.database.value("SELECT count(*) FROM flag_schedule_status_outbox") == 0, "the entry is served"
    )


def test_a_lost_flag_ends_its_schedules(scene: Scene) -> None:
    """Deleting a flag takes its schedules' rows with it; their objects say Failed and why."""
    scene.create("launch")
    scene.reaches("launch", "Pending")

    scene.database.run("DELETE FROM feature_flags")

    status = scene.reaches("launch", "Failed")
    reasons = {condition["type"]: condition["reason"] for condition in status["conditions"]}
    assert reasons["Applied"] == "FlagDeleted"
