"""Names and labels of the chart's objects."""

import pytest
import yaml

import flagschedule
from tests.chart.rendering import EVERYTHING, KINDS, NAMESPACE, Helm, Render

pytestmark = pytest.mark.helm

SELECTING = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"}
COMPONENTS = {"operator": "operator", "processor": "processor", "cleanup": "cleanup", "migrate": "migrations"}


def test_every_object_carries_the_labels(any_render: Render) -> None:
    """Objects and pods have the recommended labels, with this version; programs name their component."""
    labels = {
        "app.kubernetes.io/name": "flagschedule",
        "app.kubernetes.io/instance": "flagschedule",
        "app.kubernetes.io/version": flagschedule.__version__,
        "app.kubernetes.io/part-of": "flagschedule",
        "app.kubernetes.io/managed-by": "Helm",
    }
    chart = {"helm.sh/chart": f"flagschedule-{flagschedule.__version__}"}
    bare = [obj["metadata"]["name"] for obj in any_render.objects
            if not obj["metadata"]["labels"].items() >= (labels | chart).items()]  # fmt: skip
    pods = {name: template["metadata"]["labels"] for name, template in any_render.templates().items()}

    assert bare == []
    assert {name: pod["app.kubernetes.io/component"] for name, pod in pods.items()} == COMPONENTS
    assert all(pod.items() >= labels.items() and "helm.sh/chart" not in pod for pod in pods.values())


def test_common_labels_and_annotations_are_everywhere(everything: Render) -> None:
    """A user who groups costs or owners by labels finds every object, and every pod by its label."""
    for obj in everything.objects:
        assert obj["metadata"]["labels"]["team"] == "flags", obj["metadata"]["name"]
        assert obj["metadata"]["annotations"]["example.com/owner"] == "flags", obj["metadata"]["name"]
    for template in everything.templates().values():
        assert template["metadata"]["labels"]["team"] == "flags"
        assert "example.com/owner" not in template["metadata"]["annotations"]


def test_common_labels_do_not_replace_ours(helm: Helm) -> None:
    """Common labels never replace a selector's labels, so that each selector still finds its pods."""
    render = helm.render({"commonLabels": {"app.kubernetes.io/name": "theirs"}, "pod": {"labels": {
        "app.kubernetes.io/component": "theirs"}}})  # fmt: skip

    labels = render.templates()["operator"]["metadata"]["labels"]
    selector = render.one("Deployment", "flagschedule-operator")["spec"]["selector"]["matchLabels"]
    assert selector.items() <= labels.items()


def test_selectors_hold_only_what_never_changes(everything: Render) -> None:
    """Selectors contain no version, so that a new version needs no new Deployment."""
    deployment = everything.one("Deployment", "flagschedule-operator")["spec"]["selector"]["matchLabels"]
    selectors = [policy["spec"]["podSelector"]["matchLabels"] for policy in everything.of("NetworkPolicy").values()]

    assert all(selector.keys() == SELECTING for selector in [deployment, *selectors])


def test_namespaced_objects_name_their_namespace(any_render: Render) -> None:
    """Every namespaced object names its namespace, also for output that is applied without Helm."""
    cluster_wide = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "ValidatingAdmissionPolicy",
                    "ValidatingAdmissionPolicyBinding"}  # fmt: skip
    places = {obj["metadata"].get("namespace") for obj in any_render.objects if obj["kind"] not in cluster_wide}

    assert places - {"shop", "search", "kube-system"} == {NAMESPACE}


@pytest.mark.parametrize(
    ("release", "values", "prefix"),
    [
        ("flagschedule", {}, "flagschedule"),
        ("prod", {}, "prod-flagschedule"),
        ("my-flagschedule", {}, "my-flagschedule"),
        ("prod", {"nameOverride": "flags"}, "prod-flags"),
        ("prod", {"fullnameOverride": "flags"}, "flags"),
    ],
)
def test_names_follow_the_release(helm: Helm, release: str, values: dict[str, str], prefix: str) -> None:
    """The names follow the rules of other charts."""
    render = helm.render(values, release=release)

    assert list(render.of("Deployment")) == [f"{prefix}-operator"]
    assert {name for _, name in render.names if not name.startswith(f"{prefix}-")} == KINDS


def test_long_names_are_cut_in_time(helm: Helm) -> None:
    """A CronJob's name has 52 characters at most, and a release's may have 53."""
    render = helm.render(EVERYTHING, release="r" * 53)

    names = list(render.of("CronJob"))
    assert len(names) == 2
    assert max(map(len, names)) <= 52


def test_the_notes_say_the_next_step(helm: Helm) -> None:
    """The command for the first schedule can be copied unchanged, and unsafe values have a warning."""
    from dev.chart.files import CHART  # noqa: PLC0415 -- used here only

    done = helm("install", "x", str(CHART), "--dry-run=client", "--namespace=flags", values={})
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("\nNOTES:\n")[2]
    lines = notes.splitlines()
    begin, end = next(n for n, line in enumerate(lines) if line.endswith("<<EOF")), lines.index("  EOF")
    obj = yaml.safe_load("\n".join(line.removeprefix("  ") for line in lines[begin + 1 : end]))

    assert obj["kind"] == "FlagSchedule"
    assert "kubectl rollout status deployment/x-flagschedule-operator --namespace flags" in notes
    assert "localhost/flagschedule" in notes
