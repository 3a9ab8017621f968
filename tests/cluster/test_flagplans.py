"""A FlagPlan on its whole way: API server, operator, database, processor, and back to its status and Events."""

from datetime import timedelta
from typing import Any

from tests.cluster.api import Object, eventually, flagplan
from tests.cluster.operator_fixtures import Scene


class Plans:
    """The plans of a scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.api = scene.api.of("flagplans")

    def at(self, late: timedelta) -> str:
        """A time from now, by the database's clock."""
        found: str = self.scene.database.value("""SELECT to_char(now() + %s, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')""", late)
        return found

    def create(self, name: str, *steps: Object, **spec: Any) -> None:
        """Create a plan as Argo CD does, so that it may have begun."""
        tracked = {"argocd.argoproj.io/tracking-id": f"shop:flagschedule.io/FlagPlan:{name}"}
        answer = self.api.create(flagplan(name, {"steps": list(steps), **spec}, annotations=tracked))
        assert answer.ok, answer.message

    def reaches(self, name: str, **wanted: Any) -> Object:
        """Wait until the status has these fields. Returns it."""
        eventually(lambda: wanted.items() <= self.api.get(name).get("status", {}).items(), f"{name} is {wanted}")
        status: Object = self.api.get(name)["status"]
        return status

    def events(self, name: str) -> set[str]:
        """The reasons of a plan's Events."""
        path = f"/api/v1/namespaces/{self.api.namespace}/events?fieldSelector=involvedObject.name={name}"
        found = self.api.request("GET", path).body["items"]
        return {event["reason"] for event in found if event["involvedObject"]["kind"] == "FlagPlan"}


def share(percentage: int) -> list[Object]:
    """Changes that set a percentage."""
    return [{"flagKey": "checkout", "updates": {"rolloutPercentage": percentage}}]


def test_a_ramp_is_made_step_by_step_and_finished(scene: Scene) -> None:
    """Each outcome wakes the plan, its status and Events say what was made, and the end is a condition."""
    plans = Plans(scene)
    begin = plans.at(timedelta(seconds=-5))
    plans.create(
        "ramp",
        {"name": "five", "at": begin, "changes": share(5)},
        {"name": "all", "after": "1s", "changes": share(100)},
    )
    status = plans.reaches("ramp", phase="Active")
    assert status["next"]["step"] == "five"
    scene.process()

    eventually(lambda: plans.api.get("ramp")["status"].get("next", {}).get("step") == "all", "the next step is planned")

    def is_finished() -> bool:
        scene.process()
        return bool(plans.api.get("ramp")["status"]["phase"] == "Finished")

    eventually(is_finished, "all was made")

    status = plans.api.get("ramp")["status"]
    assert [(done["step"], done["outcome"]) for done in status["recent"]] == [("all", "Applied"), ("five", "Applied")]
    assert {c["type"]: c["status"] for c in status["conditions"]} == {"Ready": "True", "Finished": "True"}
    eventually(lambda: plans.events("ramp") == {"Planned", "StepMade", "Finished"}, "the Events are posted")


def test_a_plan_that_is_deleted_leaves_nothing_planned(scene: Scene) -> None:
    """Its rows are cancelled before the object is gone, and the former window's end, too."""
    plans = Plans(scene)
    window = {"name": "hours", "cron": "0 9 * * *", "until": "17:00"}
    changes = [{"flagKey": "checkout", "updates": {"enabled": True}, "then": {"enabled": False}}]
    plans.create("hours", {**window, "changes": changes}, timeZone="Europe/Oslo")
    plans.reaches("hours", phase="Active")
    pending = "SELECT count(*) FROM feature_flag_schedules WHERE status = 'pending'"
    assert scene.database.value(pending) >= 14

    assert plans.api.delete("hours").ok

    eventually(lambda: plans.api.get("hours")["kind"] == "Status", "the plan is gone")
    assert scene.database.value(pending) == 0


def test_suspended_approved_and_resumed(scene: Scene) -> None:
    """A held plan makes nothing; an approval is waited for, and planned when it comes."""
    plans = Plans(scene)
    begin = plans.at(timedelta(seconds=-5))
    step = {"name": "all", "at": begin, "approval": True, "changes": share(100)}
    plans.create("launch", step)
    status = plans.reaches("launch", phase="Waiting")
    assert status["waitingFor"] == {"approval": "all"}
    approved = {"metadata": {"annotations": {"flagschedule.io/approved": "all"}}}
    assert plans.api.patch("launch", approved).ok
    plans.reaches("launch", phase="Active", lastHandledApproval="all")
    assert plans.api.patch("launch", {"spec": {"suspend": True}}).ok
    plans.reaches("launch", phase="Suspended")
    scene.process()
    assert scene.database.value("SELECT rollout_percentage FROM feature_flags") == 0

    assert plans.api.patch("launch", {"spec": {"suspend": False}}).ok
    plans.reaches("launch", phase="Active")
    scene.process()

    plans.reaches("launch", phase="Finished")
    assert scene.database.value("SELECT rollout_percentage FROM feature_flags") == 100


def test_plans_are_compared_when_the_operator_starts(scene: Scene) -> None:
    """What was edited, and what was deleted without a finalizer, while no operator worked is found."""
    plans = Plans(scene)
    hourly = {"name": "hourly", "cron": "0 * * * *", "changes": share(5)}
    for name in ("edited", "removed"):
        plans.create(name, hourly, timeZone="UTC")
        plans.reaches(name, phase="Active")
    scene.operator.kill()
    assert plans.api.patch("edited", {"spec": {"steps": [{**hourly, "changes": share(7)}]}}).ok
    assert plans.api.patch("removed", {"metadata": {"finalizers": None}}).ok
    assert plans.api.delete("removed").ok

    scene.operator.start()

    pending = "SELECT DISTINCT updates FROM feature_flag_schedules WHERE status = 'pending'"
    eventually(lambda: scene.database.query(pending) == [{"updates": {"rolloutPercentage": 7}}], "all is repaired")
