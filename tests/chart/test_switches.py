"""Every switch of the chart renders what it should."""

import pytest

from dev.chart.base import MUTATING
from tests.chart.rendering import EVERYTHING, KINDS, NAMESPACED, Helm, Render

pytestmark = pytest.mark.helm

CLUSTER_SCOPED = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}
POLICIES = ["allowed-edits", "allowed-plan-edits", "bounded-metadata", "flag-ownership", "freeze-overrides",
            "operator-keeps-spec", "own-name", "scheduled-in-future", "steps-in-future"]  # fmt: skip
DEFAULT = [
    ("ClusterRole", "flagschedule-editor"),
    ("ClusterRole", "flagschedule-freezer"),
    ("ClusterRole", "flagschedule-operator"),
    ("ClusterRole", "flagschedule-viewer"),
    ("ClusterRoleBinding", "flagschedule-operator"),
    ("CronJob", "flagschedule-cleanup"),
    ("CronJob", "flagschedule-processor"),
    *(("CustomResourceDefinition", name) for name in sorted(KINDS)),
    ("Deployment", "flagschedule-operator"),
    ("Job", "flagschedule-migrate"),
    ("PodDisruptionBudget", "flagschedule-operator"),
    ("Role", "flagschedule-operator"),
    ("RoleBinding", "flagschedule-operator"),
    ("ServiceAccount", "flagschedule-cleanup"),
    ("ServiceAccount", "flagschedule-migrate"),
    ("ServiceAccount", "flagschedule-operator"),
    ("ServiceAccount", "flagschedule-processor"),
    *((kind, f"flagschedule-{name}") for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
      for name in POLICIES),
]  # fmt: skip
SWITCHED = [
    ("ConfigMap", "flagschedule-dashboard"),
    ("NetworkPolicy", "flagschedule-cleanup"),
    ("NetworkPolicy", "flagschedule-migrate"),
    ("NetworkPolicy", "flagschedule-operator"),
    ("NetworkPolicy", "flagschedule-processor"),
    ("PodMonitor", "flagschedule-operator"),
    ("PrometheusRule", "flagschedule"),
    ("ResourceQuota", "flagschedule-flagschedule-system"),
    ("Service", "flagschedule-operator"),
    ("ServiceMonitor", "flagschedule-operator"),
]


def test_the_default_is_everything_that_the_product_needs(default: Render) -> None:
    """Without any value the chart installs the whole product, and no object of a kind that others install."""
    assert default.names == DEFAULT


def test_switches_add_the_rest(everything: Render) -> None:
    """With every switch on there are network policies and monitoring as well."""
    assert everything.names == sorted(DEFAULT + SWITCHED)


@pytest.mark.parametrize(
    ("switch", "gone"),
    [
        ("migrations.enabled", {("Job", "migrate"), ("ServiceAccount", "migrate"), ("NetworkPolicy", "migrate")}),
        ("cleanup.enabled", {("CronJob", "cleanup"), ("ServiceAccount", "cleanup"), ("NetworkPolicy", "cleanup")}),
        ("crds.enabled", {("CustomResourceDefinition", name) for name in KINDS}),
        ("rbac.userRoles.enabled", {("ClusterRole", role) for role in ("viewer", "editor", "freezer")}),
        (
            "rbac.create",
            {("ClusterRole", "operator"), ("ClusterRoleBinding", "operator"), ("Role", "operator"),
             ("RoleBinding", "operator")},
        ),
        (
            "admissionPolicies.enabled",
            {(kind, name) for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
             for name in POLICIES},
        ),
        ("operator.podDisruptionBudget.enabled", {("PodDisruptionBudget", "operator")}),
        (
            "networkPolicy.enabled",
            {("NetworkPolicy", name) for name in ("operator", "processor", "cleanup", "migrate")},
        ),
        ("metrics.serviceMonitor.enabled", {("ServiceMonitor", "operator"), ("Service", "operator")}),
        ("metrics.podMonitor.enabled", {("PodMonitor", "operator")}),
        ("metrics.prometheusRule.enabled", {("PrometheusRule", "")}),
        ("metrics.dashboard.enabled", {("ConfigMap", "dashboard")}),
        ("operator.serviceAccount.create", {("ServiceAccount", "operator")}),
        ("processor.serviceAccount.create", {("ServiceAccount", "processor")}),
        ("cleanup.serviceAccount.create", {("ServiceAccount", "cleanup")}),
        ("migrations.serviceAccount.create", {("ServiceAccount", "migrate")}),
    ],
)  # fmt: skip
def test_a_switch_takes_away_its_objects_alone(
    helm: Helm, everything: Render, switch: str, gone: set[tuple[str, str]]
) -> None:
    """A switch that is off removes exactly the objects that it names."""
    values = nested(switch, False)

    rest = helm.render(merged(EVERYTHING, values)).names

    missing = {(kind, name.removeprefix("flagschedule-")) for kind, name in set(everything.names) - set(rest)}
    expected = {(kind, name or "flagschedule") for kind, name in gone}
    assert missing == expected
    assert set(rest) < set(everything.names)


