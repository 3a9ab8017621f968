"""Which flags a namespace may change: the policy that reads the namespace's annotations, on the real API server."""

import json
from collections.abc import Iterator

import pytest
import yaml

from dev.localkind.control_plane import ControlPlane
from tests.cluster.api import Answer, Api, Object, eventually, flagplan, flagschedule
from tests.cluster.conftest import BASE
from tests.cluster.plan_corpus import chain, change, step
from tests.cluster.spec_corpus import spec
from tests.cluster.test_policy import GIT_MANAGED

pytestmark = pytest.mark.apiserver

FOREIGN = "does not own the flag"
ELSEWHERE = "may not change flags in the environment"


def owns(api: Api, **annotations: str | None) -> None:
    """Write annotations of the test's namespace; the policies see them a moment later."""
    named = {f"flagschedule.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    path = f"/api/v1/namespaces/{api.namespace}"
    assert api.request("PATCH", path, {"metadata": {"annotations": named}}, "application/merge-patch+json").ok


def schedule(api: Api, key: str, environment: str | None = None) -> Answer:
    """Try to create a schedule for a flag."""
    fields = {"flagKey": key} | ({"environment": environment} if environment else {})
    return api.create(flagschedule("x", spec(**fields)), dry_run=True)


def plan(*keys: str) -> Object:
    """Return a plan whose one step changes these flags."""
    return flagplan("x", chain(step(changes=[change(flagKey=key) for key in keys])))


@pytest.fixture
def shop(api: Api) -> Api:
    """A namespace that owns `banner` and what begins with `checkout-`, in production and staging."""
    owns(api, flag_keys="checkout-* banner", environments="production staging")
    eventually(lambda: FOREIGN in schedule(api, "search").message, "the annotations are seen")
    return api


def test_a_namespace_changes_its_own_flags_only(shop: Api) -> None:
    """A name is itself, a name with a star is a prefix; what is only alike is another one's."""
    for key in ("banner", "checkout-v2", "checkout-"):
        assert schedule(shop, key).ok, key
    for key in ("checkout", "banner2", "Banner", "my-checkout-v2", "search"):
        assert f"The namespace {shop.namespace} does not own the flag {key};" in schedule(shop, key).message


def test_environments_are_owned_likewise(shop: Api) -> None:
    """An absent environment is production, as everywhere."""
    assert schedule(shop, "banner").ok
    assert schedule(shop, "banner", "staging").ok
    assert f"{ELSEWHERE} canary" in schedule(shop, "banner", "canary").message
    owns(shop, environments="staging")
    eventually(lambda: f"{ELSEWHERE} production" in schedule(shop, "banner").message, "production is not theirs")


def test_no_annotation_is_everything_and_an_empty_one_nothing(api: Api) -> None:
    """By default namespaces are as free as before; an empty list is a list."""
    assert schedule(api, "anything", "anywhere").ok
    owns(api, flag_keys="")
    eventually(lambda: FOREIGN in schedule(api, "anything").message, "nothing is theirs")
    owns(api, flag_keys="*")
    eventually(lambda: schedule(api, "anything").ok, "everything is theirs")
    owns(api, flag_keys=" checkout-*\n  banner\n")
    eventually(lambda: FOREIGN in schedule(api, "anything").message, "two are theirs")
    assert schedule(api, "banner").ok


def test_one_foreign_flag_refuses_the_whole_plan(shop: Api) -> None:
    """Of a new plan and of one that is edited."""
    plans = shop.of("flagplans")
    ours, mixed = plan("banner", "checkout-v2"), plan("banner", "search", "checkout-v2")

    assert f"{FOREIGN} search" in plans.create(mixed).message
    assert plans.create(ours).ok
    assert f"{FOREIGN} search" in plans.patch("x", {"spec": mixed["spec"]}).message
    assert plans.patch("x", {"spec": plan("checkout-v2")["spec"]}).ok
    ending = chain(step(changes=[change(flagKey="banner", environment="canary")]))
    assert f"{ELSEWHERE} canary" in plans.patch("x", {"spec": ending}).message


@pytest.mark.parametrize("tool", GIT_MANAGED)
def test_git_is_judged_alike(shop: Api, tool: str) -> None:
    """A label of a GitOps tool gives no flag, neither to a new object nor by an edit of a pending one."""
    foreign = flagschedule("x", spec(flagKey="search"), **GIT_MANAGED[tool])
    assert FOREIGN in shop.create(foreign).message
    assert shop.create(flagschedule("x", spec(flagKey="banner"), **GIT_MANAGED[tool])).ok

    for edit in ({"flagKey": "search"}, {"environment": "canary"}):
        message = shop.patch("x", {"spec": edit, "metadata": {"labels": {"velero.io/restore-name": "other"}}}).message
        assert FOREIGN in message or ELSEWHERE in message


def test_what_is_planned_outlives_a_narrower_annotation(shop: Api) -> None:
    """Existing schedules can be edited; existing plans can be stopped, and not go on with what is not theirs."""
    plans = shop.of("flagplans")
    assert shop.create(flagschedule("x", spec(flagKey="banner"))).ok
    assert plans.create(plan("banner")).ok
    assert plans.create(plan("banner") | {"metadata": {"name": "y"}}).ok
    owns(shop, flag_keys="checkout-*")
    eventually(lambda: FOREIGN in schedule(shop, "banner").message, "the flag is not theirs any more")

    for edit in ({"updates": {"enabled": False}}, {"suspend": True}, {"suspend": False}, {"cancel": True}):
        answer = shop.patch("x", {"spec": edit})
        assert answer.ok, answer.message
    assert plans.patch("x", {"metadata": {"labels": {"a": "b"}}}).ok
    assert plans.patch("x", {"spec": {"suspend": True}}).ok
    assert FOREIGN in plans.patch("x", {"spec": {"suspend": False}}).message
    assert plans.patch("y", {"spec": {"cancel": True}}).ok


def test_a_large_plan_is_judged_within_the_budget(api: Api) -> None:
    """The largest plan and a long list of flags are no way around the policy, nor a reason to refuse."""
    changes = [change(flagKey=f"checkout-{number}") for number in range(20)]
    later = [step(name=f"s{number}", after="1h", changes=changes) for number in range(31)]
    largest = chain(step(changes=changes), *later)
    owns(api, flag_keys=" ".join([*(f"other-{number}-*" for number in range(100)), "checkout-*"]))
    eventually(lambda: FOREIGN in schedule(api, "search").message, "the annotations are seen")

    answer = api.of("flagplans").create(flagplan("x", largest), dry_run=True)

    assert answer.ok, answer.message


@pytest.fixture
def denying(api: Api, installed: ControlPlane) -> Iterator[Api]:
    """The policy as the chart renders it with `ownership.default: Deny`, for the test's namespace."""
    policy, binding = yaml.safe_load_all((BASE / "ownership.yaml").read_text())
    text = json.dumps(policy).replace("['*']", "[]")
    only = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [api.namespace]}
    binding["spec"]["matchResources"] = {"namespaceSelector": {"matchExpressions": [only]}}
    text = (text + "\n---\n" + json.dumps(binding)).replace("flagschedule-flag-ownership", "denying-flag-ownership")
    installed.kubectl("apply", "--server-side", "-f", "-", input=text)
    eventually(lambda: FOREIGN in schedule(api, "anything").message, "the policy is in effect")
    yield api
    installed.kubectl("delete", "-f", "-", input=text)


def test_by_default_deny_a_namespace_owns_what_it_says(denying: Api) -> None:
    """Both annotations are needed then."""
    owns(denying, flag_keys="banner")
    eventually(lambda: ELSEWHERE in schedule(denying, "banner").message, "the flag is theirs")
    owns(denying, environments="production")
    eventually(lambda: schedule(denying, "banner").ok, "the environment is theirs")
    assert FOREIGN in schedule(denying, "search").message
