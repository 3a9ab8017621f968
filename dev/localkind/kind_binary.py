"""Which kind to use: the real one where Docker runs, ours elsewhere.

Called by the tests (pytest-kind's `--kind-bin`) and the demo, so that both run the same way everywhere.
"""

import subprocess
from pathlib import Path

from dev.localkind import config, system

_REGISTRIES_OF_KIND = "/etc/containerd/certs.d"
OWN_KIND = Path(__file__).parent / "kind"
_DOCKER_SECONDS = 10


def docker_answers() -> bool:
    """Return whether there is a Docker client here whose daemon answers."""
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, timeout=_DOCKER_SECONDS, env=system.environment()
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def is_own() -> bool:
    """Return whether clusters are made by this project's launcher rather than by kind."""
    return system.which("kind") is None or not docker_answers()


def kind_command() -> list[str]:
    """Return the command to put kind's words behind."""
    return [str(OWN_KIND)] if is_own() else [str(system.which("kind"))]


def registries() -> str:
    """Return the node's folder in which a folder HOST:PORT with a hosts.toml says how to reach that registry."""
    return config.REGISTRIES if is_own() else _REGISTRIES_OF_KIND


def host_address(name: str) -> str:
    """Return the address under which the pods of a cluster reach this host.

    Raises:
        ClusterError: there is no such cluster, or no such address.
    """
    if is_own():
        return system.run(OWN_KIND, "host-address", "--name", name).strip()
    template = "{{range .IPAM.Config}}{{.Gateway}} {{end}}"
    gateways = system.run("docker", "network", "inspect", "kind", "--format", template).split()
    for gateway in gateways:
        if "." in gateway:  # pods have IPv4 addresses
            return gateway
    raise system.ClusterError(f"Docker's network `kind` has no IPv4 gateway ({gateways}); is the cluster running?")
