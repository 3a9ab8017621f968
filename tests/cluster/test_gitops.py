"""GitOps tools apply the same files again and again: nothing of ours may look like a difference to them."""

import functools
import json
import re
from pathlib import Path

import pytest
import yaml

from dev.localkind.control_plane import ControlPlane
from tests import recipes
from tests.cluster.api import Api, Object, eventually, flagschedule
from tests.cluster.operator_fixtures import Scene
from tests.cluster.spec_corpus import spec

pytestmark = pytest.mark.apiserver

ROOT = Path(__file__).resolve().parents[2]
# Those of FlagSchedules: a FlagFreeze of all namespaces would hold what other tests plan.
SAMPLES = [
    path
    for path in sorted((ROOT / "manifests" / "samples").glob("*.yaml"))
    if {obj["kind"] for obj in yaml.safe_load_all(path.read_text())} == {"FlagSchedule"}
]


def _objects() -> list[Object]:
    return [obj for path in SAMPLES for obj in yaml.safe_load_all(path.read_text())]


NAMES = [obj["metadata"]["name"] for obj in _objects()]


def _apply(scene: Scene, control_plane: ControlPlane, manager: str) -> None:
    """Apply every sample as this tool does."""
    files = [word for path in SAMPLES for word in ("--filename", str(path))]
    control_plane.kubectl(
        "apply", "--server-side", f"--field-manager={manager}", f"--namespace={scene.api.namespace}", *files
    )


def _reached(scene: Scene) -> dict[str, Object]:
    """Wait until each sample has the phase that its spec says. Returns: the objects by name."""
    for obj in _objects():
        spec = obj["spec"]
        phase = "Cancelled" if spec.get("cancel") else "Suspended" if spec.get("suspend") else "Pending"
        scene.reaches(obj["metadata"]["name"], phase)
    return {name: scene.api.get(name) for name in NAMES}


def _rows(objects: dict[str, Object]) -> set[str]:
    """Return the ids of the rows; what was cancelled from the start has none."""
    return {obj["status"]["scheduleId"] for obj in objects.values() if "scheduleId" in obj["status"]}


@pytest.fixture
def mirrored(scene: Scene, installed: ControlPlane) -> dict[str, Object]:
    """Every sample, applied by Argo CD's name and mirrored; the objects by name."""
    for key, environment in {(t["spec"]["flagKey"], t["spec"].get("environment", "production")) for t in _objects()}:
        scene.database.flag(key, environment)
    _apply(scene, installed, "argocd-controller")
    return _reached(scene)


def test_applying_the_samples_again_changes_nothing(
    scene: Scene, installed: ControlPlane, mirrored: dict[str, Object]
) -> None:
    """After the operator has mirrored every sample, the tool that made it finds nothing to change, down to a byte."""
    _apply(scene, installed, "argocd-controller")

    assert {name: scene.api.get(name) for name in NAMES} == mirrored


def test_another_tool_takes_part_once_and_changes_nothing(
    scene: Scene, installed: ControlPlane, mirrored: dict[str, Object]
) -> None:
    """A second manager's first apply adds its name to the managed fields, and nothing else; the next one nothing."""
    _apply(scene, installed, "kustomize-controller")
    joined = {name: scene.api.get(name) for name in NAMES}
    _apply(scene, installed, "kustomize-controller")

    assert {name: scene.api.get(name) for name in NAMES} == joined
    for name, obj in mirrored.items():
        assert "kustomize-controller" in {entry["manager"] for entry in joined[name]["metadata"]["managedFields"]}
        assert joined[name]["metadata"]["generation"] == obj["metadata"]["generation"]
        assert (joined[name]["spec"], joined[name]["status"]) == (obj["spec"], obj["status"])


def test_pruned_files_cancel_and_come_back(scene: Scene, installed: ControlPlane, mirrored: dict[str, Object]) -> None:
    """Files that leave Git cancel their schedules; when they return they are planned again, in rows of their own."""
    files = [word for path in SAMPLES for word in ("--filename", str(path))]
    installed.kubectl("delete", f"--namespace={scene.api.namespace}", "--wait", *files)
    states = scene.database.query("SELECT id, status FROM feature_flag_schedules")
    assert {row["status"] for row in states} == {"cancelled"}
    assert {str(row["id"]) for row in states} == _rows(mirrored)

    _apply(scene, installed, "argocd-controller")
    again = _reached(scene)

    assert _rows(again)
    assert _rows(again).isdisjoint(_rows(mirrored))
    assert [again[name]["spec"] for name in NAMES] == [mirrored[name]["spec"] for name in NAMES]


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


