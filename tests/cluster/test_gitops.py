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


def test_applying_the_samples_again_changes_nothing(scene: Scene, installed: ControlPlane) -> None:
    """After the operator has mirrored every sample, server-side apply by another manager leaves each as it is."""
    files = [word for path in SAMPLES for word in ("--filename", str(path))]
    apply = ("apply", "--server-side", "--field-manager=argocd-controller", f"--namespace={scene.api.namespace}")
    for key, environment in {(t["spec"]["flagKey"], t["spec"].get("environment", "production")) for t in _things()}:
        scene.database.flag(key, environment)
    installed.kubectl(*apply, *files)
    for thing in _things():
        scene.reaches(thing["metadata"]["name"], "Suspended" if thing["spec"].get("suspend") else "Pending")
    before = {thing["metadata"]["name"]: scene.api.get(thing["metadata"]["name"]) for thing in _things()}

    installed.kubectl(*apply, *files)

    assert {name: scene.api.get(name) for name in before} == before


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
