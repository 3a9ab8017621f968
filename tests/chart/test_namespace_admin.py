"""Who administers namespaces alone installs and uses the product, after the cluster's administrator has prepared it."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dev.chart import base
from dev.localkind.control_plane import ControlPlane
from tests import recipes
from tests.chart.rendering import Document, Helm, Render
from tests.cluster.api import Api, eventually, flagschedule
from tests.cluster.operator_fixtures import Operator, Scene
from tests.cluster.spec_corpus import spec
from tests.integration.database import connected
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.helm, pytest.mark.apiserver, pytest.mark.timeout(5 * PATIENCE)]

HEADING = "Without rights for the whole cluster"
FLAGS, SHOP = "flags", "shop"
VALUES: Document = {
    "namespaces": [SHOP],
    "rbac": {"clusterScoped": False},
    "crds": {"enabled": False},
    "admissionPolicies": {"enabled": False},
}


@pytest.fixture(scope="module")
def prepared(helm: Helm) -> Iterator[ControlPlane]:
    """An API server of its own, prepared with the commands of the page."""
    with ControlPlane() as cluster:
        environment = {"KUBECONFIG": str(cluster.kubeconfig()), "HOME": str(cluster.kubeconfig().parent)}
        prepare, grant, _ = recipes.commands("how-to/install.md", HEADING)
        for script in (prepare, grant):
            recipes.run(script, cluster.kubectl_program, environment, also=helm.program)
        yield cluster


@pytest.fixture(scope="module")
def alice(prepared: ControlPlane) -> Api:
    """The API server as she sees it, in the namespace of her schedules, once her rights are in effect."""
    found = _api(prepared, SHOP).acting_as("alice")
    for namespace in (FLAGS, SHOP):
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles?dryRun=All"
        rule = {"apiGroups": ["flagschedule.io"], "resources": ["flagschedules/status"], "verbs": ["patch"]}
        role = {"metadata": {"name": "probe"}, "rules": [rule]}
        eventually(lambda path=path, role=role: found.request("POST", path, role).ok, "she may give the rights away")  # type: ignore[misc]  # bound at once
    eventually(lambda: found.create(flagschedule("probe", spec()), dry_run=True).ok, "she may schedule")
    return found


@pytest.fixture(scope="module")
def render(helm: Helm) -> Render:
    """What she installs with Helm, for schedules in another namespace."""
    return helm.render(VALUES, namespace=FLAGS)


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Render:
    """What she installs with kustomize instead, into the namespace of her schedules."""
    folder = tmp_path_factory.mktemp("overlay").resolve()
    component = base.FOLDER.parent / "components" / "namespaced"
    places = {"resources": base.FOLDER, "components": component}
    chosen = {key: [os.path.relpath(place, folder)] for key, place in places.items()}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({"namespace": SHOP, **chosen}))
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run([str(kubectl), "kustomize", str(folder)], capture_output=True, text=True, check=True)
    return Render(yaml.load_all(done.stdout, yaml.CSafeLoader))


@pytest.fixture(scope="module")
def installed(prepared: ControlPlane, alice: Api, render: Render, overlay: Render) -> ControlPlane:
    """The same, with what she has installed."""
    assert alice
    text = "\n---\n".join(json.dumps(obj) for obj in [*render.objects, *overlay.objects])
    prepared.kubectl("apply", "--filename=-", "--as=alice", input=text)
    return prepared


def test_nothing_is_outside_of_the_namespaces(render: Render, helm: Helm) -> None:
    """With the values of the page every object is in the release's namespace, or a role in a schedules' namespace."""
    (_, _, install) = recipes.commands("how-to/install.md", HEADING)
    words = install.replace("\\\n", " ").replace("'", "").split()
    chosen = [f"--set={value}" for name, value in itertools.pairwise(words) if name == "--set" and "image" not in value]
    shown = helm("template", "flagschedule", words[3], f"--namespace={FLAGS}", *chosen)

    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == helm.text(VALUES, namespace=FLAGS, tests=True)
    elsewhere = {(obj["kind"], obj["metadata"].get("namespace")) for obj in render.objects}
    elsewhere = {(kind, namespace) for kind, namespace in elsewhere if namespace != FLAGS}
    assert elsewhere == {("Role", SHOP), ("RoleBinding", SHOP)}


def test_the_overlay_is_one_namespace_with_the_charts_rights(overlay: Render, helm: Helm) -> None:
    """With the component every object is in the namespace, and the operator may and knows what it does by Helm."""
    chart = helm.render(VALUES | {"namespaces": [SHOP]}, namespace=SHOP)

    assert {obj["metadata"].get("namespace") for obj in overlay.objects} == {SHOP}
    assert _rights(overlay) == _rights(chart)
    own = {"fieldRef": {"fieldPath": "metadata.namespace"}}
    expected = chart.environment("operator") | {"FLAG_SCHEDULE_NAMESPACES": own}  # by Helm it is named
    assert overlay.environment("operator") == expected


def test_without_namespaces_it_is_refused(helm: Helm) -> None:
    """An operator for all namespaces cannot do without a ClusterRole, and the refusal says so."""
    assert "rbac.clusterScoped: false needs namespaces" in helm.refusal({"rbac": {"clusterScoped": False}})


def test_her_rights_end_at_her_namespaces(alice: Api) -> None:
    """A namespace's administrator may not read cluster-wide objects, so the installation needs none of them."""
    assert alice.request("GET", "/api/v1/namespaces/kube-system").code == 403
    assert alice.request("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles").code == 403
    assert alice.request("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions").code == 403


