"""The state machine of docs/reference/state-machine.md, walked on the real parts; and the Events on the way."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from tests.cluster import walks
from tests.cluster.api import Api, Object, eventually
from tests.cluster.conftest import ROOT
from tests.cluster.edges import WALKS, Edge
from tests.cluster.operator_fixtures import Operator, Scene
from tests.cluster.walks import Seen, Walker
from tests.integration.database import connected

_PAGE = ROOT / "docs" / "reference" / "state-machine.md"
_EDGE = re.compile(r"^ +(\[\*\]|\w+) --> (\[\*\]|\w+): (.+)$")


def edges_of_the_page() -> list[Edge]:
    """Return every line of every diagram."""
    blocks = re.findall(r"^```mermaid\nstateDiagram-v2\n(.*?)^```$", _PAGE.read_text(), re.MULTILINE | re.DOTALL)
    edges: list[Edge] = []
    for line in "".join(blocks).splitlines():
        found = _EDGE.match(line)
        assert found, f"no edge: {line}"
        edges.append((found[1], found[2], found[3]))
    return edges


def test_the_page_and_the_walks_have_the_same_edges() -> None:
    """An edge of the page without a walk fails, and so does a walk without an edge."""
    edges = edges_of_the_page()

    assert len(edges) == len(set(edges))
    assert set(edges) == WALKS.keys()


@pytest.fixture
def stage(api: Api, database_url: str, new_operator: Callable[..., Operator]) -> Iterator[Scene]:
    """A running operator to whom a second is too late, and a database that can refuse."""
    with connected(database_url) as database:
        scene = Scene(api, database, new_operator(database_url, FLAG_SCHEDULE_MAX_LATENESS_SECONDS="1"))
        walks.prepare(scene)
        scene.operator.start()
        yield scene
        walks.end_freezes(scene)


def events(api: Api) -> list[Object]:
    """Return all Events in the namespace."""
    found: list[Object] = api.request("GET", f"/api/v1/namespaces/{api.namespace}/events?limit=5000").body["items"]
    return found


def reasons(api: Api) -> dict[str, Counter[str]]:
    """Count the Events of each object."""
    counts: dict[str, Counter[str]] = {}
    for event in events(api):
        counts.setdefault(event["involvedObject"]["name"], Counter())[event["reason"]] += 1
    return counts


@pytest.mark.apiserver
@pytest.mark.usefixtures("loosened")
def test_every_edge_can_be_walked_and_posts_one_event(stage: Scene, database_url: str) -> None:
    """Each edge of the page leads where it says, and an edge that people wait for has one Event."""
    edge_of = {f"walk-{number}": edge for number, edge in enumerate(WALKS)}
    walkers = {Walker(stage, name): WALKS[edge] for name, edge in edge_of.items()}

    seen = walks.walk_all(stage, walkers)

    reached = {edge_of[name]: [step.phase for step in steps][-1] for name, steps in seen.items()}
    assert reached == {edge: edge[1] for edge in WALKS}
    expected = {edge_of[name]: expected_events(steps) for name, steps in seen.items()}
    eventually(
        lambda: (
            sum(count.total() for count in reasons(stage.api).values())
            >= sum(count.total() for count in expected.values())
        ),
        "the Events are posted",
    )
    stage.operator.stop()
    stage.operator.start()
    eventually(lambda: len(stage.operator.lines("Operator started")) == 2, "it has looked at everything again")
    stage.operator.stop()
    assert {edge_of[name]: found for name, found in reasons(stage.api).items()} == expected
    host = urlsplit(database_url)
    for event in events(stage.api):
        assert event["involvedObject"]["uid"]
        assert event["reportingComponent"] == "flagschedule"
        assert event["message"].endswith(".")
        assert not any(
            secret in event["message"] for secret in (str(host.password), str(host.hostname), str(host.port))
        )


def expected_events(steps: list[Seen]) -> Counter[str]:
    """Return the Events that these steps should have."""
    return Counter(step.event for step in steps if step.event)
