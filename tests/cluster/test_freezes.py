"""FlagFreezes on a real API server: the operator writes them, the processor obeys, schedules show it.

Other tests' operators see the same freezes, which name the test's own namespace for that.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.api import Api, Object, eventually, flagfreeze
from tests.cluster.operator_fixtures import Scene

pytestmark = pytest.mark.apiserver


class Freezes:
    """The freezes of one test."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.api: Api = scene.api.of("flagfreezes")
        self.name = f"freeze-{scene.api.namespace}"

    def create(self, **fields: Any) -> None:
        """Freeze the test's namespace."""
        wish = {"reason": "INC-4711: checkout is down", "namespaces": [self._scene.api.namespace], **fields}
        answer = self.api.create(flagfreeze(self.name, wish))
        assert answer.ok, answer.message

    def status(self) -> Object:
        """Return the status."""
        found: Object = self.api.get(self.name).get("status", {})
        return found

    def is_active(self) -> None:
        """Wait until the freeze stands in the database, and its status says that the database obeys."""
        database = self._scene.database
        eventually(lambda: database.value("SELECT count(*) FROM flag_schedule_freezes") == 1, "the freeze is stored")
        database.run("UPDATE flag_schedule_protocol SET raised_at = now() - interval '5 seconds'")
        eventually(lambda: self.status().get("phase") == "Active", "the freeze is active")

    def delete(self) -> None:
        """End the freeze."""
        assert self.api.delete(self.name).ok


@pytest.fixture
def freezes(scene: Scene) -> Iterator[Freezes]:
    """The freezes of a running operator; what is left is removed."""
    made = Freezes(scene)
    yield made
    made.api.delete(made.name)
    eventually(lambda: made.api.get(made.name)["kind"] == "Status", "the freeze is gone")


def test_a_stop_button_holds_what_is_due_and_lets_it_go_on(scene: Scene, freezes: Freezes) -> None:
    """Active, Frozen with the reason, held; deleted: applied, and nothing is left in the database."""
    scene.create("launch")
    scene.reaches("launch", "Pending")
    freezes.create()
    freezes.is_active()
    scene.database.run("UPDATE feature_flag_schedules SET scheduled_at = now()")
    scene.process()

    frozen = scene.reaches("launch", "Frozen")
    eventually(lambda: freezes.status().get("held") == 1, "it is counted")
    freezes.delete()
    eventually(lambda: scene.database.value("SELECT count(*) FROM flag_schedule_freezes") == 0, "it is over")
    scene.process()

    assert f'by the FlagFreeze "{freezes.name}" until it is deleted: INC-4711: checkout is down' in frozen["message"]
    assert {each["type"]: (each["status"], each["reason"]) for each in frozen["conditions"]} == {
        "Ready": ("True", "Frozen"),
        "Applied": ("Unknown", "Frozen"),
    }
    scene.reaches("launch", "Applied")


def test_a_freeze_outlives_the_operator(scene: Scene, freezes: Freezes) -> None:
    """While no operator runs the processor obeys; what shows Frozen and goes on meanwhile is corrected at the start."""
    scene.create("launch")
    scene.reaches("launch", "Pending")
    freezes.create()
    freezes.is_active()
    scene.database.run("UPDATE feature_flag_schedules SET scheduled_at = now()")
    scene.reaches("launch", "Frozen")
    scene.operator.stop()
    scene.process()
    held = scene.row("launch")["status"]
    scene.database.run("DELETE FROM flag_schedule_freezes")
    scene.process()

    scene.operator.start()

    assert held == "pending"
    scene.reaches("launch", "Applied")
    eventually(lambda: scene.database.value("SELECT count(*) FROM flag_schedule_freezes") == 1, "it is written again")


def test_a_spec_that_cel_cannot_judge_is_invalid_with_a_sentence(freezes: Freezes) -> None:
    """A time zone that is none: Stalled, and the message says what to write."""
    freezes.create(windows=[{"cron": "0 17 * * 5", "for": "63h", "timeZone": "Europe/Bergen"}])

    eventually(lambda: freezes.status().get("phase") == "Invalid", "it is invalid")

    assert "must be a time zone of the IANA database" in freezes.status()["message"]
    assert "Stalled" in {each["type"] for each in freezes.status()["conditions"]}


def test_another_cluster_name_takes_freezes_along(
    scene: Scene, freezes: Freezes, new_operator: Callable[..., Any]
) -> None:
    """Under a new FLAG_SCHEDULE_CLUSTER the freeze's interval follows at the start."""
    freezes.create()
    freezes.is_active()
    scene.operator.stop()

    new_operator(scene.operator.database_url, FLAG_SCHEDULE_CLUSTER="renamed").start()

    clusters = "SELECT array_agg(cluster) FROM flag_schedule_freezes"
    eventually(lambda: scene.database.value(clusters) == ["renamed"], "the interval follows")
