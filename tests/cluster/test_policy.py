"""The admission policies on the real API server."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from dev.localkind.control_plane import ControlPlane
from tests.cluster.api import Answer, Api, eventually, flagschedule
from tests.cluster.conftest import OPERATOR, ROOT, install, stamped_updates
from tests.cluster.spec_corpus import spec

pytestmark = pytest.mark.apiserver

PAST = "2020-01-01T00:00:00Z"
FINALIZER = "flagschedule.io/finalizer"

GIT_MANAGED = {
    "Argo CD by annotation": {"annotations": {"argocd.argoproj.io/tracking-id": "shop:flagschedule.io/FlagSchedule"}},
    "Argo CD by label": {"labels": {"argocd.argoproj.io/instance": "shop"}},
    "Velero": {"labels": {"velero.io/restore-name": "shop-20261201"}},
    "Flux Kustomization": {"labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}},
    "Flux HelmRelease": {"labels": {"helm.toolkit.fluxcd.io/name": "shop"}},
    "Helm": {
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"meta.helm.sh/release-name": "shop"},
    },
}
NOT_GIT_MANAGED = {
    "other labels": {"labels": {"app": "shop"}, "annotations": {"note": "argocd"}},
    "Argo CD's default label, written by a person": {"labels": {"app.kubernetes.io/instance": "shop"}},
    "Helm's label alone": {"labels": {"app.kubernetes.io/managed-by": "Helm"}},
    "Helm's annotation alone": {"annotations": {"meta.helm.sh/release-name": "shop"}},
    "another manager": {
        "labels": {"app.kubernetes.io/managed-by": "kustomize"},
        "annotations": {"meta.helm.sh/release-name": "shop"},
    },
}


def in_seconds(seconds: float) -> str:
    """Return a time relative to now, as people write it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_past_time_is_refused_with_both_times(api: Api, dry_run: bool) -> None:
    """A hand-made object with a past time is refused; the sentence names both times and says what to do."""
    answer = api.create(flagschedule("past", spec(scheduledAt=PAST)), dry_run=dry_run)

    assert not answer.ok
    assert re.search(
        rf"scheduledAt must be in the future: {PAST} is not after \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ, "
        "the time of the API server; set a later time",
        answer.message,
    )


def test_kubectl_shows_the_sentence(installed: ControlPlane) -> None:
    """`kubectl apply --dry-run=server` answers the same as a real apply."""
    text = json.dumps(flagschedule("past", spec(scheduledAt=PAST)))

    with pytest.raises(Exception, match="scheduledAt must be in the future") as refusal:
        installed.kubectl("apply", "--dry-run=server", "-f", "-", input=text)

    assert "Traceback" not in str(refusal.value)


def test_a_second_ago_is_past_and_a_minute_ahead_is_not(api: Api) -> None:
    """Whether a time is past is decided by the API server's clock, to the second."""
    assert not api.create(flagschedule("past", spec(scheduledAt=in_seconds(-1)))).ok
    assert api.create(flagschedule("future", spec(scheduledAt=in_seconds(60)))).ok


def test_instants_are_compared_not_texts(api: Api) -> None:
    """An offset counts: a later-looking local time may be in the past, and the reverse."""
    behind = (datetime.now(UTC) + timedelta(hours=4)).strftime("%Y-%m-%dT%H:%M:%S+05:00")
    ahead = (datetime.now(UTC) - timedelta(hours=4)).strftime("%Y-%m-%dT%H:%M:%S-05:00")

    assert not api.create(flagschedule("behind", spec(scheduledAt=behind))).ok
    assert api.create(flagschedule("ahead", spec(scheduledAt=ahead))).ok


@pytest.mark.parametrize("tool", GIT_MANAGED)
def test_git_managed_history_is_let_in(api: Api, tool: str) -> None:
    """Objects of Argo CD, Flux and Helm may be old, so that a rebuilt cluster can sync."""
    answer = api.create(flagschedule("old", spec(scheduledAt=PAST), **GIT_MANAGED[tool]))

    assert answer.ok, answer.message


@pytest.mark.parametrize("case", NOT_GIT_MANAGED)
def test_what_only_looks_like_it_is_refused(api: Api, case: str) -> None:
    """Only the marks that the tools themselves set let an old object in."""
    assert not api.create(flagschedule("old", spec(scheduledAt=PAST), **NOT_GIT_MANAGED[case])).ok


