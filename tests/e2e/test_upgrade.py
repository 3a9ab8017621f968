"""The release over time: the leader dies, a new image comes under load, the chart goes and returns."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any, LiteralString

import pytest
from pytest_kind import KindCluster

import flagschedule
from dev.chart import package
from dev.demo.installation import IMAGE
from dev.image import base
from dev.localkind import engines, kind_binary
from dev.localkind.cache import cache_dir
from dev.localkind.servers.registry import Registry
from tests import recipes
from tests.cluster.api import eventually
from tests.e2e.pods import NAMESPACE, Pods

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]

MANY = 40
TAKEOVER = timedelta(seconds=60)  # 15 of them by design; the rest is for a busy machine
LINGERING = timedelta(seconds=30)  # one of them by design; without lingering it is up to a minute
STOPPED = 5
LONGEST_RUN = timedelta(seconds=70)
NEXT_IMAGE = f"{IMAGE}-next"


def _statuses(pods: Pods) -> dict[str, Any]:
    found = json.loads(pods.kubectl("get", "flagschedules", f"--namespace={NAMESPACE}", "--output=json"))
    return {obj["metadata"]["name"]: (obj["metadata"]["uid"], obj["status"]) for obj in found["items"]}


def test_the_standby_takes_over(pods: Pods) -> None:
    """When the leading program is killed the other replica goes on once the lease has run out."""
    pods.database.flag("handover")
    holder = pods.holder
    killed_at = pods.database.value("SELECT clock_timestamp()")

    pods.signal(holder.rpartition("_")[0], "SIGKILL")

    pods.plan("handed-over", flag="handover", after=timedelta(hours=1))
    assert pods.wait("handed-over", "condition=Ready")["status"]["phase"] == "Pending"
    assert pods.holder not in {"", holder}
    mirrored_at = pods.database.value("SELECT first_seen_at FROM flag_schedule_objects WHERE name = 'handed-over'")
    assert mirrored_at - killed_at < TAKEOVER


def test_an_upgrade_under_load_loses_and_doubles_nothing(pods: Pods) -> None:
    """Objects that are created and come due while all pods are replaced are each applied once, and say so."""
    flags = [pods.database.flag(f"load-{number}") for number in range(MANY)]
    pods.in_node("ctr", "--namespace=k8s.io", "images", "tag", "--force", IMAGE, NEXT_IMAGE)
    dues = [
        pods.plan(f"load-{number}", flag=f"load-{number}", after=timedelta(seconds=2 + number % 20))
        for number in range(MANY // 2)
    ]

    pods.release.upgrade(NEXT_IMAGE.rpartition(":")[2])
    dues += [pods.plan(f"load-{number}", flag=f"load-{number}") for number in range(MANY // 2, MANY)]
    pods.wait_until_due(max(dues))
    assert pods.run_processor().exit_code == 0

    for number in range(MANY):
        assert pods.wait(f"load-{number}", "condition=Applied")["status"]["phase"] == "Applied"
    assert {pods.database.state(flag) for flag in flags} == {(True, 25)}
    attempts = "SELECT count(*) FROM flag_schedule_attempts AS a JOIN flag_schedule_objects AS o USING (schedule_id) "
    assert pods.database.value(attempts + "WHERE o.name LIKE 'load-%%'") == MANY
    images = {pod["spec"]["containers"][0]["image"] for pod in pods.system_pods(pods.OPERATOR)}
    assert images == {NEXT_IMAGE}


def test_a_lingering_run_applies_within_seconds(pods: Pods) -> None:
    """With lingering the CronJob's pod, once it runs, makes a change within seconds of its time."""
    flag = pods.database.flag("prompt")
    pods.release.upgrade(NEXT_IMAGE.rpartition(":")[2], "processor.lingerSeconds=65")
    eventually(pods.has_lingering_run, "a pod of the processor lingers")

    due = pods.plan("prompt", flag="prompt", after=timedelta(seconds=5))
    pods.wait("prompt", "condition=Applied")

    assert pods.schedule("prompt")["applied_at"] - due <= LINGERING
    assert pods.database.state(flag) == (True, 25)


