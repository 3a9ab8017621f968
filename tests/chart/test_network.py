"""The network policies let through what the programs need, and nothing else: tried with the programs themselves.

Each program runs in a network in which only the ports of its policy can be reached. Nothing here needs DNS.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dev.localkind.control_plane import ControlPlane
from tests.chart.rendering import Helm
from tests.cluster.conftest import in_namespace, install
from tests.cluster.operator_fixtures import Operator, Scene, operator_kubeconfig
from tests.integration.database import connected
from tests.support import isolation
from tests.waiting import PATIENCE

pytestmark = [
    pytest.mark.helm,
    pytest.mark.skipif(not isolation.is_possible(), reason="this machine lets us make no networks"),
]

DNS = 53


class Policies:
    """The chart's policies, for the ports that the servers have here."""

    def __init__(self, helm: Helm, *, postgres: str, redis: str = "//:6379", api_server: str = "//:443") -> None:
        rules = {
            "enabled": True,
            "postgres": {"port": urlsplit(postgres).port},
            "redis": {"port": urlsplit(redis).port},
            "apiServer": {"ports": [urlsplit(api_server).port]},
        }
        rendered = helm.render({"networkPolicy": rules}).of("NetworkPolicy")
        self._specs = {name.removeprefix("flagschedule-"): policy["spec"] for name, policy in rendered.items()}

    def allowed(self, program: str) -> set[int]:
        """Return the ports that a program may reach, but for DNS."""
        return {port["port"] for rule in self._specs[program]["egress"] for port in rule["ports"]} - {DNS}

    def reachable(self, program: str) -> list[int]:
        """Return the ports of a program that others may reach."""
        return sorted(port["port"] for rule in self._specs[program].get("ingress", []) for port in rule["ports"])


def start(network: isolation.Network, program: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start one of our programs in a network."""
    return network.start([sys.executable, "-m", "flagschedule", program], environment)


@pytest.mark.parametrize(
    ("program", "word"), [("migrate", "migrate"), ("processor", "process"), ("cleanup", "cleanup")]
)
def test_a_job_reaches_what_it_needs(helm: Helm, program: str, word: str, database_url: str, redis_url: str) -> None:
    """Each Job succeeds where its policy holds, and uses each port that its policy opens."""
    policies = Policies(helm, postgres=database_url, redis=redis_url)
    with connected(database_url) as database:
        flag = database.flag("checkout")
        database.schedule(flag, {"enabled": True})
        environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
        with isolation.Network(policies.allowed(program)) as network:
            done = start(network, word, environment)
            said, _ = done.communicate(timeout=PATIENCE)

        assert done.returncode == 0, said
        urls = [database_url, redis_url] if program == "processor" else [database_url]
        assert network.used == policies.allowed(program) == {urlsplit(url).port for url in urls}
        assert policies.reachable(program) == []
        assert database.state(flag)[0] == (program == "processor")


@pytest.mark.apiserver
def test_the_operator_reaches_what_it_needs(
    helm: Helm, control_plane: ControlPlane, database_url: str, tmp_path: Path
) -> None:
    """It mirrors and reports where its policy holds, uses each port of it, and listens on what others may reach."""
    install(control_plane)
    policies = Policies(helm, postgres=database_url, api_server=control_plane.server)
    environment = {
        "DATABASE_URL": database_url,
        "KUBECONFIG": str(operator_kubeconfig(control_plane)),
        "HOME": str(tmp_path),
    }
    api = in_namespace(control_plane, "under-a-policy")
    with connected(database_url) as database, isolation.Network(policies.allowed("operator")) as network:
        database.flag("checkout")
        scene = Scene(api, database, Operator(environment, tmp_path / "log"))  # which is not started here
        scene.create("planned")
        operator = start(network, "operator", {**environment, "FLAG_SCHEDULE_NAMESPACES": api.namespace})
        try:
            scene.reaches("planned", "Pending")
        finally:
            operator.terminate()
            said, _ = operator.communicate(timeout=PATIENCE)

    assert operator.returncode == 0, said
    (listening,) = (line for line in said.splitlines() if line.startswith('{"listening"'))
    assert json.loads(listening) == {"listening": policies.reachable("operator")}
    assert network.used == policies.allowed("operator")
