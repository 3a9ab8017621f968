"""What the chart's pods are: restricted, with the designed figures, and with nothing secret written into them."""

import re
from typing import Any

import pytest

from dev.chart.base import MUTATING
from flagschedule.services.cleanup import TIME_BUDGET
from flagschedule.settings import Settings, variable
from tests.chart.rendering import EVERYTHING, Helm, Render

pytestmark = pytest.mark.helm

PROGRAMS = {"operator": "operator", "processor": "process", "cleanup": "cleanup", "migrate": "migrate"}
# What the chart sets by itself, or leaves to the program.
NOT_IN_VALUES = {
    "FLAG_SCHEDULE_IDENTITY_NAMESPACE",
    "FLAG_SCHEDULE_LEASE_NAME",
    "FLAG_SCHEDULE_LEASE_NAMESPACE",
    "FLAG_SCHEDULE_NAMESPACES",
    "FLAG_SCHEDULE_PROBE_PORT",
}


def test_every_pod_is_restricted(any_render: Render) -> None:
    """For all values: Pod Security restricted, a read-only root, a fixed user, limits, a writable /tmp."""
    for name, template in any_render.templates().items():
        pod, [container] = template["spec"], template["spec"]["containers"]
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        }, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert container["resources"]["limits"]["memory"], name
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"], name  # noqa: S108 -- the mount itself
        assert [volume["name"] for volume in pod["volumes"] if "emptyDir" in volume] == ["tmp"], name


def test_the_platform_may_choose_the_user(helm: Helm) -> None:
    """On OpenShift the ids come from the namespace; the rest stays restricted."""
    render = helm.render({"securityContext": {"runAsUser": None, "runAsGroup": None}})

    for template in render.templates().values():
        assert template["spec"]["securityContext"] == {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }


def test_each_program_runs_from_the_one_image(any_render: Render) -> None:
    """Each program gets its subcommand, and an image that the node has is not pulled."""
    containers = {name: template["spec"]["containers"][0] for name, template in any_render.templates().items()}

    assert {name: container["args"] for name, container in containers.items()} == {
        name: [argument] for name, argument in PROGRAMS.items()
    }
    assert {container["image"] for container in containers.values()} == {"localhost/flagschedule:0.1.0"}
    assert {container["imagePullPolicy"] for container in containers.values()} == {"IfNotPresent"}


def test_an_image_can_be_pinned(helm: Helm) -> None:
    """A digest decides which image runs; the tag stays for people to read."""
    digest = "sha256:" + "0123456789abcdef" * 4
    render = helm.render({"image": {"repository": "registry.example.com/x", "tag": "1.2", "digest": digest}})

    images = {template["spec"]["containers"][0]["image"] for template in render.templates().values()}
    assert images == {f"registry.example.com/x:1.2@{digest}"}


def test_the_processor_has_the_designed_figures(default: Render) -> None:
    """The processor runs every minute, bounded in time and memory, without a retry by Kubernetes."""
    spec = default.one("CronJob", "flagschedule-processor")["spec"]
    job, pod = spec["jobTemplate"]["spec"], spec["jobTemplate"]["spec"]["template"]["spec"]

    assert (spec["schedule"], spec["startingDeadlineSeconds"], spec["suspend"]) == ("* * * * *", 200, False)
    assert (job["activeDeadlineSeconds"], job["backoffLimit"], pod["restartPolicy"]) == (120, 0, "Never")
    assert {"name": "FLAG_SCHEDULE_LINGER_SECONDS", "value": "65"} in pod["containers"][0]["env"]
    assert pod["containers"][0]["resources"]["limits"]["memory"] == "512Mi"
    assert spec["successfulJobsHistoryLimit"] <= 5
    assert spec["failedJobsHistoryLimit"] <= 5


