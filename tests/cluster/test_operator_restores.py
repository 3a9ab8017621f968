"""Rebuilt clusters, restored backups, several clusters on one database: the operator and what it finds afterwards."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dev.localkind.control_plane import ControlPlane
from dev.localkind.servers.postgres import Postgres
from tests.cluster.api import Api, Object, eventually, flagschedule
from tests.cluster.conftest import in_namespace, install
from tests.cluster.operator_fixtures import Operator, Scene, operators
from tests.cluster.spec_corpus import spec
from tests.cluster.test_operator_lateness import conditions
from tests.integration.database import Database, connected

pytestmark = pytest.mark.apiserver

QUICK = {"FLAG_SCHEDULE_SWEEP_SECONDS": "0.2"}  # everything is compared every 2 seconds
FLAGS = "SELECT xmin, * FROM feature_flags ORDER BY id"
ATTEMPTS = "SELECT count(*) FROM flag_schedule_attempts"


@pytest.fixture(scope="module")
def second(installed: ControlPlane) -> Iterator[ControlPlane]:
    """Another cluster, with its own etcd and its own kube-system."""
    assert installed
    with ControlPlane() as control_plane:
        install(control_plane)
        yield control_plane


@pytest.fixture
def quick(api: Api, database_url: str, new_operator: Callable[..., Operator]) -> Iterator[Scene]:
    """A scene whose operator, once it is started, compares everything often."""
    with connected(database_url) as database:
        database.flag("checkout")
        yield Scene(api, database, new_operator(database_url, **QUICK))


@pytest.fixture
def twin(second: ControlPlane, quick: Scene, tmp_path: Path) -> Iterator[Scene]:
    """The same namespace and database in the second cluster."""
    api = in_namespace(second, quick.api.namespace)
    with operators(second, api.namespace, tmp_path) as make:
        yield Scene(api, quick.database, make(quick.operator.database_url, **QUICK))


def tool(postgres: Postgres, name: str, *arguments: str) -> str:
    """Return what one of Postgres' own programs says."""
    command = [str(postgres.tool(name)), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}).stdout


def observed(scene: Scene) -> dict[str, Object]:
    """Wait until every object was handled in its current generation; their statuses."""

    def handled() -> bool:
        return all(
            obj["status"]["observedGeneration"] == obj["metadata"]["generation"] for obj in scene.api.list().values()
        )

    eventually(handled, "all are handled")
    return {name: obj["status"] for name, obj in scene.api.list().items()}


def vanish(scene: Scene, name: str) -> None:
    """Remove an object without its operator's consent."""
    assert scene.api.patch(name, {"metadata": {"finalizers": None}}).ok
    assert scene.api.delete(name).ok
    scene.is_gone(name)


def files(database: Database) -> list[Object]:
    """Make a repository of 200 files: 80 due just now, 40 of long ago, 80 plans."""
    now: datetime = database.value("SELECT now()")
    ages = {
        "done": lambda number: timedelta(seconds=number % 7),
        "history": lambda number: timedelta(days=2 + number),
        "plan": lambda number: -timedelta(days=900 + number),
    }
    groups = ["done"] * 80 + ["history"] * 40 + ["plan"] * 80
    return [
        flagschedule(
            f"{group}-{number}",
            spec(
                flagKey=f"flag-{number % 10}",
                scheduledAt=(now - ages[group](number)).strftime("%Y-%m-%dT%H:%M:%SZ"),
                updates={"rolloutPercentage": number % 100},
            ),
            annotations={"argocd.argoproj.io/tracking-id": f"shop:flagschedule.io/FlagSchedule:{group}-{number}"},
        )
        for number, group in enumerate(groups)
    ]


def sync(control_plane: ControlPlane, namespace: str, repository: list[Object]) -> None:
    """Apply all files, as Git's tools do."""
    whole = {"apiVersion": "v1", "kind": "List", "items": repository}
    control_plane.kubectl("apply", f"--namespace={namespace}", "--filename=-", input=json.dumps(whole))


def mirrored(scene: Scene, number: int) -> dict[str, Object]:
    """Wait until so many objects are mirrored; their statuses."""
    alive = "SELECT count(*) FROM flag_schedule_objects WHERE deleted_at IS NULL"
    eventually(lambda: scene.database.value(alive) == number, f"{number} are mirrored")
    return observed(scene)


