"""The cluster's network namespace and its cable to the host.

Called by the launcher. The host needs no forwarding, no address translation and no firewall rule; both ends vanish
with the namespace.
"""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from dev.localkind import system
from dev.localkind.naming import Cluster

NAMESPACES = Path("/run/netns")


def namespace_file(cluster: Cluster) -> Path:
    """Return the file that keeps the cluster's network namespace alive and names it."""
    return NAMESPACES / cluster.namespace


def used_numbers() -> set[int]:
    """Return the numbers whose subnet 10.231.N.0/24 or link knN this machine has already.

    Raises:
        ClusterError: the program ip failed.
    """
    links: list[dict[str, Any]] = json.loads(system.run("ip", "-json", "address") or "[]")
    routes: list[dict[str, Any]] = json.loads(system.run("ip", "-json", "route") or "[]")
    names = [re.fullmatch(r"kn(\d+)", link.get("ifname", "")) for link in links]
    addresses = [address.get("local", "") for link in links for address in link.get("addr_info", [])]
    subnets = [re.match(r"10\.231\.(\d+)\.", text) for text in (*addresses, *(route["dst"] for route in routes))]
    return {int(match.group(1)) for match in (*names, *subnets) if match}


def connect(cluster: Cluster) -> None:
    """Make the namespace and the cable.

    Raises:
        ClusterError: the program ip failed.
    """
    space, link, inside = cluster.namespace, cluster.link, ("ip", "-n", cluster.namespace)
    system.run("ip", "netns", "add", space)
    system.run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
    system.run("ip", "address", "add", f"{cluster.host_address}/24", "dev", link)
    system.run("ip", "link", "set", link, "up")
    system.run(*inside, "link", "set", "lo", "up")
    system.run(*inside, "address", "add", f"{cluster.address}/24", "dev", "eth0")
    system.run(*inside, "link", "set", "eth0", "up")
    system.run(*inside, "route", "add", "default", "via", cluster.host_address)


def disconnect(cluster: Cluster) -> None:
    """Remove what `connect` made; a part that is missing already is fine."""
    if namespace_file(cluster).exists():
        # From the inside, where it can only be our own; the kernel alone would remove it a moment later.
        with suppress(system.ClusterError):
            system.run("ip", "-n", cluster.namespace, "link", "delete", "eth0")
        system.run("ip", "netns", "delete", cluster.namespace)
