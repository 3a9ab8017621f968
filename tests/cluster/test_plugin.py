"""`kubectl flagschedule` as its users run it: kubectl finds it in PATH, and no test looks into the database by SQL."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dev.localkind.control_plane import ControlPlane
from flagschedule.plugin import cli
from tests.cluster.api import Api, Object, eventually, flagfreeze, flagplan, flagschedule
from tests.cluster.conftest import in_namespace
from tests.cluster.operator_fixtures import Scene
from tests.cluster.spec_corpus import spec
from tests.waiting import PATIENCE

pytestmark = pytest.mark.apiserver

Result = subprocess.CompletedProcess[str]
Run = Callable[..., Result]


@pytest.fixture
def kubectl(installed: ControlPlane, tmp_path: Path) -> Run:
    """Runs kubectl with the plugin in PATH, as an administrator or as the holder of a token."""

    def run(*words: str, code: int = 0, stdin: str | None = None, kubeconfig: Path | None = None) -> Result:
        folders = [installed.kubectl_program.parent, Path(sys.executable).parent]
        environment = {
            "PATH": ":".join([*map(str, folders), os.environ["PATH"]]),
            "KUBECONFIG": str(kubeconfig or installed.kubeconfig()),
            "HOME": str(tmp_path),
        }
        done = subprocess.run(
            ["kubectl", *words],
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    return run


@pytest.fixture
def plugin(
    installed: ControlPlane,
    api: Api,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Runs the plugin in this process, in the namespace of the test: a start of Python takes longer than a command."""
    monkeypatch.setenv("PATH", f"{installed.kubectl_program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("KUBECONFIG", str(installed.kubeconfig()))
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(*words: str, code: int = 0, everywhere: bool = False) -> Result:
        place = ["-A"] if everywhere else ["-n", api.namespace]
        capsys.readouterr()
        found = cli.main([words[0], *place, *words[1:]])
        done = subprocess.CompletedProcess(words, found, *capsys.readouterr())
        assert found == code, (done.stdout, done.stderr)
        return done

    return run


def create(api: Api, obj: Object) -> None:
    """Create an object of any of our kinds."""
    answer = api.of(f"{obj['kind'].lower()}s").create(obj)
    assert answer.ok, answer.message


def in_file(folder: Path, objects: Sequence[Object]) -> str:
    """Write objects into a file, as a pull request holds them."""
    file = folder / "change.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))
    return str(file)


def test_stop_the_change_of_nine_at_five_to_nine(scene: Scene, plugin: Run, kubectl: Run) -> None:
    """A person sees what comes, why it waits, holds it, and lets it go again."""
    scene.create("launch", scheduledAt=f"{datetime.now(UTC) + timedelta(minutes=5):%FT%TZ}")
    scene.reaches("launch", "Pending")

    assert "checkout" in kubectl("flagschedule", "timeline", "-n", scene.api.namespace, "--next", "1h").stdout
    assert "its time has come" in plugin("why", "launch").stdout

    assert "suspended" in plugin("suspend", "launch").stdout
    scene.reaches("launch", "Suspended")
    assert scene.row("launch")["suspended"]
    why = plugin("why", "launch").stdout
    assert f"What helps: kubectl flagschedule resume launch -n {scene.api.namespace}" in why

    plugin("resume", "fsched/launch")
    scene.reaches("launch", "Pending")
    plugin("cancel", "launch")
    scene.reaches("launch", "Cancelled")
    assert "is Cancelled" in plugin("suspend", "launch", code=1).stderr
    managers = {entry["manager"] for entry in scene.api.get("launch")["metadata"]["managedFields"]}
    assert "flagschedule" in managers
    assert not [manager for manager in managers if manager.startswith("kubectl")]


def test_find_out_what_happened_and_put_it_back(scene: Scene, plugin: Run, kubectl: Run) -> None:
    """The history shows attempt, values before and after, and who; the printed YAML puts the flag back."""
    scene.operator.stop()
    scene.operator.start(FLAG_SCHEDULE_RECORD_ACTORS="true")
    who = {f"flagschedule.io/{verb}-by": "admin" for verb in ("created", "changed")}  # a user may name no other
    scene.create_by_git(
        "launch", late=timedelta(seconds=30), annotations=who, updates={"enabled": True, "rolloutPercentage": 40}
    )
    scene.reaches("launch", "Pending")
    scene.process()
    scene.reaches("launch", "Applied")

    shown = plugin("history", "--flag", "checkout").stdout
    assert "enabled=false" in shown
    assert "rolloutPercentage=40" in shown
    assert "attempt 1" in shown
    assert shown.split()[-1] == "admin"

    yaml = plugin("revert", "launch", "--in", "4s").stdout
    (name,) = [line.split('"')[1] for line in yaml.splitlines() if line.startswith("  name:")]
    kubectl("create", "--filename=-", stdin=yaml)
    scene.reaches(name, "Pending")

    def is_back() -> bool:
        scene.process()
        return bool(scene.status(name).get("phase") == "Applied")

    eventually(is_back, "the change back is made")
    assert scene.status(name)["flag"]["after"]["enabled"] is False


def test_a_launch_of_thirty_flags_is_seen_as_a_timeline(api: Api, plugin: Run, kubectl: Run, tmp_path: Path) -> None:
    """A file of thirty ramps is previewed and applied, and the timeline shows every step."""
    file = in_file(tmp_path, [ramp(f"launch-{number:02}", f"feature-{number:02}") for number in range(30)])

    assert "30 objects, 0 conflicts" in plugin("preview", "-f", file).stdout
    kubectl("apply", "--filename", file, f"--namespace={api.namespace}")

    changes = json.loads(plugin("timeline", "--next", "21d", "-o", "json").stdout)["changes"]
    assert len(changes) == 90
    assert {change["step"] for change in changes} == {"five", "half", "all"}
    page = plugin("timeline", "--next", "21d", "-o", "html").stdout
    assert page.count('class="flag"') == 30
    assert "not seen yet" in page


def ramp(name: str, flag: str) -> Object:
    """Return a ramp of three steps that begins in a week."""
    at = f"{datetime.now(UTC) + timedelta(days=7):%FT09:00:00Z}"
    shares = {"five": 5, "half": 50, "all": 100}
    steps = [
        {"name": step, "changes": [{"flagKey": flag, "updates": {"enabled": True, "rolloutPercentage": share}}]}
        for step, share in shares.items()
    ]
    return flagplan(name, {"steps": [steps[0] | {"at": at}, *(step | {"after": "24h"} for step in steps[1:])]})


def test_a_pull_request_is_reviewed(api: Api, plugin: Run, tmp_path: Path) -> None:
    """A preview ends with 1 on what is refused, overlaps or is frozen; a good file ends with 0. Nothing is created."""
    day = f"{datetime.now(UTC) + timedelta(days=3):%F}"
    create(api, flagschedule("theirs", spec(flagKey="banner", scheduledAt=f"{day}T12:00:00Z")))
    name = f"holidays-{api.namespace}"
    frozen = {"from": f"{day}T18:00:00Z", "until": f"{day}T23:00:00Z"}
    create(api, flagfreeze(name, {"reason": "holidays", "namespaces": [api.namespace], "windows": [frozen]}))
    off = {"updates": {"enabled": False}}

    good = in_file(tmp_path, [flagschedule("good", spec(flagKey="good", scheduledAt=f"{day}T09:00:00Z"))])
    shown = plugin("preview", "-f", good, "--time-zone", "Asia/Tokyo").stdout
    assert f"{day} 09:00 UTC" in shown
    assert f"{day} 18:00 JST" in shown

    bad = [
        flagschedule("clash", spec(flagKey="banner", scheduledAt=f"{day}T12:00:00Z", **off)),
        flagschedule("held", spec(flagKey="held", scheduledAt=f"{day}T20:00:00Z")),
        flagschedule("wrong", spec(updates={"rolloutPercentage": 101})),
        flagschedule("long-ago", spec(scheduledAt="2024-01-01T00:00:00Z")),
    ]
    shown = plugin("preview", "-f", in_file(tmp_path, bad), code=1).stdout
    assert "is also changed by fsched" in shown
    assert f"is held until {day} 23:00 UTC by the freeze {name}" in shown
    assert "refused:" in shown
    assert "Replayed or Expired" in shown
    assert "4 objects, 3 conflicts" in shown
    assert set(api.list()) == {"theirs"}


def test_who_may_read_one_namespace_sees_it(installed: ControlPlane, api: Api, plugin: Run) -> None:
    """Without rights elsewhere, what may be read is shown with a note, and the exit code is 0."""
    other = in_namespace(installed, f"{api.namespace}-b")
    for each in (api, other):
        create(each, flagschedule("mine", spec(flagKey=f"flag-{each.namespace}")))
    user = f"reader-{api.namespace}"
    installed.kubectl("create", "rolebinding", user, "--clusterrole=view", f"--user={user}", f"-n{api.namespace}")
    words = ("timeline", f"--as={user}", "--next", "366d")

    eventually(
        lambda: installed.kubectl("auth", "can-i", "list", "fsched", f"--as={user}", f"-n{api.namespace}") == "yes\n",
        "the right is in effect",
    )
    shown = plugin(*words, "-n", other.namespace)

    assert f"not shown, because you may not read them: {other.namespace}" in shown.stderr
    assert "FlagFreezes are not shown" in shown.stderr
    assert "name the namespaces" in plugin(*words, code=1, everywhere=True).stderr
    installed.kubectl("create", "clusterrole", user, "--verb=list", "--resource=namespaces")
    installed.kubectl("create", "clusterrolebinding", user, f"--clusterrole={user}", f"--user={user}")
    eventually(
        lambda: installed.kubectl("auth", "can-i", "list", "namespaces", f"--as={user}") == "yes\n", "the same for all"
    )
    assert other.namespace in plugin(*words, everywhere=True).stderr


def test_what_git_names_is_said_to_be_undone(api: Api, plugin: Run) -> None:
    """Where the file in Git names the field, the command warns and offers a freeze; elsewhere it does not."""
    labels = {"kustomize.toolkit.fluxcd.io/name": "apps"}
    for name, fields in (("named", {"suspend": False}), ("free", {})):
        applied = api.apply(flagschedule(name, spec(**fields), labels=labels), manager="kustomize-controller")
        assert applied.ok, applied.message

    assert "Flux will undo this" in (warned := plugin("suspend", "named").stderr)
    assert "kubectl flagschedule freeze NAME --reason TEXT --flag checkout" in warned
    assert plugin("suspend", "free").stderr == ""
    assert api.get("free")["spec"]["suspend"] is True
    plugin("retry", "free")
    assert "flagschedule.io/retry-requested-at" in api.get("free")["metadata"]["annotations"]


def test_an_incident_holds_a_flag_everywhere_and_lets_the_same_go(
    installed: ControlPlane, api: Api, plugin: Run
) -> None:
    """`suspend --flag -A` holds all of one flag, and `resume --flag -A` leaves what a person had suspended before."""
    other = in_namespace(installed, f"{api.namespace}-c")
    flag = f"flag-{api.namespace}"
    create(api, flagschedule("one", spec(flagKey=flag)))
    create(other, ramp("two", flag))
    create(other, flagschedule("before", spec(flagKey=flag, suspend=True)))
    create(other, flagschedule("another", spec(flagKey="another")))

    plugin("suspend", "--flag", flag, everywhere=True)
    held = [api.get("one"), other.of("flagplans").get("two")]
    assert [obj["spec"].get("suspend") for obj in held] == [True, True]
    assert "suspend" not in other.get("another")["spec"]

    assert "before" in plugin("resume", "--flag", flag, everywhere=True).stderr
    held = [api.get("one"), other.of("flagplans").get("two"), other.get("before")]
    assert [obj["spec"].get("suspend") for obj in held] == [None, None, True]


def test_freeze_and_unfreeze(api: Api, plugin: Run) -> None:
    """A freeze is made as said, and deleted only on confirmation."""
    name = f"incident-{api.namespace}"
    say = ("--reason", "INC-1: checkout is down")
    plugin("freeze", name, *say, "--flag", "checkout-*", "--for", "2h")
    made = api.of("flagfreezes").get(name)["spec"]
    assert (made["flagKeys"], made["namespaces"]) == (["checkout-*"], [api.namespace])
    assert name in plugin("timeline").stdout

    assert "nothing was deleted" in plugin("unfreeze", name, code=1).stderr
    plugin("unfreeze", name, "--yes")
    assert "deletionTimestamp" in str(api.of("flagfreezes").get(name)) or api.of("flagfreezes").get(name)["code"] == 404


def test_a_step_is_promoted(api: Api, plugin: Run) -> None:
    """`promote` approves a step that needs it, and no other."""
    plan = ramp("launch", "promoted")
    plan["spec"]["steps"][2]["approval"] = True
    create(api, plan)

    assert "name the step" in plugin("promote", "launch", code=1).stderr
    assert "no step half" in plugin("promote", "launch", "half", code=1).stderr
    plugin("promote", "launch", "all")
    annotations = api.of("flagplans").get("launch")["metadata"]["annotations"]
    assert annotations["flagschedule.io/approved"] == "all"


def test_kubectl_completes_the_plugin(api: Api, kubectl: Run) -> None:
    """kubectl proposes commands and names of objects."""
    create(api, flagschedule("completed", spec()))

    assert "timeline" in kubectl("__complete", "flagschedule", "ti").stdout
    names = kubectl("__complete", "flagschedule", "why", "-n", api.namespace, "").stdout
    assert "completed" in names.splitlines()


def test_errors_are_sentences(api: Api, plugin: Run, kubectl: Run) -> None:
    """What is not there, and what kubectl refuses, ends with 1 and no traceback."""
    create(api, flagschedule("mine", spec()))

    assert plugin("why", "absent", code=1).stderr.startswith("no flagschedule or flagplan or flagfreeze absent")
    assert "context" in plugin("timeline", "--context", "absent", code=1).stderr
    other = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}}'
    assert "has no FlagSchedule" in kubectl("flagschedule", "preview", "-f", "-", code=1, stdin=other).stderr
