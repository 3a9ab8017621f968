"""GitOps tools apply the same files again and again: nothing of ours may look like a difference to them."""

import re
from pathlib import Path

import pytest
import yaml

from dev.cluster.control_plane import ControlPlane
from tests.cluster.api import Object
from tests.cluster.operator_fixtures import Scene

pytestmark = pytest.mark.apiserver

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = sorted((ROOT / "manifests" / "samples").glob("*.yaml"))


def _things() -> list[Object]:
    return [thing for path in SAMPLES for thing in yaml.safe_load_all(path.read_text())]


NAMES = [thing["metadata"]["name"] for thing in _things()]


def _apply(scene: Scene, control_plane: ControlPlane, manager: str) -> None:
    """Apply every sample as this tool does."""
    files = [word for path in SAMPLES for word in ("--filename", str(path))]
    control_plane.kubectl(
        "apply", "--server-side", f"--field-manager={manager}", f"--namespace={scene.api.namespace}", *files
    )


def _reached(scene: Scene) -> dict[str, Object]:
    """Wait until each sample has the phase that its spec says; the objects by name."""
    for thing in _things():
        spec = thing["spec"]
        phase = "Cancelled" if spec.get("cancel") else "Suspended" if spec.get("suspend") else "Pending"
        scene.reaches(thing["metadata"]["name"], phase)
    return {name: scene.api.get(name) for name in NAMES}


def _rows(things: dict[str, Object]) -> set[str]:
    """The ids of the rows; what was cancelled from the start has none."""
    return {thing["status"]["scheduleId"] for thing in things.values() if "scheduleId" in thing["status"]}


@pytest.fixture
def mirrored(scene: Scene, installed: ControlPlane) -> dict[str, Object]:
    """Every sample, applied by Argo CD's name and mirrored; the objects by name."""
    for key, environment in {(t["spec"]["flagKey"], t["spec"].get("environment", "production")) for t in _things()}:
        scene.database.flag(key, environment)
    _apply(scene, installed, "argocd-controller")
    return _reached(scene)


def test_applying_the_samples_again_changes_nothing(
    scene: Scene, installed: ControlPlane, mirrored: dict[str, Object]
) -> None:
    """After the operator has mirrored every sample, the tool that made it finds nothing to change, down to a byte."""
    _apply(scene, installed, "argocd-controller")

    assert {name: scene.api.get(name) for name in NAMES} == mirrored


def test_another_tool_takes_part_once_and_changes_nothing(
    scene: Scene, installed: ControlPlane, mirrored: dict[str, Object]
) -> None:
    """A second manager's first apply adds its name to the managed fields, and nothing else; the next one nothing."""
    _apply(scene, installed, "kustomize-controller")
    joined = {name: scene.api.get(name) for name in NAMES}
    _apply(scene, installed, "kustomize-controller")

    assert {name: scene.api.get(name) for name in NAMES} == joined
    for name, thing in mirrored.items():
        assert "kustomize-controller" in {entry["manager"] for entry in joined[name]["metadata"]["managedFields"]}
        assert joined[name]["metadata"]["generation"] == thing["metadata"]["generation"]
        assert (joined[name]["spec"], joined[name]["status"]) == (thing["spec"], thing["status"])


def test_pruned_files_cancel_and_come_back(scene: Scene, installed: ControlPlane, mirrored: dict[str, Object]) -> None:
    """Files that leave Git cancel their schedules; when they return they are planned anew, in rows of their own."""
    files = [word for path in SAMPLES for word in ("--filename", str(path))]
    installed.kubectl("delete", f"--namespace={scene.api.namespace}", "--wait", *files)
    states = scene.database.query("SELECT id, status FROM feature_flag_schedules")
    assert {row["status"] for row in states} == {"cancelled"}
    assert {str(row["id"]) for row in states} == _rows(mirrored)

    _apply(scene, installed, "argocd-controller")
    again = _reached(scene)

    assert _rows(again)
    assert _rows(again).isdisjoint(_rows(mirrored))
    assert [again[name]["spec"] for name in NAMES] == [mirrored[name]["spec"] for name in NAMES]


def test_the_operator_owns_no_field_of_git(scene: Scene) -> None:
    """The managed fields of an object say that the operator has written its finalizer and status, and nothing else."""
    scene.create("launch")
    scene.reaches("launch", "Pending")

    fields = [
        entry["fieldsV1"]
        for entry in scene.api.get("launch")["metadata"]["managedFields"]
        if entry.get("subresource") == "status" or "f:finalizers" in str(entry)
    ]

    assert {name for entry in fields for name in entry} == {"f:metadata", "f:status"}
    assert {name for entry in fields for name in entry.get("f:metadata", {})} == {"f:finalizers"}


def test_argo_cds_configuration_is_accepted_as_a_patch(installed: ControlPlane) -> None:
    """The documented command adds health and actions to Argo CD's ConfigMap and keeps what is there."""
    text = (ROOT / "manifests" / "argocd" / "argocd-cm.yaml").read_text()
    command = re.search(r"kubectl (--namespace=argocd patch .*)", text)
    assert command
    installed.kubectl("create", "namespace", "argocd")
    installed.kubectl("create", "configmap", "argocd-cm", "--namespace=argocd", "--from-literal=url=https://argo")

    installed.kubectl(*command[1].replace("manifests/", f"{ROOT}/manifests/").split())

    found = yaml.safe_load(installed.kubectl("get", "configmap", "argocd-cm", "--namespace=argocd", "--output=yaml"))
    assert set(found["data"]) == {
        "url",
        "resource.customizations.health.flagschedule.io_FlagSchedule",
        "resource.customizations.actions.flagschedule.io_FlagSchedule",
    }
