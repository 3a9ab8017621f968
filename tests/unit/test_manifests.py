"""The manifests keep the promises on rights, pod security and figures. No cluster is needed."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import flagschedule
from flagschedule.services.cleanup import TIME_BUDGET

Document = dict[str, Any]

ROOT = Path(__file__).parents[2]
LABELS = {
    "app.kubernetes.io/name": "flagschedule",
    "app.kubernetes.io/instance": "flagschedule",
    "app.kubernetes.io/version": flagschedule.__version__,
    "app.kubernetes.io/part-of": "flagschedule",
    "app.kubernetes.io/managed-by": "kustomize",
}
PROGRAMS = {"operator": "operator", "processor": "process", "cleanup": "cleanup", "migrate": "migrate"}


def rendered(folder: Path) -> list[Document]:
    """Return what `kubectl kustomize` prints."""
    kubectl = Path(sys.executable).with_name("kubectl")  # the wheel's: the tests need nothing on PATH
    done = subprocess.run([str(kubectl), "kustomize", str(folder)], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def base() -> list[Document]:
    """What `kubectl kustomize manifests/base` prints."""
    return rendered(ROOT / "manifests" / "base")


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


def test_everything_is_there(base: list[Document]) -> None:
    """The base holds exactly the listed objects."""
    found = sorted((obj["kind"], obj["metadata"]["name"]) for obj in base)

    assert found == sorted([
        ("Namespace", "flagschedule-system"),
        ("CustomResourceDefinition", "flagschedules.flagschedule.io"),
        *((kind, f"flagschedule-{name}") for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
          for name in ("scheduled-in-future", "allowed-edits", "bounded-metadata", "operator-keeps-spec")),
        ("ServiceAccount", "flagschedule-operator"),
        ("ServiceAccount", "flagschedule-processor"),
        ("ServiceAccount", "flagschedule-cleanup"),
        ("ServiceAccount", "flagschedule-migrate"),
        ("ClusterRole", "flagschedule-operator"),
        ("ClusterRoleBinding", "flagschedule-operator"),
        ("Role", "flagschedule-operator"),
        ("RoleBinding", "flagschedule-operator"),
        ("ClusterRole", "flagschedule-viewer"),
        ("ClusterRole", "flagschedule-editor"),
        ("Job", "flagschedule-migrate"),
        ("Deployment", "flagschedule-operator"),
        ("PodDisruptionBudget", "flagschedule-operator"),
        ("CronJob", "flagschedule-processor"),
        ("CronJob", "flagschedule-cleanup"),
    ])  # fmt: skip


def test_every_object_carries_the_labels(base: list[Document]) -> None:
    """Objects and pod templates have the recommended labels, with this version; programs name their component."""
    incomplete = [obj["metadata"]["name"] for obj in base if not obj["metadata"]["labels"].items() >= LABELS.items()]
    components = {name: template["metadata"]["labels"] for name, template in templates(base)}

    assert incomplete == []
    assert all(labels.items() >= LABELS.items() for labels in components.values())
    assert {name: labels["app.kubernetes.io/component"] for name, labels in components.items()} == {
        "operator": "operator",
        "processor": "processor",
        "cleanup": "cleanup",
        "migrate": "migrations",
    }


def test_the_selectors_hold_only_what_never_changes(base: list[Document]) -> None:
    """A new version needs no new Deployment; disruption budget and spread mean the same pods, old and new."""
    deployment = find(base, "Deployment", "flagschedule-operator")["spec"]
    [spread] = deployment["template"]["spec"]["topologySpreadConstraints"]
    budget = find(base, "PodDisruptionBudget", "flagschedule-operator")["spec"]

    for chooser in (deployment["selector"], spread["labelSelector"], budget["selector"]):
        assert chooser["matchLabels"] == {
            "app.kubernetes.io/name": "flagschedule",
            "app.kubernetes.io/instance": "flagschedule",
            "app.kubernetes.io/component": "operator",
        }


def test_every_namespaced_object_is_in_our_namespace(base: list[Document]) -> None:
    """No object lands in the namespace of the user who applies the manifests."""
    kinds = {"ServiceAccount", "Job", "Deployment", "CronJob", "Role", "RoleBinding", "PodDisruptionBudget"}
    namespaced = [obj for obj in base if obj["kind"] in kinds]

    assert len(namespaced) == 11
    assert {obj["metadata"]["namespace"] for obj in namespaced} == {"flagschedule-system"}


def test_every_pod_is_restricted(base: list[Document]) -> None:
    """Pod Security restricted, a read-only root, a fixed user and group, limits, and a writable /tmp only."""
    for name, template in templates(base):
        pod, [container] = template["spec"], template["spec"]["containers"]
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        }, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}], name  # noqa: S108 -- the mount itself
        assert [volume["name"] for volume in pod["volumes"] if "emptyDir" in volume] == ["tmp"], name
        assert container["resources"]["limits"]["memory"], name
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name


def test_only_the_operator_has_a_token(base: list[Document]) -> None:
    """Programs that never call the API server have no token for it."""
    tokens = {name: template["spec"].get("automountServiceAccountToken", True) for name, template in templates(base)}
    accounts = [obj for obj in base if obj["kind"] == "ServiceAccount"]

    assert tokens == {"operator": True, "processor": False, "cleanup": False, "migrate": False}
    assert {account["metadata"]["name"]: account.get("automountServiceAccountToken", True) for account in accounts} == {
        f"flagschedule-{name}": mounted for name, mounted in tokens.items()
    }


def test_each_program_runs_from_the_one_image(base: list[Document]) -> None:
    """The image is set in one place, never pulled when present, and each program gets its subcommand."""
    containers = {name: template["spec"]["containers"][0] for name, template in templates(base)}

    assert {name: container["args"] for name, container in containers.items()} == {
        name: [argument] for name, argument in PROGRAMS.items()
    }
    assert {container["image"] for container in containers.values()} == {"localhost/flagschedule:dev"}
    assert {container["imagePullPolicy"] for container in containers.values()} == {"IfNotPresent"}
    assert not any("command" in container for container in containers.values())


def test_addresses_come_from_the_secret_only(base: list[Document]) -> None:
    """No address or password is written into a manifest; Redis may be absent."""
    for name, template in templates(base):
        wanted = {"DATABASE_URL": {"name": "flagschedule", "key": "database-url"}}
        if name == "processor":
            wanted["REDIS_URL"] = {"name": "flagschedule", "key": "redis-url", "optional": True}  # type: ignore[dict-item]
        given = {
            variable["name"]: variable.get("valueFrom", {}).get("secretKeyRef")
            for variable in template["spec"]["containers"][0]["env"]
            if variable["name"] != "FLAG_SCHEDULE_LINGER_SECONDS"
        }

        assert given == wanted


def test_each_program_can_have_its_own_database_user(tmp_path: Path) -> None:
    """With the component of docs/how-to/database-roles.md each program takes its URL from a key of its own."""
    overlay = (ROOT / "docs" / "how-to" / "database-roles.md").read_text().split("```yaml\n")[1].split("```")[0]
    (tmp_path / "overlay").mkdir()
    (tmp_path / "overlay" / "kustomization.yaml").write_text(overlay)
    for name in ("manifests", "crds"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "overlay").rename(tmp_path / "manifests" / "overlay")

    keys = {
        name: template["spec"]["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"]["key"]
        for name, template in templates(rendered(tmp_path / "manifests" / "overlay"))
    }

    assert keys == {
        "operator": "database-url-operator",
        "processor": "database-url-processor",
        "cleanup": "database-url-cleaner",
        "migrate": "database-url-migrator",
    }


def test_the_processor_has_the_designed_figures(base: list[Document]) -> None:
    """The processor starts every minute and overlaps, is bounded in time and memory, without a retry by Kubernetes."""
    spec = find(base, "CronJob", "flagschedule-processor")["spec"]
    job, pod = spec["jobTemplate"]["spec"], spec["jobTemplate"]["spec"]["template"]["spec"]

    assert (spec["schedule"], spec["concurrencyPolicy"], spec["startingDeadlineSeconds"]) == (
        "* * * * *",
        "Allow",
        200,
    )
    assert (job["activeDeadlineSeconds"], job["backoffLimit"], pod["restartPolicy"]) == (120, 0, "Never")
    assert {"name": "FLAG_SCHEDULE_LINGER_SECONDS", "value": "65"} in pod["containers"][0]["env"]
    assert pod["containers"][0]["resources"]["limits"]["memory"] == "512Mi"
    assert spec["successfulJobsHistoryLimit"] <= 5
    assert spec["failedJobsHistoryLimit"] <= 5


def test_the_cleanup_runs_once_a_day(base: list[Document]) -> None:
    """The cleanup runs nightly in UTC, never twice at once, without a retry by Kubernetes; it has time to end."""
    spec = find(base, "CronJob", "flagschedule-cleanup")["spec"]
    job, pod = spec["jobTemplate"]["spec"], spec["jobTemplate"]["spec"]["template"]["spec"]
    minute, hour, *days = spec["schedule"].split()

    assert (minute.isdecimal(), hour.isdecimal(), days, spec["timeZone"]) == (True, True, ["*"] * 3, "Etc/UTC")
    assert (spec["concurrencyPolicy"], job["backoffLimit"], pod["restartPolicy"]) == ("Forbid", 0, "Never")
    assert job["activeDeadlineSeconds"] > TIME_BUDGET


def test_the_monitoring_component_adds_to_the_base(base: list[Document], tmp_path: Path) -> None:
    """The component adds a monitor of the operator's pods, the alerts and the dashboard, and changes nothing else."""
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    shutil.copytree(ROOT / "crds", tmp_path / "crds")
    overlay = tmp_path / "manifests" / "overlay"
    overlay.mkdir()
    choice = {"resources": ["../base"], "components": ["../components/monitoring"]}
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(choice))

    added = [obj for obj in rendered(overlay) if obj not in base]

    assert sorted(obj["kind"] for obj in added) == ["ConfigMap", "PodMonitor", "PrometheusRule"]
    assert {obj["metadata"]["namespace"] for obj in added} == {"flagschedule-system"}
    selector = find(base, "Deployment", "flagschedule-operator")["spec"]["selector"]["matchLabels"]
    assert find(added, "PodMonitor", "flagschedule-operator")["spec"]["selector"]["matchLabels"] == selector


