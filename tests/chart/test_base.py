"""`manifests/base` is the chart without any value, for users of kustomize."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dev.chart import base
from tests.chart.rendering import Helm, Render

pytestmark = pytest.mark.helm

HANDWRITTEN = {"kustomization.yaml", "namespace.yaml"}


def test_the_base_is_generated_from_the_chart(helm: Helm) -> None:
    """Each template of the chart has its file in manifests/base; `make generate` writes it."""
    files = [file for file in base.FOLDER.glob("*.yaml") if file.name not in HANDWRITTEN]
    found = {file: file.read_text() for file in [*files, base.ACTORS]}
    expected = base.generated(helm.program)

    stale = [file.name for file in found.keys() | expected.keys() if found.get(file) != expected.get(file)]
    assert stale == []


def kustomize(folder: Path) -> Render:
    """Return what kustomize installs of a folder."""
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run([str(kubectl), "kustomize", str(folder)], capture_output=True, text=True, check=True)
    return Render(yaml.load_all(done.stdout, yaml.CSafeLoader))


def test_kustomize_installs_what_the_chart_installs(default: Render) -> None:
    """The kustomization names every generated file; it adds the namespace, which Helm makes itself."""
    installed = kustomize(base.FOLDER)

    assert set(installed.names) - set(default.names) == {("Namespace", "flagschedule-system")}
    assert set(default.names) <= set(installed.names)


def test_a_component_records_actors(helm: Helm, tmp_path: Path) -> None:
    """With the component there is what the chart installs on a cluster that serves the policy, and the setting."""
    places = {"resources": base.FOLDER, "components": base.ACTORS.parent}
    overlay = {key: [os.path.relpath(folder, tmp_path.resolve())] for key, folder in places.items()}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))

    installed, serving = kustomize(tmp_path), helm.render(serves=[base.MUTATING])

    assert set(installed.names) - set(serving.names) == {("Namespace", "flagschedule-system")}
    name = ("MutatingAdmissionPolicy", "flagschedule-actors")
    assert installed.one(*name)["spec"] == serving.one(*name)["spec"]
    assert installed.environment("operator")["FLAG_SCHEDULE_RECORD_ACTORS"] == "true"


def test_nothing_in_the_base_is_for_helm(helm: Helm) -> None:
    """No label or annotation is for Helm, or for Argo CD when it takes the chart."""
    text = "".join(base.generated(helm.program).values())
    objects = Render(yaml.load_all(text, yaml.CSafeLoader)).objects

    assert not [obj["metadata"]["name"] for obj in objects if "annotations" in obj["metadata"]]
    assert "helm.sh/chart" not in text
    assert "managed-by: Helm" not in text