def test_without_cluster_wide_rights_it_can_be_installed_too(helm: Helm) -> None:
    """For some namespaces, with kind, policies and people's roles left to the cluster's owner: nothing cluster-wide."""
    render = helm.render(
        {
            "namespaces": ["shop"],
            "crds": {"enabled": False},
            "admissionPolicies": {"enabled": False},
            "rbac": {"clusterScoped": False},
        }
    )

    assert CLUSTER_SCOPED.isdisjoint(kind for kind, _ in render.names)


def test_lingering_lets_runs_overlap(helm: Helm) -> None:
    """A run that stays must not keep the next one from starting; without lingering there is never a second one."""

    def policy(**processor: object) -> str:
        found = helm.render({"processor": processor}).one("CronJob", "flagschedule-processor")
        return str(found["spec"]["concurrencyPolicy"])

    assert policy() == "Allow"
    assert policy(lingerSeconds=0) == "Forbid"
    assert policy(lingerSeconds=0, concurrencyPolicy="Replace") == "Replace"
    assert policy(lingerSeconds=65, concurrencyPolicy="Forbid") == "Forbid"


@pytest.mark.parametrize("processor", [{"lingerSeconds": 106}, {"timeBudgetSeconds": 106},
                                       {"lingerSeconds": 65, "activeDeadlineSeconds": 79}])  # fmt: skip
def test_a_run_that_would_always_be_killed_is_refused(helm: Helm, processor: dict[str, int]) -> None:
    """Lingering and working must end before the Job's deadline."""
    assert "at least 15 seconds less than processor.activeDeadlineSeconds" in helm.refusal({"processor": processor})


