"""Values: each is described, has an effect, and is refused when it is misspelt."""

import functools
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml

import flagschedule
from dev.chart import base, files, schema, values
from tests.chart.rendering import EVERYTHING, Document, Helm
from tests.chart.test_switches import merged, nested

FOUND = values.read(files.CHART / "values.yaml")
LEAVES = [leaf for value in FOUND for leaf in value.leaves()]

# Another value where the type alone does not give one that the schema takes.
OTHERS: dict[str, Any] = {
    "image.digest": "sha256:" + "a" * 64,
    "imagePullSecrets": [{"name": "other"}],
    "namespaces": ["other"],
    "settings.logFormat": "console",
    "settings.logLevel": "ERROR",
    "database.tls.mode": "require",
    "database.secret.parts": {"password": "other"},
    "database.url": "postgresql://other.example/x",
    "redis.url": "redis://other.example/1",
    "processor.concurrencyPolicy": "Replace",
    "networkPolicy.apiServer.ports": [16443],
    "networkPolicy.webhook.ports": [8443],
    "webhook.events": ["failed"],
    "networkPolicy.extraEgress": [{"ports": [{"port": 4317}]}],
    "metrics.serviceMonitor.interval": "7s",
    "metrics.podMonitor.interval": "7s",
    "operator.topologySpreadConstraints": [],
    "image.pullPolicy": "Always",
    "global.imagePullSecrets": ["other"],
    "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}}],
    "securityContext.supplementalGroups": [7],
    "operator.podDisruptionBudget.minAvailable": "50%",
    "operator.podDisruptionBudget.maxUnavailable": "50%",
    "operator.podDisruptionBudget.unhealthyPodEvictionPolicy": "IfHealthyBudget",
    "resourceQuota.namespaces": ["other"],
    "metrics.service.ipFamilyPolicy": "SingleStack",
    "metrics.service.ipFamilies": ["IPv6"],
    "metrics.serviceMonitor.scrapeTimeout": "7s",
    "metrics.podMonitor.scrapeTimeout": "7s",
    "pod.dnsPolicy": "Default",
    "pod.hostUsers": False,
    "ownership.default": "Deny",
    "admissionPolicies.recordActors": False,
}
# The same for the names of Kubernetes' shapes.
SHAPES: dict[str, Any] = {
    "Affinity": {"nodeAffinity": {}},
    "ResourceRequirements": {"requests": {"cpu": "7m"}},
    "Toleration": [{"key": "other"}],
    "Container": [{"name": "other", "image": "other"}],
    "Volume": [{"name": "other", "emptyDir": {}}],
    "VolumeMount": [{"name": "other", "mountPath": "/other"}],
    "EnvVar": [{"name": "OTHER", "value": "x"}],
    "EnvFromSource": [{"secretRef": {"name": "other"}}],
    "NetworkPolicyPeer": [{"podSelector": {}}],
    "HostAlias": [{"ip": "10.0.0.7", "hostnames": ["other"]}],
    "PodDNSConfig": {"searches": ["other"]},
    "DeploymentStrategy": {"type": "Recreate"},
    "RelabelConfig": [{"action": "labeldrop", "regex": "other"}],
    "Alerts": {"FlagScheduleLate": {"threshold": 7}},
}


def other(leaf: values.Value) -> Any:
    """Return a value that differs from what EVERYTHING or the default says."""
    if leaf.dotted in OTHERS:
        return OTHERS[leaf.dotted]
    stated = json.dumps(leaf.stated)
    for name, example in SHAPES.items():
        if f'"{name}"' in stated:
            return example
    if leaf.stated.get("$values") == "pod":
        return {"priorityClassName": "other"}
    if leaf.stated.get("$values") == "database.secret":
        return {"name": "other"}
    if isinstance(leaf.default, bool):
        return not leaf.default
    if isinstance(leaf.default, int) or "integer" in leaf.stated.get("type", ()):
        return max((leaf.default or 6) + 1, leaf.stated.get("minimum", 0))
    return {"other": "other"} if isinstance(leaf.default, dict) else "other"