def test_the_cleanup_runs_once_a_day(default: Render) -> None:
    """The cleanup runs nightly in UTC, never twice at once, without a retry by Kubernetes; it has time to end."""
    spec = default.one("CronJob", "flagschedule-cleanup")["spec"]
    job, pod = spec["jobTemplate"]["spec"], spec["jobTemplate"]["spec"]["template"]["spec"]
    minute, hour, *days = spec["schedule"].split()

    assert (minute.isdecimal(), hour.isdecimal(), days, spec["timeZone"]) == (True, True, ["*"] * 3, "Etc/UTC")
    assert (spec["concurrencyPolicy"], job["backoffLimit"], pod["restartPolicy"]) == ("Forbid", 0, "Never")
    assert job["activeDeadlineSeconds"] > TIME_BUDGET


def test_the_operator_is_probed_spread_and_has_time_to_finish(default: Render) -> None:
    """Two replicas on two nodes where there are two, both probes, 45 seconds to end, one at a time taken away."""
    spec = default.one("Deployment", "flagschedule-operator")["spec"]
    pod, [container] = spec["template"]["spec"], spec["template"]["spec"]["containers"]
    labels = spec["selector"]["matchLabels"]

    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert container["ports"] == [{"name": "http", "containerPort": 8080}]
    assert pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] == labels
    assert pod["topologySpreadConstraints"][0]["topologyKey"] == "kubernetes.io/hostname"
    assert pod["terminationGracePeriodSeconds"] == 45
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert default.one("PodDisruptionBudget", "flagschedule-operator")["spec"] == {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",  # an outage of the database must not block drains
        "selector": {"matchLabels": labels},
    }