def test_a_rebuilt_cluster_makes_no_change(
    quick: Scene, twin: Scene, installed: ControlPlane, second: ControlPlane
) -> None:
    """A cluster rebuilt from 200 files changes no flag: what was made is Replayed, the old is history, plans go on."""
    database, namespace = quick.database, quick.api.namespace
    for number in range(10):
        database.flag(f"flag-{number}")
    repository = files(database)
    quick.operator.start()
    sync(installed, namespace, [*repository, flagschedule("in-no-file", spec())])
    mirrored(quick, 201)
    quick.process()
    undone = "SELECT count(*) FROM flag_schedule_status_outbox"
    eventually(lambda: database.value(undone) == 0, "all are written")
    first = observed(quick)
    quick.operator.kill()
    before = [database.query(FLAGS), database.value(ATTEMPTS)]

    sync(second, namespace, repository)
    twin.operator.start(wait=False)
    assert twin.operator.ended() == 2  # the lost cluster was alive less than 10 minutes ago
    database.run("UPDATE flag_schedule_clusters SET heartbeat_at = now() - interval '11 minutes'")
    twin.operator.start()

    after = mirrored(twin, 200)
    twin.process()
    assert [database.query(FLAGS), database.value(ATTEMPTS)] == before
    assert database.value(ATTEMPTS) == 80
    for name, status in after.items():
        group = name.split("-")[0]
        if group == "done":
            assert (status["phase"], status["appliedAt"]) == ("Applied", first[name]["appliedAt"])
            assert conditions(status)["Ready"] == ("True", "Replayed")
        else:
            assert status["phase"] == {"history": "Expired", "plan": "Pending"}[group]
            assert conditions(status)["Ready"][0] == "True"
            assert "appliedAt" not in status
    assert twin.row("in-no-file")["reason"] == "Deleted"
    plans = "SELECT status, count(*) FROM feature_flag_schedules WHERE status <> 'applied' GROUP BY 1 ORDER BY 1"
    assert [tuple(found.values()) for found in database.query(plans)] == [("cancelled", 81), ("pending", 80)]


def test_a_restored_database_applies_nothing_twice(
    quick: Scene, postgres: Postgres, new_operator: Callable[..., Operator]
) -> None:
    """A backup of before an application, put back under an operator or a new one, is set right from the status."""
    scene, url = quick, quick.operator.database_url
    scene.database.flag("other")
    scene.operator.start()
    scene.create_by_git("launch", updates={"enabled": True})
    edited = scene.create_by_git("edited", scheduledAt="2035-01-01T00:00:00Z", flagKey="other")
    observed(scene)
    backup = tool(postgres, "pg_dump", "--clean", "--if-exists", url)
    due = edited["metadata"]["creationTimestamp"]
    assert scene.api.patch("edited", {"spec": {"scheduledAt": due}}).ok
    observed(scene)
    scene.process()
    applied = {name: scene.reaches(name, "Applied")["appliedAt"] for name in ("launch", "edited")}
    sql = scene.operator.log.with_suffix(".sql")
    # Add entries as for outcomes that are not written yet: the writer must not erase what the status records.
    unwritten = (
        "INSERT INTO public.flag_schedule_status_outbox (schedule_id) SELECT id FROM public.feature_flag_schedules"
    )
    sql.write_text(f"{backup}\n{unwritten};\n")

    def set_right(database: Database) -> None:
        rows = "SELECT status, reason FROM feature_flag_schedules"
        ended = [{"status": "applied", "reason": "RestoredFromStatus"}] * 2
        eventually(lambda: database.query(rows) == ended, "both are restored")
        scene.process()
        assert database.value(ATTEMPTS) == 0
        assert database.value("SELECT count(*) FROM feature_flags WHERE enabled") == 0
        for name, at in applied.items():
            status = scene.reaches(name, "Applied")
            assert status["appliedAt"] == at
            assert conditions(status)["Applied"] == ("True", "Applied")

    tool(postgres, "psql", "--single-transaction", "--quiet", f"--file={sql}", url)
    set_right(scene.database)
    assert len(scene.operator.lines("Restored from status")) == 2

    scene.operator.kill()
    copy = postgres.create_database(f"{url.rpartition('/')[2]}_copy")
    tool(postgres, "psql", "--single-transaction", "--quiet", f"--file={sql}", copy)
    scene.operator = new_operator(copy)
    scene.operator.start()
    with connected(copy) as database:
        set_right(database)


