"""What a platform's rules require of a chart can be set by values, without a fork."""

import pytest
import yaml

from dev.chart import alerts
from dev.chart.base import MUTATING
from tests.chart.rendering import EVERYTHING, NAMESPACE, NAMESPACED, Document, Helm, Render
from tests.chart.test_switches import merged

pytestmark = pytest.mark.helm

RULES = {rule["alert"]: rule for rule in yaml.safe_load(alerts.FILE.read_text())["spec"]["groups"][0]["rules"]}
DNS = {"nameservers": ["10.0.0.10"], "options": [{"name": "ndots", "value": "2"}]}
RELABELINGS = [{"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"}]
DROPPED = [{"action": "labeldrop", "regex": "instance"}]
SCRAPING: Document = {
    "namespace": "monitoring",
    "scrapeTimeout": "7s",
    "honorLabels": True,
    "relabelings": RELABELINGS,
    "metricRelabelings": DROPPED,
}
PLATFORM: Document = {
    "namespaceOverride": "elsewhere",
    "image": {"repository": "ghcr.io/example/flagschedule"},
    "imagePullSecrets": [{"name": "own"}, {"name": "shared"}],
    "global": {"imageRegistry": "mirror.example.com/ghcr", "imagePullSecrets": ["shared", {"name": "other"}]},
    "crds": {"annotations": {"argocd.argoproj.io/sync-options": "Prune=false"}},
    "extraObjects": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": '{{ include "flagschedule.fullname" . }}-map'}},
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: text, namespace: {{ .Release.Namespace }}}",
    ],
    "resourceQuota": {"namespaces": ["shop", "search"], "flagschedules": 1_000_000},
    "pod": {
        "hostAliases": [{"ip": "10.0.0.7", "hostnames": ["database"]}],
        "dnsPolicy": "None",
        "dnsConfig": DNS,
        "runtimeClassName": "gvisor",
        "schedulerName": "packer",
        "hostUsers": False,
    },
    "securityContext": {"fsGroup": 65532, "supplementalGroups": [1_000_000, 7]},
    "operator": {
        "annotations": {"reloader.stakater.com/auto": "true"},
        "revisionHistoryLimit": 0,
        "strategy": {"type": "Recreate"},
        "podDisruptionBudget": {"minAvailable": 0},
        "serviceAccount": {"automount": False, "labels": {"azure.workload.identity/use": "true"}},
        "pod": {"hostAliases": [{"ip": "10.0.0.8", "hostnames": ["proxy"]}]},
    },
    "processor": {"timeZone": "Europe/Paris", "ttlSecondsAfterFinished": 0, "annotations": {"own": "processor"}},
    "cleanup": {
        "timeZone": "Asia/Tokyo",
        "ttlSecondsAfterFinished": 3600,
        "annotations": {"own": "cleanup", "argocd.argoproj.io/sync-wave": "5"},
    },
    "metrics": {
        "service": {
            "annotations": {"prometheus.io/scrape": "true"},
            "ipFamilyPolicy": "PreferDualStack",
            "ipFamilies": ["IPv6", "IPv4"],
        },
        "serviceMonitor": SCRAPING,
        "podMonitor": SCRAPING,
        "prometheusRule": {
            "namespace": "monitoring",
            "runbookUrl": "https://runbooks.example.com/",
            "alertLabels": {"team": "flags", "severity": "none"},
            "alerts": {
                "FlagScheduleBacklog": {"threshold": 1_000_000, "for": "10m", "severity": "page"},
                "FlagPlanHorizon": {"threshold": 0.5, "labels": {"team": "plans"}},
                "FlagScheduleSkipped": {"enabled": False},
            },
        },
    },
}


@pytest.fixture(scope="module")
def platform(helm: Helm) -> Render:
    """All of it at once, on top of every switch."""
    return helm.render(merged(EVERYTHING, PLATFORM), serves=[MUTATING])


def test_the_image_comes_from_the_platforms_registry(platform: Render) -> None:
    """`global.imageRegistry` replaces the registry and keeps the path; Secrets add up, in both notations, once each."""
    for template in platform.templates().values():
        assert template["spec"]["containers"][0]["image"] == "mirror.example.com/ghcr/example/flagschedule:0.1.0"
        assert template["spec"]["imagePullSecrets"] == [{"name": "shared"}, {"name": "other"}, {"name": "own"}]


@pytest.mark.parametrize(
    ("repository", "image"),
    [
        ("localhost/flagschedule", "r:5000/flagschedule:0.1.0"),
        ("registry:5000/a/b", "r:5000/a/b:0.1.0"),
        ("library/flagschedule", "r:5000/library/flagschedule:0.1.0"),
        ("flagschedule", "r:5000/flagschedule:0.1.0"),
    ],
)
def test_only_a_registry_is_replaced(helm: Helm, repository: str, image: str) -> None:
    """A first part without a dot or a port is a folder in Docker's registry, not a registry."""
    render = helm.render({"image": {"repository": repository}, "global": {"imageRegistry": "r:5000"}})

    assert render.templates()["operator"]["spec"]["containers"][0]["image"] == image


