"""A real API server takes what the chart renders, and gives each account the rights that are written here."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.chart import kubernetes
from dev.chart.files import CHART
from dev.localkind import programs
from dev.localkind.control_plane import ControlPlane
from tests.chart.rendering import EVERYTHING, Document, Helm, Render
from tests.chart.test_platform import PLATFORM
from tests.chart.test_switches import merged
from tests.cluster.api import Api

pytestmark = [pytest.mark.helm, pytest.mark.apiserver]

SYSTEM = "chart-system"
OURS = {"flags-operator", "flags-processor", "flags-cleanup", "flags-migrate"}
# Everything that an account may do beyond what every account may, as `kubectl auth can-i --list` says it.
LEASES = {"leases.coordination.k8s.io [] [] [create]", "leases.coordination.k8s.io [] [flags-operator] [get update]"}
SCHEDULES = {
    *(f"{plural}.flagschedule.io [] [] [get list watch patch]" for plural in ("flagschedules", "flagplans")),
    *(f"{plural}.flagschedule.io/status [] [] [patch]" for plural in ("flagschedules", "flagplans")),
    "events [] [] [create]",
}
FREEZES = {
    "flagfreezes.flagschedule.io [] [] [get list watch patch]",
    "flagfreezes.flagschedule.io/status [] [] [patch]",
}
CLUSTER_UID = {"namespaces [] [kube-system] [get]"}
RIGHTS: dict[str, dict[str, set[str]]] = {
    "everywhere": {
        SYSTEM: LEASES | SCHEDULES | FREEZES | CLUSTER_UID,
        "shop": SCHEDULES | FREEZES | CLUSTER_UID,
        "default": SCHEDULES | FREEZES | CLUSTER_UID,
        "kube-system": SCHEDULES | FREEZES | CLUSTER_UID,
    },
    "two namespaces": {
        SYSTEM: LEASES,
        "shop": SCHEDULES,
        "search": SCHEDULES,
        "default": set(),
        "kube-system": CLUSTER_UID,
    },
}
# The API server has addresses of one family.
HERE: Document = {"namespaceOverride": SYSTEM, "metrics": {"service": {"ipFamilies": ["IPv4"]}}}
VALUES: dict[str, Document] = {"everywhere": {}, "two namespaces": {"namespaces": ["shop", "search"]}}


@pytest.fixture(scope="module")
def cluster(control_plane: ControlPlane) -> ControlPlane:
    """An API server with the chart's namespaces; the chart's enforces Pod Security restricted."""
    for name in (SYSTEM, "shop", "search"):
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
        obj = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        control_plane.kubectl("apply", "-f", "-", input=json.dumps(obj))
    return control_plane


@pytest.fixture(scope="module", params=list(VALUES))
def installed(request: pytest.FixtureRequest, helm: Helm, cluster: ControlPlane) -> Iterator[tuple[str, Render]]:
    """The chart's accounts and roles in the cluster, for everything or for two namespaces; which, and the rendering."""
    values = merged({"fullnameOverride": "flags"}, VALUES[request.param])
    render = helm.render(values, namespace=SYSTEM)
    kinds = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
    text = "\n---\n".join(json.dumps(obj) for obj in render.objects if obj["kind"] in kinds)
    cluster.kubectl("apply", "-f", "-", input=text)
    yield request.param, render
    cluster.kubectl("delete", "--wait=false", "-f", "-", input=text)


@pytest.mark.parametrize(
    "values",
    [{}, VALUES["two namespaces"], EVERYTHING, merged(merged(EVERYTHING, PLATFORM), HERE)],
    ids=["default", "namespaces", "everything", "platform"],
)
def test_the_server_takes_every_object(helm: Helm, cluster: ControlPlane, values: Document) -> None:
    """Nothing is unknown, missing, refused or warned about; monitoring is left out, whose kinds are others'."""
    named = merged(values, {"fullnameOverride": "flags"})  # another name than what other tests install
    objects = [obj for obj in helm.render(named, namespace=SYSTEM).objects
              if not obj["apiVersion"].startswith("monitoring.coreos.com/")]  # fmt: skip
    text = "\n---\n".join(json.dumps(obj) for obj in objects)

    said = cluster.kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--warnings-as-errors", "-f", "-", input=text
    )

    assert said.count("serverside-applied") == len(objects)