def test_argo_cds_default_label_counts_where_argo_cd_wrote(api: Api) -> None:
    """With `resourceTrackingMethod: label` people use the same label, but Argo CD is among the object's writers."""
    old = flagschedule("old", spec(scheduledAt=PAST), labels={"app.kubernetes.io/instance": "shop"})

    assert not api.create(old, manager="kubectl-create").ok
    assert api.create(old, manager="argocd-controller").ok
    assert api.set_status("old", observedGeneration=1, phase="Applied").ok
    edited = flagschedule("old", spec(scheduledAt=PAST, maxRetries=1), labels={"app.kubernetes.io/instance": "shop"})
    answer = api.apply(edited, manager="argocd-controller")
    assert answer.ok, answer.message


def test_another_edit_is_not_judged(api: Api) -> None:
    """Every manager can edit an existing object after its time has passed."""
    api.create(flagschedule("old", spec(scheduledAt=PAST), **GIT_MANAGED["Argo CD by label"]))

    answer = api.patch("old", {"metadata": {"labels": None}, "spec": {"suspend": True}})

    assert answer.ok, answer.message


def _merge(api: Api, at: str) -> Answer:
    return api.patch("x", {"spec": {"scheduledAt": at}})


def _json_patch(api: Api, at: str) -> Answer:
    return api.json_patch("x", [{"op": "replace", "path": "/spec/scheduledAt", "value": at}])


def _replace(api: Api, at: str) -> Answer:
    live = api.get("x")
    return api.replace(live | {"spec": live["spec"] | {"scheduledAt": at}})


def _apply(api: Api, at: str) -> Answer:
    return api.apply(flagschedule("x", spec(scheduledAt=at)), manager="alice")


def _dry_run(api: Api, at: str) -> Answer:
    return api.patch("x", {"spec": {"scheduledAt": at}}, dry_run=True)


@pytest.mark.parametrize("edit", [_merge, _json_patch, _replace, _apply, _dry_run])
def test_an_edit_to_a_past_time_is_refused(api: Api, edit: Callable[[Api, str], Answer]) -> None:
    """A person cannot move a change into the past by a typo, in any way of editing; into the future they can."""
    api.create(flagschedule("x", spec()))

    for past in (PAST, in_seconds(-1)):
        assert re.search(
            rf"scheduledAt must be in the future: {past} is not after \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ, "
            "the time of the API server; set a later time",
            edit(api, past).message,
        )
    answer = edit(api, in_seconds(60))
    assert answer.ok, answer.message


def test_an_object_without_a_clock_can_be_edited(api: Api) -> None:
    """Some people clear managedFields to save room; their objects are judged by the operator alone, not locked."""
    api.create(flagschedule("x", spec()))
    assert api.json_patch("x", [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]).ok

    answer = _merge(api, in_seconds(60))
    assert answer.ok, answer.message


def test_a_forged_clock_can_be_cleared(api: Api) -> None:
    """A time of a client's own in managedFields locks its own object only, and the message says how to clear it."""
    api.create(flagschedule("x", spec()))
    live = api.get("x")
    (entry,) = live["metadata"]["managedFields"]
    forged = [{**entry, "manager": "mallory", "time": "2090-01-01T00:00:00Z"}]
    assert api.replace(live | {"metadata": live["metadata"] | {"managedFields": forged}}).ok

    message = _merge(api, "2036-01-01T00:00:00Z").message
    assert "replace that list by [{}]" in message
    assert api.json_patch("x", [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]).ok

    answer = _merge(api, "2036-01-01T00:00:00Z")
    assert answer.ok, answer.message


def test_the_same_past_time_in_other_words_is_no_edit(api: Api) -> None:
    """A schedule whose time has passed may be written down with another offset."""
    api.create(flagschedule("x", spec(scheduledAt=PAST), **GIT_MANAGED["Argo CD by label"]))
    assert api.patch("x", {"metadata": {"labels": None}}).ok

    assert _merge(api, "2020-01-01T01:00:00+01:00").ok
    assert not _merge(api, "2020-01-01T00:00:01Z").ok


EDITS: dict[str, dict[str, object]] = {
    "a past time": {"scheduledAt": PAST},
    "another change": {"updates": {"enabled": False}},
    "a cancel": {"cancel": True},
    "another flag": {"flagKey": "other"},
    "another environment": {"environment": "staging"},
}


