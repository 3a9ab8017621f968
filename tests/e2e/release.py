"""The product in a cluster as Helm puts it there: what the tests in pods install, upgrade and uninstall."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import psycopg

from dev.chart.files import CHART
from dev.demo.commands import CommandFailedError, Kubectl, Run, run
from dev.demo.installation import IMAGE, NAMESPACE, Installation
from tests import roles
from tests.cluster.api import eventually, flagschedule
from tests.cluster.spec_corpus import spec

_REPOSITORY, _, _TAG = IMAGE.partition(":")
_KEYS: Final[dict[str, tuple[str, roles.Program]]] = {
    "migrations": ("database-url-migrator", "migrate"),
    "operator": ("database-url-operator", "operator"),
    "processor": ("database-url-processor", "process"),
    "cleanup": ("database-url-cleaner", "cleanup"),
}
# Postgres and Redis on this machine speak no TLS, and tests say themselves when a run begins and see it end; everything
# else is the chart's default.
_VALUES: Final[dict[str, Any]] = {
    "image": {"repository": _REPOSITORY, "tag": _TAG},
    "database": {"tls": {"mode": "disable"}},
    **{program: {"databaseSecret": {"key": key}} for program, (key, _) in _KEYS.items() if program != "processor"},
    "processor": {"databaseSecret": {"key": _KEYS["processor"][0]}, "lingerSeconds": 0},
}


@dataclass(frozen=True)
class Release:
    """The release `flagschedule`, in a namespace that enforces Pod Security restricted."""

    program: Path
    kubeconfig: Path
    folder: Path
    kubectl: Kubectl

    def install(self) -> str:
        """`helm install`; returns when everything is ready. What it printed."""
        return self._helm(
            "install", "flagschedule", str(CHART), "--values=-", "--wait", "--timeout=240s", values=_VALUES
        )

    def install_published(self, chart: str, version: str) -> str:
        """`helm install` of a chart in a registry without TLS, with no value about the image. What it printed."""
        words = ("install", "flagschedule", f"oci://{chart}", f"--version={version}", "--plain-http", "--values=-")
        values = {name: value for name, value in _VALUES.items() if name != "image"}
        return self._helm(*words, "--wait", "--timeout=240s", values=values)

    def push(self, archive: Path, folder: str) -> str:
        """`helm push` of a chart's archive to a registry without TLS. What it printed."""
        return self._helm("push", str(archive), f"oci://{folder}", "--plain-http")

    def upgrade(self, tag: str, *values: str) -> str:
        """`helm upgrade` to another image, with more values; returns when everything is ready. What it printed."""
        chosen = [f"--set={value}" for value in (f"image.tag={tag}", *values)]
        words = ("upgrade", "flagschedule", str(CHART), "--reset-then-reuse-values", *chosen)
        return self._helm(*words, "--wait", "--timeout=240s")

    def test(self) -> str:
        """`helm test`; fails if the test does. What it printed, with the log of the test's pod."""
        return self._helm("test", "flagschedule", "--logs", "--timeout=240s")

    def uninstall(self) -> str:
        """`helm uninstall`; returns when everything is gone. What it printed."""
        return self._helm("uninstall", "flagschedule", "--wait", "--timeout=240s")

    def _helm(self, *words: str, values: dict[str, Any] | None = None) -> str:
        environment = {"HOME": str(self.folder), "KUBECONFIG": str(self.kubeconfig)}
        return run(
            [self.program, f"--namespace={NAMESPACE}", *words],
            env=environment,
            stdin=None if values is None else json.dumps(values),
        )


class ChartInstallation(Installation):
    """The product by its chart, with a database user for each program."""

    def __init__(self, kubectl: Run, host: str, folder: Path, release: Release) -> None:
        super().__init__(kubectl, host, folder)
        self._release = release

    def __enter__(self) -> Self:
        super().__enter__()
        roles.create(self.postgres)
        with psycopg.connect(self.database_url, autocommit=True) as session:
            session.execute(roles.SCHEMA.encode())
        return self

    def addresses(self) -> dict[str, str]:
        """See Installation: one key for each program."""
        users = {key: roles.url(self.database_url, program) for key, program in _KEYS.values()}
        return {**users, "redis-url": self.redis_url}

    def apply(self) -> None:
        """Install the chart, which migrates first and is ready when this returns."""
        enforced = ("pod-security.kubernetes.io/enforce=restricted", "pod-security.kubernetes.io/warn=restricted")
        self._kubectl("label", "namespace", NAMESPACE, *enforced)
        self._release.install()
        eventually(self._writes_actors, "the policy that writes who created an object is in effect")

    def _writes_actors(self) -> bool:
        """Return whether objects are let in: in the first seconds of a kind the API server cannot apply the policy."""
        probe = json.dumps(flagschedule("probe", spec()))
        words = ("create", "--namespace=default", "--dry-run=server", "--output=yaml", "--filename=-")
        try:
            return "flagschedule.io/created-by: " in self._kubectl(*words, stdin=probe)
        except CommandFailedError:
            return False

    def wait_until_migrated(self) -> None:
        """Helm has waited."""