def token(leaf: values.Value) -> tuple[Any, str] | None:
    """Return a value that no other leaf has, and the text by which it is found in the objects, if there is one.

    Numbers grow in the order of the file, so that no run is longer than its deadline.
    """
    number = LEAVES.index(leaf)
    word, count = f"token{number}x", 100 * number + 77
    value = other(leaf)
    if "boolean" in leaf.stated.get("type", ()) or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return (count, str(count)) if leaf.stated.get("maximum", count) >= count else None
    text = json.dumps(value)
    return (json.loads(text.replace("other", word)), word) if "other" in text else None


def _found_together(helm: Helm, everything: Document) -> set[str]:
    """Set all values that differ from each other at once. Returns: those that are found in what is rendered."""
    tokens = {leaf.dotted: found for leaf in LEAVES if (found := token(leaf))}
    for dotted, (value, _) in tokens.items():
        everything = merged(everything, nested(dotted, value))
    text = helm.text(everything, serves=[base.MUTATING], tests=True)
    return {dotted for dotted, (_, mark) in tokens.items() if mark in text}


@pytest.mark.helm
def test_every_value_has_an_effect(helm: Helm) -> None:
    """Every value changes the rendered objects. What is not found among all others is set alone."""
    everything = merged(EVERYTHING, {"redis": {"secret": {"name": "redis"}}})
    # A name or a switch that another one hides, or that needs another one.
    hidden: dict[str, Document] = {
        "database.tls.ca.configMapName": {"database": {"tls": {"ca": {"secretName": ""}}}},
        "rbac.clusterScoped": {"namespaces": ["shop"]},
        # Either of the two, never both.
        "metrics.service.enabled": {"metrics": {"serviceMonitor": {"enabled": False}}},
    }

    text = functools.partial(helm.text, serves=[base.MUTATING], tests=True)
    before = functools.cache(lambda name: text(merged(everything, hidden.get(name, {}))))

    def is_seen(leaf: values.Value) -> bool:
        given = merged(everything, hidden.get(leaf.dotted, {}))
        is_on = _at(given, leaf.path) is True
        changed = merged(given, nested(leaf.dotted, False if is_on else other(leaf)))
        return before(leaf.dotted if leaf.dotted in hidden else "") != text(changed)

    found = _found_together(helm, everything)
    rest = [leaf for leaf in LEAVES if leaf.dotted not in found]
    with ThreadPoolExecutor(2) as pool:
        seen = dict(zip((leaf.dotted for leaf in rest), pool.map(is_seen, rest), strict=True))

    assert {name for name, effect in seen.items() if not effect} == set()


@pytest.mark.helm
def test_a_misspelt_value_is_refused_at_every_level(helm: Helm) -> None:
    """Every map takes its own keys only, down to the fields of Kubernetes' objects; the message says where."""
    sections = sorted(_sections(FOUND))
    misspelt: dict[str, Any] = {"typo": 1}
    for section in sections:
        misspelt = merged(misspelt, nested(f"{section}.typo", 1))
    misspelt = merged(misspelt, {"pod": {"tolerations": [{"efect": "x"}], "affinity": {"nodeAfinity": {}}},
                                 "operator": {"pod": {"nodeSelectors": {}}, "databaseSecret": {"keyz": "x"},
                                              "resources": {"limit": {}}}})  # fmt: skip

    message = helm.refusal(misspelt)

    missed = [section for section in sections if f"'/{section.replace('.', '/')}'" not in message]
    assert missed == []
    for word in ("efect", "nodeAfinity", "nodeSelectors", "keyz", "limit"):
        assert f"additional properties '{word}" in message or f"'{word}'" in message


def initial(name: str, value: str) -> Document:
    """Return the values for a container that runs before the program and has this variable."""
    return {"pod": {"initContainers": [{"name": "x", "image": "x", "env": [{"name": name, "value": value}]}]}}


