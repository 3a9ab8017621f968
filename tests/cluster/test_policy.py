"""The two admission policies on the real API server."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from dev.cluster.control_plane import ControlPlane
from tests.cluster.api import Api, eventually, flagschedule
from tests.cluster.spec_corpus import spec

pytestmark = pytest.mark.apiserver

PAST = "2020-01-01T00:00:00Z"
OPERATOR = "system:serviceaccount:flagschedule-system:flagschedule-operator"

GIT_MANAGED = {
    "Argo CD by annotation": {"annotations": {"argocd.argoproj.io/tracking-id": "shop:flagschedule.io/FlagSchedule"}},
    "Argo CD by label": {"labels": {"argocd.argoproj.io/instance": "shop"}},
    "Flux Kustomization": {"labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}},
    "Flux HelmRelease": {"labels": {"helm.toolkit.fluxcd.io/name": "shop"}},
    "Helm": {
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"meta.helm.sh/release-name": "shop"},
    },
}
NOT_GIT_MANAGED = {
    "other labels": {"labels": {"app": "shop"}, "annotations": {"note": "argocd"}},
    "Helm's label alone": {"labels": {"app.kubernetes.io/managed-by": "Helm"}},
    "Helm's annotation alone": {"annotations": {"meta.helm.sh/release-name": "shop"}},
    "another manager": {
        "labels": {"app.kubernetes.io/managed-by": "kustomize"},
        "annotations": {"meta.helm.sh/release-name": "shop"},
    },
}


def in_seconds(seconds: float) -> str:
    """A time relative to now, as people write it."""
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
    """`kubectl apply --dry-run=server` tells the same as a real apply."""
    text = json.dumps(flagschedule("past", spec(scheduledAt=PAST)))

    with pytest.raises(Exception, match="scheduledAt must be in the future") as refusal:
        installed.kubectl("apply", "--dry-run=server", "-f", "-", input=text)

    assert "Traceback" not in str(refusal.value)


def test_a_second_ago_is_past_and_a_minute_ahead_is_not(api: Api) -> None:
    """The API server's clock decides, to the second."""
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


def test_an_edit_is_not_judged(api: Api) -> None:
    """An existing object can be edited after its time has passed, whoever manages it."""
    api.create(flagschedule("old", spec(scheduledAt=PAST), **GIT_MANAGED["Argo CD by label"]))

    answer = api.patch("old", {"metadata": {"labels": None}, "spec": {"suspend": True}})

    assert answer.ok, answer.message


@pytest.fixture
def operator(api: Api) -> Api:
    """The API server as the operator sees it, once its rights are in effect."""
    operator = api.acting_as(OPERATOR)
    assert api.create(flagschedule("x", spec())).ok
    eventually(lambda: operator.patch("x", {"metadata": {"labels": None}}).ok, "the operator's rights are in effect")
    return operator


@pytest.mark.parametrize(
    "patch", [{"suspend": True}, {"cancel": True}, {"updates": {"enabled": False}}, {"maxRetries": 1}]
)
def test_the_operator_cannot_change_a_spec(operator: Api, patch: dict[str, object]) -> None:
    """The operator's own account is refused any change of spec, though it may patch the object."""
    answer = operator.patch("x", {"spec": patch})

    assert "The operator must not change spec" in answer.message


def test_the_operator_can_write_finalizer_and_status(operator: Api) -> None:
    """What the operator does all day is let through."""
    assert operator.patch("x", {"metadata": {"finalizers": ["flagschedule.io/finalizer"]}}).ok
    assert operator.set_status("x", observedGeneration=1, phase="Pending").ok
    assert operator.patch("x", {"metadata": {"finalizers": None}}).ok


def test_the_same_account_name_elsewhere_is_held_too(api: Api) -> None:
    """The policy holds the operator wherever an overlay installs it."""
    api.create(flagschedule("x", spec()))
    elsewhere = api.acting_as("system:serviceaccount:other:flagschedule-operator", "system:masters")

    assert "The operator must not change spec" in elsewhere.patch("x", {"spec": {"suspend": True}}).message


@pytest.mark.parametrize("user", ["alice", "system:serviceaccount:argocd:argocd-application-controller"])
def test_others_are_not_held(api: Api, user: str) -> None:
    """The policy is about the operator only: people and Git's tools change specs."""
    api.create(flagschedule("x", spec()))

    assert api.acting_as(user, "system:masters").patch("x", {"spec": {"suspend": True}}).ok