@pytest.mark.parametrize("tool", [tool for tool in GIT_MANAGED if tool != "Velero"])
@pytest.mark.parametrize("edit", EDITS)
def test_what_git_brings_too_late_is_let_in(api: Api, tool: str, edit: str) -> None:
    """A refusal would block every other file of the commit: the edit of a handled schedule is let in, and reported."""
    api.create(flagschedule("x", spec(), **GIT_MANAGED[tool]))
    api.set_status("x", observedGeneration=1, phase="Applied")

    answer = api.patch("x", {"spec": EDITS[edit]})

    assert answer.ok, answer.message


def test_a_cancel_may_leave_git(api: Api) -> None:
    """For a GitOps tool the way back is no reason to block all the rest; the operator keeps it cancelled."""
    api.create(flagschedule("x", spec(cancel=True), **GIT_MANAGED["Flux Kustomization"]))

    assert api.patch("x", {"spec": {"cancel": None}}).ok


@pytest.mark.parametrize("edit", EDITS)
def test_a_restore_may_write_what_a_person_may_not(api: Api, edit: str) -> None:
    """Velero names its restore on each object that it writes; afterwards the object is a person's again."""
    restored = {"metadata": {"labels": {"velero.io/restore-name": "shop-20261201"}}}
    api.create(flagschedule("x", spec()))
    api.set_status("x", observedGeneration=1, phase="Applied")

    assert not api.patch("x", {"spec": EDITS[edit]}).ok
    answer = api.patch("x", restored | {"spec": EDITS[edit]})
    assert answer.ok, answer.message
    assert not api.patch("x", {"spec": {"updates": {"rolloutPercentage": 77}}}).ok


REQUEST = "flagschedule.io/retry-requested-at"


@pytest.mark.parametrize("request_", ["", "2026-12-01T09:00:00+00:00", "please", "~" * 128])
def test_a_retry_request_may_say_anything_short(api: Api, request_: str) -> None:
    """Any value that a person writes there in a line is let in."""
    answer = api.create(flagschedule("x", spec(), annotations={REQUEST: request_}))

    assert answer.ok, answer.message


@pytest.mark.parametrize("request_", ["x" * 129, "a\u0000b", "now\n", "\x1b[2J", "jetzt ä"])
def test_a_retry_request_is_bounded_and_printable(api: Api, request_: str) -> None:
    """What the operator reads of an object is short and can be stored."""
    sentence, annotations = "at most 128 printable ASCII", {REQUEST: request_}
    assert sentence in api.create(flagschedule("x", spec(), annotations=annotations)).message
    api.create(flagschedule("x", spec()))
    assert sentence in api.patch("x", {"metadata": {"annotations": annotations}}).message


def test_annotations_and_labels_are_bounded(api: Api) -> None:
    """A tenant cannot fill the operator's memory with objects of a quarter of a megabyte."""
    large = {f"example.com/{number}": "x" * 4096 for number in range(8)}
    many = {f"label-{number}": "" for number in range(65)}
    api.create(flagschedule("x", spec()))

    assert "at most 32768 characters" in api.create(flagschedule("y", spec(), annotations=large)).message
    assert "at most 32768 characters" in api.patch("x", {"metadata": {"annotations": large}}).message
    assert "at most 32768 characters" in api.patch("x", {"metadata": {"annotations": {"a": "x" * 250_000}}}).message
    assert "at most 64 labels" in api.create(flagschedule("y", spec(), labels=many)).message
    assert api.patch("x", {"metadata": {"annotations": {"a": "x" * 30_000}}}).ok


@pytest.fixture
def oversized(api: Api, installed: ControlPlane) -> Api:
    """An object that was there before the policy: too large, and with a request that cannot be stored."""
    binding = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/flagschedule-bounded-metadata"
    large = {REQUEST: "a\nb", "a": "x" * 100_000}
    obj = flagschedule("x", spec(), annotations=large, labels={f"label-{number}": "" for number in range(65)})
    assert api.request("DELETE", binding).ok
    try:
        eventually(lambda: api.create(obj).ok, "the policy is gone")
    finally:
        install(installed)
    return api


def test_an_oversized_object_can_be_edited_and_deleted(oversized: Api) -> None:
    """Spec, finalizer and deletion of an object from before the bounds are not refused."""
    assert oversized.patch("x", {"spec": {"suspend": True}}).ok
    assert oversized.patch("x", {"metadata": {"finalizers": ["flagschedule.io/finalizer"]}}).ok
    assert oversized.acting_as(OPERATOR).patch("x", {"metadata": {"finalizers": None}}).ok
    assert oversized.delete("x").ok


