"""What the operator's Events cost, what they look like, and that a refusal does no harm."""

from collections.abc import Iterator

import pytest

from dev.localkind.control_plane import ControlPlane
from tests.cluster.api import Api, Object, eventually
from tests.cluster.operator_fixtures import Scene

pytestmark = pytest.mark.apiserver

_OBJECTS = 10


def events(api: Api) -> list[Object]:
    """Return all Events in the namespace."""
    found: list[Object] = api.request("GET", _events(api)).body["items"]
    return found


def test_a_new_object_has_one_event_and_a_restart_none(scene: Scene) -> None:
    """One Event says that an object was mirrored; an operator that starts again posts no other."""
    for number in range(_OBJECTS):
        scene.create(f"launch-{number}")
    for number in range(_OBJECTS):
        scene.reaches(f"launch-{number}", "Pending")
    eventually(lambda: len(events(scene.api)) >= _OBJECTS, "the Events are posted")

    scene.operator.stop()
    scene.operator.start()
    scene.create("last")
    scene.reaches("last", "Pending")
    eventually(lambda: len(events(scene.api)) > _OBJECTS, "the last one is posted, and all before it")

    assert sorted(event["involvedObject"]["name"] for event in events(scene.api)) == sorted(
        ["last", *(f"launch-{number}" for number in range(_OBJECTS))]
    )


def test_kubectl_describe_shows_the_events(scene: Scene, installed: ControlPlane) -> None:
    """`kubectl describe` shows what happened to the object, since when, and the source of each Event."""
    scene.create("launch")
    scene.reaches("launch", "Pending")
    eventually(lambda: len(events(scene.api)) == 1, "the Event is posted")

    text = installed.kubectl("describe", "fsched", "launch", f"--namespace={scene.api.namespace}")

    line = text.splitlines()[-1].split(maxsplit=4)
    assert (line[:2], line[3]) == (["Normal", "Mirrored"], "flagschedule")
    assert line[2].endswith(("s", "m"))
    assert line[4].startswith("Scheduled for 2035-01-01T09:00:00Z;")


@pytest.fixture
def refused(scene: Scene) -> Iterator[Scene]:
    """A scene in whose namespace no account may create Events."""
    api, group = scene.api, "/apis/admissionregistration.k8s.io/v1"
    meta = {"metadata": {"name": api.namespace}}
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["events"]}]
    policy = {"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": "false"}]}
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": api.namespace}}}
    binding = {"policyName": api.namespace, "validationActions": ["Deny"], "matchResources": here}
    paths = {
        f"{group}/validatingadmissionpolicies": meta | {"spec": policy},
        f"{group}/validatingadmissionpolicybindings": meta | {"spec": binding},
    }
    for path, obj in paths.items():
        assert api.request("POST", path, obj).ok
    eventually(lambda: api.request("POST", _events(api) + "?dryRun=All", _any_event(api)).code == 422, "they are")
    yield scene
    for path in paths:
        assert api.request("DELETE", f"{path}/{api.namespace}").ok


def _events(api: Api) -> str:
    return f"/api/v1/namespaces/{api.namespace}/events"


def _any_event(api: Api) -> Object:
    involved = {"kind": "FlagSchedule", "namespace": api.namespace, "name": "any"}
    return {"metadata": {"generateName": "any."}, "involvedObject": involved}


def test_refused_events_do_no_harm(refused: Scene) -> None:
    """Where the API server takes no Events, everything else goes on, and the log says so once."""
    scene = refused
    for number in range(_OBJECTS):
        scene.create(f"launch-{number}")
    for number in range(_OBJECTS):
        scene.reaches(f"launch-{number}", "Pending")

    eventually(lambda: scene.operator.lines("Events are lost") != [], "the log says so")
    assert scene.api.patch("launch-0", {"spec": {"cancel": True}}).ok
    scene.reaches("launch-0", "Cancelled")
    scene.operator.stop()
    (line,) = scene.operator.lines("Events are lost")
    assert line["level"] == "warning"
    assert events(scene.api) == []
    assert "Traceback" not in scene.operator.log.read_text()