def test_the_operator_is_probed_and_has_time_to_finish(base: list[Document]) -> None:
    """Two replicas of which one may always go, both probes on the named port, 45 seconds to finish transactions."""
    spec = find(base, "Deployment", "flagschedule-operator")["spec"]
    [container] = spec["template"]["spec"]["containers"]

    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert find(base, "PodDisruptionBudget", "flagschedule-operator")["spec"]["maxUnavailable"] == 1
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert container["ports"] == [{"name": "http", "containerPort": 8080}]
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] == 45


def test_the_namespace_enforces_restricted(base: list[Document]) -> None:
    """A pod that is not restricted is refused in our namespace."""
    labels = find(base, "Namespace", "flagschedule-system")["metadata"]["labels"]

    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_no_role_is_broad(base: list[Document]) -> None:
    """No wildcard, no secrets, no right to raise one's own rights; status belongs to the operator alone."""
    roles = [(obj["metadata"]["name"], obj["rules"]) for obj in base if obj["kind"] in {"ClusterRole", "Role"}]
    granted = [(name, word) for name, rules in roles for rule in rules
               for words in rule.values() for word in words]  # fmt: skip

    assert not {word for _, word in granted} & {"*", "secrets", "escalate", "bind", "impersonate", "deletecollection"}
    assert {name for name, word in granted if word == "flagschedules/status"} == {"flagschedule-operator"}