@pytest.fixture
def operator(api: Api) -> Api:
    """The API server as the operator sees it, once its rights are in effect."""
    operator = api.acting_as(OPERATOR)
    assert api.create(flagschedule("x", spec())).ok
    eventually(lambda: operator.patch("x", {}).ok, "the operator's rights are in effect")
    return operator


@pytest.mark.parametrize(
    "patch", [{"suspend": True}, {"cancel": True}, {"updates": {"enabled": False}}, {"maxRetries": 1}]
)
def test_the_operator_cannot_change_a_spec(operator: Api, patch: dict[str, object]) -> None:
    """The operator's own account is refused any change of spec, though it may patch the object."""
    answer = operator.patch("x", {"spec": patch})

    assert "The operator must not change spec" in answer.message


@pytest.fixture
def not_a_time(api: Api, installed: ControlPlane) -> Iterator[Api]:
    """An object of an older schema with our finalizer and an invalid time; then the schema is the current one."""
    field = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/scheduledAt"
    ours = yaml.safe_load((ROOT / "crds" / "flagschedules.yaml").read_text())
    schema = ours["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["scheduledAt"]
    rules = {name: schema[name] for name in ("pattern", "x-kubernetes-validations")}
    obj = flagschedule("x", spec(scheduledAt="tomorrow"), finalizers=[FINALIZER], **GIT_MANAGED["Argo CD by label"])

    def change(operations: list[dict[str, Any]], *, is_let_in: bool) -> None:
        patch = f"--patch={json.dumps(operations)}"
        installed.kubectl("patch", "crd", "flagschedules.flagschedule.io", "--type=json", patch)
        eventually(lambda: api.create(obj | {"metadata": obj["metadata"] | {"name": "probe"}}, dry_run=True).ok
                   == is_let_in, "the changed schema is in effect")  # fmt: skip

    change([{"op": "remove", "path": f"{field}/{name}"} for name in rules], is_let_in=True)
    try:
        assert api.create(obj).ok
    finally:
        change([{"op": "add", "path": f"{field}/{name}", "value": rule} for name, rule in rules.items()],
               is_let_in=False)  # fmt: skip
    yield api
    api.patch("x", {"metadata": {"finalizers": None}})


def test_what_an_older_schema_let_in_can_be_released(not_a_time: Api) -> None:
    """A spec that no expression can read must not keep an object from being labelled, deleted or released."""
    api = not_a_time
    assert api.patch("x", {"metadata": {"labels": None}}).ok
    assert api.delete("x").ok

    answer = api.acting_as(OPERATOR).patch("x", {"metadata": {"finalizers": None}})

    assert answer.ok, answer.message


def test_what_an_older_schema_let_in_can_be_mended(not_a_time: Api) -> None:
    """A person may replace an invalid time by one in the future only."""
    assert not_a_time.patch("x", {"metadata": {"labels": None}}).ok

    assert not not_a_time.patch("x", {"spec": {"scheduledAt": PAST}}).ok
    answer = not_a_time.patch("x", {"spec": {"scheduledAt": in_seconds(60)}})
    assert answer.ok, answer.message


@pytest.fixture
def stamping(operator: Api) -> Iterator[Api]:
    """The operator's account in a cluster whose own policy writes into every update."""
    with stamped_updates(Api(**{**vars(operator), "headers": {}})):
        yield operator


def test_what_others_mutate_can_be_released(stamping: Api) -> None:
    """A cluster's own mutating policy, which looks like the operator, keeps no deleted object permanently.

    While the object lives, the operator's account may not change its metadata in any way.
    """
    admin = Api(**{**vars(stamping), "headers": {}})
    guarded = {"metadata": {"finalizers": [FINALIZER]}}
    assert "must not change annotations" in stamping.patch("x", guarded).message
    assert admin.patch("x", guarded).ok
    assert admin.delete("x").ok

    answer = stamping.patch("x", {"metadata": {"finalizers": None}})

    assert answer.ok, answer.message
    assert admin.get("x")["kind"] == "Status"


def test_a_deleted_objects_other_finalizers_stay(operator: Api) -> None:
    """Also of a deleted object the operator's account may not remove finalizers that others wait for."""
    admin = Api(**{**vars(operator), "headers": {}})
    assert admin.patch("x", {"metadata": {"finalizers": [FINALIZER, "example.com/other"]}}).ok
    assert admin.delete("x").ok

    assert "finalizers of others" in operator.patch("x", {"metadata": {"finalizers": None}}).message
    assert operator.patch("x", {"metadata": {"finalizers": ["example.com/other"]}}).ok
    assert admin.patch("x", {"metadata": {"finalizers": None}}).ok


def test_a_foreground_deletion_ends(operator: Api) -> None:
    """The operator takes its own finalizer off; the cluster's garbage collector is let in to take off the other."""
    admin = Api(**{**vars(operator), "headers": {}})
    assert admin.patch("x", {"metadata": {"finalizers": [FINALIZER]}}).ok
    path = f"/apis/flagschedule.io/v1alpha1/namespaces/{admin.namespace}/flagschedules/x"
    assert admin.request("DELETE", path, {"propagationPolicy": "Foreground"}).ok

    def released() -> bool:
        """Do the operator's part: it removes its own finalizer only, regardless of the garbage collector."""
        left = admin.get("x").get("metadata", {}).get("finalizers", [])
        rest = [name for name in left if name != FINALIZER]
        return not left or operator.patch("x", {"metadata": {"finalizers": rest}}).ok

    eventually(released, "the operator has let go")
    eventually(lambda: admin.get("x")["kind"] == "Status", "the object is gone")


OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-4000-8000-000000000001"}


@pytest.mark.parametrize(
    ("patch", "sentence"),
    [
        ({"ownerReferences": [OWNER]}, "labels or owners"),  # without it the object is deleted
        ({"labels": {"velero.io/restore-name": "x"}}, "labels or owners"),
        ({"finalizers": ["example.com/other"]}, "finalizers of others"),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "x"}}, "must not change annotations"),
        ({"annotations": {REQUEST: "now"}}, "must not change annotations"),
        ({"annotations": {"note": None}}, "must not change annotations"),
        ({"annotations": {"note": "another"}}, "must not change annotations"),
    ],
)
def test_the_operator_cannot_change_metadata_of_others(operator: Api, patch: dict[str, object], sentence: str) -> None:
    """Its account cannot have objects deleted, hide them from their tool, or make requests in a person's name."""
    assert operator.patch("x", {"metadata": {"finalizers": ["flagschedule.io/finalizer"]}}).ok
    api = Api(**{**vars(operator), "headers": {}})
    assert api.patch("x", {"metadata": {"annotations": {"note": "mine"}}}).ok

    assert sentence in operator.patch("x", {"metadata": patch}).message


