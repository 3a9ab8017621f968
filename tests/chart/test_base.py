"""The chart without any value and `manifests/base` are the same product; every difference is named here."""

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import Document, Render

pytestmark = pytest.mark.helm

BASE = Path(__file__).parents[2] / "manifests" / "base"

# Of the tools: who manages an object, and in which order Helm and Argo CD create them.
LABELS = {"app.kubernetes.io/managed-by", "helm.sh/chart"}
ANNOTATIONS = ("helm.sh/", "argocd.argoproj.io/")
# Of the chart alone: the connection is verified unless a value says otherwise (the URL of the base may say so), and
# the lease has the release's name (the program's own default is what the base needs).
VARIABLES = {"PGSSLMODE", "PGSSLROOTCERT", "FLAG_SCHEDULE_LEASE_NAMESPACE", "FLAG_SCHEDULE_LEASE_NAME"}
# Of the base alone: Helm makes the namespace itself, with --create-namespace.
OBJECTS = {("Namespace", "flagschedule-system")}
# Kustomize gives a namespace to kinds of which it does not know that they have none; the API server ignores it.
CLUSTER_WIDE = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
# What the API server fills in where the base says nothing.
DEFAULTS = {"timeoutSeconds": 1, "failureThreshold": 3, "suspend": False, "optional": False}


@pytest.fixture(scope="module")
def base() -> Render:
    """What `kubectl kustomize manifests/base` prints."""
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run([str(kubectl), "kustomize", str(BASE)], capture_output=True, text=True, check=True)
    return Render(yaml.load_all(done.stdout, yaml.CSafeLoader))


def test_both_hold_the_same_objects(base: Render, default: Render) -> None:
    """The chart's default output and manifests/base have the same objects."""
    assert set(base.names) - OBJECTS == set(default.names)


def test_both_mean_the_same(base: Render, default: Render) -> None:
    """Each object of both is equal, apart from the accepted differences above."""
    for kind, name in default.names:
        ours, theirs = normalised(default.one(kind, name)), normalised(base.one(kind, name))
        assert ours == theirs, f"{kind} {name}"


def normalised(obj: Document) -> Document:
    """Return an object without the accepted differences."""
    found: Document = _walk(copy.deepcopy(obj))
    if found["kind"] in CLUSTER_WIDE:
        found["metadata"].pop("namespace", None)
    if found["metadata"]["name"] == "flagschedule-operator-keeps-spec" and "matchConditions" in found["spec"]:
        # The chart knows the operator's account; the base may be installed into another namespace by an overlay.
        for condition in found["spec"]["matchConditions"]:
            assert "flagschedule-operator" in condition.pop("expression")
    return found


def _walk(part: Any) -> Any:
    if isinstance(part, list):
        return [_walk(entry) for entry in part if not (isinstance(entry, dict) and entry.get("name") in VARIABLES)]
    if isinstance(part, str):
        return " ".join(part.split())
    if not isinstance(part, dict):
        return part
    kept = {key: _walk(value) for key, value in part.items() if key not in DEFAULTS or value != DEFAULTS[key]}
    for key, change in _CHANGES.items():
        if key in kept:
            kept[key] = change(kept[key])
    return {key: value for key, value in kept.items() if value not in ({}, None)}


def _labels(labels: Any) -> Any:
    return {key: value for key, value in labels.items() if key not in LABELS} if isinstance(labels, dict) else labels


def _annotations(annotations: Any) -> Any:
    return {key: value for key, value in annotations.items() if not key.startswith(ANNOTATIONS)}


def _image(image: Any) -> Any:
    # The base's tag is for the demo's own image; the chart's is the version.
    return image.partition(":")[0] if isinstance(image, str) else image


_CHANGES: dict[str, Callable[[Any], Any]] = {"labels": _labels, "annotations": _annotations, "image": _image}