def test_helm_test_makes_a_change(pods: Pods) -> None:
    """`helm test` succeeds in the cluster, where its pod finds Python, its account and the API server."""
    pods.database.flag("flagschedule-helm-test")
    eventually(pods.has_lingering_run, "a pod of the processor lingers")

    assert "applied: rolloutPercentage=" in pods.release.test()


def test_the_emergency_stop_stops_a_run_that_waits(pods: Pods) -> None:
    """After the commands of the emergency stop no change is made, also by a run that waits; afterwards all are made."""
    stop, go_on = recipes.commands("how-to/operations.md", "Stop everything now")
    flags = [pods.database.flag(f"stopped-{number}") for number in range(STOPPED)]
    eventually(pods.has_lingering_run, "a pod of the processor lingers")
    dues = [
        pods.plan(f"stopped-{number}", flag=f"stopped-{number}", after=timedelta(seconds=30 + number))
        for number in range(STOPPED)
    ]
    for number in range(STOPPED):
        pods.wait(f"stopped-{number}", "condition=Ready")

    pods.shell(stop)
    applied: LiteralString = (
        "SELECT count(*) FROM feature_flag_schedules AS s JOIN flag_schedule_objects AS o ON o.schedule_id = s.id "
        "WHERE o.name LIKE 'stopped-%' AND s.status = 'applied'"
    )
    before = pods.database.value(applied)
    # By then a run that was active has ended, and the next one would have begun.
    pods.wait_until_due(max(dues) + LONGEST_RUN)
    assert pods.database.value(applied) == before

    pods.shell(go_on)
    for number in range(STOPPED):
        pods.wait(f"stopped-{number}", "condition=Applied", seconds=180)
    assert {pods.database.state(flag) for flag in flags} == {(True, 25)}


def test_an_uninstalled_chart_leaves_the_objects(pods: Pods) -> None:
    """`helm uninstall` takes the programs and keeps kind, objects and rows; installing again goes on as before."""
    flag = pods.database.flag("kept")
    pods.plan("kept", flag="kept", after=timedelta(hours=1))
    pods.wait("kept", "condition=Ready")
    before = _statuses(pods)

    pods.release.uninstall()
    eventually(lambda: pods.operators() == [], "the operator is gone")
    assert _statuses(pods) == before
    due = pods.plan("without-programs", flag="kept")
    pods.release.install()

    pods.wait("without-programs", "condition=Ready")
    pods.wait_until_due(due)
    assert pods.run_processor().exit_code == 0
    pods.wait("without-programs", "condition=Applied")
    assert pods.database.state(flag) == (True, 25)
    eventually(lambda: before.items() <= _statuses(pods).items(), "nothing else has changed")


def test_a_published_chart_is_all_that_an_installation_needs(
    pods: Pods, kind_cluster: KindCluster, tmp_path: Path
) -> None:
    """`helm install oci://…` with the release's own commands runs the image that was pushed, and it makes a change."""
    flag = pods.database.flag("published")
    pods.release.uninstall()
    address = kind_binary.host_address(kind_cluster.name)
    version = flagschedule.__version__
    with Registry(listen=["127.0.0.1", address]) as registry:
        name = f"{registry.host}/example/flagschedule"
        folder = f"{kind_binary.registries()}/{registry.host}"
        hosts = registry.hosts_toml(address)
        pods.in_node("sh", "-c", f"mkdir -p {folder}; printf '%s' '{hosts}' > {folder}/hosts.toml")
        engines.choose(cache_dir(), base.image()).push(IMAGE, f"{name}:{version}")
        digest = registry.digest("example/flagschedule", version)
        archive = package.package(pods.release.program, name, digest, "https://example.com/#", tmp_path)
        pods.release.push(archive, f"{name}/charts")

        pods.release.install_published(f"{name}/charts/flagschedule", version)
        pods.wait_until_due(pods.plan("published", flag="published"))
        assert pods.run_processor().exit_code == 0
        pods.wait("published", "condition=Applied")

    assert pods.database.state(flag) == (True, 25)
    images = {pod["spec"]["containers"][0]["image"] for pod in pods.system_pods(pods.OPERATOR)}
    assert images == {f"{name}:{version}@{digest}"}
