"""A cluster in which pods of the processor run as the chart makes them, and a look at what they use."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import yaml

from benchmarks.scene import Scene
from dev.chart.files import CHART
from dev.demo.commands import Kubectl, run
from dev.demo.installation import IMAGE
from dev.localkind import cgroups, kind_binary, programs
from dev.localkind.servers.postgres import Postgres
from dev.localkind.servers.redis import Redis
from flagschedule.adapters.postgres.migrate import migrate
from tests import roles

CRONJOB: Final = "flagschedule-processor"
_TEMPLATES: Final = ("processor", "serviceaccounts")
_KEEP: Final = 100  # Jobs that have ended; their pods show whose the control groups were
_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Place:
    """The cluster, and on this machine the servers that its pods use."""

    name: str
    kubectl: Kubectl
    postgres: Postgres
    redis: Redis
    helm: Path

    @contextmanager
    def installed(self, processors: dict[str, dict[str, Any]]) -> Iterator[dict[str, Scene]]:
        """Until the end of `with`, CronJobs side by side, each with a namespace and a database of its own.

        Args:
            processors: the chart's values below `processor`, by the names of the namespaces.
        """
        scenes = {name: Scene(self.postgres.create_database(name, template="migrated"), 5000) for name in processors}
        objects = [
            each
            for name, values in processors.items()
            for each in (_namespace(name), self._secret(name), *self._rendered(name, values))
        ]
        self.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(objects))
        try:
            yield scenes
        finally:
            for scene in scenes.values():
                scene.session.close()
            self.kubectl("delete", "namespace", *processors, "--wait=false")

    def pods(self) -> dict[str, str]:
        """Return the namespace of each of the processor's pods, by the pod's uid."""
        everywhere = ("--all-namespaces", "--selector=app.kubernetes.io/component=processor")
        found = json.loads(self.kubectl("get", "pods", *everywhere, "--output=json"))["items"]
        return {pod["metadata"]["uid"]: pod["metadata"]["namespace"] for pod in found}

    def _secret(self, namespace: str) -> dict[str, Any]:
        url = roles.url(self.postgres.database_url(namespace), "process")
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "flagschedule", "namespace": namespace},
            "stringData": {"database-url": url, "redis-url": self.redis.url},
        }

    def _rendered(self, namespace: str, processor: dict[str, Any]) -> list[dict[str, Any]]:
        repository, _, tag = IMAGE.partition(":")
        values = {
            "image": {"repository": repository, "tag": tag},
            "database": {"tls": {"mode": "disable"}},
            "processor": {"successfulJobsHistoryLimit": _KEEP, "failedJobsHistoryLimit": _KEEP, **processor},
        }
        only = [f"--show-only=templates/{name}.yaml" for name in _TEMPLATES]
        template = [
            str(self.helm),
            "template",
            "flagschedule",
            str(CHART),
            f"--namespace={namespace}",
            "--values=-",
            *only,
        ]
        return list(yaml.safe_load_all(run(template, stdin=json.dumps(values))))


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


@contextmanager
def place(say: Callable[[str], None]) -> Iterator[Place]:
    """Start a cluster with the image in it, and servers with fsync on as in production."""
    say("what is not built yet is built: the programs of a cluster and the image")
    subprocess.run([sys.executable, "-m", "dev.image", "build"], stdout=sys.stderr, check=True)
    helm = programs.ensure([programs.HELM])["helm"] / "helm"
    with tempfile.TemporaryDirectory() as folder, _cluster(Path(folder)) as (name, kubectl):
        host = [kind_binary.host_address(name)]
        with Postgres(listen=host, fsync=True) as postgres, Redis(listen=host) as redis:
            roles.create(postgres)
            migrate(roles.url(postgres.create_database("migrated"), "migrate"))
            yield Place(name, kubectl, postgres, redis, helm)


@contextmanager
def _cluster(folder: Path) -> Iterator[tuple[str, Kubectl]]:
    kind, name = kind_binary.kind_command(), f"flagschedule-bench-{os.getpid()}"
    # The guard ends at the end of its input, also when this process is killed.
    delete = ["sh", "-c", 'cat; exec "$@"', "sh", *kind, "delete", "cluster", f"--name={name}"]
    guard = subprocess.Popen(delete, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        kubectl = Kubectl(folder / "kubeconfig")
        run([*kind, "create", "cluster", f"--name={name}", f"--kubeconfig={kubectl.kubeconfig}"], stderr=None)
        run([*kind, "load", "docker-image", f"--name={name}", IMAGE], stderr=None)
        yield name, kubectl
    finally:
        guard.communicate()


@dataclass
class Used:
    """What a pod has used so far, by its control groups and by the process of its program.

    Attributes:
        cpu: seconds.
        memory: the most that its control group had, in bytes.
        resident: the most that the process had in memory, in bytes.
        started: when the process was made, in seconds since the epoch.
        ended: when it was seen to be gone.
    """

    cpu: float = 0
    memory: int = 0
    resident: int = 0
    started: float | None = None
    ended: float | None = None
    process: Path | None = field(default=None, repr=False)


class Watch:
    """Looks at the control groups of a cluster's pods again and again: they are gone soon after a pod has ended.

    Only those of our own clusters are found, not kind's in Docker.
    """

    def __init__(self, cluster: str, every: float) -> None:
        self.pods: dict[str, Used] = {}
        self._every = every
        root, group = cgroups.ROOT, f"kn-{cluster}/kubepods/burstable"
        self._is_v2 = cgroups.is_v2()
        self._cpu = (root if self._is_v2 else root / "cpuacct") / group
        self._memory = (root if self._is_v2 else root / "memory") / group
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every):
            for pod in self._cpu.glob("pod*"):
                with suppress(OSError):  # the file may vanish in between
                    self._look(pod, self.pods.setdefault(pod.name.removeprefix("pod"), Used()))
            for used in self.pods.values():
                self._look_at_process(used)

    def _look(self, pod: Path, used: Used) -> None:
        memory = self._memory / pod.name
        if self._is_v2:
            used.cpu = int((pod / "cpu.stat").read_text().split()[1]) / 1e6
            used.memory = int((memory / "memory.peak").read_text())
        else:
            used.cpu = int((pod / "cpuacct.usage").read_text()) / 1e9
            used.memory = int((memory / "memory.max_usage_in_bytes").read_text())
        if used.process is None:
            for container in pod.glob("*/cgroup.procs"):
                for pid in container.read_text().split():
                    if b"flagschedule" in Path("/proc", pid, "cmdline").read_bytes():
                        used.process = Path("/proc", pid)

    @staticmethod
    def _look_at_process(used: Used) -> None:
        if used.process is None or used.ended:
            return
        try:
            if used.started is None:
                ticks = int((used.process / "stat").read_text().rpartition(")")[2].split()[19])
                used.started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks * _TICK
            status = (used.process / "status").read_text()
            used.resident = int(status.partition("VmHWM:")[2].split()[0]) * 1024
        except (OSError, IndexError):  # it has ended; a zombie has no memory
            used.ended = time.time()
