"""What kustomize makes of `manifests/base` and its components, and the samples. No cluster is needed.

The objects of the base are generated from the chart, and tests/chart holds their promises.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import flagschedule

Document = dict[str, Any]
Overlay = Callable[[str], list[Document]]

ROOT = Path(__file__).parents[2]
SELECTING = {
    "app.kubernetes.io/name": "flagschedule",
    "app.kubernetes.io/instance": "flagschedule",
    "app.kubernetes.io/component": "operator",
}
LABELS = {
    "app.kubernetes.io/name": "flagschedule",
    "app.kubernetes.io/instance": "flagschedule",
    "app.kubernetes.io/version": flagschedule.__version__,
    "app.kubernetes.io/part-of": "flagschedule",
    "app.kubernetes.io/managed-by": "kustomize",
}


def rendered(folder: Path) -> list[Document]:
    """Return what `kubectl kustomize` prints."""
    kubectl = Path(sys.executable).with_name("kubectl")  # the wheel's: the tests need nothing on PATH
    done = subprocess.run([str(kubectl), "kustomize", str(folder)], capture_output=True, text=True, check=True)
    return list(yaml.load_all(done.stdout, yaml.CSafeLoader))


@pytest.fixture(scope="module")
def base() -> list[Document]:
    """What `kubectl kustomize manifests/base` prints."""
    return rendered(ROOT / "manifests" / "base")


@pytest.fixture
def overlay(tmp_path: Path) -> Overlay:
    """Renders the text of a kustomization that lies next to manifests/base."""
    for name in ("manifests", "crds"):
        shutil.copytree(ROOT / name, tmp_path / name)
    folder = tmp_path / "manifests" / "overlay"
    folder.mkdir()

    def render(text: str) -> list[Document]:
        (folder / "kustomization.yaml").write_text(text)
        return rendered(folder)

    return render


def find(base: list[Document], kind: str, name: str) -> Document:
    """Return the one object of this kind and name."""
    [found] = [obj for obj in base if obj["kind"] == kind and obj["metadata"]["name"] == name]
    return found


def templates(base: list[Document]) -> Iterator[tuple[str, Document]]:
    """Yield every pod template, by the name of its container."""
    for obj in base:
        spec = obj.get("spec", {})
        if obj["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if obj["kind"] in {"CronJob", "Deployment", "Job"}:
            template = spec["template"]
            yield template["spec"]["containers"][0]["name"], template


def test_every_object_carries_the_labels(base: list[Document]) -> None:
    """Objects and pod templates have the recommended labels, with this version."""
    incomplete = [obj["metadata"]["name"] for obj in base if not obj["metadata"]["labels"].items() >= LABELS.items()]
    pods = {name: template["metadata"]["labels"] for name, template in templates(base)}

    assert incomplete == []
    assert pods.keys() == {"operator", "processor", "cleanup", "migrate"}
    assert all(labels.items() >= LABELS.items() for labels in pods.values())


def test_no_label_of_the_version_gets_into_a_selector(base: list[Document]) -> None:
    """A new version needs no new Deployment, and its disruption budget means the pods of both versions."""
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert find(base, kind, "flagschedule-operator")["spec"]["selector"]["matchLabels"] == SELECTING


def test_the_image_is_set_in_one_place(base: list[Document]) -> None:
    """The kustomization decides which image all programs run from."""
    images = {template["spec"]["containers"][0]["image"] for _, template in templates(base)}

    assert images == {"localhost/flagschedule:dev"}


def test_the_namespace_enforces_restricted(base: list[Document]) -> None:
    """A pod that is not restricted is refused in our namespace."""
    labels = find(base, "Namespace", "flagschedule-system")["metadata"]["labels"]

    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_an_overlay_may_choose_the_namespace(overlay: Overlay) -> None:
    """Objects, the subjects of bindings and the policy on the operator's account follow the overlay's namespace."""
    moved = overlay("{namespace: elsewhere, resources: [../base]}")

    subjects = [subject["namespace"] for obj in moved for subject in obj.get("subjects", [])]
    policy = find(moved, "ValidatingAdmissionPolicy", "flagschedule-operator-keeps-spec")
    [condition] = policy["spec"]["matchConditions"]
    [account] = re.findall(r"'(.*)'", condition["expression"])
    assert {obj["metadata"].get("namespace") for obj in moved} == {"elsewhere", None}
    assert subjects == ["elsewhere", "elsewhere"]
    assert re.search(account, "system:serviceaccount:elsewhere:flagschedule-operator")
    assert not re.search(account, "system:serviceaccount:elsewhere:flagschedule-operator-of-others")


def test_each_program_can_have_its_own_database_user(overlay: Overlay) -> None:
    """With the component of docs/how-to/database-roles.md each program takes its URL from a key of its own."""
    text = (ROOT / "docs" / "how-to" / "database-roles.md").read_text().split("```yaml\n")[1].split("```")[0]

    keys = {
        name: template["spec"]["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"]["key"]
        for name, template in templates(overlay(text))
    }

    assert keys == {
        "operator": "database-url-operator",
        "processor": "database-url-processor",
        "cleanup": "database-url-cleaner",
        "migrate": "database-url-migrator",
    }


def test_the_monitoring_component_adds_to_the_base(base: list[Document], overlay: Overlay) -> None:
    """The component adds a monitor of the operator's pods, the alerts and the dashboard, and changes nothing else."""
    together = overlay("{resources: [../base], components: [../components/monitoring]}")
    added = [obj for obj in together if obj not in base]

    assert sorted(obj["kind"] for obj in added) == ["ConfigMap", "PodMonitor", "PrometheusRule"]
    assert {obj["metadata"]["namespace"] for obj in added} == {"flagschedule-system"}
    selector = find(base, "Deployment", "flagschedule-operator")["spec"]["selector"]["matchLabels"]
    assert find(added, "PodMonitor", "flagschedule-operator")["spec"]["selector"]["matchLabels"] == selector


