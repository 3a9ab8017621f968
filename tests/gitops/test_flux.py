"""Flux's own controllers apply, compare, prune and judge FlagSchedules, with the operator and the processor at work.

GITOPS_SECONDS says for how long the tool compares while schedules come due; by default two minutes.
"""

import os
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from dev.localkind.control_plane import ControlPlane
from tests.cluster.api import Api, Object, eventually, flagschedule
from tests.cluster.operator_fixtures import Scene, operators
from tests.cluster.spec_corpus import spec
from tests.gitops.flux import INTERVAL, Flux, running
from tests.integration.database import connected

SECONDS: Final = int(os.environ.get("GITOPS_SECONDS", "120"))
pytestmark = [pytest.mark.flux, pytest.mark.timeout(SECONDS + 600)]

ROOT: Final = Path(__file__).resolve().parents[2]
SAMPLES: Final = sorted((ROOT / "manifests" / "samples").glob("*.yaml"))
_APPLIES: Final = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)", re.MULTILINE)


class Tenant:
    """One namespace whose files Flux applies."""

    def __init__(self, flux: Flux, scene: Scene) -> None:
        self.flux = flux
        self.scene = scene
        self.name = scene.api.namespace

    def commit(self, **files: Any) -> str:
        """Commit files of this namespace by their names. Returns: the commit."""
        return self.flux.commit(self.name, {f"{name}.yaml": content for name, content in files.items()})

    def sync(self, **files: Any) -> None:
        """Commit files, and wait until they are applied and healthy."""
        self.flux.succeeds(self.name, self.commit(**files))

    def due(self, after: timedelta = timedelta(0)) -> str:
        """Return a time so much later than now, by the database's clock."""
        at: str = self.scene.database.value("""SELECT to_char(now() + %s, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')""", after)
        return at

    def processed(self, *names: str) -> None:
        """Run the processor until the changes of these objects are made."""

        def applied() -> bool:
            self.scene.process()
            return {self.scene.status(name).get("phase") for name in names} == {"Applied"}

        eventually(applied, f"{', '.join(names)} are Applied", SECONDS + 120)

    def flags(self) -> list[dict[str, Any]]:
        """Return every flag, with the transaction that wrote it last."""
        return self.scene.database.query("SELECT xmin, * FROM feature_flags ORDER BY id")


@pytest.fixture
def tenant(flux: Flux, scene: Scene) -> Iterator[Tenant]:
    """A namespace that Flux follows; what it applied is pruned while the operator is still at work."""
    found = Tenant(flux, scene)
    found.commit(first=flagschedule("first", spec()))
    flux.follow(found.name)
    yield found
    flux.unfollow(found.name)
    for api in (scene.api, scene.api.of("flagplans"), scene.api.of("flagfreezes")):
        eventually(lambda: not api.list(), f"the {api.plural} are gone")  # noqa: B023 -- called at once


def test_every_sample_is_healthy(tenant: Tenant) -> None:
    """All samples together are one Kustomization that becomes ready, held and cancelled ones included."""
    objects = [obj for file in SAMPLES for obj in yaml.safe_load_all(file.read_text())]
    keys = {(each["flagKey"], each.get("environment", "production")) for obj in objects for each in _changes(obj)}
    for key, environment in sorted(keys):
        tenant.scene.database.flag(key, environment)

    tenant.sync(**{file.stem: file.read_text() for file in SAMPLES})

    for obj in objects:
        if obj["kind"] == "FlagSchedule":
            fields = obj["spec"]
            phase = "Cancelled" if fields.get("cancel") else "Suspended" if fields.get("suspend") else "Pending"
            assert tenant.scene.reaches(obj["metadata"]["name"], phase)


def _changes(obj: Object) -> list[Object]:
    """Return what an object changes: a flag and perhaps an environment each."""
    if obj["kind"] == "FlagSchedule":
        return [obj["spec"]]
    return [change for step in obj["spec"].get("steps", []) for change in step["changes"]]


def test_a_schedule_that_waits_or_failed_makes_flux_fail(tenant: Tenant) -> None:
    """A missing flag holds the Kustomization until its timeout, and names the object; when it is there all is well."""
    tenant.flux.follow(tenant.name, timeout="5s")
    revision = tenant.commit(early=flagschedule("early", spec(flagKey="not-yet")))

    failed = tenant.flux.fails(tenant.name, revision)
    assert failed["reason"] == "HealthCheckFailed"
    assert f"FlagSchedule/{tenant.name}/early status: 'InProgress'" in failed["message"]

    tenant.scene.database.flag("not-yet")
    tenant.flux.succeeds(tenant.name, revision)


def _requests(control_plane: ControlPlane, dry_run: str) -> int:
    """Return how many applies of FlagSchedules the API server has seen; the operator makes none."""
    wanted = {'verb="APPLY"', 'resource="flagschedules"', f'dry_run="{dry_run}"'}
    counters = _APPLIES.findall(control_plane.kubectl("get", "--raw", "/metrics"))
    return sum(int(float(count)) for labels, count in counters if wanted <= set(labels.split(",")))