def test_every_object_follows_the_namespace(helm: Helm, platform: Render) -> None:
    """With `namespaceOverride` nothing names the release's namespace: roles, bindings and policies point there, too."""
    values = merged(EVERYTHING, {"namespaceOverride": "elsewhere"})
    moved = helm.text(values, serves=[MUTATING], tests=True)

    assert moved == helm.text(EVERYTHING, namespace="elsewhere", serves=[MUTATING], tests=True)
    assert {obj["metadata"].get("namespace", "elsewhere") for obj in platform.objects} == {
        "elsewhere",
        "monitoring",
        "shop",
        "search",
        "kube-system",
        NAMESPACE,  # an extra object names the release's
    } - {"kube-system"}


def test_pods_follow_the_nodes_rules(platform: Render) -> None:
    """DNS, hosts, runtime, scheduler, user namespace and groups reach every pod; host lines add up."""
    for name, template in platform.templates().items():
        spec = template["spec"]
        own = ["proxy"] if name == "operator" else []
        assert [alias["hostnames"] for alias in spec["hostAliases"]] == [["database"], *([own] if own else [])]
        assert (spec["dnsPolicy"], spec["dnsConfig"]) == ("None", DNS)
        assert (spec["runtimeClassName"], spec["schedulerName"], spec["hostUsers"]) == ("gvisor", "packer", False)
        assert (spec["securityContext"]["fsGroup"], spec["securityContext"]["supplementalGroups"]) == (
            65532,
            [1_000_000, 7],
        )


def test_an_account_may_keep_its_token(platform: Render, default: Render) -> None:
    """`automount: false` holds for the account and the pod; labels are the account's own."""
    account = platform.one("ServiceAccount", "flagschedule-operator")

    assert account["automountServiceAccountToken"] is False
    assert platform.templates()["operator"]["spec"]["automountServiceAccountToken"] is False
    assert account["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    assert "azure.workload.identity/use" not in platform.one("ServiceAccount", "flagschedule-cleanup")["metadata"]
    assert "automountServiceAccountToken" not in default.templates()["operator"]["spec"]


def test_the_deployment_follows_the_platforms_rules(platform: Render) -> None:
    """Zero is a value, not an absent one, and `Recreate` brings no settings of a rolling update, which is refused."""
    deployment = platform.one("Deployment", "flagschedule-operator")
    budget = platform.one("PodDisruptionBudget", "flagschedule-operator")["spec"]

    assert deployment["metadata"]["annotations"]["reloader.stakater.com/auto"] == "true"
    assert deployment["spec"]["revisionHistoryLimit"] == 0
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    assert (budget["minAvailable"], "maxUnavailable" in budget) == (0, False)


def test_a_budget_has_one_bound(helm: Helm) -> None:
    """A share stays a text; both bounds together are refused here, because the API server would refuse them later."""

    def budget(**bounds: object) -> Document:
        return {"operator": {"podDisruptionBudget": bounds}}

    spec = helm.render(budget(maxUnavailable="50%")).one("PodDisruptionBudget", "flagschedule-operator")["spec"]
    assert (spec["maxUnavailable"], "minAvailable" in spec) == ("50%", False)
    assert "either minAvailable or maxUnavailable" in helm.refusal(budget(maxUnavailable=1, minAvailable=1))


def test_cronjobs_follow_the_platforms_rules(platform: Render, default: Render) -> None:
    """Time zone, lifetime of finished Jobs and annotations are each program's own; a user's sync wave wins."""
    processor, cleanup = (platform.one("CronJob", f"flagschedule-{name}") for name in ("processor", "cleanup"))

    assert (processor["spec"]["timeZone"], cleanup["spec"]["timeZone"]) == ("Europe/Paris", "Asia/Tokyo")
    lifetimes = [job["spec"]["jobTemplate"]["spec"]["ttlSecondsAfterFinished"] for job in (processor, cleanup)]
    assert lifetimes == [0, 3600]
    assert processor["metadata"]["annotations"] == {
        "own": "processor",
        "argocd.argoproj.io/sync-wave": "1",
        "example.com/owner": "flags",
    }
    assert cleanup["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"] == "5"
    assert "timeZone" not in default.one("CronJob", "flagschedule-processor")["spec"]


def test_kinds_have_the_users_annotations(platform: Render) -> None:
    """They stand next to the one that keeps the kinds."""
    for kind in platform.of("CustomResourceDefinition").values():
        assert kind["metadata"]["annotations"] == {
            "argocd.argoproj.io/sync-options": "Prune=false",
            "helm.sh/resource-policy": "keep",
            "example.com/owner": "flags",
        }


def test_objects_of_the_users_are_rendered(platform: Render) -> None:
    """Maps and texts are templates."""
    assert platform.one("ConfigMap", "flagschedule-map")
    assert platform.one("ConfigMap", "text")["metadata"]["namespace"] == NAMESPACE


def test_a_quota_bounds_the_objects_of_a_namespace(platform: Render) -> None:
    """Each named namespace gets one, whose name no other release uses; large numbers stay whole."""
    quotas = [obj for obj in platform.objects if obj["kind"] == "ResourceQuota"]

    assert [quota["metadata"]["namespace"] for quota in quotas] == ["shop", "search"]
    for quota in quotas:
        assert quota["metadata"]["name"] == "flagschedule-elsewhere"
        assert quota["spec"]["hard"] == {
            "count/flagschedules.flagschedule.io": "1000000",
            "count/flagplans.flagschedule.io": "100",
        }


def test_monitors_fit_into_the_platforms_prometheus(platform: Render) -> None:
    """They may be in its namespace, and then still find the pods in ours."""
    service = platform.one("ServiceMonitor", "flagschedule-operator")
    pod = platform.one("PodMonitor", "flagschedule-operator")

    for monitor, endpoints in ((service, "endpoints"), (pod, "podMetricsEndpoints")):
        assert monitor["metadata"]["namespace"] == "monitoring"
        assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["elsewhere"]}
        assert monitor["spec"][endpoints] == [
            {
                "port": "http",
                "path": "/metrics",
                "interval": "30s",
                "scrapeTimeout": "7s",
                "honorLabels": True,
                "relabelings": RELABELINGS,
                "metricRelabelings": DROPPED,
            }
        ]


