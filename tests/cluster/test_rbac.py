"""Who may do what, on the real API server."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from dev.localkind.control_plane import ControlPlane
from tests.cluster import freeze_corpus, plan_corpus
from tests.cluster.api import Api, Object, eventually, flagfreeze, flagplan, flagschedule
from tests.cluster.spec_corpus import spec

pytestmark = pytest.mark.apiserver

ACCOUNT = "system:serviceaccount:flagschedule-system:flagschedule-{}"
PLURALS = ("flagschedules", "flagplans", "flagfreezes")
# Everything that the operator may do beyond what every account may (discovery, reviewing its own rights).
OPERATOR_RIGHTS = {
    "events [] [] [create]",
    *(f"{plural}.flagschedule.io [] [] [get list watch patch]" for plural in PLURALS),
    *(f"{plural}.flagschedule.io/status [] [] [patch]" for plural in PLURALS),
    "leases.coordination.k8s.io [] [] [create]",  # of the operator's own namespace; see below for others
    "leases.coordination.k8s.io [] [flagschedule-operator] [get update]",
    "namespaces [] [kube-system] [get]",
}
FORBIDDEN = [
    ("get", "", "secrets"),
    ("list", "", "pods"),
    ("create", "", "pods"),
    ("get", "", "namespaces"),
    ("list", "", "namespaces"),
    *((verb, "flagschedule.io", plural) for plural in PLURALS for verb in ("create", "update", "delete")),
    ("update", "flagschedule.io", "flagschedules", "status"),
    ("override-freeze", "flagschedule.io", "flagschedules"),
    ("impersonate", "", "users"),
    ("escalate", "rbac.authorization.k8s.io", "clusterroles"),
    ("bind", "rbac.authorization.k8s.io", "clusterroles"),
    ("*", "*", "*"),
]


def rights(control_plane: ControlPlane, user: str) -> set[str]:
    """Return the lines of `kubectl auth can-i --list`, with blanks squeezed."""
    table = control_plane.kubectl(
        "auth", "can-i", "--list", "--no-headers", "--namespace=flagschedule-system", f"--as={user}"
    )
    return {" ".join(line.split()) for line in table.splitlines()}


def may(user: Api, verb: str, group: str, resource: str, subresource: str = "") -> bool:
    """Query the API server, as `kubectl auth can-i` does."""
    attributes = {"verb": verb, "group": group, "resource": resource, "subresource": subresource}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes | {"namespace": "flagschedule-system"}},
    }
    answer = user.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    return bool(answer.body["status"]["allowed"])


def test_the_operator_has_exactly_its_rights(installed: ControlPlane) -> None:
    """The operator's rights are exactly those of the list."""
    common = rights(installed, ACCOUNT.format("norights"))

    assert rights(installed, ACCOUNT.format("operator")) - common == OPERATOR_RIGHTS


def test_the_operators_lease_is_in_its_own_namespace(api: Api) -> None:
    """Elsewhere it may neither see nor make a lease, and in its own namespace not touch another one."""
    operator = api.acting_as(ACCOUNT.format("operator"))
    leases = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"

    assert operator.request("GET", leases.format(api.namespace) + "/flagschedule-operator").code == 403
    assert operator.request("POST", leases.format(api.namespace), {"metadata": {"name": "x"}}).code == 403
    assert operator.request("GET", leases.format("flagschedule-system") + "/another").code == 403
    assert operator.request("GET", leases.format("flagschedule-system") + "/flagschedule-operator").code in {200, 404}


@pytest.mark.parametrize("account", ["processor", "cleanup", "migrate"])
def test_other_programs_have_no_rights(installed: ControlPlane, account: str) -> None:
    """The other programs' accounts have no rights: these programs use the database only."""
    common = rights(installed, ACCOUNT.format("norights"))

    assert rights(installed, ACCOUNT.format(account)) == common


@pytest.mark.parametrize("right", FORBIDDEN, ids=" ".join)
def test_the_operator_may_not(api: Api, right: tuple[str, ...]) -> None:
    """The rights that would do most harm, checked one by one."""
    assert not may(api.acting_as(ACCOUNT.format("operator")), *right)


@pytest.fixture
def bound(api: Api) -> dict[str, Api]:
    """Users of the test's own namespace: bound to our roles, to the built-in ones, and to none."""
    roles = ["flagschedule-viewer", "flagschedule-editor", "view", "edit", "admin"]
    for role in roles:
        answer = api.request("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{api.namespace}/rolebindings", {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": f"{role}-user"}],
        })  # fmt: skip
        assert answer.ok, answer.message
    users = {role: api.acting_as(f"{role}-user") for role in roles} | {"norights": api.acting_as("norights")}
    assert api.create(flagschedule("x", spec())).ok
    assert api.of("flagplans").create(flagplan("x", plan_corpus.chain())).ok
    for role in roles:  # the built-in roles learn of ours a moment after they are created
        eventually(partial(_can_read, users[role]), f"the role {role} is in effect")
    eventually(lambda: users["admin"].patch("x", {}).ok, "the right to schedule has reached admin")
    return users


