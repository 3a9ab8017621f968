"""Two replicas of the operator on one lease: one works, the other takes over, and two at once do no harm."""

from collections.abc import Callable, Iterator

import pytest

from dev.localkind.control_plane import ControlPlane
from dev.localkind.servers.postgres import Postgres
from tests.cluster.api import Api, eventually
from tests.cluster.operator_fixtures import LEASE, SYSTEM, Operator, Scene
from tests.integration.database import connected

pytestmark = pytest.mark.apiserver

LEASE_LOST = 3


class Pair:
    """A leader and its standby, in one namespace and on one database."""

    def __init__(self, scene: Scene, leader: Operator, standby: Operator) -> None:
        self.scene = scene
        self.leader = leader
        self.standby = standby

    @property
    def holder(self) -> str:
        """The identity of the lease's holder; empty if there is none."""
        spec = self.scene.api.request("GET", LEASE).body.get("spec", {})
        return str(spec.get("holderIdentity", ""))

    def standby_leads(self) -> None:
        """Wait until the standby has taken over and is at work."""
        eventually(lambda: self.standby.lines("Operator started") != [], "the standby works")
        eventually(lambda: self.standby.probe("readyz") == (200, None), "it is ready")


@pytest.fixture
def pair(api: Api, database_url: str, new_operator: Callable[..., Operator]) -> Iterator[Pair]:
    """Two operators as the Deployment starts them, of which the first got the lease."""
    api.request("DELETE", LEASE)
    with connected(database_url) as database:
        database.flag("checkout")
        leader, standby = (new_operator(database_url, FLAG_SCHEDULE_LEASE_NAMESPACE=SYSTEM) for _ in range(2))
        leader.start()
        standby.start()
        yield Pair(Scene(api, database, leader), leader, standby)


def _mirrored(operator: Operator) -> list[str]:
    return [line["name"] for line in operator.lines("Schedule mirrored")]


def test_an_orderly_end_hands_over(pair: Pair) -> None:
    """Only the leader works; when it is stopped it gives the lease up, and the standby continues."""
    first = pair.holder
    pair.scene.create("before")
    pair.scene.reaches("before", "Pending")
    assert (_mirrored(pair.leader), _mirrored(pair.standby)) == (["before"], [])
    assert pair.standby.lines("Operator started") == []

    assert pair.leader.stop() == 0

    eventually(lambda: pair.holder not in {"", first}, "the standby has the lease")
    pair.standby_leads()
    pair.scene.create("after")
    pair.scene.reaches("after", "Pending")
    assert _mirrored(pair.standby) == ["after"]
    assert pair.scene.api.request("GET", LEASE).body["spec"]["leaseTransitions"] == 1


def test_a_standby_can_be_stopped(pair: Pair) -> None:
    """A standby ends orderly while it waits, and leaves the lease to its holder."""
    holder = pair.holder

    assert pair.standby.stop() == 0

    assert pair.holder == holder


def test_a_killed_leader_is_replaced(pair: Pair) -> None:
    """The standby takes over from a killed leader once the lease has expired."""
    pair.leader.kill()

    pair.scene.create("after")
    pair.scene.reaches("after", "Pending")
    assert _mirrored(pair.standby) == ["after"]


def test_a_leader_that_was_frozen_ends(pair: Pair) -> None:
    """A leader that continues after its lease has expired ends at once, and its successor's writes stay."""
    pair.scene.create("launch")
    pair.scene.reaches("launch", "Pending")
    with pair.leader.frozen():
        pair.scene.api.patch("launch", {"spec": {"suspend": True}})
        pair.standby_leads()
        pair.scene.reaches("launch", "Suspended")
        pair.scene.api.patch("launch", {"spec": {"suspend": False, "updates": {"rolloutPercentage": 7}}})
        pair.scene.reaches("launch", "Pending")

    assert pair.leader.ended() == LEASE_LOST
    assert len(pair.leader.lines("Schedule mirrored")) == 1  # the creation
    assert pair.scene.status("launch")["change"] == "enabled=true, rolloutPercentage=7"
    assert pair.scene.row("launch")["updates"] == {"enabled": True, "rolloutPercentage": 7}


def test_a_leader_without_an_api_server_ends(pair: Pair, installed: ControlPlane) -> None:
    """While the API server hangs the leader ends; the standby is not ready, says why, and takes over afterwards."""
    with installed.frozen("kube-apiserver"):
        assert pair.leader.ended() == LEASE_LOST
        eventually(lambda: pair.standby.probe("readyz") == (503, "lease"), "the standby is not ready")
        eventually(lambda: pair.standby.probe("healthz") == (200, None), "the standby is alive")
    installed.wait_ready()

    pair.standby_leads()
    pair.scene.create("after")
    pair.scene.reaches("after", "Pending")


def test_a_standby_knows_that_the_database_is_away(pair: Pair, postgres: Postgres) -> None:
    """A standby without a database is not ready, although it has no work."""
    name = pair.scene.database.value("SELECT current_database()")
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
    with connected(postgres.url) as server:
        server.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        server.run(end, name)
        eventually(lambda: pair.standby.probe("readyz") == (503, "database"), "the standby is not ready")
        server.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    eventually(lambda: pair.standby.probe("readyz") == (200, None), "the standby is ready again")
