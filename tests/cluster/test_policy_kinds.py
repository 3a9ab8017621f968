"""The admission policies of plans and freezes, and of overriding a freeze, on the real API server."""

import re

import pytest

from tests.cluster import freeze_corpus
from tests.cluster.api import Answer, Api, Object, eventually, flagfreeze, flagplan, flagschedule
from tests.cluster.conftest import OPERATOR
from tests.cluster.plan_corpus import chain, change, recurring, step, window
from tests.cluster.spec_corpus import spec
from tests.cluster.test_policy import FINALIZER, GIT_MANAGED, PAST, in_seconds

pytestmark = pytest.mark.apiserver

OVERRIDE = "flagschedule.io/override-freeze"
REFUSAL = "needs the verb override-freeze on flagschedules in this namespace"


@pytest.fixture
def plans(api: Api) -> Api:
    """The administrator, for plans."""
    return api.of("flagplans")


def ramp() -> Object:
    """Return a chain of two steps with a time, and one after them."""
    return chain(step(), step(name="second", at="2036-01-01T00:00:00Z"), step(name="third", after="24h"))


def test_a_step_in_the_past_is_refused_with_both_times(plans: Api) -> None:
    """The sentence names the step, its time and the API server's, and says what to do."""
    answer = plans.create(flagplan("x", chain(step(at=PAST))), dry_run=True)

    assert re.search(
        rf"at of the step first must be in the future: {PAST} is not after \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ, "
        "the time of the API server; set a later time",
        answer.message,
    )


def test_an_edit_of_a_step_to_the_past_is_refused(plans: Api) -> None:
    """A step that is moved or added must lie in the future; an edit of something else is let in at any time."""
    first, (_, second, third) = step(at=PAST), ramp()["steps"]
    assert plans.create(flagplan("x", chain(first, second, third), **GIT_MANAGED["Argo CD by label"])).ok
    assert plans.patch("x", {"metadata": {"labels": None}}).ok
    sentence = "at of the step {} must be in the future"

    def edit(*steps: Object) -> Answer:
        return plans.patch("x", {"spec": {"steps": list(steps)}})

    assert plans.patch("x", {"spec": {"suspend": True}}).ok
    assert edit(step(at="2020-01-01T01:00:00+01:00"), second, third).ok
    assert sentence.format("second") in edit(first, step(name="second", at=in_seconds(-1)), third).message
    assert sentence.format("more") in edit(first, step(name="more", at=in_seconds(-1)), second, third).message
    assert edit(first, step(name="second", at=in_seconds(60)), third).ok


@pytest.mark.parametrize("tool", GIT_MANAGED)
def test_what_git_keeps_may_be_old(plans: Api, tool: str) -> None:
    """A Git repository holds plans whose steps have passed, and a rebuilt cluster must sync."""
    answer = plans.create(flagplan("x", chain(step(at=PAST)), **GIT_MANAGED[tool]))

    assert answer.ok, answer.message


def test_a_plan_that_recurs_has_no_past(plans: Api) -> None:
    """A cron names no single time, so it is never refused for it; a window may be closed early, too."""
    assert plans.create(flagplan("x", recurring(window()))).ok
    once = {"changes": [change(then={"enabled": False})]}
    assert plans.create(flagplan("y", chain(step(at=in_seconds(60), until="2036-01-01T00:00:00Z", **once)))).ok
    live = plans.get("y")["spec"]["steps"][0]

    assert plans.patch("y", {"spec": {"steps": [live | {"until": live["at"].replace("Z", ".5Z")}]}}).ok


