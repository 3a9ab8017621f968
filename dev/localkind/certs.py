"""Keys and certificates of one cluster, made with openssl: a quarter second, no Python package needed.

Called by the launcher (everything) and the light control plane (the service-account key only).
"""

from dataclasses import dataclass
from pathlib import Path

from dev.localkind import system
from dev.localkind.naming import Cluster

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_DAYS = ("-days", "365")
_SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")


@dataclass(frozen=True)
class Certificate:
    """What a certificate is for: its file name, its subject, and the names it serves under (none: a client's)."""

    file: str
    subject: str
    serves: str = ""

    @property
    def extensions(self) -> str:
        """The part of openssl's configuration that makes it a server's or a client's certificate."""
        usage = (
            f"subjectAltName={self.serves}\nextendedKeyUsage=serverAuth"
            if self.serves
            else ("extendedKeyUsage=clientAuth")
        )
        return f"basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\n{usage}\n"


def certificates(cluster: Cluster) -> list[Certificate]:
    """Return what the daemons of a cluster and its administrator need."""
    addresses = ",".join(f"IP:{address}" for address in (cluster.address, "127.0.0.1", "10.96.0.1"))
    names = ",".join(f"DNS:{name}" for name in ("localhost", *_SERVICE_NAMES))
    node = f"/O=system:nodes/CN=system:node:{cluster.node}"
    return [
        Certificate("apiserver", "/CN=kube-apiserver", f"{addresses},{names}"),
        Certificate("kubelet-server", node, f"IP:{cluster.address},DNS:{cluster.node}"),
        Certificate("apiserver-kubelet-client", "/CN=kube-apiserver-kubelet-client"),
        Certificate("admin", "/O=system:masters/CN=kubernetes-admin"),
        Certificate("controller-manager", "/CN=system:kube-controller-manager"),
        Certificate("scheduler", "/CN=system:kube-scheduler"),
        Certificate("proxy", "/CN=system:kube-proxy"),
        Certificate("coredns", "/CN=system:coredns"),
        Certificate("kubelet", node),
    ]


def make_all(folder: Path, cluster: Cluster) -> None:
    """Make the authority, every certificate and the service-account key in a new folder.

    Raises:
        ClusterError: openssl failed.
    """
    folder.mkdir(parents=True)
    _make_authority(folder)
    make_service_account_key(folder)
    for certificate in certificates(cluster):
        _make_certificate(folder, certificate)


def make_service_account_key(folder: Path) -> None:
    """Make `sa.key` and `sa.pub`, which sign and check the tokens of service accounts.

    Raises:
        ClusterError: openssl failed.
    """
    key = folder / "sa.key"
    system.run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    system.run("openssl", "ec", "-in", key, "-pubout", "-out", folder / "sa.pub")


def _make_authority(folder: Path) -> None:
    system.run(
        *("openssl", "req", "-x509", *_NEW_KEY, *_DAYS, "-subj", "/CN=flagschedule-dev"),
        *("-keyout", folder / "ca.key", "-out", folder / "ca.crt"),
        *("-addext", "basicConstraints=critical,CA:TRUE"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"),
    )


def _make_certificate(folder: Path, certificate: Certificate) -> None:
    key, file = folder / f"{certificate.file}.key", folder / f"{certificate.file}.crt"
    extensions, request = folder / "extensions", folder / "request"
    extensions.write_text(certificate.extensions)
    system.run("openssl", "req", *_NEW_KEY, "-subj", certificate.subject, "-keyout", key, "-out", request)
    system.run(
        *("openssl", "x509", "-req", "-in", request, "-out", file, *_DAYS, "-extfile", extensions),
        *("-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-CAcreateserial"),
    )