FLUX = {"kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}


def _sync(control_plane: ControlPlane, namespace: str, *files: Object, account: str = "", **options: str) -> str:
    """Apply files as Flux's controller does, with options of kubectl. Returns: kubectl's output."""
    flags = {"field-manager": "kustomize-controller", "output": "name", **options}
    command = ["apply", "--server-side", "--force-conflicts", f"--namespace={namespace}", "--filename=-"]
    command += [f"--{flag.replace('_', '-')}={value}" for flag, value in flags.items()]
    command += [f"--as={account}"] * bool(account)
    return control_plane.kubectl(*command, input=json.dumps({"apiVersion": "v1", "kind": "List", "items": files}))


def test_an_edited_file_keeps_no_other_from_being_applied(scene: Scene, installed: ControlPlane) -> None:
    """Of one commit the edit of an applied file is reported and does nothing; a new file and a cancel are carried out.

    Other updates, another flag or environment, and a cancel are all alike; going back ends the report.
    """
    at = scene.database.value("""SELECT to_char(now(), 'YYYY-MM-DD"T"HH24:MI:SS"Z"')""")
    done = {
        name: flagschedule(name, spec(flagKey=name, scheduledAt=at), labels=FLUX)
        for name in ("updates", "key", "environment", "cancel", "time")
    }
    for name in (*done, "other"):
        scene.database.flag(name)
    pending = flagschedule("pending", spec(), labels=FLUX)
    _sync(installed, scene.api.namespace, *done.values(), pending)
    for name in (*done, "pending"):
        scene.reaches(name, "Pending")
    scene.process()
    applied = {name: scene.reaches(name, "Applied") for name in done}
    edits: dict[str, Object] = {
        "updates": {"updates": {"enabled": False}},
        "key": {"flagKey": "other"},
        "environment": {"environment": "staging"},
        "cancel": {"cancel": True},
        "time": {"scheduledAt": "2030-01-01T00:00:00Z"},
    }
    edited = [flagschedule(name, done[name]["spec"] | edit, labels=FLUX) for name, edit in edits.items()]
    flags = scene.database.query("SELECT xmin, * FROM feature_flags")

    _sync(installed, scene.api.namespace, *edited, flagschedule("pending", spec(cancel=True), labels=FLUX),
          flagschedule("new", spec(), labels=FLUX))  # fmt: skip

    scene.reaches("new", "Pending")
    scene.reaches("pending", "Cancelled")
    for name, before in applied.items():
        status = scene.reaches(name, "Applied")
        conditions = {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}
        assert conditions["Ready"] == ("True", "EditTooLate")
        assert "Stalled" not in conditions
        assert [status[key] for key in ("change", "scheduledAt", "appliedAt")] == [
            before[key] for key in ("change", "scheduledAt", "appliedAt")
        ]
        shown = installed.kubectl("get", "fsched", name, "--output=wide", f"--namespace={scene.api.namespace}")
        assert "EditTooLate" in shown
        assert f"The change was applied at {before['appliedAt']} as enabled=true; the spec now differs" in shown
        described = functools.partial(installed.kubectl, "describe", "fsched", name)
        eventually(lambda: "EditTooLate" in described(f"--namespace={scene.api.namespace}"), "there is an Event")  # noqa: B023 -- called at once
    _sync(installed, scene.api.namespace, *done.values())
    for name, before in applied.items():
        eventually(lambda: scene.status(name)["reason"] == before["reason"], "the report has ended")  # noqa: B023 -- called at once
    scene.process()
    assert scene.database.query("SELECT xmin, * FROM feature_flags") == flags


@pytest.mark.parametrize("edit", [{"updates": {"enabled": False}}, {"flagKey": "other"}, {"environment": "staging"}])
def test_a_comparison_on_the_servers_side_shows_the_edit(api: Api, installed: ControlPlane, edit: Object) -> None:
    """Argo CD's ServerSideDiff is a dry run: an edited applied file is a difference there, and not an error for all."""
    tracked = {"argocd.argoproj.io/tracking-id": "shop:flagschedule.io/FlagSchedule:shop/launch"}
    options = {"field-manager": "argocd-controller"}
    _sync(installed, api.namespace, flagschedule("launch", spec(), annotations=tracked), **options)
    assert api.set_status("launch", observedGeneration=1, phase="Applied").ok

    file = flagschedule("launch", spec(**edit), annotations=tracked)
    predicted = yaml.safe_load(_sync(installed, api.namespace, file, **options, dry_run="server", output="yaml"))

    assert predicted["spec"] == spec(**edit)
    assert api.get("launch")["spec"] == spec()


def test_another_flag_in_a_pending_file_is_planned_again(scene: Scene, installed: ControlPlane) -> None:
    """A key corrected in Git before its time changes the flag that the file names now, and not the one before."""
    scene.database.flag("right")
    _sync(installed, scene.api.namespace, flagschedule("launch", spec(flagKey="checkout"), labels=FLUX))
    first = scene.reaches("launch", "Pending")

    _sync(installed, scene.api.namespace, flagschedule("launch", spec(flagKey="right"), labels=FLUX))
    second = scene.reaches("launch", "Pending")

    assert second["scheduleId"] != first["scheduleId"]
    found = scene.database.query(
        "SELECT f.flag_key, s.status, s.reason FROM feature_flag_schedules AS s JOIN feature_flags AS f "
        "ON f.id = s.flag_id ORDER BY 1"
    )
    assert [tuple(row.values()) for row in found] == [("checkout", "cancelled", "Replaced"), ("right", "pending", None)]


def test_a_file_that_flux_forces_is_not_applied_twice(scene: Scene) -> None:
    """An edited applied file that is deleted and created again shows what was applied, and changes nothing."""
    made = scene.create_by_git("launch")
    scene.reaches("launch", "Pending")
    scene.process()
    applied = scene.reaches("launch", "Applied")
    flags = scene.database.query("SELECT xmin, * FROM feature_flags")
    assert scene.api.delete("launch").ok
    scene.is_gone("launch")

    scene.create_by_git("launch", scheduledAt=made["spec"]["scheduledAt"], updates={"enabled": False})

    status = scene.reaches("launch", "Applied")
    assert (status["reason"], status["appliedAt"]) == ("EditTooLate", applied["appliedAt"])
    scene.process()
    assert scene.database.query("SELECT xmin, * FROM feature_flags") == flags


def _page(name: str, language: str) -> str:
    """Return a block of the GitOps page, by the comment before it."""
    text = (ROOT / "docs" / "how-to" / "gitops.md").read_text()
    found = re.search(rf"<!-- {name} -->\n```{language}\n(.*?)```", text, re.DOTALL)
    assert found, name
    return found[1]


def test_the_editor_role_is_enough_for_an_account_of_a_tenant(api: Api, installed: ControlPlane) -> None:
    """With the binding of the page a GitOps tool can apply, dry-run, look and prune as an account of the namespace."""
    binding = _page("impersonation", "yaml").replace("namespace: shop", f"namespace: {api.namespace}")
    account = f"system:serviceaccount:{api.namespace}:gitops"
    installed.kubectl("apply", "--filename=-", input=binding)
    tenant = api.acting_as(account)
    eventually(lambda: tenant.get("none").get("code") == 404, "the binding is in effect")
    file = flagschedule("launch", spec(), labels=FLUX)

    for options in ({"dry_run": "server"}, {}, {}):
        assert "launch" in _sync(installed, api.namespace, file, account=account, **options)
    assert tenant.list().keys() == {"launch"}
    assert tenant.delete("launch").ok
    assert not tenant.set_status("launch", phase="Applied").ok


def test_a_dry_run_finds_what_a_commit_would_do(api: Api, installed: ControlPlane, tmp_path: Path) -> None:
    """The command of the page names an edit that comes too late, and nothing else; it shows a refusal as it is."""
    folder = tmp_path / "flags"
    folder.mkdir()
    for name, phase in (("edited", "Applied"), ("same", "Applied"), ("planned", "Pending")):
        _sync(installed, api.namespace, flagschedule(name, spec(), labels=FLUX))
        assert api.set_status(name, observedGeneration=1, phase=phase).ok
    files = {"edited": {"maxRetries": 1}, "same": {}, "planned": {"maxRetries": 1}, "new": {}}
    for name, edit in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(flagschedule(name, spec(**edit))))
    [block] = recipes.commands("how-to/gitops.md", "A dry run in pull requests")
    script = block.replace("=shop", f"={api.namespace}").replace("flags/", f"{folder}/")
    script = script.replace("dry-run.txt", f"{tmp_path}/dry-run.txt")
    environment = {"KUBECONFIG": str(installed.kubeconfig()), "HOME": str(tmp_path)}
    check = functools.partial(recipes.run, script, installed.kubectl_program, environment)

    assert check().splitlines() == ["edited: edited too late, it is Applied"]
    for name in ("same", "planned", "new"):
        (folder / f"{name}.yaml").unlink()
    assert check().splitlines() == ["edited: edited too late, it is Applied"]
    (folder / "bad.yaml").write_text(yaml.safe_dump(flagschedule("bad", spec(scheduledAt="2020-01-01T00:00:00Z"))))
    with pytest.raises(Exception, match="scheduledAt must be in the future"):
        check()
    assert api.list().keys() == {"edited", "same", "planned"}


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
        "resource.customizations.health.flagschedule.io_FlagPlan",
        "resource.customizations.actions.flagschedule.io_FlagPlan",
        "resource.customizations.health.flagschedule.io_FlagFreeze",
    }
