"""Plans and freezes in pods: a ramp that a person interrupts, a freeze that ends by itself, and a minute's rhythm."""

import itertools
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.cluster.api import eventually
from tests.e2e.pods import NAMESPACE, Pods

pytestmark = [pytest.mark.node, pytest.mark.timeout(900)]


@pytest.fixture(autouse=True)
def _lingering(pods: Pods) -> Iterator[None]:
    """A run of the processor that stays, as the shipped ones do."""
    with pods.lingering_processor():
        yield


def apply(pods: Pods, kind: str, name: str, spec: dict[str, Any]) -> None:
    """Apply an object as JSON, which is YAML."""
    obj = {"apiVersion": "flagschedule.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    pods.kubectl("apply", f"--namespace={NAMESPACE}", "-f", "-", stdin=json.dumps(obj))


def wait(pods: Pods, what: str, condition: str) -> dict[str, Any]:
    """Wait until an object has a condition. Returns: its status."""
    pods.kubectl("wait", what, f"--for={condition}", f"--namespace={NAMESPACE}", "--timeout=180s")
    found: dict[str, Any] = json.loads(pods.kubectl("get", what, f"--namespace={NAMESPACE}", "--output=json"))
    status: dict[str, Any] = found["status"]
    return status


def step(name: str, flag: str, percentage: int, expect: int | None = None, **times: str) -> dict[str, Any]:
    """Return a step that sets one flag's percentage."""
    change: dict[str, Any] = {"flagKey": flag, "updates": {"rolloutPercentage": percentage}}
    if expect is not None:
        change["expect"] = {"rolloutPercentage": expect}
    return {"name": name, **times, "changes": [change]}


def test_a_ramp_runs_through(pods: Pods) -> None:
    """Each step is made ten seconds after the one before was made, and the plan is Finished."""
    flag = pods.database.flag("ramp-through")
    at = f"{pods.clock(timedelta(seconds=5)):%FT%TZ}"
    steps = [
        step("five", "ramp-through", 5, at=at),
        step("half", "ramp-through", 50, 5, after="10s"),
        step("all", "ramp-through", 100, 50, after="10s"),
    ]

    apply(pods, "FlagPlan", "ramp-through", {"steps": steps})
    status = wait(pods, "flagplan/ramp-through", "condition=Finished")

    assert pods.database.state(flag) == (False, 100)
    assert [(each["step"], each["outcome"]) for each in status["recent"]] == [
        ("all", "Applied"),
        ("half", "Applied"),
        ("five", "Applied"),
    ]
    made = [
        each["applied_at"]
        for each in pods.database.query(
            "SELECT applied_at FROM feature_flag_schedules WHERE flag_id = %s ORDER BY applied_at", flag
        )
    ]
    assert all(later - earlier >= timedelta(seconds=10) for earlier, later in itertools.pairwise(made))


def test_a_person_stops_a_ramp_by_changing_the_flag(pods: Pods) -> None:
    """Changed by hand between two steps: Stalled, with both values; after a retry request the ramp goes on."""
    flag = pods.database.flag("ramp-stopped")
    at = f"{pods.clock(timedelta(seconds=5)):%FT%TZ}"
    steps = [step("five", "ramp-stopped", 5, at=at), step("half", "ramp-stopped", 50, 5, after="10s")]
    apply(pods, "FlagPlan", "ramp-stopped", {"steps": steps})
    wait(pods, "flagplan/ramp-stopped", "jsonpath={.status.last.step}=five")

    pods.database.run("UPDATE feature_flags SET rollout_percentage = 7 WHERE id = %s", flag)
    stalled = wait(pods, "flagplan/ramp-stopped", "condition=Stalled")
    (message,) = [each["message"] for each in stalled["conditions"] if each["type"] == "Stalled"]
    pods.database.run("UPDATE feature_flags SET rollout_percentage = 5 WHERE id = %s", flag)
    pods.kubectl(
        "annotate", "flagplan/ramp-stopped", f"--namespace={NAMESPACE}", "flagschedule.io/retry-requested-at=now"
    )
    wait(pods, "flagplan/ramp-stopped", "condition=Finished")

    assert "rolloutPercentage=5" in message
    assert "rolloutPercentage=7" in message
    assert pods.database.state(flag) == (False, 50)


def test_a_freeze_of_twenty_seconds_lets_a_change_go_by_itself(pods: Pods) -> None:
    """A change that is due within the freeze is held, shown as Frozen, and made when the freeze ends."""
    pods.database.flag("frozen-for-a-while")
    now, until = pods.clock(timedelta(0)), pods.clock(timedelta(seconds=25))
    window = {"from": f"{now:%FT%TZ}", "until": f"{until:%FT%TZ}"}
    apply(pods, "FlagFreeze", "a-while", {"reason": "a test", "flagKeys": ["frozen-*"], "windows": [window]})
    try:
        wait(pods, "flagfreeze/a-while", "condition=Active")
        pods.plan("frozen", flag="frozen-for-a-while", after=timedelta(seconds=2))
        frozen = pods.wait("frozen", "jsonpath={.status.phase}=Frozen")["status"]
        pods.wait("frozen", "condition=Applied")
    finally:
        pods.kubectl("delete", "flagfreeze/a-while")

    assert "a-while" in frozen["message"]
    applied = pods.schedule("frozen")["applied_at"]
    assert until <= applied <= until + timedelta(seconds=10)


def test_a_plan_of_each_minute_goes_on_and_off(pods: Pods) -> None:
    """With the shortest interval set to a minute, two cron steps switch a flag on and off for three minutes."""
    flag = pods.database.flag("each-minute")
    pods.kubectl(
        "set",
        "env",
        "deployment/flagschedule-operator",
        "--namespace=flagschedule-system",
        "FLAG_SCHEDULE_SHORTEST_INTERVAL_SECONDS=60",
    )
    pods.kubectl(
        "rollout", "status", "deployment/flagschedule-operator", "--namespace=flagschedule-system", "--timeout=180s"
    )
    changes = {name: [{"flagKey": "each-minute", "updates": {"enabled": name == "on"}}] for name in ("on", "off")}
    steps = [
        {"name": "on", "cron": "*/2 * * * *", "changes": changes["on"]},
        {"name": "off", "cron": "1-59/2 * * * *", "changes": changes["off"]},
    ]

    apply(pods, "FlagPlan", "each-minute", {"timeZone": "UTC", "steps": steps})

    attempts = (
        "SELECT s.scheduled_at, a.after_enabled FROM flag_schedule_attempts AS a "
        "JOIN feature_flag_schedules AS s ON s.id = a.schedule_id WHERE s.flag_id = %s ORDER BY s.scheduled_at"
    )
    eventually(lambda: len(pods.database.query(attempts, flag)) >= 3, "three changes were made", seconds=300)
    made = pods.database.query(attempts, flag)
    assert all(
        later["scheduled_at"] - earlier["scheduled_at"] == timedelta(minutes=1)
        for earlier, later in itertools.pairwise(made)
    )
    assert [each["after_enabled"] for each in made] == [each["scheduled_at"].minute % 2 == 0 for each in made]