def _can_read(user: Api) -> bool:
    return "spec" in user.get("x")


@pytest.mark.parametrize("obj", [flagschedule("mine", spec()), flagplan("mine", plan_corpus.chain())],
                         ids=["schedules", "plans"])  # fmt: skip
@pytest.mark.parametrize("role", ["flagschedule-editor", "admin"])
def test_editors_may_schedule(bound: dict[str, Api], role: str, obj: Object) -> None:
    """Our editor role, and with it the built-in admin, may create, change and delete schedules and plans."""
    user = bound[role].of(f"{obj['kind']}s".lower())

    assert user.create(obj).ok
    assert user.patch("mine", {"spec": {"suspend": True}}).ok
    assert user.delete("mine").ok


@pytest.mark.parametrize("obj", [flagschedule("x", spec()), flagplan("x", plan_corpus.chain())],
                         ids=["schedules", "plans"])  # fmt: skip
@pytest.mark.parametrize("role", ["flagschedule-viewer", "view", "edit"])
def test_viewers_may_look_only(bound: dict[str, Api], role: str, obj: Object) -> None:
    """Our viewer role, and with it the built-in view and edit, may read schedules and plans and nothing else."""
    user = bound[role].of(f"{obj['kind']}s".lower())

    assert user.get("x")["spec"] == obj["spec"]
    assert user.create(flagschedule("mine", spec())).code == 403
    assert user.patch("x", {"spec": {"suspend": True}}).code == 403
    assert user.delete("x").code == 403


@pytest.fixture
def everywhere(api: Api) -> Iterator[Callable[[str], Api]]:
    """Binds a user to a role in the whole cluster."""
    path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    made = []

    def bind(role: str) -> Api:
        name = f"{role}-{api.namespace}"
        answer = api.request("POST", path, {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}],
        })  # fmt: skip
        assert answer.ok, answer.message
        made.append(name)
        user = api.acting_as(name).of("flagfreezes")
        eventually(lambda: "items" in user.request("GET", "/apis/flagschedule.io/v1alpha1/flagfreezes").body,
                   f"the role {role} is in effect")  # fmt: skip
        return user

    yield bind
    for name in made:
        assert api.request("DELETE", f"{path}/{name}").ok


def test_only_freezers_may_freeze(api: Api, everywhere: Callable[[str], Api]) -> None:
    """A freeze holds everyone's changes: it needs a role that no other one contains. All who may view see it."""
    name = f"freeze-{api.namespace}"
    freezer = everywhere("flagschedule-freezer")

    assert freezer.create(flagfreeze(name, freeze_corpus.once())).ok
    assert freezer.patch(name, {"spec": {"allowSwitchOff": True}}).ok
    for role in ("flagschedule-viewer", "flagschedule-editor", "view", "admin"):
        user = everywhere(role)
        assert user.get(name)["spec"]["allowSwitchOff"] is True
        assert user.create(flagfreeze("mine", freeze_corpus.spec())).code == 403
        assert user.patch(name, {"spec": {"allowSwitchOff": None}}).code == 403
        assert user.delete(name).code == 403
    assert freezer.set_status(name, phase="Finished").code == 403
    assert freezer.delete(name).ok


@pytest.mark.parametrize("role", ["flagschedule-viewer", "flagschedule-editor"])
@pytest.mark.parametrize("group", ["/api/v1", "/apis/events.k8s.io/v1"])
def test_our_roles_show_what_happened(bound: dict[str, Api], role: str, group: str) -> None:
    """A user who has one of our roles alone may list Events, as `kubectl describe` does, and writes none."""
    user = bound[role]
    path = f"{group}/namespaces/{user.namespace}/events"

    assert user.request("GET", path).ok
    assert user.request("POST", path, {}).code == 403


def test_others_may_not_even_look(bound: dict[str, Api]) -> None:
    """Without a role the answer is 403."""
    assert bound["norights"].get("x")["code"] == 403
    assert bound["norights"].create(flagschedule("mine", spec())).code == 403


@pytest.mark.parametrize("role", ["flagschedule-viewer", "flagschedule-editor", "view", "edit", "admin", "norights"])
def test_only_the_operator_writes_status(bound: dict[str, Api], role: str) -> None:
    """A forged status would unfreeze or fake an outcome; no role for people allows it."""
    assert bound[role].set_status("x", phase="Applied").code == 403
    assert bound[role].of("flagplans").set_status("x", phase="Finished").code == 403


def test_the_operator_writes_status(bound: dict[str, Api]) -> None:
    """The operator's account is the one that may."""
    assert bound["norights"].acting_as(ACCOUNT.format("operator")).set_status("x", phase="Pending").ok


def test_bad_and_missing_credentials(api: Api) -> None:
    """A wrong token gets 401; no token 401, or 403 where anonymous access is on."""
    path = f"/apis/flagschedule.io/v1alpha1/namespaces/{api.namespace}/flagschedules"

    assert Api(server=api.server, ca_file=api.ca_file, token="wrong").request("GET", path).code == 401  # noqa: S106 -- wrong on purpose
    assert Api(server=api.server, ca_file=api.ca_file).request("GET", path).code in {401, 403}