def test_the_operator_leaves_finalizers_of_others(operator: Api) -> None:
    """The operator may not remove a finalizer that another controller waits for."""
    api = Api(**{**vars(operator), "headers": {}})
    both = ["flagschedule.io/finalizer", "example.com/other"]
    assert api.patch("x", {"metadata": {"finalizers": both}}).ok

    assert "finalizers of others" in operator.patch("x", {"metadata": {"finalizers": None}}).message
    assert operator.patch("x", {"metadata": {"finalizers": both[1:]}}).ok
    assert api.patch("x", {"metadata": {"finalizers": None}}).ok


def test_the_operator_can_write_finalizer_and_status(operator: Api) -> None:
    """The operator's usual requests are let through."""
    assert operator.patch("x", {"metadata": {"finalizers": ["flagschedule.io/finalizer"]}}).ok
    assert operator.patch("x", {"metadata": {"annotations": {"operator.flagschedule.io/note": "mine"}}}).ok
    assert operator.set_status("x", observedGeneration=1, phase="Pending").ok
    assert operator.patch("x", {"metadata": {"finalizers": None}}).ok


def test_the_same_account_name_elsewhere_is_held_too(api: Api) -> None:
    """The policy holds the operator in every namespace that an overlay installs it in."""
    api.create(flagschedule("x", spec()))
    elsewhere = api.acting_as("system:serviceaccount:other:flagschedule-operator", "system:masters")

    assert "The operator must not change spec" in elsewhere.patch("x", {"spec": {"suspend": True}}).message


@pytest.mark.parametrize("user", ["alice", "system:serviceaccount:argocd:argocd-application-controller"])
def test_others_are_not_held(api: Api, user: str) -> None:
    """The policy is about the operator only: people and Git's tools change specs."""
    api.create(flagschedule("x", spec()))

    assert api.acting_as(user, "system:masters").patch("x", {"spec": {"suspend": True}}).ok
