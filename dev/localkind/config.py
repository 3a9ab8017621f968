"""The configuration files of a node's programs.

Called by the launcher before the node starts. Every value that is not the program's own default has its reason here.
"""

import json
from pathlib import Path
from typing import Any

from dev.localkind import kubeconfigs
from dev.localkind.naming import DNS_ADDRESS, PAUSE_IMAGE, POD_RANGE, Cluster
from dev.localkind.system import CNI_FOLDER

# A folder HOST:PORT in it, with a hosts.toml, says how to reach that registry. Not in /etc: that is the machine's own.
REGISTRIES = "/run/containerd-certs.d"
_USERS = ("admin", "controller-manager", "scheduler", "proxy", "coredns", "kubelet")


def write_all(cluster: Cluster, runc: str) -> None:
    """Write every file into the cluster's folder; its certificates must be there."""
    folder = cluster.folder
    for user in _USERS:
        kubeconfigs.write_private(folder / f"{user}.kubeconfig", kubeconfigs.with_certificate(cluster, user))
    for name in ("kubelet", "containerd", "volume-plugins", "cni", "log"):
        (folder / name).mkdir()
    _write_json(folder / "kubelet.json", kubelet(cluster))
    _write_json(folder / "proxy.json", proxy(cluster))
    _write_json(folder / "cni" / "10-bridge.conflist", cni())
    (folder / "containerd.toml").write_text(containerd(cluster, runc))
    (folder / "Corefile").write_text(coredns(cluster))
    # Names outside the cluster are not resolved here; without this file pods would get the host's.
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")


def kubelet(cluster: Cluster) -> dict[str, Any]:
    """Return the kubelet's configuration."""
    folder = cluster.folder
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        # 1.37 refuses control groups of version 1 unless this is set.
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cluster.namespace}",
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": ["pods"],
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(cluster.certs / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(cluster.certs / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(cluster.certs / "kubelet-server.key"),
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(folder / "resolv.conf"),
        "failSwapOn": False,
        "podLogsDir": "/var/log/pods",
        "readOnlyPort": 0,
        "volumePluginDir": str(folder / "volume-plugins"),
        "nodeStatusUpdateFrequency": "2s",
        "syncFrequency": "10s",
        "seccompDefault": True,
        "serializeImagePulls": False,
        # A developer's disk is often nearly full, and a collected image cannot be pulled again: it came by archive.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageMinimumGCAge": "24h",
    }


def proxy(cluster: Cluster) -> dict[str, Any]:
    """Return kube-proxy's configuration."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": POD_RANGE,
        "hostnameOverride": cluster.node,
        "clientConnection": {"kubeconfig": str(cluster.folder / "proxy.kubeconfig")},
        # Zeros keep it from writing limits that hold for the whole machine.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        # Services follow their pods at once.
        "nftables": {"minSyncPeriod": "0s", "syncPeriod": "30s"},
    }


def cni() -> dict[str, Any]:
    """Return the pods' network: one bridge inside the node's namespace."""
    addresses = {
        "type": "host-local",
        "dataDir": "/run/cni-ipam",
        "ranges": [[{"subnet": POD_RANGE}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": addresses,
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "kn", "plugins": [bridge, ports]}


def containerd(cluster: Cluster, runc: str) -> str:
    """Return containerd's configuration.

    restrict_oom_score_adj: root may lack CAP_SYS_RESOURCE; without this, runc could then start no pod at all.
    """
    cri = "io.containerd.cri.v1"
    return f"""\
version = 3
root = "{cluster.folder}/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."{cri}.images"]
  snapshotter = "overlayfs"
  [plugins."{cri}.images".pinned_images]
    sandbox = "{PAUSE_IMAGE}"
  [plugins."{cri}.images".registry]
    config_path = "{REGISTRIES}"
[plugins."{cri}.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."{cri}.runtime".cni]
    bin_dirs = ["{CNI_FOLDER}"]
    conf_dir = "{cluster.folder}/cni"
  [plugins."{cri}.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."{cri}.runtime".containerd.runtimes.runc.options]
      BinaryName = "{runc}"
      SystemdCgroup = false
"""


def coredns(cluster: Cluster) -> str:
    """Return CoreDNS's configuration: the cluster's own names only."""
    return f"""\
.:53 {{
    errors
    health 127.0.0.1:8181
    ready 127.0.0.1:8182
    cache 5
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {cluster.folder}/coredns.kubeconfig {cluster.context}
        pods insecure
        ttl 5
    }}
}}
"""


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n")