def test_an_operator_that_is_ready_has_set_everything_right(quick: Scene) -> None:
    """After a restore the processor may start once the operator is ready: every application is recorded again."""
    scene, database = quick, quick.database
    scene.operator.start()
    scene.create_by_git("launch", updates={"enabled": True})
    observed(scene)
    scene.process()
    scene.reaches("launch", "Applied")
    scene.operator.kill()
    database.run("UPDATE feature_flag_schedules SET status = 'pending', reason = NULL, applied_at = NULL")
    refused = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    before = database.value(refused)

    with connected(scene.operator.database_url) as holder:
        holder.run("BEGIN")
        holder.run("SELECT FROM feature_flag_schedules FOR UPDATE")
        scene.operator.start(wait=False)
        eventually(lambda: database.value(refused) > before, "the comparison is held up")
        eventually(lambda: scene.operator.probe("readyz") == (503, "starting"), "the operator says that it starts")
        holder.run("ROLLBACK")

    eventually(lambda: scene.operator.probe("readyz") == (200, None), "the operator is ready")
    assert scene.row("launch")["reason"] == "RestoredFromStatus"


def _elsewhere(database: Database) -> None:
    """Prepare a plan of cluster b in a namespace that its operator here does not serve."""
    database.run(
        "WITH made AS (INSERT INTO feature_flag_schedules (flag_id, scheduled_at, updates) "
        """SELECT id, '2035-01-01T00:00:00Z', '{"enabled": true}' FROM feature_flags LIMIT 1 RETURNING id) """
        "INSERT INTO flag_schedule_objects (uid, schedule_id, cluster, namespace, name, generation, created_at) "
        "SELECT gen_random_uuid(), id, 'b', 'elsewhere', 'elsewhere', 1, now() FROM made"
    )


def _states(database: Database) -> dict[tuple[str, str], str]:
    """Return the state of every row by its cluster and name."""
    found = database.query(
        "SELECT o.cluster, o.name, s.status FROM flag_schedule_objects AS o "
        "JOIN feature_flag_schedules AS s ON s.id = o.schedule_id"
    )
    return {(each["cluster"], each["name"]): each["status"] for each in found}


def test_clusters_on_one_database_leave_each_other_alone(quick: Scene, twin: Scene) -> None:
    """Each operator repairs what its own cluster and namespaces lack or no longer have, and nothing else."""
    a, b, database = quick, twin, quick.database
    foreign = database.schedule(database.flag("theirs"), {"enabled": True}, due=timedelta(days=9))
    of_b = dict.fromkeys((("b", "launch"), ("b", "vanishes"), ("b", "elsewhere")), "pending")
    a.operator.start(FLAG_SCHEDULE_CLUSTER="a")
    b.operator.start(FLAG_SCHEDULE_CLUSTER="b")
    for name in ("launch", "vanishes"):
        a.create(name)
        b.create(name)
    observed(a)
    lost = observed(b)["launch"]["scheduleId"]
    _elsewhere(database)
    a.operator.kill()
    vanish(a, "vanishes")

    database.run("DELETE FROM flag_schedule_objects WHERE schedule_id = %s", lost)
    database.run("DELETE FROM feature_flag_schedules WHERE id = %s", lost)
    eventually(lambda: b.status("launch")["scheduleId"] != lost, "b makes the lost row again")
    assert _states(database) == {("a", "launch"): "pending", ("a", "vanishes"): "pending", **of_b}
    a.operator.start(FLAG_SCHEDULE_CLUSTER="a")
    eventually(lambda: _states(database)["a", "vanishes"] == "cancelled", "a gives up what vanished")
    assert _states(database) == {("a", "launch"): "pending", ("a", "vanishes"): "cancelled", **of_b}
    assert database.row(foreign)["status"] == "pending"

    database.run("UPDATE flag_schedule_clusters SET kube_system_uid = 'another', heartbeat_at = now() WHERE name = 'b'")
    assert b.operator.ended() == 2
    assert "another live cluster uses the name 'b'" in b.operator.log.read_text()
