"""The operator as users run it: a process with its own service account, a database of its own and one namespace.

`scene` is what most tests need; `tests/cluster/conftest.py` makes the fixtures known.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from dev.localkind.control_plane import ControlPlane
from flagschedule.adapters.kubernetes import login
from tests import roles
from tests.cluster.api import Api, Object, eventually, flagschedule
from tests.cluster.spec_corpus import spec
from tests.integration.database import Database, connected
from tests.waiting import PATIENCE

SYSTEM = "flagschedule-system"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/flagschedule-operator"
_GRACE = 45  # seconds; what the manifests give the operator's pods to end
_PATCHES = re.compile(
    r'^apiserver_request_total\{(?=.*verb="PATCH")(?=.*resource="flagschedules").*\} (\S+)', re.MULTILINE
)


class Operator:
    """The operator's process; `start` it, end it in one of two ways, start it again."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.port = free_port()
        self.database_url = environment["DATABASE_URL"]  # the superuser's, for those who set scenes
        self.log = log
        own = {"DATABASE_URL": roles.url(self.database_url, "operator"), "FLAG_SCHEDULE_PROBE_PORT": str(self.port)}
        self._environment = {**environment, **own}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True, **settings: str) -> None:
        """Start it and, by default, wait until it says that it is at work."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flagschedule", "operator"],
                env={**self._environment, **settings},
                stderr=log,
            )
        if wait:
            eventually(lambda: self.probe("readyz") == (200, None), "the operator is ready")

    def probe(self, path: str) -> tuple[int, str | None]:
        """Return the answer of a probe: its code and the one word why; 0 without an answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=PATIENCE) as answer:
                return answer.status, None
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())["reason"]
        except OSError:
            return 0, None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze the process, as on an overloaded node."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """End it as Kubernetes does. Returns: its exit code."""
        return self._end(signal.SIGTERM)

    def ended(self) -> int:
        """Wait until it ends by itself. Returns: its exit code."""
        assert self._process is not None
        return self._process.wait(PATIENCE)

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return what it has logged under this message; everything if none is given."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if event in {None, line["event"]}]

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(how)
        try:
            return self._process.wait(_GRACE)
        finally:
            self._process.kill()
            self._process.wait()
            self._process = None


class Scene:
    """One namespace, one database, one operator; and what the tests do with them."""

    def __init__(self, api: Api, database: Database, operator: Operator) -> None:
        self.api = api
        self.database = database
        self.operator = operator

    def create(self, name: str, **fields: Any) -> Object:
        """Create an object that is valid and allowed; `fields` replace parts of its spec."""
        answer = self.api.create(flagschedule(name, spec(**fields)))
        assert answer.ok, answer.message
        return answer.body

    def create_by_git(
        self, name: str, *, late: timedelta = timedelta(0), annotations: Any = None, **fields: Any
    ) -> Object:
        """Create an object as Argo CD does, also one that was due `late` ago by the database's clock."""
        at: str = self.database.value("""SELECT to_char(now() - %s, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')""", late)
        tracked = {"argocd.argoproj.io/tracking-id": f"shop:flagschedule.io/FlagSchedule:{name}", **(annotations or {})}
        answer = self.api.create(flagschedule(name, spec(**{"scheduledAt": at, **fields}), annotations=tracked))
        assert answer.ok, answer.message
        return answer.body

    def process(self) -> None:
        """Run the processor once, as the CronJob does."""
        command = [sys.executable, "-m", "flagschedule", "process"]
        environment = {"PATH": os.environ["PATH"], "DATABASE_URL": roles.url(self.operator.database_url, "process")}
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=PATIENCE)

    def is_gone(self, name: str) -> None:
        """Wait until there is no object of this name."""
        eventually(lambda: self.api.get(name)["kind"] == "Status", f"{name} is gone")

    def status(self, name: str) -> Object:
        """Return an object's status."""
        found: Object = self.api.get(name).get("status", {})
        return found

    def reaches(self, name: str, phase: str) -> Object:
        """Wait until an object's status shows this phase for its current generation; that status."""

        def reached() -> bool:
            obj = self.api.get(name)
            status = obj.get("status", {})
            return (status.get("phase"), status.get("observedGeneration")) == (phase, obj["metadata"]["generation"])

        eventually(reached, f"{name} is {phase}")
        return self.status(name)

    def row(self, name: str) -> dict[str, Any]:
        """Return the row of the youngest object of this name."""
        (found,) = self.database.query(
            "SELECT s.* FROM feature_flag_schedules AS s JOIN flag_schedule_objects AS o ON o.schedule_id = s.id "
            "WHERE o.namespace = %s AND o.name = %s ORDER BY o.first_seen_at DESC LIMIT 1",
            self.api.namespace,
            name,
        )
        return found