def test_a_service_serves_metrics_without_the_prometheus_operator(helm: Helm, platform: Render) -> None:
    """The Service alone needs no kind of others, and may have both families of addresses."""
    alone = helm.render({"metrics": {"service": {"enabled": True}}})
    service = platform.one("Service", "flagschedule-operator")

    assert alone.of("Service").keys() == {"flagschedule-operator"}
    assert not [obj for obj in alone.objects if "coreos" in obj["apiVersion"]]
    assert service["metadata"]["annotations"]["prometheus.io/scrape"] == "true"
    assert (service["spec"]["ipFamilyPolicy"], service["spec"]["ipFamilies"]) == ("PreferDualStack", ["IPv6", "IPv4"])


def test_single_alerts_can_be_changed(platform: Render, everything: Render) -> None:
    """Threshold, time, severity and labels of one alert change that one alone; one can be left out."""
    rule = platform.one("PrometheusRule", "flagschedule")
    changed = {rule["alert"]: rule for rule in rule["spec"]["groups"][0]["rules"]}
    backlog, horizon = changed.pop("FlagScheduleBacklog"), changed.pop("FlagPlanHorizon")

    assert rule["metadata"]["namespace"] == "monitoring"
    assert (backlog["expr"], backlog["for"]) == ("max(flagschedule_due_schedules) > 1000000", "10m")
    assert backlog["labels"] == {"severity": "page", "team": "flags"}
    assert horizon["expr"].endswith("- time() < 0.5")
    assert horizon["labels"] == {"severity": "critical", "team": "plans"}
    assert changed.keys() == RULES.keys() - {"FlagScheduleBacklog", "FlagPlanHorizon", "FlagScheduleSkipped"}
    for name, alert in changed.items():
        assert alert["expr"] == RULES[name]["expr"]
        assert alert["labels"] == {"team": "flags"} | RULES[name]["labels"]
        assert alert["annotations"]["runbook_url"] == f"https://runbooks.example.com/{name.lower()}"
        assert "runbook" not in alert["annotations"]
    unchanged = everything.one("PrometheusRule", "flagschedule")["spec"]["groups"][0]["rules"]
    assert {rule["alert"]: rule for rule in unchanged} == RULES


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"FlagScheduleLat": {"enabled": False}}, "FlagScheduleLat"),
        ({"FlagScheduleOperatorDown": {"threshold": 2}}, "threshold"),
        ({"FlagScheduleLate": {"for": "soon"}}, "/FlagScheduleLate/for"),
    ],
)
def test_a_change_that_would_do_nothing_is_refused(helm: Helm, change: Document, said: str) -> None:
    """A misspelt alert, or a threshold of an alert that has none, fails the installation."""
    assert said in helm.refusal({"metrics": {"prometheusRule": {"alerts": change}}})


def test_no_text_of_an_alert_names_its_threshold() -> None:
    """A text that states the default would be wrong with another threshold."""
    for alert in RULES.values():
        if "threshold" in alerts.schema()["properties"][alert["alert"]]["properties"]:
            number = alert["expr"].rsplit(" ", 1)[-1]
            text = " ".join(alert["annotations"].values())
            assert number == "0" or number not in text.split()


def test_a_namespaced_release_can_be_moved(helm: Helm) -> None:
    """Its Roles are bound to the accounts where those are."""
    render = helm.render(merged(NAMESPACED, {"namespaceOverride": "elsewhere"}))

    subjects = [subject["namespace"] for obj in render.of("RoleBinding").values() for subject in obj["subjects"]]
    assert set(subjects) == {"elsewhere"}
