"""Who created and who changed an object: the two policies on the real API server."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from dev.localkind import programs
from dev.localkind.control_plane import ControlPlane
from tests.cluster.api import Answer, Api, Object, eventually, flagplan, flagschedule
from tests.cluster.conftest import OPERATOR, ROOT, in_namespace
from tests.cluster.operator_fixtures import Operator, Scene, operators
from tests.cluster.plan_corpus import chain
from tests.cluster.spec_corpus import spec
from tests.cluster.test_policy import FINALIZER
from tests.integration.database import Database, connected
from tests.waiting import PATIENCE

pytestmark = pytest.mark.apiserver

CREATED, CHANGED = "flagschedule.io/created-by", "flagschedule.io/changed-by"
POLICY = ROOT / "manifests" / "components" / "actors" / "policy.yaml"
ACTING = ["flagschedule.io/retry-requested-at", "flagschedule.io/approved", "flagschedule.io/override-freeze"]
FORGED = {CREATED: "mallory", CHANGED: "mallory"}
MASTERS = "system:masters"  # may do everything, so that only the policies refuse
OBJECTS = {"flagschedules": flagschedule("x", spec()), "flagplans": flagplan("x", chain())}


@pytest.fixture(scope="module")
def recording(installed: ControlPlane) -> Iterator[tuple[str, str]]:
    """A namespace in which the policy that writes the annotations is in effect, and an object from before it."""
    if programs.control_plane() is not programs.NODE:
        pytest.skip("Kubernetes below 1.36 serves no MutatingAdmissionPolicy")
    admin = in_namespace(installed, f"actors-{uuid4().hex[:8]}")
    older = flagschedule("older", spec(), annotations={"note": "mine"})
    assert admin.acting_as("alice", MASTERS).create(older).ok
    policy, binding = yaml.safe_load_all(POLICY.read_text())
    only = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [admin.namespace]}
    binding["spec"]["matchResources"] = {"namespaceSelector": {"matchExpressions": [only]}}
    text = "\n---\n".join(json.dumps(obj) for obj in (policy, binding))
    installed.kubectl("apply", "--server-side", "-f", "-", input=text)
    probe = flagschedule("probe", spec())
    eventually(lambda: CREATED in str(admin.create(probe, dry_run=True).body), "the policy is in effect")
    # The API server refuses to list a new kind for seconds.
    eventually(
        lambda: admin.of("flagplans").request("GET", "/apis/flagschedule.io/v1alpha1/flagplans").ok, "it lists plans"
    )
    yield admin.namespace, older["metadata"]["name"]
    installed.kubectl("delete", "-f", "-", input=text)


@pytest.fixture
def admin(recording: tuple[str, str], installed: ControlPlane) -> Iterator[Api]:
    """The administrator there; every object is gone afterwards."""
    admin = Api(server=installed.server, ca_file=installed.ca_file, token=installed.token("admin"),
                namespace=recording[0])  # fmt: skip
    yield admin
    for plural in OBJECTS:
        for name in set(admin.of(plural).list()) - {recording[1]}:
            assert admin.of(plural).patch(name, {"metadata": {"finalizers": None}}).ok
            admin.of(plural).delete(name)


def actors(answer: Answer) -> tuple[str | None, str | None]:
    """Who created and who changed the object of an answer."""
    assert answer.ok, answer.message
    annotations = answer.body["metadata"].get("annotations", {})
    return annotations.get(CREATED), annotations.get(CHANGED)


def live(api: Api, name: str = "x") -> tuple[str | None, str | None]:
    """Who created and who changed a live object."""
    return actors(Answer(200, api.get(name)))


def with_annotations(obj: Object, **annotations: str) -> Object:
    """Return an object with more annotations."""
    return obj | {"metadata": obj["metadata"] | {"annotations": annotations}}


@pytest.mark.parametrize("plural", OBJECTS)
def test_a_creator_cannot_name_another(admin: Api, plural: str) -> None:
    """What a new object says of its creator is overwritten, in a dry run, too."""
    alice = admin.of(plural).acting_as("alice", MASTERS)
    forged = with_annotations(OBJECTS[plural], **FORGED)

    assert actors(alice.create(forged, dry_run=True)) == ("alice", "alice")
    assert actors(alice.create(OBJECTS[plural], dry_run=True)) == ("alice", "alice")
    assert actors(alice.create(forged)) == ("alice", "alice")


@pytest.mark.parametrize("plural", OBJECTS)
@pytest.mark.parametrize("annotations", [FORGED, dict.fromkeys(FORGED)], ids=["other names", "none"])
def test_names_cannot_be_changed_or_removed(admin: Api, plural: str, annotations: dict[str, Any]) -> None:
    """Neither a patch nor a PUT nor an apply changes who created and who changed an object."""
    alice, bob = (admin.of(plural).acting_as(name, MASTERS) for name in ("alice", "bob"))
    assert alice.create(OBJECTS[plural]).ok
    given = {key: value for key, value in annotations.items() if value}

    assert actors(bob.patch("x", {"metadata": {"annotations": annotations}})) == ("alice", "alice")
    whole = bob.get("x")
    assert actors(bob.replace(whole | {"metadata": whole["metadata"] | {"annotations": given}})) == ("alice", "alice")
    assert actors(bob.apply(with_annotations(OBJECTS[plural], **given), manager="bob")) == ("alice", "alice")
    assert actors(bob.apply(OBJECTS[plural], manager="bob")) == ("alice", "alice")
    assert actors(bob.patch("x", {"metadata": {"annotations": None}})) == ("alice", "alice")


@pytest.mark.parametrize("plural", OBJECTS)
def test_who_changes_the_spec_is_named(admin: Api, plural: str) -> None:
    """An edit of the spec names its author, by PUT and by patch, and keeps the creator."""
    alice, bob, carol = (admin.of(plural).acting_as(name, MASTERS) for name in ("alice", "bob", "carol"))
    assert alice.create(OBJECTS[plural]).ok

    assert actors(bob.patch("x", {"spec": {"suspend": True}})) == ("alice", "bob")
    whole = carol.get("x")
    assert actors(carol.replace(whole | {"spec": whole["spec"] | {"suspend": False}})) == ("alice", "carol")


@pytest.mark.parametrize("annotation", ACTING)
def test_who_acts_by_an_annotation_is_named(admin: Api, annotation: str) -> None:
    """A retry, an approval and an override of a freeze are acts; taking one back is an act, too."""
    alice, bob, carol = (admin.acting_as(name, MASTERS) for name in ("alice", "bob", "carol"))
    assert alice.create(OBJECTS["flagschedules"]).ok
    value = "incident-4711: the fix"

    assert actors(bob.patch("x", {"metadata": {"annotations": {annotation: value}}})) == ("alice", "bob")
    assert actors(carol.patch("x", {"metadata": {"annotations": {annotation: None}}})) == ("alice", "carol")


def test_other_metadata_is_no_change(admin: Api) -> None:
    """Labels, notes and finalizers leave the name of the last author."""
    alice, bob = (admin.acting_as(name, MASTERS) for name in ("alice", "bob"))
    assert alice.create(OBJECTS["flagschedules"]).ok

    for metadata in ({"labels": {"a": "b"}}, {"annotations": {"note": "mine"}}, {"finalizers": ["example.com/other"]}):
        assert actors(bob.patch("x", {"metadata": metadata})) == ("alice", "alice")


def test_the_operators_writes_change_neither(admin: Api) -> None:
    """Finalizer, status and release are not changes, and the status' endpoint takes no annotation."""
    operator = admin.acting_as(OPERATOR)
    assert admin.acting_as("alice", MASTERS).create(OBJECTS["flagschedules"]).ok
    eventually(lambda: operator.patch("x", {}).ok, "the operator's rights are in effect")

    assert actors(operator.patch("x", {"metadata": {"finalizers": [FINALIZER]}})) == ("alice", "alice")
    status = {"observedGeneration": 1, "phase": "Pending"}
    forged = {"metadata": {"annotations": FORGED}, "status": status}
    assert actors(operator.patch("x", forged, "/status")) == ("alice", "alice")
    assert actors(operator.patch("x", {"metadata": {"finalizers": None}})) == ("alice", "alice")