def samples() -> list[Path]:
    """Return all sample files."""
    return sorted((ROOT / "manifests" / "samples").glob("*.yaml"))


def sample_objects(kind: str) -> list[dict[str, Any]]:
    """Return the objects of a kind in all sample files."""
    objects = [obj for path in samples() for obj in yaml.safe_load_all(path.read_text())]
    return [obj for obj in objects if obj["kind"] == kind]


def test_samples_have_names_of_their_own() -> None:
    """All samples can be applied together, and none lies in the near future or in a namespace of ours."""
    schedules, plans, freezes = (sample_objects(kind) for kind in ("FlagSchedule", "FlagPlan", "FlagFreeze"))
    objects = [*schedules, *plans, *freezes]
    names = [obj["metadata"]["name"] for obj in objects]
    steps = [step for plan in plans for step in plan["spec"]["steps"]]

    assert len(set(names)) == len(names) >= 15
    assert all(obj["spec"]["scheduledAt"] > "2035" for obj in schedules)
    assert all(step["at"] > "2035" for step in steps if "at" in step)
    assert all({"environments", "namespaces", "flagKeys"} & freeze["spec"].keys() for freeze in freezes)
    assert not any("namespace" in obj["metadata"] for obj in objects)


@pytest.mark.parametrize("kind", ["FlagSchedule", "FlagPlan", "FlagFreeze"])
def test_every_field_of_the_spec_has_a_sample(kind: str) -> None:
    """A sample shows every field that a spec can have, to the last level; stopping is the same for all kinds."""
    crd = yaml.safe_load((ROOT / "crds" / f"{kind}s.yaml".lower()).read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    not_shown = set() if kind == "FlagSchedule" else {"suspend", "cancel", "steps.changes.then.rolloutPercentage"}

    shown = {path for obj in sample_objects(kind) for path in _paths(obj["spec"])}

    assert set(_described(schema)) - shown == not_shown & set(_described(schema))


def _paths(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each field of a document; lists add nothing to a path."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{path}.{name}".removeprefix(".")
            yield from _paths(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner, path)


def _described(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield the path of each field of a schema."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}.{name}".removeprefix(".")
        yield from _described(inner, f"{path}.{name}")
    if "items" in schema:
        yield from _described(schema["items"], path)


@pytest.mark.parametrize("path", samples(), ids=lambda path: path.stem)
def test_samples_speak_to_a_newcomer(path: Path) -> None:
    """Each sample starts with a comment that says what it is for."""
    first = path.read_text().splitlines()[0]

    assert first.startswith("# ")
    assert len(first) > 40
