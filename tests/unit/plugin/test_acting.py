"""What the commands that act send, and what they say where Git will undo it."""

import json
from typing import Any

import pytest

from flagschedule.plugin import acting, gitops
from flagschedule.plugin.errors import PluginError
from flagschedule.plugin.objects import Obj
from tests.unit.plugin.objects import NOW, freeze, plan, schedule, step

FLUX = {"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}
ARGO = {"annotations": {"argocd.argoproj.io/tracking-id": "shop:x"}}
SUSPEND = ("spec", "suspend")


def owned(manager: str, fields: Any) -> list[dict[str, Any]]:
    """Return managed fields."""
    return [{"manager": manager, "fieldsV1": fields}]


def test_the_patches() -> None:
    """Each command changes what it names and nothing else."""
    waiting = plan(
        "ramp", phase="Waiting", steps=[step("all", 9, approval=True)], status={"waitingFor": {"approval": "all"}}
    )

    assert acting.retry(schedule(), NOW).patch == {
        "metadata": {"annotations": {"flagschedule.io/retry-requested-at": "2027-03-22T08:00:00Z"}}
    }
    assert acting.suspend(schedule()).patch == {"spec": {"suspend": True}}
    assert acting.resume(schedule()).patch == {"spec": {"suspend": None}}
    assert acting.cancel(schedule()).patch == {"spec": {"cancel": True}}
    assert acting.promote(waiting, None).patch == {"metadata": {"annotations": {"flagschedule.io/approved": "all"}}}


@pytest.mark.parametrize("phase", ["Applied", "Superseded", "Skipped", "Cancelled"])
def test_what_is_handled_cannot_be_stopped(phase: str) -> None:
    """A sentence says so before the API server does."""
    with pytest.raises(PluginError, match=f"is {phase}"):
        acting.suspend(schedule(phase=phase))
    with pytest.raises(PluginError, match=f"is {phase}"):
        acting.cancel(schedule(phase=phase))


@pytest.mark.parametrize(
    "metadata",
    [
        FLUX | {"managedFields": owned("kustomize-controller", {"f:spec": {"f:suspend": {}}})},
        ARGO | {"managedFields": owned("argocd-controller", {"f:spec": {"f:suspend": {}}})},
        {
            "annotations": ARGO["annotations"]
            | {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"spec": {"suspend": False}})}
        },
    ],
    ids=["Flux", "Argo CD", "Argo CD without server-side apply"],
)
def test_what_git_names_will_be_undone(metadata: Any) -> None:
    """The warning names the tool and offers a freeze of the flag."""
    obj = schedule(metadata=metadata)
    warning = str(acting.undone(obj, SUSPEND))

    assert f"so {gitops.owner(obj)} will undo this" in warning
    assert "kubectl flagschedule freeze NAME --reason TEXT --flag checkout" in warning
    assert acting.resume(obj).patch == {"spec": {"suspend": False}}


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        FLUX | {"managedFields": owned("kustomize-controller", {"f:spec": {"f:flagKey": {}}})},
        FLUX | {"managedFields": owned("flagschedule", {"f:spec": {"f:suspend": {}}})},
        {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"spec": {"suspend": False}})}},
        ARGO | {"annotations": ARGO["annotations"] | {"kubectl.kubernetes.io/last-applied-configuration": "{"}},
    ],
)
def test_what_git_does_not_name_stays(metadata: Any) -> None:
    """No warning where nothing will be undone."""
    assert acting.undone(schedule(metadata=metadata), SUSPEND) is None


def test_the_marks_of_gitops_are_those_of_the_policies() -> None:
    """Who is let in by the admission policies is who is named here."""
    helm = {"labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": {"meta.helm.sh/release-name": "x"}}
    older = {"labels": {"app.kubernetes.io/instance": "x"}, "managedFields": owned("argocd-controller", {})}

    assert gitops.owner(schedule(metadata=FLUX)) == "Flux"
    assert gitops.owner(schedule(metadata=ARGO)) == gitops.owner(schedule(metadata=older)) == "Argo CD"
    assert gitops.owner(schedule(metadata=helm)) == "Helm"
    assert gitops.owner(schedule(metadata={"labels": {"app.kubernetes.io/instance": "x"}})) is None


