"""The light form: etcd, API server and controllers as host processes, no node, no root, ready in seconds.

For tests that need a real API server (CRDs, admission, RBAC, CronJobs that make Jobs and Pods) but no running pods.
Several may run side by side. The processes die with the thread that started them, also when it is killed.
"""

import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from dev.localkind import cache, certs, kubeconfigs, programs, system
from dev.localkind.api import NOT_YET, Api

User = Literal["admin", "editor", "viewer", "norights"]
Daemon = Literal["etcd", "kube-apiserver", "kube-controller-manager"]

# `admin` may do everything; the others may do what a test's RoleBindings give to these user names.
GROUPS: dict[User, str] = {"admin": "system:masters", "editor": "", "viewer": "", "norights": ""}

CONTROLLERS = (
    "cronjob-controller",
    "job-controller",
    "namespace-controller",
    "garbage-collector-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "ttl-after-finished-controller",
    "resourcequota-controller",
    "clusterrole-aggregation-controller",
    "validatingadmissionpolicy-status-controller",
)
_START_SECONDS = 180.0
_KUBECTL_SECONDS = 120.0
_POLL_SECONDS = 0.05


class ControlPlane:
    """One API server with its database and controllers; use it as a context manager, or `start` and `stop`.

    Start it in a thread that lives as long as it is needed. To inject faults: `kill`, `start_daemon`,
    `wait_ready`, `frozen`.
    """

    def __init__(self) -> None:
        self._cleanup = ExitStack()
        self._folder = Path()
        self._programs = Path()
        self._ports: dict[str, int] = {}
        self._processes: dict[Daemon, subprocess.Popen[bytes]] = {}
        self._tokens = {user: secrets.token_hex(16) for user in GROUPS}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def server(self) -> str:
        """The API server's address; it stays the same over a restart."""
        return f"https://127.0.0.1:{self._ports['api']}"

    @property
    def ca_file(self) -> Path:
        """The certificate that the API server's own is checked with."""
        return self._folder / "certs" / "apiserver.crt"

    @property
    def kubectl_program(self) -> Path:
        """The kubectl of the server's own version."""
        return self._programs / "kubectl"

    def token(self, user: User) -> str:
        """Return the bearer token of a user."""
        return self._tokens[user]

    def kubeconfig(self, user: User = "admin", token: str | None = None) -> Path:
        """Return the kubeconfig of a user, or of the holder of `token` (a wrong one, or "" for none at all)."""
        secret = self._tokens[user] if token is None else token
        file = self._folder / f"{user if token is None else secrets.token_hex(4)}.kubeconfig"
        text = kubeconfigs.with_token(context=user, server=self.server, ca=self.ca_file, token=secret)
        kubeconfigs.write_private(file, text)
        return file

    def kubectl(self, *args: str, user: User = "admin", input: str | None = None) -> str:  # noqa: A002 -- the name in subprocess
        """Run kubectl as a user and return its stdout.

        Raises:
            ClusterError: it failed, or took longer than two minutes; the text holds its stderr.
        """
        options = (f"--kubeconfig={self.kubeconfig(user)}", f"--cache-dir={self._folder}/kubectl")
        return system.run(self.kubectl_program, *options, *args, stdin=input, timeout=_KUBECTL_SECONDS)

    def start(self) -> None:
        """Start everything and return when the API server is ready and the controllers work.

        Raises:
            ClusterError: the programs could not be built, or a daemon did not come up; nothing is left running.
        """
        system.require(system.CONTROL_PLANE_PARTS)
        module = programs.control_plane()
        self._programs = programs.ensure([module])[module.name]
        try:
            self._folder = _new_folder(self._cleanup)
            self._ports = {name: _reserved_port(self._cleanup) for name in ("etcd", "etcd-peers", "api")}
            self._write_files()
            self.start_daemon("etcd")
            self.start_daemon("kube-apiserver")
            self.wait_ready()
            kubeconfigs.write_private(self._folder / "controllers.kubeconfig", self.kubeconfig().read_text())
            self.start_daemon("kube-controller-manager")
            self._wait(self._controllers_work, "kube-controller-manager")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all processes and delete all files. Doing it twice is fine."""
        for daemon in list(self._processes):
            self.kill(daemon)
        self._cleanup.close()

    def kill(self, daemon: Daemon) -> None:
        """End a daemon as a crash would: SIGKILL, at once."""
        process = self._processes.pop(daemon)
        process.kill()
        process.wait()

    @contextmanager
    def frozen(self, daemon: Daemon) -> Iterator[None]:
        """Let a daemon hang meanwhile: its connections stay open without an answer."""
        self._processes[daemon].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._processes[daemon].send_signal(signal.SIGCONT)

    def start_daemon(self, daemon: Daemon) -> None:
        """Start a daemon, for the first time or after `kill`; does not wait for it."""
        command = [str(self._programs / daemon), *self._options(daemon)]
        with (self._folder / f"{daemon}.log").open("ab") as log:
            self._processes[daemon] = subprocess.Popen(
                # The kernel kills the daemon when the thread that started it is gone, even by SIGKILL.
                ["setpriv", "--pdeathsig", "KILL", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=system.bare_environment(self._folder),
            )

    def wait_ready(self) -> None:
        """Wait until the API server says that it is ready.

        Raises:
            ClusterError: it ended, or was not ready after a minute.
        """
        self._wait(lambda: self._api().is_ready(), "kube-apiserver")

    def _api(self) -> Api:
        return Api(server=self.server, ca=self.ca_file, token=self._tokens["admin"])

    def _controllers_work(self) -> bool:
        try:
            self._api().get("/api/v1/namespaces/default/serviceaccounts/default")
        except NOT_YET:
            return False
        return True

    def _wait(self, condition: Callable[[], bool], daemon: Daemon) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not condition():
            ended = [name for name, process in self._processes.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                culprit = ended[0] if ended else daemon
                said = system.tail(self._folder / f"{culprit}.log")
                raise system.ClusterError(f"{culprit} did not come up; the end of its log:\n{said}")
            time.sleep(_POLL_SECONDS)

    def _write_files(self) -> None:
        certs.make_service_account_key(self._folder)
        users = [f'{self._tokens[user]},{user},{user},"{group}"\n' for user, group in GROUPS.items()]
        kubeconfigs.write_private(self._folder / "tokens.csv", "".join(users))

    def _options(self, daemon: Daemon) -> list[str]:
        """Return a daemon's options; the reuse options share ports with the sockets that reserve them."""
        folder = self._folder
        etcd = f"http://127.0.0.1:{self._ports['etcd']}"
        peers = f"http://127.0.0.1:{self._ports['etcd-peers']}"
        if daemon == "etcd":
            return [*etcd_options(folder / "etcd", etcd, peers), "--socket-reuse-port"]
        if daemon == "kube-apiserver":
            return [
                f"--etcd-servers={etcd}",
                "--bind-address=127.0.0.1",
                f"--secure-port={self._ports['api']}",
                "--permit-port-sharing",
                f"--cert-dir={folder / 'certs'}",
                f"--service-account-key-file={folder / 'sa.pub'}",
                f"--service-account-signing-key-file={folder / 'sa.key'}",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-cluster-ip-range=10.96.0.0/16",
                f"--token-auth-file={folder / 'tokens.csv'}",
                "--authorization-mode=RBAC",
            ]
        return [
            f"--kubeconfig={folder / 'controllers.kubeconfig'}",
            "--secure-port=0",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            f"--service-account-private-key-file={folder / 'sa.key'}",
            f"--root-ca-file={self.ca_file}",
            f"--controllers={','.join(CONTROLLERS)}",
            # With the default of 20 requests a second the controllers are ready seconds later.
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ]


def etcd_options(data: Path, clients: str, peers: str) -> list[str]:
    """Return the options of an etcd of one member. It never flushes to disk: its data dies with the cluster."""
    return [
        "--name=kn",
        f"--data-dir={data}",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=kn={peers}",
        "--unsafe-no-fsync",
    ]


def _new_folder(cleanup: ExitStack) -> Path:
    """Make a folder that this process holds locked, and delete those whose process died without deleting them."""
    base = cache.cache_dir() / "control-planes"
    base.mkdir(parents=True, exist_ok=True)
    with cache.locked(base):
        for folder in base.iterdir():
            with cache.tried_lock(folder) as is_orphan:
                if is_orphan:
                    shutil.rmtree(folder, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=base))
        cleanup.enter_context(cache.locked(folder))
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _reserved_port(cleanup: ExitStack) -> int:
    """Return a free port and keep it from being given to anyone else.

    The socket never listens, so it takes no connection away; daemons that request shared ports may bind it too.
    """
    reservation = cleanup.enter_context(socket.socket())
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reservation.bind(("127.0.0.1", 0))
    port: int = reservation.getsockname()[1]
    return port