@pytest.mark.parametrize(("objects", "home"), [("render", FLAGS), ("overlay", SHOP)], ids=["helm", "kustomize"])
def test_an_object_lives_with_roles_only(
    request: pytest.FixtureRequest,
    installed: ControlPlane,
    alice: Api,
    objects: str,
    home: str,
    database_url: str,
    tmp_path: Path,
) -> None:
    """From creation to the change, to suspension, cancellation and deletion: the operator needs no other right."""
    environment = _environment(installed, request.getfixturevalue(objects), home, database_url)
    with connected(database_url) as database:
        database.flag("checkout")
        operator = Operator(environment, tmp_path / "operator.log")
        scene = Scene(alice, database, operator)
        try:
            operator.start()
            scene.create("planned")
            scene.create("dropped")
            scene.create_by_git("launch")
            for name in ("planned", "dropped", "launch"):
                scene.reaches(name, "Pending")
            scene.process()
            scene.reaches("launch", "Applied")
            assert alice.patch("planned", {"spec": {"suspend": True}}).ok
            scene.reaches("planned", "Suspended")
            assert alice.patch("planned", {"spec": {"suspend": False, "cancel": True}}).ok
            scene.reaches("planned", "Cancelled")
            for name in ("dropped", "planned", "launch"):
                assert alice.delete(name).ok
                scene.is_gone(name)
            posted = f"/api/v1/namespaces/{SHOP}/events"
            eventually(lambda: len(alice.request("GET", posted).body["items"]) >= 5, "the Events are posted")
            assert operator.stop() == 0
        finally:
            operator.kill()
        # Freezes belong to the cluster, and it says once that it may not see them.
        troubles = [line for line in operator.lines() if line["level"] in {"warning", "error"}]
        assert [line["error"].partition(";")[0] for line in troubles] == ["it may not list them"]
        uid = _api(installed, home).request("GET", f"/api/v1/namespaces/{home}").body["metadata"]["uid"]
        assert database.value("SELECT kube_system_uid FROM flag_schedule_clusters") == uid


def test_a_missing_right_to_the_uid_is_named(
    installed: ControlPlane, render: Render, database_url: str, tmp_path: Path
) -> None:
    """An operator that may not read the namespace that names its cluster says which right or setting is missing."""
    environment = _environment(installed, render, FLAGS, database_url)
    del environment["FLAG_SCHEDULE_IDENTITY_NAMESPACE"]
    operator = Operator(environment, tmp_path / "operator.log")
    try:
        operator.start(wait=False)
        (line,) = eventually(lambda: operator.lines("API server lost"), "it says what it lacks")
    finally:
        operator.kill()

    assert "may not get the namespace kube-system" in line["error"]
    assert "FLAG_SCHEDULE_IDENTITY_NAMESPACE" in line["error"]


def _rights(render: Render) -> list[str]:
    """Return what the Roles allow. A Role for `namespaces` reaches its own namespace alone, named or not."""
    rules = [rule for role in render.of("Role").values() for rule in role["rules"]]
    for rule in rules:
        if rule["resources"] == ["namespaces"]:
            rule.pop("resourceNames", None)
    assert not render.of("ClusterRole")
    return sorted(json.dumps(rule, sort_keys=True) for rule in rules)


def _environment(cluster: ControlPlane, render: Render, home: str, database_url: str) -> dict[str, str]:
    """Return what the operator's pod gets in its namespace, with the token of its account."""
    token = cluster.kubectl("create", "token", "flagschedule-operator", f"--namespace={home}").strip()
    own = {"fieldRef": {"fieldPath": "metadata.namespace"}}
    settings = {
        name: home if value == own else value
        for name, value in render.environment("operator").items()
        if name.startswith("FLAG_SCHEDULE_")
    }
    assert settings["FLAG_SCHEDULE_IDENTITY_NAMESPACE"] == home
    return {
        **settings,
        "PATH": os.environ["PATH"],
        "KUBECONFIG": str(cluster.kubeconfig(token=token)),
        "DATABASE_URL": database_url,
        "FLAG_SCHEDULE_SWEEP_SECONDS": "1",
    }


def _api(cluster: ControlPlane, namespace: str) -> Api:
    return Api(server=cluster.server, ca_file=cluster.ca_file, token=cluster.token("admin"), namespace=namespace)