def test_scheduling_comes_with_admin_only(base: list[Document]) -> None:
    """Viewing aggregates to view, edit and admin; scheduling to admin alone."""
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    aggregated = {
        obj["metadata"]["name"]: sorted(
            label.removeprefix(prefix) for label in obj["metadata"]["labels"] if label.startswith(prefix)
        )
        for obj in base
        if obj["kind"] == "ClusterRole"
    }

    assert aggregated == {
        "flagschedule-operator": [],
        "flagschedule-viewer": ["admin", "edit", "view"],
        "flagschedule-editor": ["admin"],
    }


def test_every_policy_denies_and_fails_closed(base: list[Document]) -> None:
    """Each policy is bound with Deny, and a policy that cannot be evaluated refuses."""
    policies = {obj["metadata"]["name"]: obj["spec"] for obj in base if obj["kind"] == "ValidatingAdmissionPolicy"}
    bindings = [obj["spec"] for obj in base if obj["kind"] == "ValidatingAdmissionPolicyBinding"]

    assert {policy["failurePolicy"] for policy in policies.values()} == {"Fail"}
    assert {binding["policyName"] for binding in bindings} == policies.keys()
    assert all(binding["validationActions"] == ["Deny"] for binding in bindings)


def samples() -> list[Path]:
    """Return all sample files."""
    return sorted((ROOT / "manifests" / "samples").glob("*.yaml"))


def test_samples_have_names_of_their_own() -> None:
    """All samples can be applied together, and none lies in the near future or in a namespace of ours."""
    objects = [obj for path in samples() for obj in yaml.safe_load_all(path.read_text())]
    names = [obj["metadata"]["name"] for obj in objects]

    assert len(set(names)) == len(names) >= 6
    assert all(obj["spec"]["scheduledAt"] > "2035" for obj in objects)
    assert not any("namespace" in obj["metadata"] for obj in objects)


def test_every_field_of_the_spec_has_a_sample() -> None:
    """A sample shows every field that a spec can have."""
    crd = yaml.safe_load((ROOT / "crds" / "flagschedules.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    specs = [obj["spec"] for path in samples() for obj in yaml.safe_load_all(path.read_text())]

    assert {field for spec in specs for field in spec} == schema.keys()
    assert {field for spec in specs for field in spec["updates"]} == schema["updates"]["properties"].keys()


@pytest.mark.parametrize("path", samples(), ids=lambda path: path.stem)
def test_samples_speak_to_a_newcomer(path: Path) -> None:
    """Each sample starts with a comment that says what it is for."""
    first = path.read_text().splitlines()[0]

    assert first.startswith("# ")
    assert len(first) > 40