def test_an_incident_holds_what_is_to_come_and_lets_the_same_go() -> None:
    """What was suspended before, is handled, or is another flag's is left out, and stays so afterwards."""
    objects = [
        schedule("one"),
        schedule("new", phase=None),
        schedule("before", suspend=True, phase="Suspended"),
        schedule("made", phase="Applied"),
        schedule("other", flagKey="other"),
        plan("ramp", steps=[step("all", 9, "checkout")]),
    ]
    chosen = acting.to_suspend(objects, "checkout")
    assert [obj.name for obj in chosen] == ["one", "new", "ramp"]

    patch: Any = acting.suspend(chosen[0], by_flag=True).patch
    held = schedule("one", suspend=True, metadata={"labels": patch["metadata"]["labels"]})
    assert acting.to_resume([held, *objects], "checkout") == [held]
    assert acting.resume(held).patch == {"metadata": {"labels": {acting.HELD: None}}, "spec": {"suspend": None}}


def test_a_freeze_holds_what_it_says() -> None:
    """What is not named stays out of the spec, because absent is all."""
    wanted = acting.Freezing(name="stop", reason="INC-1", flags=("check*",))

    assert wanted.as_object(NOW)["spec"] == {"reason": "INC-1", "flagKeys": ["check*"]}


def held(name: str, at: str, by: str) -> Obj:
    """Return a schedule that a freeze holds."""
    return schedule(name, phase="Frozen", status={"scheduledAt": at, "message": f'held by the FlagFreeze "{by}" until'})


def test_what_a_freeze_lets_go_is_listed_in_its_order() -> None:
    """Only what this freeze holds, in the order in which it will be made."""
    objects = [held("b", "2027-03-22T07:00:00Z", "stop"), held("a", "2027-03-22T06:00:00Z", "stop")]

    assert [obj.name for obj in acting.held_by(freeze("stop"), [*objects, held("c", "", "stop-2")])] == ["a", "b"]


@pytest.mark.parametrize(("chosen", "words"), [(None, "no step waits"), ("first", "no step first that needs approval")])
def test_what_cannot_be_promoted(chosen: str | None, words: str) -> None:
    """A step that needs no approval is refused, so that a typing error is seen."""
    with pytest.raises(PluginError, match=words):
        acting.promote(plan("ramp", steps=[step("first", 5), step("all", 9, approval=True)]), chosen)


FINISHED = plan("ramp", phase="Finished", metadata={"generation": 2}, steps=[step("all", 9, "checkout", after="1h")])


@pytest.mark.parametrize("phase", ["Failed", "Expired", "Invalid"])
def test_an_incident_holds_what_was_edited_after_it_ended(phase: str) -> None:
    """The operator may plan it again before anyone looks, so a status of an older spec is not believed."""
    edited = schedule(phase=phase, metadata={"generation": 2})

    assert acting.to_suspend([edited, FINISHED], "checkout") == [edited, FINISHED]
    assert acting.to_suspend([schedule(phase=phase)], "checkout") == []


def test_a_finished_plan_to_which_a_step_was_added_can_be_stopped() -> None:
    """It goes on, so it is not refused; one that was not edited is."""
    assert acting.suspend(FINISHED).done == "suspended"
    with pytest.raises(PluginError, match="is Finished"):
        acting.suspend(plan("ramp", phase="Finished"))


def test_an_incident_lets_go_only_what_it_holds_itself() -> None:
    """A label may be left over: a person took the hold back with kubectl, and suspended the object again."""
    label = {"labels": {acting.HELD: "by-flag"}}
    fields: Any = {"f:spec": {"f:suspend": {}}}
    own = schedule("own", suspend=True, metadata=label | {"managedFields": owned("flagschedule", fields)})
    theirs = schedule("theirs", suspend=True, metadata=label | {"managedFields": owned("kubectl-patch", fields)})
    free = schedule("free", metadata=label)

    assert acting.to_resume([own, theirs, free], "checkout") == [own]
    # Suspended by its name, it stays so.
    assert acting.suspend(own).patch == {"metadata": {"labels": {acting.HELD: None}}, "spec": {"suspend": True}}
