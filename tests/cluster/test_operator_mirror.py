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


def test_deletion_cancels_before_the_object_goes(scene: Scene) -> None:
    """When a deleted object is gone, its plan is cancelled already."""
    scene.create("launch")
    scene.reaches("launch", "Pending")

    assert scene.api.delete("launch").ok

    eventually(lambda: "status" not in scene.api.get("launch") or scene.api.get("launch")["kind"] == "Status", "gone")
    row = scene.row("launch")
    assert (row["status"], row["reason"]) == ("cancelled", "Deleted")
