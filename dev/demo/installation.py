"""Puts the product into a cluster, with Postgres and Redis on this machine, as a user would with kubectl.

Called by the demo and by the tests in tests/e2e. Knows nothing of how the cluster came to be, and prints nothing:
a caller that wants to show the commands gives a `kubectl` that does.
"""

import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dev.demo.commands import CommandFailedError, DemoError, Run
from dev.localkind.servers.postgres import Postgres
from dev.localkind.servers.redis import Redis

ROOT: Final = Path(__file__).parents[2]
BASE: Final = ROOT / "manifests" / "base"
IMAGE: Final = "localhost/flagschedule:dev"
NAMESPACE: Final = "flagschedule-system"

_TIMEOUT: Final = "--timeout=300s"


class Installation:
    """Postgres and Redis, from `with` until its end, and the steps that install the product to use them.

    Args:
        kubectl: runs kubectl against the cluster.
        host: the address of this machine that pods can reach.
        folder: where files for kubectl are written.
        manifests: the kustomization to install.
    """

    def __init__(self, kubectl: Run, host: str, folder: Path, manifests: Path = BASE) -> None:
        self._kubectl = kubectl
        self._folder = folder
        self._manifests = manifests
        self._parts = ExitStack()
        check_address(host)
        self.postgres = Postgres(listen=[host])
        self.redis = Redis(listen=[host])

    def __enter__(self) -> Self:
        with ExitStack() as started:
            started.callback(self.redis.close)  # the server has a guard process and a folder already
            started.enter_context(self.postgres)
            started.enter_context(self.redis)
            self.postgres.create_database("shop")
            self._parts = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parts.close()

    @property
    def database_url(self) -> str:
        """The application's database, as pods and this machine reach it."""
        return self.postgres.database_url("shop")

    @property
    def redis_url(self) -> str:
        """The application's cache, as pods and this machine reach it."""
        return self.redis.url

    def addresses(self) -> dict[str, str]:
        """Return what the Secret says, by its keys: where database and cache are."""
        # Postgres on this machine speaks no TLS, and the manifests require it where the URL does not say otherwise.
        return {"database-url": f"{self.database_url}?sslmode=disable", "redis-url": self.redis_url}

    def install(self) -> None:
        """Do all steps.

        Raises:
            CommandFailedError: kubectl said no, or something did not become ready in time.
        """
        self.create_secret()
        self.apply()
        self.wait_until_migrated()
        self.wait_until_ready()

    def create_secret(self) -> None:
        """Make the namespace, and in it the Secret that says where database and cache are."""
        self._kubectl("create", "namespace", NAMESPACE)
        files = self.addresses()
        for name, url in files.items():  # files, because every user of this machine can read a command line
            (self._folder / name).touch(mode=0o600)
            (self._folder / name).write_text(url)
        options = [f"--from-file={self._folder / name}" for name in files]
        self._kubectl("create", "secret", "generic", "flagschedule", f"--namespace={NAMESPACE}", *options)

    def apply(self) -> None:
        """Apply the manifests."""
        self._kubectl("apply", "--server-side", "-k", _short(self._manifests))

    def wait_until_migrated(self) -> None:
        """Wait for the migration Job."""
        job = "job/flagschedule-migrate"
        self._kubectl("wait", "--for=condition=Complete", job, f"--namespace={NAMESPACE}", _TIMEOUT)

    def wait_until_ready(self) -> None:
        """Wait for the operator."""
        deployment = "deployment/flagschedule-operator"
        self._kubectl("rollout", "status", deployment, f"--namespace={NAMESPACE}", _TIMEOUT)

    def look_around(self) -> str:
        """Return what the pods are doing and saying, to explain a failure."""
        pods = self._kubectl("get", "pods", f"--namespace={NAMESPACE}")
        everyone = "--selector=app.kubernetes.io/name=flagschedule"
        with suppress(CommandFailedError):  # a container that has not started has no log
            pods += self._kubectl("logs", everyone, f"--namespace={NAMESPACE}", "--prefix", "--tail=10")
        return pods


def check_address(host: str) -> None:
    """Refuse an address that is not this machine's own.

    Raises:
        DemoError: it is not.
    """
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
    except OSError as error:
        raise DemoError(
            f"{host} is not an address of this machine, so Postgres and Redis cannot listen on it. "
            "Set DEMO_HOST to the address of this machine under which the cluster's pods reach it."
        ) from error


def _short(folder: Path) -> str:
    """Return the path as one would type it in the repository."""
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)
