"""What the tests of the chart share: `helm template`, and looking at what it prints."""

import json
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from dev.chart.files import CHART

Document = dict[str, Any]

NAMESPACE: Final = "flagschedule-system"
# Every switch that makes an object, turned on.
EVERYTHING: Final[Document] = {
    "imagePullSecrets": [{"name": "registry"}],
    "commonLabels": {"team": "flags"},
    "commonAnnotations": {"example.com/owner": "flags"},
    "settings": {"cluster": "west", "maxRetries": 5, "maxLatenessSeconds": 1_000_000, "shortestIntervalSeconds": 600,
                 "logLevel": "DEBUG",
                 "logFormat": "json"},
    "database": {"tls": {"ca": {"secretName": "database-ca"}}},
    "redis": {"tls": {"ca": {"configMapName": "redis-ca"}}},
    "pod": {
        "labels": {"mesh": "in"},
        "annotations": {"example.com/scrape": "no"},
        "env": [{"name": "TZ", "value": "UTC"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}},
        ]}},
        "volumes": [{"name": "extra", "configMap": {"name": "extra"}}],
        "volumeMounts": [{"name": "extra", "mountPath": "/extra"}],
    },
    "operator": {"sweepSeconds": 10},
    "webhook": {"urlSecret": {"name": "hook"}, "events": ["applied"]},
    "processor": {
        "lingerSeconds": 75,
        "batchSize": 10,
        "concurrency": 4,
        "timeBudgetSeconds": 20,
        "showDatabaseMessages": True,
    },
    "cleanup": {"keepAppliedDays": 10, "keepCancelledDays": 5},
    "resourceQuota": {"namespaces": ["shop"]},
    "rbac": {"userRoles": {"aggregateEditorToEdit": True}},
    "networkPolicy": {"enabled": True},
    "metrics": {
        "serviceMonitor": {"enabled": True},
        "podMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboard": {"enabled": True},
    },
}  # fmt: skip
KINDS: Final = {"flagfreezes.flagschedule.io", "flagplans.flagschedule.io", "flagschedules.flagschedule.io"}
NAMESPACED: Final[Document] = {"namespaces": ["shop", "search"]}


class Helm:
    """The program, without anything of the user's around it."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program = program
        self._environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "KUBECONFIG": str(folder / "none"),
        }

    def __call__(self, *words: str, values: Document | None = None) -> subprocess.CompletedProcess[str]:
        """Run Helm; the values reach it as a file."""
        options = ["--values=-"] if values is not None else []
        return subprocess.run(
            [str(self.program), *words, *options],
            input=None if values is None else json.dumps(values),
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def text(
        self,
        values: Document | None = None,
        *,
        release: str = "flagschedule",
        namespace: str = NAMESPACE,
        serves: Sequence[str] = (),
        tests: bool = False,
    ) -> str:
        """Return the rendered objects as YAML, for a cluster that serves these in addition to what all serve.

        Those of `helm test` are left out by default, as `helm install` leaves them.
        """
        options = [f"--namespace={namespace}", *(f"--api-versions={kind}" for kind in serves)]
        options += [] if tests else ["--skip-tests"]
        done = self("template", release, str(CHART), *options, values=values or {})
        assert done.returncode == 0, done.stderr
        return done.stdout

    def render(
        self,
        values: Document | None = None,
        *,
        release: str = "flagschedule",
        namespace: str = NAMESPACE,
        serves: Sequence[str] = (),
        tests: bool = False,
    ) -> "Render":
        """Return the same, parsed."""
        text = self.text(values, release=release, namespace=namespace, serves=serves, tests=tests)
        return Render(filter(None, yaml.load_all(text, yaml.CSafeLoader)))  # in C: Python's takes a second

    def refusal(self, values: Document) -> str:
        """Why it would not be installed."""
        done = self("template", "flagschedule", str(CHART), values=values)
        assert done.returncode != 0, "it was accepted"
        return done.stderr


class Render:
    """What `helm template` printed."""

    def __init__(self, objects: Iterable[Document]) -> None:
        self.objects = list(objects)

    @property
    def names(self) -> list[tuple[str, str]]:
        """Every object by kind and name."""
        return sorted((obj["kind"], obj["metadata"]["name"]) for obj in self.objects)

    def of(self, kind: str) -> dict[str, Document]:
        """Return all objects of a kind, by their names."""
        return {obj["metadata"]["name"]: obj for obj in self.objects if obj["kind"] == kind}

    def one(self, kind: str, name: str) -> Document:
        """Return the one object of this kind and name."""
        [found] = [obj for obj in self.objects if (obj["kind"], obj["metadata"]["name"]) == (kind, name)]
        return found

    def templates(self) -> dict[str, Document]:
        """Return every pod template, by the name of its program's container."""
        return {template["spec"]["containers"][0]["name"]: template for template in _templates(self.objects)}

    def environment(self, program: str) -> dict[str, Any]:
        """Return a program's variables: their values, or where those come from."""
        variables = self.templates()[program]["spec"]["containers"][0]["env"]
        names = [variable["name"] for variable in variables]
        assert len(names) == len(set(names)), f"a variable is set twice: {names}"
        return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in variables}


def _templates(objects: list[Document]) -> Iterator[Document]:
    for obj in objects:
        if obj["kind"] == "CronJob":
            yield obj["spec"]["jobTemplate"]["spec"]["template"]
        elif obj["kind"] in {"Deployment", "Job"}:
            yield obj["spec"]["template"]
