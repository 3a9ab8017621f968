"""The commands of docs/how-to/operations.md for a bad hour, run as they stand there, with kubectl alone."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from dev.localkind.control_plane import ControlPlane
from tests import recipes
from tests.cluster.api import eventually, flagschedule
from tests.cluster.conftest import in_namespace
from tests.cluster.operator_fixtures import SYSTEM, Scene
from tests.cluster.spec_corpus import spec

pytestmark = pytest.mark.apiserver

PAGE = "how-to/operations.md"
FLAG = "checkout-v2"
PROCESSOR = "--selector=app.kubernetes.io/component=processor"
Shell = Callable[[str], str]


@pytest.fixture
def shell(installed: ControlPlane) -> Shell:
    """Runs commands of the page as the administrator, in the namespace of the product."""
    kubeconfig = installed.kubeconfig(token=installed.token("admin"))
    installed.kubectl(f"--kubeconfig={kubeconfig}", "config", "set-context", "--current", f"--namespace={SYSTEM}")
    environment = {"KUBECONFIG": str(kubeconfig), "HOME": str(kubeconfig.parent)}
    return lambda script: recipes.run(script, installed.kubectl_program, environment)


@pytest.fixture
def shop(scene: Scene) -> Scene:
    """A scene with the flag that the page speaks of."""
    scene.database.flag(FLAG)
    return scene


@pytest.fixture
def stopped(installed: ControlPlane) -> Iterator[ControlPlane]:
    """An API server whose CronJob continues after the test."""
    yield installed
    installed.kubectl(
        "patch", "cronjob", "flagschedule-processor", f"--namespace={SYSTEM}", '--patch={"spec":{"suspend":false}}'
    )


def recipe(heading: str, namespace: str) -> list[str]:
    """Return the blocks under a heading, for a test's own namespace instead of the page's."""
    return [block.replace("=shop", f"={namespace}") for block in recipes.commands(PAGE, heading)]


def test_the_stop_leaves_no_run(stopped: ControlPlane, shell: Shell) -> None:
    """The CronJob is held and no Job or pod of the processor is left when the commands return; then it goes on."""
    stop, go_on = recipes.commands(PAGE, "Stop everything now")
    shell("kubectl create job by-hand --from=cronjob/flagschedule-processor")
    eventually(lambda: shell(f"kubectl get pods {PROCESSOR} --output=name"), "there is a pod of a run")

    shell(stop)

    assert shell(f"kubectl get jobs,pods {PROCESSOR} --output=name") == ""
    state = f"get cronjob flagschedule-processor --namespace={SYSTEM} --output=jsonpath={{.spec.suspend}}".split()
    assert stopped.kubectl(*state) == "true"
    shell(go_on)
    assert stopped.kubectl(*state) == "false"


def test_it_goes_on_after_a_long_stop(stopped: ControlPlane, shell: Shell) -> None:
    """After any number of missed runs of a suspended CronJob, one run starts when it is resumed."""
    stop, go_on = recipes.commands(PAGE, "Stop everything now")
    shell(stop)
    weeks_ago = '--patch={"status":{"lastScheduleTime":"2026-01-01T00:00:00Z"}}'
    stopped.kubectl(
        "patch", "cronjob", "flagschedule-processor", f"--namespace={SYSTEM}", "--subresource=status", weeks_ago
    )

    shell(go_on)

    eventually(lambda: shell(f"kubectl get jobs {PROCESSOR} --output=name"), "a run is started")


def test_what_is_in_trouble_is_frozen_and_released(shop: Scene, shell: Shell) -> None:
    """The freeze is active when the commands return, the next ones list what it holds, the last ones release it."""
    freeze, look, end = recipe("Freeze what is in trouble", shop.api.namespace)
    try:
        shell(freeze)
        shop.create_by_git("launch", flagKey=FLAG)
        shop.create_by_git("other")
        shop.reaches("launch", "Frozen")
        shop.reaches("other", "Pending")
        shop.process()

        shop.reaches("other", "Applied")
        assert f"{shop.api.namespace}/launch {FLAG} enabled=true" in shell(look)
    finally:
        shell(end)
    shop.process()
    shop.reaches("launch", "Applied")


def test_a_flag_is_held_and_let_go(shop: Scene, shell: Shell) -> None:
    """Everything that waits for its time is held; what was held before stays so, and other flags go on."""
    hold, let_go = recipe("Hold all schedules of one flag", shop.api.namespace)
    shop.create_by_git("done", flagKey=FLAG)
    shop.reaches("done", "Pending")
    shop.process()
    shop.reaches("done", "Applied")
    shop.create("next", flagKey=FLAG)
    shop.create("held-before", flagKey=FLAG, suspend=True)
    shop.create("elsewhere", flagKey=FLAG, environment="not-yet")
    shop.create("other")
    shop.reaches("next", "Pending")

    shell(hold)

    shop.reaches("next", "Suspended")
    shop.reaches("elsewhere", "Waiting")
    shop.reaches("other", "Pending")
    shop.reaches("done", "Applied")
    held = {name: "labels" in obj["metadata"] for name, obj in shop.api.list().items()}
    assert held == {"done": False, "next": True, "held-before": False, "elsewhere": True, "other": False}

    shell(let_go)

    shop.reaches("next", "Pending")
    shop.reaches("held-before", "Suspended")
    assert not shop.api.get("next")["metadata"].get("labels")


def test_a_change_is_put_back(shop: Scene, shell: Shell) -> None:
    """The flag gets the values of the documented command within seconds."""
    (put_back,) = recipe("Put a change back", shop.api.namespace)
    shop.database.run("UPDATE feature_flags SET enabled = true, rollout_percentage = 25")

    shell(put_back)

    shop.reaches("checkout-v2-back", "Pending")
    eventually(lambda: shop.database.value("SELECT bool_and(scheduled_at <= now()) FROM feature_flag_schedules"), "due")
    shop.process()
    shop.reaches("checkout-v2-back", "Applied")
    flag = shop.database.value("SELECT id FROM feature_flags WHERE flag_key = %s", FLAG)
    assert shop.database.state(flag) == (False, 0)


@pytest.fixture
def launch(shop: Scene) -> list[dict[str, object]]:
    """The files of a launch, in two time zones."""
    times = {"morning": "2035-01-31T09:00:00+02:00", "evening": "2035-12-31T20:00:00.5-05:00"}
    return [
        flagschedule(
            name,
            spec(flagKey=FLAG, scheduledAt=at),
            labels={"launch": "checkout-v2"},
            namespace=shop.api.namespace,
        )
        for name, at in times.items()
    ]


def test_a_launch_is_shifted_by_a_day(shop: Scene, shell: Shell, launch: list[dict[str, object]]) -> None:
    """Each object keeps its time of day, and what was made stays; the files can be applied again by kubectl apply."""
    (shift,) = recipe("Shift a launch by a day", shop.api.namespace)
    file = json.dumps({"apiVersion": "v1", "kind": "List", "items": launch})
    apply = f"kubectl apply --filename=- <<'END'\n{file}\nEND"
    shell(apply)
    shop.create("other")
    shop.create_by_git("done", flagKey=FLAG)
    shop.reaches("done", "Pending")
    shop.process()
    shop.reaches("done", "Applied")
    assert shop.api.patch("done", {"metadata": {"labels": {"launch": "checkout-v2"}}}).ok
    done = shop.api.get("done")["spec"]

    shell(shift)

    assert shop.api.get("done")["spec"] == done

    for name in ("morning", "evening", "other"):
        shop.reaches(name, "Pending")
    times = {name: shop.row(name)["scheduled_at"].astimezone(UTC) for name in ("morning", "evening", "other")}
    assert {name: f"{at:%FT%T}" for name, at in times.items()} == {
        "morning": "2035-02-01T07:00:00",
        "evening": "2036-01-02T01:00:00",
        "other": "2035-01-01T09:00:00",
    }
    shell(apply)


def test_what_not_to_do_for_a_shift(shop: Scene, shell: Shell, launch: list[dict[str, object]]) -> None:
    """A file that was saved from the cluster and replaced cannot be applied any more, as the page says."""
    file = json.dumps({"apiVersion": "v1", "kind": "List", "items": launch})
    shell(f"kubectl apply --filename=- <<'END'\n{file}\nEND")
    shop.reaches("morning", "Pending")

    text = shell(
        f"cd $(mktemp -d); kubectl get fsched --namespace={shop.api.namespace} --output=yaml | "
        "sed 's/2035-/2036-/' >saved.yaml; kubectl replace --filename=saved.yaml >/dev/null; "
        "sed -i 's/2036-/2037-/' saved.yaml; ! kubectl apply --filename=saved.yaml 2>&1"
    )

    assert text.count("the object has been modified") == len(launch)


def test_what_is_due_in_the_next_hour_is_one_command(shop: Scene, shell: Shell, installed: ControlPlane) -> None:
    """In any namespace and with any offset, what will be made within the hour is listed in the order of time."""
    (due,) = recipes.commands(PAGE, "What is due in the next hour, everywhere")
    now = datetime.now(UTC).replace(microsecond=0)

    def at(minutes: int, offset: str) -> str:
        hours = int(offset[:3])
        return (now + timedelta(minutes=minutes, hours=hours)).strftime("%Y-%m-%dT%H:%M:%S") + offset

    shop.create("second", flagKey=FLAG, scheduledAt=at(40, "-05:00"))
    shop.create("first", flagKey=FLAG, scheduledAt=at(20, "+09:00"))
    shop.create("tomorrow", flagKey=FLAG, scheduledAt=at(90, "+00:00"))
    shop.create("held", flagKey=FLAG, scheduledAt=at(30, "+00:00"), suspend=True)
    shop.create("without-a-flag", flagKey="not-yet", scheduledAt=at(30, "+00:00"))
    for name in ("second", "first", "tomorrow"):
        shop.reaches(name, "Pending")
    shop.reaches("held", "Suspended")
    shop.reaches("without-a-flag", "Waiting")
    in_namespace(installed, f"{shop.api.namespace}-b").create(flagschedule("unseen", spec()))

    lines = [line.split() for line in shell(due).splitlines() if f" {shop.api.namespace}/" in line]

    assert [line[:3] for line in lines] == [
        [at(minutes, "+00:00").replace("+00:00", "Z"), f"{shop.api.namespace}/{name}", key]
        for minutes, name, key in ((20, "first", FLAG), (30, "without-a-flag", "not-yet"), (40, "second", FLAG))
    ]
