"""The operator under kills, lost databases and identity tricks: the end is that of an undisturbed run."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from dev.localkind.servers.postgres import Postgres
from flagschedule.adapters.postgres.migrate import migrate
from tests import roles
from tests.cluster.api import Api, eventually
from tests.cluster.conftest import stamped_updates
from tests.cluster.operator_fixtures import Operator, Scene
from tests.integration.database import connected

pytestmark = pytest.mark.apiserver


@pytest.fixture
def fragile(api: Api, new_operator: Callable[..., Operator]) -> Iterator[tuple[Scene, Postgres]]:
    """A scene on a Postgres server of its own, which the test may stop."""
    with Postgres() as server:
        roles.create(server)
        url = server.create_database("fragile")
        migrate(roles.url(url, "migrate"))
        with connected(url) as database:
            database.flag("checkout")
            scene = Scene(api, database, new_operator(url))
            scene.operator.start()
            yield scene, server


def _finalizers(api: Api, name: str) -> list[str]:
    found: list[str] = api.get(name)["metadata"].get("finalizers", [])
    return found


def test_a_kill_between_finalizer_and_row_is_made_good(scene: Scene, database_url: str) -> None:
    """An operator that dies after it has marked the object and before the row is committed leaves nothing undone."""
    with psycopg.connect(database_url) as blocker:
        blocker.execute("LOCK TABLE feature_flag_schedules")
        scene.create("launch")
        eventually(lambda: _finalizers(scene.api, "launch") == ["flagschedule.io/finalizer"], "the finalizer is set")
        waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'feature_flag_schedules'::regclass"
        eventually(lambda: scene.database.value(waits), "the operator waits for the table")
        scene.operator.kill()
    assert scene.status("launch") == {"observedGeneration": -1}

    scene.operator.start()

    scene.reaches("launch", "Pending")
    assert scene.database.value("SELECT count(*) FROM feature_flag_schedules") == 1
    assert scene.database.value("SELECT count(*) FROM flag_schedule_objects") == 1


def test_a_deletion_during_the_operators_absence_is_made_good(scene: Scene) -> None:
    """An object that is deleted while no operator runs has its plan cancelled by the next one, then it goes."""
    scene.create("launch")
    scene.reaches("launch", "Pending")
    scene.operator.kill()
    assert scene.api.delete("launch").ok

    scene.operator.start()

    eventually(lambda: scene.api.get("launch")["kind"] == "Status", "the object is gone")
    assert scene.row("launch")["status"] == "cancelled"


def test_a_successor_never_gets_its_predecessors_status(scene: Scene) -> None:
    """An outcome that waits to be written when its object is replaced by another of its name is dropped."""
    scene.create("launch")
    old = scene.reaches("launch", "Pending")
    scene.operator.kill()
    assert scene.api.patch("launch", {"metadata": {"finalizers": None}}).ok
    assert scene.api.delete("launch").ok
    scene.create("launch", updates={"enabled": False})
    scene.database.run(
        "WITH failed AS (UPDATE feature_flag_schedules SET status = 'failed', reason = 'RetriesExhausted' "
        "RETURNING id) INSERT INTO flag_schedule_status_outbox (schedule_id) SELECT id FROM failed"
    )

    scene.operator.start()

    status = scene.reaches("launch", "Pending")
    assert status["scheduleId"] != old["scheduleId"]
    assert status["change"] == "enabled=false"


def test_it_waits_for_a_lost_database(fragile: tuple[Scene, Postgres]) -> None:
    """Without a database the operator is alive but not ready and leaves the objects alone; then it catches up."""
    scene, server = fragile
    scene.create("before")
    scene.reaches("before", "Pending")

    server.kill()
    eventually(lambda: scene.operator.probe("readyz") == (503, "database"), "the operator is not ready")
    eventually(lambda: scene.operator.probe("healthz") == (200, None), "the operator is alive")
    for number in range(5):
        scene.create(f"during-{number}")
    eventually(lambda: all(_finalizers(scene.api, f"during-{number}") for number in range(5)), "all are seen")
    server.start()

    for number in range(5):
        scene.reaches(f"during-{number}", "Pending")
        assert "annotations" not in scene.api.get(f"during-{number}")["metadata"]
    eventually(lambda: scene.operator.probe("readyz") == (200, None), "the operator is ready again")
    assert len(scene.operator.lines("Database lost")) == 1
    assert len(scene.operator.lines("Database is back")) == 1


def test_it_can_start_before_its_database(fragile: tuple[Scene, Postgres]) -> None:
    """An operator that starts first is alive and not ready, and goes to work once there is a database."""
    scene, server = fragile
    scene.operator.kill()
    server.kill()
    scene.create("early")

    scene.operator.start(wait=False)
    eventually(lambda: scene.operator.probe("readyz") == (503, "database"), "the operator says what it lacks")
    eventually(lambda: scene.operator.probe("healthz") == (200, None), "the operator is alive")
    server.start()

    scene.reaches("early", "Pending")
    # The object is mirrored by the first comparison of all of them, and the operator is ready when that has ended.
    eventually(lambda: scene.operator.probe("readyz") == (200, None), "the operator is ready")


def test_no_secret_is_logged_while_the_database_is_away(fragile: tuple[Scene, Postgres]) -> None:
    """Neither password nor address of the database gets into the log."""
    scene, server = fragile
    server.kill()
    eventually(lambda: scene.operator.probe("readyz") == (503, "database"), "the operator is not ready")

    log = scene.operator.log.read_text()

    assert server.password not in log
    assert str(server.port) not in log


def test_it_stops_orderly(scene: Scene) -> None:
    """SIGTERM ends the operator with exit code 0."""
    assert scene.operator.stop() == 0


def test_it_stops_orderly_while_it_starts(scene: Scene) -> None:
    """SIGTERM ends the operator with exit code 0 and without a complaint, also while it finds its objects."""
    for number in range(60):
        scene.create(f"found-{number}")
    scene.reaches("found-59", "Pending")
    scene.operator.stop()

    codes = [_start_and_stop(scene.operator) for _ in range(5)]

    assert codes == [0] * 5
    assert "error" not in {line["level"] for line in scene.operator.lines()}


def _start_and_stop(operator: Operator) -> int:
    starts = len(operator.lines("Operator started"))
    operator.start(wait=False)
    eventually(lambda: len(operator.lines("Operator started")) > starts, "it begins")
    return operator.stop()


def test_it_stops_orderly_without_a_database(fragile: tuple[Scene, Postgres]) -> None:
    """SIGTERM ends the operator with exit code 0, also while handlers wait for the database."""
    scene, server = fragile
    server.kill()
    scene.create("during")
    eventually(lambda: _finalizers(scene.api, "during") != [], "a handler is at work")
    eventually(lambda: scene.operator.probe("readyz") == (503, "database"), "the operator is not ready")

    assert scene.operator.stop() == 0


def test_it_stops_orderly_before_its_database_ever_answered(new_operator: Callable[..., Operator]) -> None:
    """SIGTERM ends the operator with exit code 0, also where it has never reached a database."""
    operator = new_operator("postgresql://norole@127.0.0.1:1/nothing")
    operator.start(wait=False)
    eventually(lambda: operator.probe("readyz") == (503, "database"), "the operator says what it lacks")

    assert operator.stop() == 0


def test_a_second_cluster_of_the_same_name_is_refused(database_url: str, new_operator: Callable[..., Operator]) -> None:
    """A cluster name that another live cluster uses ends the operator with exit code 2 and a sentence."""
    with connected(database_url) as database:
        database.run("INSERT INTO flag_schedule_clusters (name, kube_system_uid) VALUES ('default', 'another')")
    operator = new_operator(database_url)

    operator.start(wait=False)

    assert operator.ended() == 2
    assert "FLAG_SCHEDULE_CLUSTER" in operator.log.read_text()
    assert "Traceback" not in operator.log.read_text()


def test_without_a_cluster_it_says_what_to_do(database_url: str, new_operator: Callable[..., Operator]) -> None:
    """An operator that finds no API server to work for ends with exit code 2 and a sentence."""
    operator = new_operator(database_url)

    operator.start(wait=False, KUBECONFIG="/nonexistent")

    assert operator.ended() == 2
    assert operator.log.read_text().startswith("flagschedule: KUBECONFIG")


def test_a_refused_finalizer_is_reported(scene: Scene) -> None:
    """Where the cluster's own policy has the operator's requests refused, its log says so, and it goes on later."""
    with stamped_updates(scene.api):
        scene.create("launch")
        eventually(
            lambda: "launch" in {line["name"] for line in scene.operator.lines("Finalizer refused")}, "it says so"
        )

    scene.reaches("launch", "Pending")