def test_a_cancelled_plan_is_frozen_for_people(plans: Api) -> None:
    """What was cancelled stays so and shows what was cancelled; for Git the edit is let in and reported."""
    sentence = "Cannot change plan with status: cancelled; create a FlagPlan with a new name"
    assert plans.create(flagplan("x", chain(cancel=True))).ok
    assert plans.set_status("x", observedGeneration=1, phase="Cancelled").ok

    for edit in ({"suspend": True}, {"cancel": None}, {"steps": ramp()["steps"]}):
        assert sentence in plans.patch("x", {"spec": edit}).message
    assert plans.patch("x", {"metadata": {"labels": {"a": "b"}}}).ok
    for tool in ("Argo CD by annotation", "Flux Kustomization"):
        assert plans.patch("x", {"metadata": GIT_MANAGED[tool], "spec": {"suspend": tool.startswith("Argo")}}).ok


def test_a_plans_cancel_cannot_be_undone(plans: Api) -> None:
    """Also before the operator has seen it: cancel is one way for people."""
    assert plans.create(flagplan("x", chain(cancel=True))).ok

    for edit in ({"cancel": None}, {"cancel": False}):
        assert "cancel cannot be undone; keep cancel set to true" in plans.patch("x", {"spec": edit}).message
    assert plans.patch("x", {"spec": {"suspend": True}}).ok


def test_a_finished_plan_can_be_extended_and_not_cancelled(plans: Api) -> None:
    """There is nothing to cancel, and a person learns so."""
    assert plans.create(flagplan("x", chain())).ok
    assert plans.set_status("x", observedGeneration=1, phase="Finished").ok

    assert "Cannot cancel plan with status: finished" in plans.patch("x", {"spec": {"cancel": True}}).message
    assert plans.patch("x", {"spec": ramp()}).ok


@pytest.mark.parametrize("obj", [flagplan("x", chain()), flagfreeze("freeze-{}", freeze_corpus.once())],
                         ids=["plan", "freeze"])  # fmt: skip
def test_the_operator_keeps_their_specs(api: Api, obj: Object) -> None:
    """The operator writes its finalizer and the status of plans and freezes, and nothing else."""
    obj = obj | {"metadata": {"name": obj["metadata"]["name"].format(api.namespace)}}
    name, admin = obj["metadata"]["name"], api.of(f"{obj['kind']}s".lower())
    operator = admin.acting_as(OPERATOR)
    assert admin.create(obj).ok
    eventually(lambda: operator.patch(name, {}).ok, "the operator's rights are in effect")

    assert (
        "The operator must not change spec" in operator.patch(name, {"spec": {"suspend": True, "reason": "x"}}).message
    )
    assert "labels or owners" in operator.patch(name, {"metadata": {"labels": {"a": "b"}}}).message
    assert "must not change annotations" in operator.patch(name, {"metadata": {"annotations": {"a": "b"}}}).message
    assert operator.patch(name, {"metadata": {"finalizers": [FINALIZER]}}).ok
    assert operator.set_status(name, observedGeneration=1, phase="Active").ok
    assert operator.patch(name, {"metadata": {"finalizers": None}}).ok
    assert admin.delete(name).ok


@pytest.mark.parametrize("obj", [flagplan("x", chain()), flagfreeze("x", freeze_corpus.spec())], ids=["plan", "freeze"])
def test_their_metadata_is_bounded(api: Api, obj: Object) -> None:
    """Annotations and labels of plans and freezes are as bounded as those of schedules."""
    admin = api.of(f"{obj['kind']}s".lower())

    def refusal(metadata: Object) -> str:
        return admin.create(obj | {"metadata": {"name": "x", **metadata}}, dry_run=True).message

    assert "at most 32768 characters" in refusal({"annotations": {"a": "x" * 40_000}})
    assert "at most 64 labels" in refusal({"labels": {f"label-{number}": "" for number in range(65)}})
    for name in ("approved", "retry-requested-at"):
        assert f"flagschedule.io/{name} must be at most 128 printable" in refusal(
            {"annotations": {f"flagschedule.io/{name}": "x" * 129}}
        )