def test_the_kind_outlives_the_release_by_default(helm: Helm, default: Render) -> None:
    """Uninstalling keeps kind and objects by default."""
    kept = default.of("CustomResourceDefinition")
    left = helm.render({"crds": {"keep": False}}).of("CustomResourceDefinition")

    assert kept.keys() == left.keys() == KINDS
    for name in KINDS:
        assert kept[name]["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
        assert "annotations" not in left[name]["metadata"]
        assert kept[name]["spec"] == left[name]["spec"]


def test_editors_may_schedule_only_by_a_value(default: Render, everything: Render) -> None:
    """Scheduling comes with admin; the switch gives it to edit as well, never to view."""
    prefix = "rbac.authorization.k8s.io/aggregate-to-"

    def aggregated(render: Render, role: str) -> list[str]:
        labels = render.one("ClusterRole", f"flagschedule-{role}")["metadata"]["labels"]
        return sorted(label.removeprefix(prefix) for label in labels if label.startswith(prefix))

    assert (aggregated(default, "editor"), aggregated(everything, "editor")) == (["admin"], ["admin", "edit"])
    assert aggregated(default, "viewer") == ["admin", "edit", "view"]


def test_no_role_is_broad(any_render: Render) -> None:
    """No wildcard, no secrets, no right to raise one's own rights; status belongs to the operator alone."""
    roles = [obj for obj in any_render.objects if obj["kind"] in {"ClusterRole", "Role"}]
    granted = [(role["metadata"]["name"], word) for role in roles for rule in role["rules"]
               for words in rule.values() for word in words]  # fmt: skip

    assert not {word for _, word in granted} & {"*", "secrets", "escalate", "bind", "impersonate", "deletecollection"}
    assert all("-operator" in name for name, word in granted if word == "flagschedules/status")


def test_every_policy_denies_and_fails_closed(any_render: Render) -> None:
    """Each policy is bound with Deny, and a policy that cannot be evaluated refuses."""
    policies = any_render.of("ValidatingAdmissionPolicy")
    bindings = [binding["spec"] for binding in any_render.of("ValidatingAdmissionPolicyBinding").values()]

    assert {policy["spec"]["failurePolicy"] for policy in policies.values()} == {"Fail"}
    assert {binding["policyName"] for binding in bindings} == policies.keys()
    assert all(binding["validationActions"] == ["Deny"] for binding in bindings)


def test_what_counts_as_gitops_is_a_value(helm: Helm) -> None:
    """The label of another GitOps tool can be given as a value."""
    render = helm.render({"admissionPolicies": {"managedByGitOps": "'spinnaker' in object.metadata.labels"}})

    for policy in ("scheduled-in-future", "allowed-edits", "steps-in-future", "allowed-plan-edits"):
        condition = render.one("ValidatingAdmissionPolicy", f"flagschedule-{policy}")["spec"]["matchConditions"][0]
        assert condition["expression"] == "!('spinnaker' in object.metadata.labels)"


def test_a_policy_of_some_namespaces_holds_in_those_only(namespaced: Render, default: Render) -> None:
    """The namespaces of other teams keep the rules, also when one user installs for them."""
    for name in POLICIES:
        bindings = [
            render.one("ValidatingAdmissionPolicyBinding", f"flagschedule-{name}")["spec"]
            for render in (namespaced, default)
        ]
        if name != "operator-keeps-spec":  # that account is one and the same everywhere
            assert bindings[0]["matchResources"]["namespaceSelector"]["matchExpressions"] == [
                {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop", "search"]}
            ]
        assert "matchResources" not in bindings[1]


ACTORS = {("MutatingAdmissionPolicy", "flagschedule-actors"), ("MutatingAdmissionPolicyBinding", "flagschedule-actors")}


def test_actors_are_recorded_where_the_cluster_serves_the_policy(helm: Helm, default: Render) -> None:
    """Policy and setting come and go together: without the policy the annotations are any tenant's text."""
    serving = helm.render(serves=[MUTATING])

    assert set(serving.names) - set(default.names) == ACTORS
    assert serving.environment("operator")["FLAG_SCHEDULE_RECORD_ACTORS"] == "true"
    assert "FLAG_SCHEDULE_RECORD_ACTORS" not in default.environment("operator")
    assert serving.one(*min(ACTORS))["spec"]["failurePolicy"] == "Fail"


@pytest.mark.parametrize("off", ["enabled", "recordActors"])
def test_actors_need_not_be_recorded(helm: Helm, off: str) -> None:
    """Each of the two switches takes away the policy and the setting."""
    render = helm.render({"admissionPolicies": {off: False}}, serves=[MUTATING])

    assert ACTORS.isdisjoint(render.names)
    assert "FLAG_SCHEDULE_RECORD_ACTORS" not in render.environment("operator")


def test_actors_of_some_namespaces_are_recorded_there_only(helm: Helm) -> None:
    """The objects of other teams are not written to."""
    binding = helm.render(NAMESPACED, serves=[MUTATING]).one("MutatingAdmissionPolicyBinding", "flagschedule-actors")

    [only] = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
    assert only["values"] == NAMESPACED["namespaces"]


def test_monitors_scrape_the_operators_port(everything: Render) -> None:
    """Service and monitors choose the operator's pods and the port that its container names."""
    [container] = everything.templates()["operator"]["spec"]["containers"]
    [port] = container["ports"]
    service = everything.one("Service", "flagschedule-operator")["spec"]
    selector = everything.one("Deployment", "flagschedule-operator")["spec"]["selector"]["matchLabels"]
    [served] = everything.one("ServiceMonitor", "flagschedule-operator")["spec"]["endpoints"]
    [direct] = everything.one("PodMonitor", "flagschedule-operator")["spec"]["podMetricsEndpoints"]

    assert service["selector"] == selector
    assert (service["ports"][0]["name"], service["ports"][0]["targetPort"]) == (served["port"], port["name"])
    assert direct["port"] == port["name"]
    assert served["path"] == direct["path"] == "/metrics"


def nested(dotted: str, value: object) -> dict[str, object]:
    """`a.b` as `{a: {b: …}}`."""
    first, _, rest = dotted.partition(".")
    return {first: nested(rest, value) if rest else value}


def merged(below: dict[str, object], above: dict[str, object]) -> dict[str, object]:
    """Both, as Helm does it: maps key by key, all else replaced."""
    found = dict(below)
    for key, value in above.items():
        old = found.get(key)
        found[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return found