def test_a_repeated_apply_writes_nothing(admin: Api, installed: ControlPlane) -> None:
    """GitOps tools see no difference: the same version stays, and no field manager owns the annotations."""
    text = json.dumps(OBJECTS["flagschedules"])
    words = ("-f", "-", f"--namespace={admin.namespace}", "--as=alice", f"--as-group={MASTERS}")
    for option in ("--server-side=false", "--server-side"):
        installed.kubectl("apply", option, *words, input=text)
        before = admin.get("x")
        installed.kubectl("apply", option, *words, input=text)

        assert admin.get("x")["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
        assert installed.kubectl("diff", option, *words, input=text) == ""
        assert CREATED not in json.dumps(before["metadata"]["managedFields"])
        assert CHANGED not in json.dumps(before["metadata"]["managedFields"])
        assert live(admin) == ("alice", "alice")


def test_a_dry_run_shows_the_right_names(admin: Api, installed: ControlPlane) -> None:
    """`kubectl --as` and a dry run show who it would be."""
    words = ("-f", "-", f"--namespace={admin.namespace}", f"--as-group={MASTERS}", "--dry-run=server", "-o=json")
    assert admin.acting_as("alice", MASTERS).create(OBJECTS["flagschedules"]).ok
    edited = json.dumps(flagschedule("x", spec(suspend=True)))

    shown = installed.kubectl("apply", "--server-side", "--force-conflicts", "--as=bob", *words, input=edited)

    assert actors(Answer(200, json.loads(shown))) == ("alice", "bob")


def test_an_object_from_before_gets_no_creator(admin: Api, recording: tuple[str, str]) -> None:
    """Nothing is known of who created it, and no user can claim to be it; who changes it is named."""
    bob, older = admin.acting_as("bob", MASTERS), recording[1]

    assert actors(bob.patch(older, {"metadata": {"annotations": {CREATED: "bob"}}})) == (None, None)
    assert actors(bob.patch(older, {"spec": {"suspend": True}})) == (None, "bob")


def test_a_large_object_can_still_be_edited(admin: Api) -> None:
    """What the policy writes does not count against the bound on annotations."""
    large = {"a": "x" * 32_700}
    assert admin.acting_as("alice", MASTERS).create(flagschedule("x", spec(), annotations=large)).ok
    long_name = "bob@" + "example." * 20 + "com"

    assert actors(admin.acting_as(long_name, MASTERS).patch("x", {"spec": {"suspend": True}})) == ("alice", long_name)


@pytest.mark.parametrize("annotation", [CREATED, CHANGED])
def test_without_the_policy_a_user_names_no_other(api: Api, annotation: str) -> None:
    """Below Kubernetes 1.36, too, a user may write no name but his own, and leave what is there."""
    alice, bob = (api.acting_as(name, MASTERS) for name in ("alice", "bob"))
    sentence = f"{annotation} may name the user who writes it only"
    named = {"metadata": {"annotations": {annotation: "alice"}}}

    assert sentence in bob.create(with_annotations(OBJECTS["flagschedules"], **{annotation: "alice"})).message
    assert alice.create(with_annotations(OBJECTS["flagschedules"], **{annotation: "alice"})).ok
    assert bob.patch("x", {"spec": {"suspend": True}}).ok
    assert bob.patch("x", {"metadata": {"annotations": {annotation: None}}}).ok
    assert sentence in bob.patch("x", named).message
    assert alice.patch("x", named).ok


@pytest.fixture
def scene(admin: Api, installed: ControlPlane, database_url: str, tmp_path: Path) -> Iterator[Scene]:
    """An operator that records actors, in a namespace where the policy writes them."""
    with connected(database_url) as database, operators(installed, admin.namespace, tmp_path) as make:
        database.flag("checkout")
        scene = Scene(admin, database, make(database_url, FLAG_SCHEDULE_RECORD_ACTORS="true"))
        scene.operator.start()
        yield scene


def recorded(database: Database, name: str) -> tuple[Any, ...]:
    """What the record of an object says of its actors."""
    (row,) = database.query("SELECT created_by, changed_by, origin FROM flag_schedule_objects WHERE name = %s", name)
    return tuple(row.values())


def test_who_planned_and_who_stopped_is_shown_and_recorded(scene: Scene, installed: ControlPlane) -> None:
    """In the record, in its history, in the status and in Events; in no log and no metric."""
    alice, bob, carol = (scene.api.acting_as(name, MASTERS) for name in ("alice", "bob", "carol"))
    assert alice.create(with_annotations(OBJECTS["flagschedules"], **{"flagschedule.io/origin": "shop@4f2a"})).ok
    assert scene.reaches("x", "Pending")["by"] == "alice"
    assert recorded(scene.database, "x") == ("alice", "alice", "shop@4f2a")

    assert bob.patch("x", {"spec": {"suspend": True}}).ok
    assert "Held by spec.suspend (last changed by bob);" in scene.reaches("x", "Suspended")["message"]
    assert bob.patch("x", {"spec": {"suspend": False}}).ok
    scene.reaches("x", "Pending")
    assert carol.patch("x", {"spec": {"cancel": True}}).ok
    assert "Given up by spec.cancel (last changed by carol)" in scene.reaches("x", "Cancelled")["message"]

    assert recorded(scene.database, "x") == ("alice", "carol", "shop@4f2a")
    uid = scene.api.get("x")["metadata"]["uid"]
    history = scene.database.query(
        "SELECT generation, actor, spec FROM flag_schedule_changes WHERE uid = %s ORDER BY id", uid
    )
    actors = [(row["generation"], row["actor"]) for row in history]
    assert actors == [(1, "alice"), (2, "bob"), (3, "bob"), (4, "carol")]
    assert history[-1]["spec"]["cancel"] is True
    table = installed.kubectl("get", "fsched", "x", "--output=wide", f"--namespace={scene.api.namespace}")
    assert "carol" in table.splitlines()[1].split()


def test_who_changed_a_plan_is_shown_and_recorded(scene: Scene, installed: ControlPlane) -> None:
    """In the record, in its history, in the status and among the wide columns."""
    alice, bob = (scene.api.of("flagplans").acting_as(name, MASTERS) for name in ("alice", "bob"))
    assert alice.create(OBJECTS["flagplans"]).ok
    eventually(lambda: alice.get("x").get("status", {}).get("by") == "alice", "the plan names its author")

    assert bob.patch("x", {"spec": {"suspend": True}}).ok

    eventually(lambda: "(last changed by bob)" in alice.get("x")["status"].get("message", ""), "bob is named")
    (record,) = scene.database.query("SELECT uid, created_by, changed_by FROM flag_plans")
    assert (record["created_by"], record["changed_by"]) == ("alice", "bob")
    history = scene.database.query("SELECT actor FROM flag_schedule_changes WHERE uid = %s ORDER BY id", record["uid"])
    assert [row["actor"] for row in history] == ["alice", "bob"]
    table = installed.kubectl("get", "fplan", "x", "--output=wide", f"--namespace={scene.api.namespace}")
    assert "bob" in table.splitlines()[1].split()


def test_acts_are_shown_in_events_and_in_no_log(scene: Scene) -> None:
    """Events name who suspends and resumes; names are in no line of the log, and in no metric."""
    alice, bob = (scene.api.acting_as(name, MASTERS) for name in ("alice", "bob"))
    assert alice.create(OBJECTS["flagschedules"]).ok
    scene.reaches("x", "Pending")
    for suspend, phase in ((True, "Suspended"), (False, "Pending")):
        assert bob.patch("x", {"spec": {"suspend": suspend}}).ok
        scene.reaches("x", phase)

    def posted() -> dict[str, str]:
        events = scene.api.request("GET", f"/api/v1/namespaces/{scene.api.namespace}/events").body["items"]
        uid = scene.api.get("x")["metadata"]["uid"]
        return {event["reason"]: event["message"] for event in events if event["involvedObject"]["uid"] == uid}

    eventually(lambda: len(posted()) == 3, "the Events are posted")
    assert posted()["Suspended"].startswith("Held by spec.suspend (last changed by bob);")
    assert posted()["Resumed"].startswith("Resumed by bob. Scheduled for ")
    with urllib.request.urlopen(f"http://127.0.0.1:{scene.operator.port}/metrics", timeout=PATIENCE) as answer:
        text = answer.read().decode() + scene.operator.log.read_text()
    assert "Schedule mirrored" in text
    assert not [name for name in ("alice", "bob") if name in text]


def test_where_no_policy_writes_them_nothing_is_recorded(scene_without_policy: Scene) -> None:
    """Below Kubernetes 1.36, and by default: what a user wrote is neither recorded nor shown."""
    api, database = scene_without_policy.api, scene_without_policy.database
    named = {CREATED: "alice", CHANGED: "alice", "flagschedule.io/origin": "shop@4f2a"}
    assert api.acting_as("alice", MASTERS).create(with_annotations(OBJECTS["flagschedules"], **named)).ok

    assert "by" not in scene_without_policy.reaches("x", "Pending")
    assert recorded(database, "x") == (None, None, None)
    assert database.query("SELECT * FROM flag_schedule_changes") == []


@pytest.fixture
def scene_without_policy(api: Api, database_url: str, new_operator: Callable[..., Operator]) -> Iterator[Scene]:
    """An operator as the manifests run it without the component."""
    with connected(database_url) as database:
        database.flag("checkout")
        scene = Scene(api, database, new_operator(database_url))
        scene.operator.start()
        yield scene
