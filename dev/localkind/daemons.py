"""The command lines of a node's programs, as the supervisor starts them.

Called by the launcher. The node's network is its own, so every port is the program's default.
"""

from pathlib import Path

from dev.localkind.control_plane import etcd_options
from dev.localkind.naming import SERVICE_RANGE, Cluster

_ETCD = "http://127.0.0.1:2379"


def before_api(cluster: Cluster, programs: dict[str, Path]) -> dict[str, list[str]]:
    """Return the daemons that are started at once."""
    node = programs["node"]
    return {
        "etcd": [str(node / "etcd"), *etcd_options(cluster.folder / "etcd", _ETCD, "http://127.0.0.1:2380")],
        "containerd": [f"{programs['containerd']}/containerd", "--config", f"{cluster.folder}/containerd.toml"],
        "kube-apiserver": [str(node / "kube-apiserver"), *_apiserver_options(cluster)],
    }


def after_api(cluster: Cluster, programs: dict[str, Path]) -> dict[str, list[str]]:
    """Return the daemons that are started when the API server is ready."""
    node, folder = programs["node"], cluster.folder
    return {
        "kubelet": [
            str(node / "kubelet"),
            f"--config={folder}/kubelet.json",
            f"--kubeconfig={folder}/kubelet.kubeconfig",
            f"--hostname-override={cluster.node}",
            f"--node-ip={cluster.address}",
            "--v=2",
        ],
        "kube-controller-manager": [str(node / "kube-controller-manager"), *_controller_options(cluster)],
        "kube-scheduler": [
            str(node / "kube-scheduler"),
            f"--kubeconfig={folder}/scheduler.kubeconfig",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ],
        "kube-proxy": [str(node / "kube-proxy"), f"--config={folder}/proxy.json"],
        "coredns": [f"{programs['coredns']}/coredns", "-conf", f"{folder}/Corefile"],
    }


def _apiserver_options(cluster: Cluster) -> list[str]:
    certs = cluster.certs
    return [
        f"--etcd-servers={_ETCD}",
        f"--advertise-address={cluster.address}",
        "--secure-port=6443",
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={certs}/ca.crt",
        f"--tls-cert-file={certs}/apiserver.crt",
        f"--tls-private-key-file={certs}/apiserver.key",
        f"--kubelet-client-certificate={certs}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={certs}/apiserver-kubelet-client.key",
        f"--kubelet-certificate-authority={certs}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-key-file={certs}/sa.pub",
        f"--service-account-signing-key-file={certs}/sa.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
    ]


def _controller_options(cluster: Cluster) -> list[str]:
    certs = cluster.certs
    return [
        f"--kubeconfig={cluster.folder}/controller-manager.kubeconfig",
        "--bind-address=127.0.0.1",
        f"--root-ca-file={certs}/ca.crt",
        f"--service-account-private-key-file={certs}/sa.key",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--allocate-node-cidrs=false",
        f"--cluster-signing-cert-file={certs}/ca.crt",
        f"--cluster-signing-key-file={certs}/ca.key",
        # With the defaults the controllers start 5 s late and the not-ready taint goes on a 5 s tick.
        "--node-monitor-period=1s",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]
