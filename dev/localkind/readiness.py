"""Waiting until a new node can run pods, and saying what was wrong when it cannot.

Called by the launcher. "Ready" is more than the node's own condition: the first pod must find everything it needs.
"""

import socket
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.localkind import network, processes, system
from dev.localkind.api import NOT_YET, Api
from dev.localkind.naming import PAUSE_IMAGE, Cluster
from dev.localkind.objects import first_objects
from dev.localkind.system import ClusterError

_READY_SECONDS = 120.0
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 2.0
_PROXY_HEALTH_PORT = 10256


@dataclass(frozen=True)
class Step:
    """One requirement of a ready node: what it is, the daemon that meets it, and the check whether it is met."""

    what: str
    daemon: str
    is_done: Callable[[], bool]


def wait_ready(cluster: Cluster, ctr: Path) -> None:
    """Return as soon as pods can run in the cluster.

    Raises:
        ClusterError: the node ended, a daemon of it did not stay up, or two minutes were not enough.
    """
    began = time.monotonic()
    for step in _steps(cluster, ctr):
        while not _is_met(step):
            waited = time.monotonic() - began
            _check_alive(cluster, waited)
            if waited > _READY_SECONDS:
                raise _failure(cluster, f"not there after {waited:.0f} seconds: {step.what}", step.daemon)
            time.sleep(_POLL_SECONDS)


def _steps(cluster: Cluster, ctr: Path) -> list[Step]:
    api = Api(
        server=cluster.server,
        ca=cluster.certs / "ca.crt",
        certificate=cluster.certs / "admin.crt",
        key=cluster.certs / "admin.key",
    )
    node = _Node(cluster, ctr)
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    return [
        Step("containerd's socket", "containerd", node.has_containerd),
        Step("the pause image", "containerd", node.import_pause),
        Step("the API server", "kube-apiserver", api.is_ready),
        Step("the first objects", "kube-apiserver", lambda: _create_objects(api, cluster)),
        Step("a ready node", "kubelet", lambda: _is_ready(api.get(f"/api/v1/nodes/{cluster.node}"))),
        Step("the cluster's DNS", "coredns", lambda: resolves(cluster.address, "kubernetes.default.svc.cluster.local")),
        Step("the services' network", "kube-proxy", lambda: _listens(cluster.address, _PROXY_HEALTH_PORT)),
        Step("the default service account", "kube-controller-manager", lambda: bool(api.get(account))),
        Step("the pause image, seen by the kubelet", "containerd", node.sees_pause),
    ]


def _is_met(step: Step) -> bool:
    try:
        return step.is_done()
    except NOT_YET:
        return False


def _create_objects(api: Api, cluster: Cluster) -> bool:
    for path, body in first_objects(cluster):
        api.create(path, body)
    return True


def _is_ready(node: dict[str, Any]) -> bool:
    """Return whether the node is ready and the scheduler may use it."""
    conditions = node["status"].get("conditions", [])
    ready = any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)
    return ready and not node["spec"].get("taints")


def resolves(server: str, name: str) -> bool:
    """Query a DNS server (UDP, port 53) for a name's IPv4 address and return whether it has one.

    Raises:
        OSError: no server answers.
    """
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.connect((server, 53))
        client.send(question)
        _, flags, _, answers, _, _ = struct.unpack(">6H", client.recv(512)[:12])
    refused: int = flags & 0xF
    return not refused and answers > 0


def _listens(address: str, port: int) -> bool:
    with socket.create_connection((address, port), timeout=1):
        return True


class _Node:
    """The checks that run inside the node."""

    def __init__(self, cluster: Cluster, ctr: Path) -> None:
        self._cluster = cluster
        self._ctr = ctr

    def has_containerd(self) -> bool:
        pid = processes.first_process(network.namespace_file(self._cluster))
        return pid is not None and Path(f"/proc/{pid}/root/run/containerd/containerd.sock").exists()

    def import_pause(self) -> bool:
        return self._run("images", "import", str(self._cluster.folder / "pause.tar")).returncode == 0

    def sees_pause(self) -> bool:
        """Return whether containerd's CRI part has taken notice of the image: then it carries its label."""
        listed = self._run("images", "list", f"name=={PAUSE_IMAGE}").stdout
        return "io.cri-containerd.image=managed" in listed

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        pid = processes.first_process(network.namespace_file(self._cluster))
        if pid is None:
            raise ProcessLookupError  # the node ended: the caller looks why
        command = [*processes.enter(pid), str(self._ctr), "--namespace=k8s.io", *words]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=30, env=system.environment()
        )


def _check_alive(cluster: Cluster, waited: float) -> None:
    if (failed := cluster.folder / "failed").exists():
        daemon = failed.read_text()
        raise _failure(cluster, f"{daemon} ended again and again", daemon)
    # The node object appears after some seconds.
    if waited > _GRACE_SECONDS and processes.first_process(network.namespace_file(cluster)) is None:
        said = system.tail(cluster.folder / "node.log")
        raise ClusterError(f"the node of cluster {cluster.name!r} ended while it started; its last words:\n{said}")


def _failure(cluster: Cluster, what: str, daemon: str) -> ClusterError:
    said = system.tail(cluster.logs / f"{daemon}.log")
    return ClusterError(
        f"cluster {cluster.name!r} did not start: {what}. The end of the log of {daemon}:\n{said}\n"
        "Everything it had started was removed. A busy machine or one with less than 2 GB of free memory may be too "
        "slow: try again. A kernel without overlay, nf_tables or veth cannot run a node: see the log above.",
    )
