"""What the tests in pods do: plan changes with kubectl, start and look at pods, and look at database and cache."""

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import redis

from dev.demo import samples
from dev.demo.commands import CommandFailedError, Kubectl, kubectl_program
from dev.demo.installation import NAMESPACE as SYSTEM
from dev.localkind.processes import crash
from dev.localkind.servers.postgres import Postgres
from tests import recipes
from tests.cluster.api import eventually
from tests.e2e.release import Release
from tests.integration.database import Database

NAMESPACE = "shop"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Ended:
    """A pod's container that has ended."""

    exit_code: int
    log: str


@dataclass(frozen=True)
class Pods:
    """The cluster with the product in it."""

    OPERATOR: ClassVar = "--selector=app.kubernetes.io/component=operator"

    kubectl: Kubectl
    database: Database
    cache: redis.Redis
    postgres: Postgres
    release: Release
    in_node: Callable[..., str]

    def plan(self, name: str, *, flag: str, after: timedelta = timedelta(seconds=5)) -> datetime:
        """Create a FlagSchedule that switches a flag on for 25 %. Returns: when it is due."""
        due = self.clock(after)
        text = samples.yaml(name, flag, samples.clock(due), "{enabled: true, rolloutPercentage: 25}")
        self.kubectl("apply", f"--namespace={NAMESPACE}", "-f", "-", stdin=text)
        return due

    def clock(self, after: timedelta) -> datetime:
        """Return the database's time plus a while, to the second."""
        found: datetime = self.database.value("SELECT date_trunc('second', now() + %s)", after)
        return found.astimezone(UTC)

    def wait(self, name: str, condition: str, seconds: int = 120) -> dict[str, Any]:
        """Wait until an object has a condition, such as `condition=Applied`. Returns: the object."""
        what = (f"flagschedule/{name}", f"--namespace={NAMESPACE}")
        self.kubectl("wait", f"--for={condition}", *what, f"--timeout={seconds}s")
        found: dict[str, Any] = json.loads(self.kubectl("get", *what, "--output=json"))
        return found

    def schedule(self, name: str) -> dict[str, Any]:
        """Return the row of an object, which must exist."""
        (row,) = self.database.query(
            "SELECT s.* FROM feature_flag_schedules AS s JOIN flag_schedule_objects AS o ON o.schedule_id = s.id "
            "WHERE o.name = %s",
            name,
        )
        return row

    def attempts(self, name: str) -> list[str]:
        """Return the outcomes of all attempts to apply an object, in their order."""
        return [attempt["outcome"] for attempt in self.database.attempts(self.schedule(name)["id"])]

    def is_ready(self, pod: str) -> bool:
        """Return whether one of the product's pods has the condition Ready."""
        path = '--output=jsonpath={.status.conditions[?(@.type=="Ready")].status}'
        return self._system("get", f"pod/{pod}", path) == "True"

    def wait_until_due(self, due: datetime) -> None:
        """Wait until the database's clock says so."""
        eventually(lambda: self.database.value("SELECT now() >= %s", due), f"it is {due}")

    def run_processor(self, *, command: list[str] | None = None, database_url: str | None = None) -> Ended:
        """Start a Job from the CronJob's template at once and wait for its end.

        Args:
            command: run this instead of the processor, in the same container.
            database_url: use this instead of the Secret's.
        """
        name = f"run-{next(_numbers)}"
        job = json.loads(
            self._system("create", "job", name, "--from=cronjob/flagschedule-processor", "--dry-run=client", "-ojson")
        )
        (container,) = job["spec"]["template"]["spec"]["containers"]
        if command:
            container["command"] = command
        if database_url:
            others = [variable for variable in container["env"] if variable["name"] != "DATABASE_URL"]
            container["env"] = [*others, {"name": "DATABASE_URL", "value": database_url}]
        self._system("create", "-f", "-", stdin=json.dumps(job))
        ended = "--for=jsonpath={.status.containerStatuses[0].state.terminated}"
        pod = f"--selector=batch.kubernetes.io/job-name={name}"
        self._system("wait", "--for=create", "pod", pod, "--timeout=120s")
        self._system("wait", ended, "pod", pod, "--timeout=120s")
        (found,) = self.system_pods(pod)
        code = found["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]
        return Ended(code, self.log(found["metadata"]["name"]))

    @contextmanager
    def lingering_processor(self) -> Iterator[None]:
        """Let a run of the processor stay, as the shipped ones do, until the block ends."""
        name = f"run-{next(_numbers)}"
        job = json.loads(
            self._system("create", "job", name, "--from=cronjob/flagschedule-processor", "--dry-run=client", "-ojson")
        )
        (container,) = job["spec"]["template"]["spec"]["containers"]
        linger = {"name": "FLAG_SCHEDULE_LINGER_SECONDS", "value": "600"}
        container["env"] = [*(each for each in container["env"] if each["name"] != linger["name"]), linger]
        job["spec"]["activeDeadlineSeconds"] = 600
        self._system("create", "-f", "-", stdin=json.dumps(job))
        try:
            yield
        finally:
            self._system("delete", f"job/{name}", "--wait=false")

    def shell(self, script: str) -> str:
        """Run commands of the documentation in the product's namespace. Returns: their output."""
        self.kubectl("config", "set-context", "--current", f"--namespace={SYSTEM}")
        return recipes.run(script, kubectl_program(), self.kubectl.environment)

    def system_pods(self, selector: str) -> list[dict[str, Any]]:
        """Return the product's pods that a selector chooses."""
        found: list[dict[str, Any]] = json.loads(self._system("get", "pods", selector, "--output=json"))["items"]
        return found

    def log(self, pod: str) -> str:
        """Return what one of the product's pods has printed."""
        return self._system("logs", pod)

    def in_operator(self, script: str) -> str:
        """Run a line of Python in the operator's container. Returns: its output."""
        return self._system("exec", "deployment/flagschedule-operator", "--", "python3", "-c", script)

    def operators(self) -> list[str]:
        """Return the names of the operator's pods."""
        return [pod["metadata"]["name"] for pod in self.system_pods(self.OPERATOR)]

    def has_lingering_run(self) -> bool:
        """Return whether a lingering pod of the processor runs."""
        found = self.system_pods("--selector=app.kubernetes.io/component=processor")
        return any(pod["status"]["phase"] == "Running" and "LINGER_SECONDS" in json.dumps(pod["spec"]) for pod in found)

    @property
    def holder(self) -> str:
        """Who holds the operator's lease: the pod's name and a word for its process; empty if no pod holds it."""
        return self._system("get", "lease/flagschedule-operator", "--output=jsonpath={.spec.holderIdentity}")

    def signal(self, pod: str, name: str) -> None:
        """Send a signal to the program of one of the product's pods; deleting a pod would let it end in order."""
        where = "--output=jsonpath={.status.containerStatuses[0].containerID}"
        container = self._system("get", f"pod/{pod}", where).removeprefix("containerd://")
        self.in_node("ctr", "--namespace=k8s.io", "tasks", "kill", f"--signal={name}", container)

    def kill_operator(self) -> None:
        """End the programs of all replicas of the operator by SIGKILL."""
        for pod in self.operators():
            self.signal(pod, "SIGKILL")

    def restarts(self, pod: str) -> int:
        """Return how often the program of one of the product's pods was started again."""
        return int(self._system("get", f"pod/{pod}", "--output=jsonpath={.status.containerStatuses[0].restartCount}"))

    @contextmanager
    def database_unreachable(self) -> Iterator[None]:
        """Drop packets from pods to the database meanwhile without an error: a black hole."""
        table = "table inet fault"
        chain = "chain inet fault drops { type filter hook forward priority -10 ; }"
        rule = f"rule inet fault drops tcp dport {self.postgres.port} drop"
        self.in_node("nft", f"add {table} ; add {chain} ; add {rule}")
        try:
            yield
        finally:
            self.in_node("nft", f"delete {table}")

    def crash(self, daemon: str) -> None:
        """End one of the node's own programs by SIGKILL, and return when the API server answers again."""
        self.in_node(*crash(daemon))
        eventually(self._answers, f"the cluster answers after the crash of {daemon}")

    def _answers(self) -> bool:
        try:
            return self.kubectl("get", "--raw", "/readyz") == "ok"
        except CommandFailedError:
            return False

    def _system(self, *words: str, stdin: str | None = None) -> str:
        return self.kubectl(f"--namespace={SYSTEM}", *words, stdin=stdin)