def count_patches(control_plane: ControlPlane) -> int:
    """Return the PATCH requests for FlagSchedules and their statuses so far, by the API server's own count."""
    return sum(int(float(count)) for count in _PATCHES.findall(control_plane.kubectl("get", "--raw", "/metrics")))


def log_in(monkeypatch: pytest.MonkeyPatch, control_plane: ControlPlane) -> None:
    """Let the operator's client, in this process, be the API server's administrator."""

    async def configuration() -> Any:
        found = Configuration()
        await config.load_kube_config(config_file=str(control_plane.kubeconfig()), client_configuration=found)  # type: ignore[no-untyped-call]  # untyped library
        return found

    monkeypatch.setattr(login, "configuration", configuration)


def operator_kubeconfig(control_plane: ControlPlane) -> Path:
    """Return the kubeconfig of the service account of the manifests."""
    token = control_plane.kubectl("create", "token", "flagschedule-operator", f"--namespace={SYSTEM}").strip()
    return control_plane.kubeconfig(token=token)


@contextmanager
def operators(control_plane: ControlPlane, namespace: str, folder: Path) -> Iterator[Callable[..., Operator]]:
    """Make operators of one namespace, with the rights of the manifests and the operator's database role.

    They are ended at the end.
    """
    kubeconfig = operator_kubeconfig(control_plane)
    made: list[Operator] = []

    def make(database_url: str, **settings: str) -> Operator:
        environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(kubeconfig),
            "DATABASE_URL": database_url,
            "FLAG_SCHEDULE_NAMESPACES": namespace,
            "FLAG_SCHEDULE_SWEEP_SECONDS": "1",
            **settings,
        }
        made.append(Operator(environment, folder / f"operator-{token_hex(4)}.log"))
        return made[-1]

    try:
        yield make
    finally:
        for operator in made:
            operator.kill()


@pytest.fixture
def new_operator(api: Api, installed: ControlPlane, tmp_path: Path) -> Iterator[Callable[..., Operator]]:
    """Makes operators of this test's namespace."""
    with operators(installed, api.namespace, tmp_path) as make:
        yield make


@pytest.fixture
def scene(api: Api, database_url: str, new_operator: Callable[..., Operator]) -> Iterator[Scene]:
    """A running operator with the flag `checkout` to schedule changes for."""
    with connected(database_url) as database:
        database.flag("checkout")
        scene = Scene(api, database, new_operator(database_url))
        scene.operator.start()
        yield scene


@pytest.fixture
def loosened(installed: ControlPlane) -> Iterator[None]:
    """A CRD that lets in what the operator cannot understand, as an older or a tampered one would."""
    _allow_retries(installed, 99)
    yield
    _allow_retries(installed, 10)


def _allow_retries(control_plane: ControlPlane, number: int) -> None:
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/maxRetries/maximum"
    patch = json.dumps([{"op": "replace", "path": path, "value": number}])
    control_plane.kubectl("patch", "crd", "flagschedules.flagschedule.io", "--type=json", f"--patch={patch}")
    api = Api(server=control_plane.server, ca_file=control_plane.ca_file, token=control_plane.token("admin"))
    obj = flagschedule("probe", spec(maxRetries=11))
    eventually(lambda: api.create(obj, dry_run=True).ok == (number > 10), "the changed schema is in effect")


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