def test_flux_sees_no_difference_while_schedules_come_due(tenant: Tenant, installed: ControlPlane) -> None:
    """Compared every two seconds while its changes are made, no object is written by Flux, not once."""
    names = [f"due-{number}" for number in range(SECONDS // 10)]
    for name in names:
        tenant.scene.database.flag(name)
    due = {name: tenant.due(timedelta(seconds=10 * number + 10)) for number, name in enumerate(names)}
    tenant.sync(**{name: flagschedule(name, spec(flagKey=name, scheduledAt=at)) for name, at in due.items()})
    before = {name: _ownership(obj) for name, obj in tenant.scene.api.list().items()}
    written, compared = _requests(installed, ""), _requests(installed, "All")

    tenant.processed(*names)

    assert _requests(installed, "") == written
    assert _requests(installed, "All") - compared > len(names) * SECONDS / INTERVAL / 5
    assert {name: _ownership(obj) for name, obj in tenant.scene.api.list().items()} == before


def _ownership(obj: Object) -> Any:
    """Return what Flux owns of an object and since when, and the object's generation."""
    fields = [each for each in obj["metadata"]["managedFields"] if each["manager"] == "kustomize-controller"]
    assert len(fields) == 1
    return fields, obj["metadata"]["generation"], obj["spec"]


def test_a_file_that_leaves_git_cancels_its_schedule(tenant: Tenant) -> None:
    """Prune deletes the object and cancels what is pending; the one next to it stays."""
    tenant.sync(second=flagschedule("second", spec(scheduledAt="2035-02-01T00:00:00Z")))
    row = tenant.scene.row("second")

    tenant.sync(second=None)

    tenant.scene.is_gone("second")
    found = tenant.scene.database.value("SELECT status FROM feature_flag_schedules WHERE id = %s", row["id"])
    assert found == "cancelled"
    assert tenant.scene.reaches("first", "Pending")


def test_a_made_change_that_flux_creates_again_is_not_made_again(tenant: Tenant) -> None:
    """An object that was deleted from the cluster comes back from Git as Applied, and changes no flag."""
    tenant.scene.database.flag("second")
    tenant.sync(second=flagschedule("second", spec(flagKey="second", scheduledAt=tenant.due())))
    tenant.processed("second")
    before, flags = tenant.scene.api.get("second"), tenant.flags()

    assert tenant.scene.api.delete("second").ok
    eventually(lambda: _uid(tenant.scene.api, "second") not in {None, _uid_of(before)}, "Flux has made it again")

    assert tenant.scene.reaches("second", "Applied")["reason"] == "Replayed"
    tenant.scene.process()
    assert tenant.flags() == flags


def _uid(api: Api, name: str) -> str | None:
    return _uid_of(api.get(name))


def _uid_of(obj: Object) -> str | None:
    found: str | None = obj["metadata"].get("uid")
    return found


def test_flux_removes_what_kubectl_set_and_keeps_what_others_set(tenant: Tenant) -> None:
    """A suspend by plain kubectl is gone after one interval; one with a manager of its own stays."""
    tenant.sync(second=flagschedule("second", spec(scheduledAt="2035-02-01T00:00:00Z")))
    path = f"/apis/flagschedule.io/v1alpha1/namespaces/{tenant.name}/flagschedules/"
    patch = partial(tenant.scene.api.request, "PATCH", body={"spec": {"suspend": True}})
    for name, manager in (("first", "incident"), ("second", "kubectl-patch")):
        assert patch(f"{path}{name}?fieldManager={manager}", content="application/merge-patch+json").ok

    eventually(lambda: "suspend" not in tenant.scene.api.get("second")["spec"], "Flux has removed it")
    assert tenant.scene.reaches("first", "Suspended")
    tenant.scene.reaches("second", "Pending")


def test_a_refused_file_holds_its_commit_and_nothing_else(tenant: Tenant) -> None:
    """What was applied before comes due as planned, and all of the folder is applied once the file is mended.

    Until then nothing of the commit is applied, and the condition names the file's object and its fault.
    """
    tenant.scene.database.flag("second")
    tenant.sync(second=flagschedule("second", spec(flagKey="second", scheduledAt=tenant.due(timedelta(seconds=5)))))
    good = flagschedule("good", spec(scheduledAt="2035-02-01T00:00:00Z"))

    refused = tenant.commit(good=good, bad=flagschedule("bad", spec(scheduledAt="tomorrow")), first=None)

    said = tenant.flux.fails(tenant.name, refused)["message"]
    assert f"FlagSchedule/{tenant.name}/bad dry-run failed" in said
    assert "scheduledAt" in said
    tenant.processed("second")
    assert tenant.scene.api.list().keys() == {"first", "second"}
    tenant.sync(bad=None)
    tenant.scene.is_gone("first")
    assert tenant.scene.reaches("good", "Pending")


def test_kinds_policies_and_schedules_in_one_sync(database_url: str, tmp_path: Path) -> None:
    """In a new cluster one Kustomization without an order brings the kinds first and then the schedules."""
    with ControlPlane() as control_plane, running(control_plane, tmp_path) as flux:
        files = {
            "base.yaml": control_plane.kubectl("kustomize", str(ROOT / "manifests" / "base")),
            "shop.yaml": {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
            "a-launch.yaml": flagschedule("launch", spec(), namespace="shop"),
        }
        revision = flux.commit("everything", files)
        flux.follow("everything", wait=False, targetNamespace=None)
        flux.succeeds("everything", revision)

        with operators(control_plane, "shop", tmp_path) as make, connected(database_url) as database:
            database.flag("checkout")
            operator = make(database_url)
            operator.start()
            api = Api(
                server=control_plane.server,
                ca_file=control_plane.ca_file,
                token=control_plane.token("admin"),
                namespace="shop",
            )
            Scene(api, database, operator).reaches("launch", "Pending")
