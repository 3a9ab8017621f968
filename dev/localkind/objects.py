"""The first objects of a cluster: what kubeadm would bring and the daemons need.

Called by the launcher as soon as the API server is ready.
"""

from typing import Any

from dev.localkind.naming import DNS_ADDRESS, Cluster

Object = dict[str, Any]

_RBAC_GROUP = "rbac.authorization.k8s.io"
_RBAC = f"/apis/{_RBAC_GROUP}/v1"
_DNS_PORTS = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]


def first_objects(cluster: Cluster) -> list[tuple[str, Object]]:
    """Return where each object is created, and the object."""
    return [
        ("/api/v1/namespaces/kube-system/services", _dns_service()),
        ("/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices", _dns_endpoints(cluster)),
        (f"{_RBAC}/clusterroles", _dns_role()),
        (f"{_RBAC}/clusterrolebindings", _binding("system:coredns", "system:coredns", "system:coredns")),
        # Without it `kubectl logs` and `kubectl exec` are forbidden.
        (
            f"{_RBAC}/clusterrolebindings",
            _binding("kubelet-api-admin", "system:kubelet-api-admin", "kube-apiserver-kubelet-client"),
        ),
    ]


def _dns_service() -> Object:
    """Return a service without selector: CoreDNS is a process of the node, not a pod."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "spec": {"clusterIP": DNS_ADDRESS, "ports": _DNS_PORTS},
    }


def _dns_endpoints(cluster: Cluster) -> Object:
    labels = {"kubernetes.io/service-name": "kube-dns"}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kube-dns-1", "namespace": "kube-system", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [cluster.address], "conditions": {"ready": True}}],
        "ports": _DNS_PORTS,
    }


def _dns_role() -> Object:
    core = {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"]}
    slices = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"]}
    return {
        "apiVersion": f"{_RBAC_GROUP}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "system:coredns"},
        "rules": [{**rule, "verbs": ["list", "watch"]} for rule in (core, slices)],
    }


def _binding(name: str, role: str, user: str) -> Object:
    return {
        "apiVersion": f"{_RBAC_GROUP}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _RBAC_GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": _RBAC_GROUP, "kind": "User", "name": user}],
    }