@pytest.mark.helm
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"operator": {"replicas": "two"}}, "got string, want integer"),
        ({"settings": {"maxRetries": 11}}, "/settings/maxRetries"),
        ({"settings": {"logLevel": "info"}}, "/settings/logLevel"),
        ({"database": {"tls": {"mode": "verify"}}}, "/database/tls/mode"),
        ({"database": {"url": "postgresql://clerk:hunter2@x"}}, "/database/url"),
        ({"database": {"url": "postgresql://x/y?password=hunter2"}}, "/database/url"),
        ({"redis": {"url": "redis://:hunter2@x"}}, "/redis/url"),
        ({"database": {"secret": {"parts": {"passwort": "x"}}}}, "invalid propertyName 'passwort'"),
        ({"database": {"url": "postgresql://x", "secret": {"parts": {"url": "u"}}}}, "remove one of them"),
        ({"pod": {"env": [{"name": "PGPASSWORD", "value": "hunter2"}]}}, "missing property 'valueFrom'"),
        ({"pod": {"env": [{"name": "REDIS_PASSWORD", "value": "hunter2"}]}}, "missing property 'valueFrom'"),
        ({"pod": {"env": [{"name": "DATABASE_URL", "value": "postgresql://x"}]}}, "/pod/env/0/name"),
        ({"operator": {"pod": {"env": [{"name": "REDIS_URL", "value": "redis://x"}]}}}, "/operator/pod/env/0/name"),
        ({"database": {"url": "postgresql://x/y?pass%77ord=hunter2"}}, "/database/url"),
        ({"redis": {"url": "redis://x?a=b&pass%77ord=hunter2"}}, "/redis/url"),
        ({"pod": {"env": [{"name": "X_PASSWORD", "value": "hunter2"}]}}, "missing property 'valueFrom'"),
        ({"pod": {"env": [{"name": "X", "value": "amqp://u:hunter2@x"}]}}, "/pod/env/0/value"),
        (initial("PGPASSWORD", "hunter2"), "missing property 'valueFrom'"),
        (initial("DATABASE_URL", "postgresql://x"), "missing property 'valueFrom'"),
        (initial("X", "postgresql://u:hunter2@x"), "/pod/initContainers/0/env/0/value"),
        ({"namespaceOverride": "a_b"}, "/namespaceOverride"),
        ({"operator": {"serviceAccount": {"name": "a'b"}}}, "/operator/serviceAccount/name"),
        ({"global": {"imageRegistry": "https://reg.example"}}, "/global/imageRegistry"),
        ({"image": {"tag": "a b"}}, "/image/tag"),
        ({"image": {"repository": "h:5000/x:1.0"}}, "/image/repository"),
        ({"image": {"repository": "x:1"}}, "/image/repository"),
        ({"database": {"secret": {"key": "a b"}}}, "/database/secret/key"),
        ({"database": {"secret": {"parts": {"password": "../x"}}}}, "/database/secret/parts/password"),
        ({"redis": {"secret": {"passwordKey": "../x"}}}, "/redis/secret/passwordKey"),
        ({"global": None}, "missing property 'global'"),
        ({"image": None}, "missing property 'image'"),
        ({"database": {"tls": None}}, "missing property 'tls'"),
        ({"operator": {"pod": None}}, "missing property 'pod'"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
        ({"namespaces": ["Shop"]}, "/namespaces/0"),
        ({"pod": {"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}}, "hostPath"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(helm: Helm, value: Document, said: str) -> None:
    """Wrong types, choices and bounds fail before anything is installed, and so does a URL with a password."""
    assert said in helm.refusal(value)


def _types(part: Any) -> Any:
    if isinstance(part, dict):
        return [_types(entry) for entry in part.values()]
    return [_types(entry) for entry in part] if isinstance(part, list) else type(part)


@pytest.mark.helm
@pytest.mark.parametrize("text", ["123", "true", "1e3"])
def test_a_text_stays_a_text(helm: Helm, text: str) -> None:
    """A value that YAML would read as a number or a boolean is a string in every place of every object."""

    def filled(word: str) -> list[Any]:
        given = EVERYTHING
        for leaf in LEAVES:
            value = json.dumps(other(leaf))
            if token(leaf) and '"other"' in value:
                given = merged(given, nested(leaf.dotted, json.loads(value.replace('"other"', json.dumps(word)))))
        rendered = helm.render(given, namespace=word, serves=[base.MUTATING], tests=True)
        return sorted(map(_types, rendered.objects), key=str)

    assert filled(text) == filled("word")


@pytest.mark.helm
def test_braces_of_an_extra_object_can_be_escaped(helm: Helm) -> None:
    """The README says how an ExternalSecret's own template is written."""
    readme = (files.CHART / "README.md").read_text()
    written = '{{ "{{ .password }}" }}'
    extra = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": written}}

    rendered = helm.render({"extraObjects": [extra, yaml.safe_dump({**extra, "metadata": {"name": "y"}})]})

    assert written in readme
    assert [rendered.one("ConfigMap", name)["data"]["a"] for name in "xy"] == ["{{ .password }}"] * 2


PAGE = (files.ROOT / "docs" / "how-to" / "credentials.md").read_text()
SHOWN = [
    *(yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)),
    *({"database": {"secret": {"parts": yaml.safe_load(cell)}}} for cell in re.findall(r"\| `(\{.*\})` \|", PAGE)),
]


@pytest.mark.helm
@pytest.mark.parametrize("shown", SHOWN, ids=str)
def test_the_values_of_the_page_on_credentials_are_accepted(helm: Helm, shown: Document) -> None:
    """Each block of values, and each mapping of a Secret's keys, could be installed as it stands."""
    environment = helm.render(shown).environment("processor")

    assert environment.keys() & {"DATABASE_FOLDER", "DATABASE_URL"}


@pytest.mark.helm
def test_an_umbrella_chart_may_hold_it(helm: Helm) -> None:
    """Helm adds `global`, with the keys of all charts, to the values of each chart in a chart."""
    assert helm.render({"global": {"anything": {"at": "all"}}}).objects


@pytest.mark.helm
def test_an_old_cluster_is_refused(helm: Helm) -> None:
    """An unsupported Kubernetes version is refused before the installation; a supported one works with any suffix."""

    def template(version: str) -> str:
        return helm("template", "x", str(files.CHART), f"--kube-version={version}").stderr

    assert "1.33" in template("1.33.9")
    assert template("1.34.0") == template("1.37.2-gke.100") == ""


@pytest.mark.helm
@pytest.mark.parametrize("given", [{}, EVERYTHING], ids=["default", "everything"])
def test_lint_finds_nothing(helm: Helm, given: Document) -> None:
    """`helm lint --strict` finds nothing."""
    done = helm("lint", "--strict", "--quiet", str(files.CHART), values=given)

    assert done.returncode == 0, done.stdout


def test_what_is_generated_is_up_to_date() -> None:
    """Schema, table of values, and the copies of other files; `make chart` renews them."""
    stale = [file.name for file, text in files.generated().items() if file.read_text() != text]

    assert stale == []


def test_the_chart_is_released_with_the_program() -> None:
    """Chart and image have one version."""
    chart = yaml.safe_load((files.CHART / "Chart.yaml").read_text())

    assert chart["version"] == chart["appVersion"] == flagschedule.__version__


def test_the_schema_leaves_no_room() -> None:
    """No map takes unknown keys, except for the values that umbrella charts share and for objects of the user's."""

    def open_maps(part: Any, path: str = "") -> Iterator[str]:
        if isinstance(part, dict):
            is_object = part.get("type") == "object" or "properties" in part
            if is_object and "additionalProperties" not in part and "/allOf/" not in path:
                yield path
            if part.get("additionalProperties") is True:
                yield path
            for key, entry in part.items():
                yield from open_maps(entry, f"{path}/{key}")
        elif isinstance(part, list):
            for number, entry in enumerate(part):
                yield from open_maps(entry, f"{path}/{number}")

    assert list(open_maps(schema.schema(FOUND))) == [
        "/properties/global",
        "/properties/extraObjects/items",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\n", "a has no description"),
        ("# -- List.\na: []\n", "what its array holds"),
        ("# -- Map.\na: {}\n", "what its object holds"),
        ("# -- Nothing.\na: null\n", "which type"),
        ("# -- Shape.\n# @schema {$ref: Nonsense}\na: {}\n", "Nonsense is neither in"),
    ],
)
def test_a_value_that_cannot_be_explained_is_an_error(tmp_path: Any, text: str, said: str) -> None:
    """Every value has a description."""
    file = tmp_path / "values.yaml"
    file.write_text(text)

    with pytest.raises(values.ValuesError, match=said):
        schema.schema(values.read(file))


def _sections(found: tuple[values.Value, ...]) -> Iterator[str]:
    for value in found:
        if value.children:
            if not value.is_open:
                yield value.dotted
            yield from _sections(value.children)


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree
