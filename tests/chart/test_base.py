"""`manifests/base` is the chart without any value, for users of kustomize."""

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
    found = {file: file.read_text() for file in base.FOLDER.glob("*.yaml") if file.name not in HANDWRITTEN}
    expected = base.generated(helm.program)

    stale = [file.name for file in found.keys() | expected.keys() if found.get(file) != expected.get(file)]
    assert stale == []


def test_kustomize_installs_what_the_chart_installs(default: Render) -> None:
    """The kustomization names every generated file; it adds the namespace, which Helm makes itself."""
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run([str(kubectl), "kustomize", str(base.FOLDER)], capture_output=True, text=True, check=True)
    installed = Render(yaml.load_all(done.stdout, yaml.CSafeLoader))

    assert set(installed.names) - set(default.names) == {("Namespace", "flagschedule-system")}
    assert set(default.names) <= set(installed.names)


def test_nothing_in_the_base_is_for_helm(helm: Helm) -> None:
    """No label or annotation is for Helm, or for Argo CD when it takes the chart."""
    text = "".join(base.generated(helm.program).values())
    objects = Render(yaml.load_all(text, yaml.CSafeLoader)).objects

    assert not [obj["metadata"]["name"] for obj in objects if "annotations" in obj["metadata"]]
    assert "helm.sh/chart" not in text
    assert "managed-by: Helm" not in text
