"""Fixtures of the tests on a real API server."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from dev.localkind import programs
from dev.localkind.control_plane import ControlPlane
from dev.localkind.system import ClusterError
from tests.cluster.api import Api, eventually, flagschedule
from tests.cluster.operator_fixtures import loosened, new_operator, scene
from tests.cluster.spec_corpus import spec

__all__ = ["loosened", "new_operator", "scene"]  # fixtures that stand in another file

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "manifests" / "base"
OPERATOR = "system:serviceaccount:flagschedule-system:flagschedule-operator"


@pytest.fixture(scope="session")
def installed(control_plane: ControlPlane) -> ControlPlane:
    """The same, with `manifests/base` applied and in effect."""
    install(control_plane)
    return control_plane


def install(control_plane: ControlPlane) -> None:
    """Apply `manifests/base`, and wait until it is in effect."""
    control_plane.kubectl("apply", "--server-side", "--kustomize", str(BASE))
    crds = [f"crd/{plural}.flagschedule.io" for plural in ("flagschedules", "flagplans", "flagfreezes")]
    control_plane.kubectl("wait", "--for=condition=Established", *crds, "--timeout=120s")
    api = _api(control_plane)
    past = flagschedule("past", spec(scheduledAt="2020-01-01T00:00:00Z"))
    eventually(lambda: "in the future" in api.create(past, dry_run=True).message, "the policy is in effect")
    _wait_for_admission(api)
    _wait_for_rights(control_plane)


@pytest.fixture
def api(installed: ControlPlane) -> Api:
    """The API server as its administrator sees it, in a namespace of the test's own."""
    return in_namespace(installed, f"test-{uuid4().hex[:8]}")


def in_namespace(control_plane: ControlPlane, name: str) -> Api:
    """Return a client of the administrator, in a new namespace."""
    admin = _api(control_plane, namespace=name)
    created = admin.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    assert created.ok, created.message
    return admin


@contextmanager
def stamped_updates(admin: Api) -> Iterator[None]:
    """Install a policy of the cluster's own that writes into every update in a namespace, as mutating webhooks do."""
    if programs.control_plane() is not programs.NODE:
        pytest.skip("the oldest Kubernetes has no policies that mutate, only webhooks")
    policies = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolic"
    rule = {"apiGroups": ["flagschedule.io"], "apiVersions": ["*"], "operations": ["UPDATE"]}
    stamp = "Object{metadata: Object.metadata{annotations: {'stamped-by': request.userInfo.username}}}"
    name = f"stamp-{admin.namespace}"
    policy = {
        "matchConstraints": {"resourceRules": [rule | {"resources": ["flagschedules"]}]},
        "matchConditions": [{"name": "ours", "expression": f"object.metadata.namespace == '{admin.namespace}'"}],
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": stamp}}],
    }
    for kind, body in (("ies", policy), ("ybindings", {"policyName": name})):
        answer = admin.request("POST", policies + kind, {"metadata": {"name": name}, "spec": body})
        assert answer.ok, answer.message
    try:
        assert admin.create(flagschedule("probe", spec())).ok
        eventually(lambda: "stamped-by" in str(admin.patch("probe", {}).body["metadata"]), "the mutation is in effect")
        yield
    finally:
        for kind in ("ybindings", "ies"):
            assert admin.request("DELETE", f"{policies}{kind}/{name}").ok


def _wait_for_admission(api: Api) -> None:
    """Wait until every policy that exists is in effect: the server reads them in the order in which they came."""
    group, name = "/apis/admissionregistration.k8s.io/v1", "last"
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]
    only = [{"name": "only", "expression": "object.metadata.name == 'last'"}]
    objects = {
        f"{group}/validatingadmissionpolicies": {
            "matchConstraints": {"resourceRules": rules},
            "matchConditions": only,
            "validations": [{"expression": "false"}],
        },
        f"{group}/validatingadmissionpolicybindings": {"policyName": name, "validationActions": ["Deny"]},
    }
    for path, body in objects.items():
        answer = api.request("POST", path, {"metadata": {"name": name}, "spec": body})
        assert answer.ok, answer.message
    probe = ("/api/v1/namespaces/default/configmaps?dryRun=All", {"metadata": {"name": name}})
    eventually(lambda: not api.request("POST", *probe).ok, "the last policy is in effect")
    for path in objects:
        assert api.request("DELETE", f"{path}/{name}").ok


def _wait_for_rights(control_plane: ControlPlane) -> None:
    """Wait until the operator has its rights, those of the cluster and those of its namespace."""
    account = "--as=system:serviceaccount:flagschedule-system:flagschedule-operator"
    for right in (
        ("patch", "flagschedules.flagschedule.io", "--namespace=default"),
        ("get", "leases.coordination.k8s.io/flagschedule-operator", "--namespace=flagschedule-system"),
        ("get", "namespaces/kube-system", "--namespace=kube-system"),
    ):
        eventually(partial(_may, control_plane, account, *right), f"the operator may {' '.join(right)}")


def _may(control_plane: ControlPlane, *words: str) -> bool:
    try:
        return control_plane.kubectl("auth", "can-i", *words).strip() == "yes"
    except ClusterError:  # kubectl refuses by its exit code as well
        return False


def _api(control_plane: ControlPlane, namespace: str = "default") -> Api:
    return Api(
        server=control_plane.server,
        ca_file=control_plane.ca_file,
        token=control_plane.token("admin"),
        namespace=namespace,
    )