def test_what_a_cluster_serves_decides_on_actors(helm: Helm, cluster: ControlPlane) -> None:
    """From Kubernetes 1.36 on the policy is installed and the operator records; below neither is there."""
    done = helm("template", "flags", str(CHART), "--dry-run=server", f"--kubeconfig={cluster.kubeconfig()}",
                f"--namespace={SYSTEM}", values={"fullnameOverride": "flags", "crds": {"enabled": False}})  # fmt: skip
    assert done.returncode == 0, done.stderr
    render = Render(filter(None, yaml.load_all(done.stdout, yaml.CSafeLoader)))

    is_newest = programs.control_plane() is programs.NODE
    assert bool(render.of("MutatingAdmissionPolicy")) == is_newest
    assert ("FLAG_SCHEDULE_RECORD_ACTORS" in render.environment("operator")) == is_newest


def test_every_pod_is_let_in(installed: tuple[str, Render], helm: Helm, cluster: ControlPlane) -> None:
    """Each program's pod is accepted in a namespace that enforces Pod Security restricted, with all values."""
    api = _api(cluster)
    templates = [*installed[1].templates().values()]
    templates += helm.render(EVERYTHING | {"fullnameOverride": "flags"}, namespace=SYSTEM).templates().values()
    templates += helm.render({"fullnameOverride": "flags", "securityContext": {"runAsUser": None}},
                             namespace=SYSTEM).templates().values()  # fmt: skip
    test = helm.render(EVERYTHING | {"fullnameOverride": "flags"}, namespace=SYSTEM, tests=True).one(
        "Pod", "flags-test"
    )
    templates.append({"metadata": {}, "spec": {**test["spec"], "serviceAccountName": "flags-operator"}})
    for template in templates:
        pod = {"apiVersion": "v1", "kind": "Pod", **template}
        pod["metadata"] = {**template["metadata"], "name": "try"}
        pod["spec"] = {key: value for key, value in template["spec"].items() if key != "imagePullSecrets"}
        answer = api.request("POST", f"/api/v1/namespaces/{SYSTEM}/pods?dryRun=All&fieldValidation=Strict", pod)
        assert answer.ok, answer.message

    pod["spec"]["securityContext"] = {}
    answer = api.request("POST", f"/api/v1/namespaces/{SYSTEM}/pods?dryRun=All", pod)
    assert "violates PodSecurity" in answer.message  # it is enforced


def test_each_account_has_exactly_these_rights(installed: tuple[str, Render], cluster: ControlPlane) -> None:
    """The list is complete, in every namespace: nothing more, nothing less, and nothing at all but for the operator."""
    mode, render = installed
    assert render.of("ServiceAccount").keys() == OURS
    for namespace, expected in RIGHTS[mode].items():
        common = _rights(cluster, namespace, "another-account")
        for account in OURS:
            wanted = expected if account == "flags-operator" else set()
            assert _rights(cluster, namespace, account) - common == wanted, (namespace, account)


@pytest.mark.usefixtures("installed")
def test_the_operator_can_distinguish_clusters(cluster: ControlPlane) -> None:
    """A Role in kube-system is enough to read that namespace's uid, and no other namespace."""
    operator = _api(cluster).acting_as(f"system:serviceaccount:{SYSTEM}:flags-operator")

    assert operator.request("GET", "/api/v1/namespaces/kube-system").body["metadata"]["uid"]
    assert operator.request("GET", "/api/v1/namespaces/default").code == 403
    assert operator.request("GET", "/api/v1/namespaces").code == 403


@pytest.mark.skipif(
    programs.control_plane() is not programs.NODE,
    reason="the schema is that of the newest Kubernetes, not of the oldest",
)
def test_the_schema_knows_kubernetes_as_it_is(cluster: ControlPlane) -> None:
    """The shapes of tolerations, volumes and so on are those of the newest supported Kubernetes."""
    swagger: dict[str, Any] = _api(cluster).request("GET", "/openapi/v2").body

    assert kubernetes.definitions() == kubernetes.extract(swagger)


def _rights(cluster: ControlPlane, namespace: str, account: str) -> set[str]:
    table = cluster.kubectl(
        "auth", "can-i", "--list", "--no-headers", f"--namespace={namespace}",
        f"--as=system:serviceaccount:{SYSTEM}:{account}",
    )  # fmt: skip
    return {" ".join(line.split()) for line in table.splitlines()}


def _api(cluster: ControlPlane) -> Api:
    return Api(server=cluster.server, ca_file=Path(cluster.ca_file), token=cluster.token("admin"))