@pytest.fixture
def roles(api: Api) -> tuple[Api, Api]:
    """Two users who may schedule in the test's namespace; the first may override freezes there as well."""
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{api.namespace}/rolebindings"
    users = {"flagschedule-editor": ["alice", "bob"], "flagschedule-freezer": ["alice"]}
    for role, names in users.items():
        answer = api.request("POST", path, {
            "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name} for name in names],
        })  # fmt: skip
        assert answer.ok, answer.message
    alice, bob = api.acting_as("alice"), api.acting_as("bob")
    eventually(lambda: bob.create(flagschedule("probe", spec()), dry_run=True).ok, "the editors have their rights")
    probe = flagschedule("probe", spec(), annotations={OVERRIDE: "incident-4711: the fix"})
    eventually(lambda: alice.create(probe, dry_run=True).ok, "alice may override")
    return alice, bob


def overriding(name: str, value: str = "incident-4711: the fix") -> Object:
    """Return a schedule that overrides a freeze."""
    return flagschedule(name, spec(), annotations={OVERRIDE: value})


def test_an_override_needs_its_verb(roles: tuple[Api, Api]) -> None:
    """Who may schedule may not override a freeze by that alone: neither in a new object nor in an old one."""
    alice, bob = roles

    assert REFUSAL in bob.create(overriding("x")).message
    assert bob.create(flagschedule("y", spec())).ok
    assert REFUSAL in bob.patch("y", {"metadata": {"annotations": {OVERRIDE: "incident-4711: mine"}}}).message
    assert alice.create(overriding("x")).ok
    assert alice.patch("y", {"metadata": {"annotations": {OVERRIDE: "incident-4711: the fix"}}}).ok


def test_an_override_is_for_the_change_that_was_permitted(roles: tuple[Api, Api]) -> None:
    """Another user may neither rename the freeze nor use the permitted object for another change."""
    alice, bob = roles
    assert alice.create(overriding("x")).ok

    assert REFUSAL in bob.patch("x", {"spec": {"updates": {"enabled": False}}}).message
    assert REFUSAL in bob.patch("x", {"metadata": {"annotations": {OVERRIDE: "weekend: mine"}}}).message
    assert alice.patch("x", {"spec": {"updates": {"enabled": False}}}).ok


def test_what_overrides_a_freeze_can_be_stopped_by_all(roles: tuple[Api, Api]) -> None:
    """Suspending, cancelling, deleting, labelling and giving the override up need no other right than scheduling."""
    alice, bob = roles
    for name in ("x", "y"):
        assert alice.create(overriding(name)).ok

    assert bob.patch("x", {"metadata": {"labels": {"a": "b"}}}).ok
    assert bob.patch("x", {"spec": {"suspend": True}}).ok
    assert REFUSAL in bob.patch("x", {"spec": {"suspend": False}}).message
    assert bob.patch("x", {"metadata": {"annotations": {OVERRIDE: None}}, "spec": {"suspend": False}}).ok
    assert bob.patch("y", {"spec": {"cancel": True}}).ok
    assert bob.delete("y").ok


def test_git_needs_the_verb_as_well(roles: tuple[Api, Api]) -> None:
    """A label of a GitOps tool gives no right: what its account may not override is refused."""
    _, bob = roles
    for tool, metadata in GIT_MANAGED.items():
        obj = overriding("x")
        obj["metadata"] |= {key: value for key, value in metadata.items() if key == "labels"}
        obj["metadata"]["annotations"] |= metadata.get("annotations", {})
        assert REFUSAL in bob.create(obj, dry_run=True).message, tool


@pytest.mark.parametrize("value", ["", "the fix", "incident-4711:", "incident-4711: ", "Weekend: x", "a: b\nc",
                                   f"a: {'x' * 510}"])  # fmt: skip
def test_an_override_names_a_freeze_and_a_reason(api: Api, value: str) -> None:
    """Anything else has no effect, and its author learns so; also one who may override."""
    answer = api.create(overriding("x", value), dry_run=True)

    assert "must name a freeze and the reason" in answer.message