def test_a_spread_of_ones_own_keeps_its_selector(helm: Helm) -> None:
    """The selector is added only where it is missing."""
    own = {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
    chosen = own | {"labelSelector": {"matchLabels": {"a": "b"}}}
    render = helm.render({"operator": {"topologySpreadConstraints": [own, chosen]}})

    first, second = render.templates()["operator"]["spec"]["topologySpreadConstraints"]
    assert first["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == "operator"
    assert second == chosen


def test_only_the_operator_has_a_token(any_render: Render) -> None:
    """Programs that never call the API server have no token for it."""
    templates = any_render.templates()
    tokens = {name: template["spec"].get("automountServiceAccountToken", True) for name, template in templates.items()}
    accounts = any_render.of("ServiceAccount")

    expected = {"operator": True, "processor": False, "cleanup": False, "migrate": False}
    assert tokens == expected
    assert {name: account.get("automountServiceAccountToken", True) for name, account in accounts.items()} == {
        f"flagschedule-{name}": mounted for name, mounted in expected.items()
    }


def test_addresses_come_from_secrets_only(any_render: Render) -> None:
    """No address or password is written into an object, none is made a Secret of, and only the processor sees Redis."""
    database = {"secretKeyRef": {"name": "flagschedule", "key": "database-url"}}
    redis = {"secretKeyRef": {"name": "flagschedule", "key": "redis-url", "optional": True}}
    for program in PROGRAMS:
        environment = any_render.environment(program)
        assert environment["DATABASE_URL"] == database
        assert environment.get("REDIS_URL") == (redis if program == "processor" else None)

    assert not any_render.of("Secret")
    assert not re.findall(r"\w+://[^ '\"]*@", str(any_render.objects))


def test_each_program_may_have_a_database_role_of_its_own(helm: Helm) -> None:
    """A Secret for each program, so that none has more rights in the database than it needs."""
    values: dict[str, Any] = {
        "database": {"secret": {"name": "shared", "key": "url"}},
        "migrations": {"databaseSecret": {"name": "owner"}},
        "processor": {"databaseSecret": {"name": "applier", "key": "dsn"}},
        "redis": {"secret": {"name": "cache", "optional": False}},
    }
    render = helm.render(values)

    found = {program: render.environment(program)["DATABASE_URL"]["secretKeyRef"] for program in PROGRAMS}
    assert found == {
        "operator": {"name": "shared", "key": "url"},
        "processor": {"name": "applier", "key": "dsn"},
        "cleanup": {"name": "shared", "key": "url"},
        "migrate": {"name": "owner", "key": "url"},
    }
    assert render.environment("processor")["REDIS_URL"]["secretKeyRef"] == {
        "name": "cache",
        "key": "redis-url",
        "optional": False,
    }


LOGIN = [{"key": "password", "path": "password"}, {"key": "username", "path": "user"}]


def test_parts_of_the_address_are_files(helm: Helm) -> None:
    """The keys of an operator of Postgres become files under the names that the program reads; the rest is a value."""
    values: dict[str, Any] = {
        "database": {
            "url": "postgresql://pg-rw.db:5432/shop",
            "secret": {"name": "pg-app", "parts": {"user": "username", "password": "password"}},
        },
        "processor": {"databaseSecret": {"name": "pg-processor"}},
        "cleanup": {"databaseSecret": {"parts": {"url": "uri"}}},
        "migrations": {"databaseSecret": {"name": "owner", "key": "uri"}},
    }
    values["database"]["url"], url = "", values["database"]["url"]
    without = helm.render(values)
    values["database"]["url"] = url
    del values["cleanup"]
    render = helm.render(values)

    for program, name in (("operator", "pg-app"), ("processor", "pg-processor")):
        environment, secret = render.environment(program), mounted(render, program)
        assert (environment["DATABASE_URL"], environment["DATABASE_FOLDER"]) == (url, "/etc/flagschedule/database")
        assert secret == {"secretName": name, "items": LOGIN}
    assert render.environment("migrate")["DATABASE_URL"] == {"secretKeyRef": {"name": "owner", "key": "uri"}}
    assert "DATABASE_FOLDER" not in render.environment("migrate")
    cleanup = without.environment("cleanup")
    assert cleanup["DATABASE_URL_FILE"] == "/etc/flagschedule/database/url"
    assert cleanup.keys().isdisjoint({"DATABASE_URL", "DATABASE_FOLDER"})
    assert mounted(without, "cleanup") == {"secretName": "pg-app", "items": [{"key": "uri", "path": "url"}]}
    assert "DATABASE_URL" not in without.environment("operator")


def mounted(render: Render, program: str) -> Any:
    """Return the Secret that a program has as the folder of its database's address."""
    spec = render.templates()[program]["spec"]
    [name] = [
        mount["name"] for mount in spec["containers"][0]["volumeMounts"] if mount["mountPath"].endswith("/database")
    ]
    [volume] = [volume for volume in spec["volumes"] if volume["name"] == name]
    return volume["secret"]


def test_libpqs_own_variables_may_come_from_secrets(helm: Helm) -> None:
    """All keys of a Secret, or one password, are variables; they replace what the URL leaves out, not what is set."""
    password = {"name": "PGPASSWORD", "valueFrom": {"secretKeyRef": {"name": "pg", "key": "password"}}}
    source = {"secretRef": {"name": "libpq"}}
    own = {"pod": {"envFrom": [{"configMapRef": {"name": "own"}}]}}
    render = helm.render(
        {"database": {"url": "postgresql://"}, "pod": {"env": [password], "envFrom": [source]}, "processor": own}
    )

    [processor] = render.templates()["processor"]["spec"]["containers"]
    assert processor["envFrom"] == [source, {"configMapRef": {"name": "own"}}]
    assert render.environment("processor")["PGPASSWORD"] == password["valueFrom"]
    assert render.environment("operator")["DATABASE_URL"] == "postgresql://"
    assert render.environment("operator")["PGSSLMODE"] == "verify-full"


def test_redis_may_have_its_password_alone_in_a_secret(helm: Helm) -> None:
    """The URL is a value, and the password a key that must be there."""
    redis = {"url": "redis://cache:6379/0", "secret": {"name": "cache", "passwordKey": "redis-password"}}
    render = helm.render({"redis": redis})

    environment = render.environment("processor")
    assert environment["REDIS_URL"] == "redis://cache:6379/0"
    assert environment["REDIS_PASSWORD"] == {"secretKeyRef": {"name": "cache", "key": "redis-password"}}
    assert "REDIS_PASSWORD" not in render.environment("operator")


def test_without_redis_no_object_needs_it(helm: Helm) -> None:
    """Without Redis there is no variable, no certificate and no egress rule for it."""
    render = helm.render(
        {
            "redis": {"enabled": False, "secret": {"passwordKey": "x"}, "tls": {"ca": {"secretName": "x"}}},
            "networkPolicy": {"enabled": True},
        }
    )

    assert render.environment("processor").keys().isdisjoint({"REDIS_URL", "REDIS_PASSWORD", "SSL_CERT_FILE"})
    assert "6379" not in str(render.one("NetworkPolicy", "flagschedule-processor"))


def test_the_database_must_prove_who_it_is(default: Render) -> None:
    """Without any value the connection is verified, against public authorities."""
    for program in PROGRAMS:
        environment = default.environment(program)
        assert environment["PGSSLMODE"] == "verify-full"
        assert environment["PGSSLROOTCERT"] == "/etc/ssl/certs/ca-certificates.crt"


def test_certificates_are_mounted_where_the_variables_say(everything: Render) -> None:
    """A Secret or a ConfigMap holds them; each is one file, and a program gets those of its own connections only."""
    wanted = {"PGSSLROOTCERT": {"secret": {"secretName": "database-ca"}},
              "SSL_CERT_FILE": {"configMap": {"name": "redis-ca"}}}  # fmt: skip
    for program, template in everything.templates().items():
        environment = everything.environment(program)
        volumes = {volume.pop("name"): volume for volume in map(dict, template["spec"]["volumes"])}
        mounts = {mount["mountPath"]: mount for mount in template["spec"]["containers"][0]["volumeMounts"]}
        for name, source in wanted.items():
            if name not in environment:
                assert (program, name) not in {("processor", "SSL_CERT_FILE"), (program, "PGSSLROOTCERT")}
                continue
            folder, _, file = environment[name].rpartition("/")
            [(kind, given)] = volumes[mounts[folder]["name"]].items()
            assert {kind: {key: value for key, value in given.items() if key != "items"}} == source
            assert given["items"] == [{"key": "ca.crt", "path": file}]
            assert mounts[folder]["readOnly"]


def test_without_tls_nothing_is_verified(helm: Helm) -> None:
    """The mode reaches the library as it is written."""
    environment = helm.render({"database": {"tls": {"mode": "disable"}}}).environment("operator")

    assert environment["PGSSLMODE"] == "disable"
    assert "PGSSLROOTCERT" not in environment


def test_settings_reach_the_programs_under_their_right_names(helm: Helm) -> None:
    """Each variable is one that the program reads, and each setting can be set: a misspelt one would do nothing."""
    everything = helm.render(EVERYTHING, serves=[MUTATING])
    known = {variable(name) for name in Settings.model_fields}
    given = {name for program in PROGRAMS for name in everything.environment(program)}
    ours = {name for name in given if name.startswith("FLAG_SCHEDULE_")}

    assert ours <= known
    assert {name for name in known if name.startswith("FLAG_SCHEDULE_")} - ours <= NOT_IN_VALUES


def test_settings_are_written_as_the_programs_read_them(everything: Render, default: Render) -> None:
    """Large numbers stay whole numbers; what is not set is left to the program."""
    environment = everything.environment("processor")

    assert environment["FLAG_SCHEDULE_MAX_LATENESS_SECONDS"] == "1000000"
    assert environment["FLAG_SCHEDULE_CLUSTER"] == "west"
    assert environment["FLAG_SCHEDULE_LINGER_SECONDS"] == "75"
    assert everything.environment("cleanup")["FLAG_SCHEDULE_KEEP_CANCELLED_DAYS"] == "5"
    assert {name for name in default.environment("operator") if name.startswith("FLAG_")} == {
        "FLAG_SCHEDULE_ALLOW_OVERRIDES",
        "FLAG_SCHEDULE_LEASE_NAME",
        "FLAG_SCHEDULE_LEASE_NAMESPACE",
    }


def test_overrides_of_freezes_need_the_policy_that_guards_them(helm: Helm, default: Render) -> None:
    """The operator believes the annotation only where the chart installs the policy; else everyone could write it."""
    unguarded = helm.render({"admissionPolicies": {"enabled": False}})

    assert default.environment("operator")["FLAG_SCHEDULE_ALLOW_OVERRIDES"] == "true"
    assert "FLAG_SCHEDULE_ALLOW_OVERRIDES" not in unguarded.environment("operator")


def test_the_lease_is_the_releases_own(helm: Helm) -> None:
    """Two releases in one namespace never wait for each other; the Role names the same lease."""
    render = helm.render(release="second")

    environment = render.environment("operator")
    [create, rest] = render.one("Role", "second-flagschedule-operator")["rules"]
    assert environment["FLAG_SCHEDULE_LEASE_NAMESPACE"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}
    assert environment["FLAG_SCHEDULE_LEASE_NAME"] == "second-flagschedule-operator"
    assert (create["verbs"], rest["verbs"], rest["resourceNames"]) == (
        ["create"],
        ["get", "update"],
        ["second-flagschedule-operator"],
    )


def test_namespaces_reach_the_operator(namespaced: Render, default: Render) -> None:
    """The operator watches exactly the namespaces in which it has rights."""
    assert namespaced.environment("operator")["FLAG_SCHEDULE_NAMESPACES"] == "shop,search"
    assert "FLAG_SCHEDULE_NAMESPACES" not in default.environment("operator")


def test_pod_settings_hold_for_all_and_for_one(helm: Helm) -> None:
    """Lists add up, maps are merged, and the program's own wins, also over a variable of the same name."""
    own = {
        "env": [{"name": "TZ", "value": "Europe/Paris"}, {"name": "OWN", "value": "1"}],
        "labels": {"mesh": "out"},
        "nodeSelector": {"pool": "jobs"},
        "tolerations": [{"key": "own", "operator": "Exists"}],
        "priorityClassName": "high",
        "initContainers": [{"name": "proxy", "image": "proxy", "restartPolicy": "Always"}],
    }
    render = helm.render(EVERYTHING | {"processor": {"pod": own}})

    processor, operator = render.templates()["processor"], render.templates()["operator"]
    assert render.environment("processor")["TZ"] == "Europe/Paris"
    assert render.environment("processor")["OWN"] == "1"
    assert render.environment("operator")["TZ"] == "UTC"
    assert processor["metadata"]["labels"]["mesh"] == "out"
    assert operator["metadata"]["labels"]["mesh"] == "in"
    assert processor["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux", "pool": "jobs"}
    assert [toleration["key"] for toleration in processor["spec"]["tolerations"]] == ["dedicated", "own"]
    assert processor["spec"]["affinity"] == operator["spec"]["affinity"]
    assert (processor["spec"]["priorityClassName"], "priorityClassName" in operator["spec"]) == ("high", False)
    assert [container["name"] for container in processor["spec"]["initContainers"]] == ["proxy"]
    assert {"name": "extra", "mountPath": "/extra"} in processor["spec"]["containers"][0]["volumeMounts"]
    assert processor["spec"]["imagePullSecrets"] == [{"name": "registry"}]


def test_accounts_that_exist_are_used(helm: Helm) -> None:
    """An account made by another user is named, bound and held to its rule."""
    render = helm.render({"operator": {"serviceAccount": {"create": False, "name": "theirs"}}})

    binding = render.one("ClusterRoleBinding", "flagschedule-operator")
    policy = render.one("ValidatingAdmissionPolicy", "flagschedule-operator-keeps-spec")
    assert render.templates()["operator"]["spec"]["serviceAccountName"] == "theirs"
    assert [subject["name"] for subject in binding["subjects"]] == ["theirs"]
    assert ":flagschedule-system:theirs'" in policy["spec"]["matchConditions"][0]["expression"]


def test_migrations_come_first_then_the_operator_then_the_rest(default: Render) -> None:
    """Helm and Argo CD both run the Job, with its account, before anything else, and CronJobs after the operator."""
    job = default.one("Job", "flagschedule-migrate")["metadata"]["annotations"]
    account = default.one("ServiceAccount", "flagschedule-migrate")["metadata"]["annotations"]
    others = {
        (obj["kind"], obj["metadata"]["name"])
        for obj in default.objects
        if "helm.sh/hook" in obj["metadata"].get("annotations", {})
    }
    waves = {
        name: obj["metadata"].get("annotations", {}).get("argocd.argoproj.io/sync-wave", "0")
        for kind in ("Deployment", "CronJob")
        for name, obj in default.of(kind).items()
    }

    assert others == {("Job", "flagschedule-migrate"), ("ServiceAccount", "flagschedule-migrate")}
    assert job["helm.sh/hook"] == account["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert int(account["helm.sh/hook-weight"]) < int(job["helm.sh/hook-weight"])
    assert job["helm.sh/hook-delete-policy"] == "before-hook-creation"
    assert waves == {"flagschedule-operator": "0", "flagschedule-processor": "1", "flagschedule-cleanup": "1"}


def test_the_network_lets_through_what_is_needed(everything: Render) -> None:
    """All resolve names and reach Postgres; the processor Redis, the operator the API server; one is scraped."""
    ports = {}
    for policy in everything.of("NetworkPolicy").values():
        spec = policy["spec"]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        component = spec["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        incoming = [port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]]
        ports[component] = (incoming, sorted({port["port"] for rule in spec["egress"] for port in rule["ports"]}))

    assert ports == {
        "operator": ([8080], [53, 443, 5432, 6443]),
        "processor": ([], [53, 5432, 6379]),
        "cleanup": ([], [53, 5432]),
        "migrations": ([], [53, 5432]),
    }


def test_the_network_can_be_narrowed(helm: Helm) -> None:
    """The given peers stand in the rule of their own program and direction."""
    peer = {"ipBlock": {"cidr": "10.0.0.0/24"}}
    rules = {"enabled": True, "metricsFrom": [peer], "postgres": {"to": [peer], "port": 6432}}
    spec = helm.render({"networkPolicy": rules}).one("NetworkPolicy", "flagschedule-operator")["spec"]

    [database] = [rule for rule in spec["egress"] if rule["ports"][0]["port"] == 6432]
    assert database["to"] == [peer]
    assert spec["ingress"][0]["from"] == [peer]


def test_the_webhook_comes_from_a_secret_that_only_the_operator_sees(helm: Helm) -> None:
    """URL and keys are files, so that they can change; the network policy lets the operator alone reach it."""
    receiver = {"ipBlock": {"cidr": "10.1.0.0/24"}}
    values = {
        "webhook": {"urlSecret": {"name": "hook"}, "events": ["applied", "superseded"]},
        "networkPolicy": {"enabled": True, "webhook": {"ports": [8443], "to": [receiver]}},
    }
    render = helm.render(values)
    pod = render.one("Deployment", "flagschedule-operator")["spec"]["template"]["spec"]
    found = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    [volume] = [each for each in pod["volumes"] if each["name"] == "webhook"]
    rules = {
        name: [rule for rule in policy["spec"]["egress"] if {"port": 8443, "protocol": "TCP"} in rule["ports"]]
        for name, policy in render.of("NetworkPolicy").items()
    }

    assert found["WEBHOOK_URL_FILE"] == "/etc/flagschedule/webhook/url"
    assert found["WEBHOOK_SIGNING_KEYS_FILE"] == "/etc/flagschedule/webhook/signing-keys"
    assert found["FLAG_SCHEDULE_WEBHOOK_EVENTS"] == "applied,superseded"
    assert [source["secret"]["name"] for source in volume["projected"]["sources"]] == ["hook", "hook"]
    assert rules.pop("flagschedule-operator")[0]["to"] == [receiver]
    assert not any(rules.values())
    assert "webhook" not in str(render.one("CronJob", "flagschedule-processor"))
