"""The names and addresses of one cluster: everything follows from its name, its number and its folder.

Called by every module of the node form. Makes nothing; the launcher chooses the number.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from dev.localkind.system import ClusterError

PAUSE_IMAGE = "localhost/pause:3.10.1"
POD_RANGE = "10.244.0.0/24"
SERVICE_RANGE = "10.96.0.0/16"
DNS_ADDRESS = "10.96.0.10"
API_PORT = 6443

# The node's name is the cluster's with `-control-plane` behind it and must be a DNS label of at most 63.
_LONGEST_NAME = 49
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def checked_name(name: str) -> str:
    """Return `name` if a cluster can be called so.

    Raises:
        ClusterError: it cannot.
    """
    if _NAME.fullmatch(name) and len(name) <= _LONGEST_NAME:
        return name
    raise ClusterError(
        f"{name!r} cannot be the name of a cluster: use up to {_LONGEST_NAME} of a-z, 0-9 and '-', "
        "beginning and ending with a letter or digit",
    )


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """One cluster: the processes of its node share a network, a mount and a PID namespace of their own.

    Args:
        name: as in `--name`.
        number: 1 to 254, unique on the machine; the third byte of its addresses.
        folder: everything it keeps on disk.
    """

    name: str
    number: int
    folder: Path

    @property
    def address(self) -> str:
        """The node's address, where the host reaches its API server."""
        return f"10.231.{self.number}.2"

    @property
    def host_address(self) -> str:
        """The host's address as the node and its pods see it."""
        return f"10.231.{self.number}.1"

    @property
    def link(self) -> str:
        """The host's end of the cable to the node (at most 15 characters, so it has the number)."""
        return f"kn{self.number}"

    @property
    def namespace(self) -> str:
        """The network namespace; also the name of its control groups."""
        return f"kn-{self.name}"

    @property
    def node(self) -> str:
        """The node's name, as kind would call it."""
        return f"{self.name}-control-plane"

    @property
    def context(self) -> str:
        """The name of cluster, user and context in kubeconfigs, as kind would call it."""
        return f"kind-{self.name}"

    @property
    def server(self) -> str:
        """The API server's address."""
        return f"https://{self.address}:{API_PORT}"

    @property
    def certs(self) -> Path:
        """The folder of keys and certificates."""
        return self.folder / "certs"

    @property
    def logs(self) -> Path:
        """The folder of the daemons' and the pods' logs; the node sees it as /var/log."""
        return self.folder / "log"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.folder / "admin.kubeconfig"
