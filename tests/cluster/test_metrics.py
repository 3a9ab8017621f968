"""What a real Prometheus finds when it scrapes a running operator."""

import json
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dev.localkind.servers import prometheus
from dev.localkind.servers.postgres import Postgres
from tests.cluster.api import Api, eventually
from tests.cluster.operator_fixtures import LEASE, SYSTEM, Operator, Scene
from tests.integration.database import connected
from tests.waiting import PATIENCE

pytestmark = pytest.mark.apiserver

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "manifests" / "components" / "monitoring"
QUERIES = [
    target["expr"].replace("$__rate_interval", "1m")
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    for target in panel["targets"]
]


def scraped(operator: Operator) -> dict[str, float]:
    """Return every sample of the operator's metrics, by its name and labels as they are written."""
    with urllib.request.urlopen(f"http://127.0.0.1:{operator.port}/metrics", timeout=PATIENCE) as answer:
        text = answer.read().decode()
    return {
        sample.name + "".join(f"[{value}]" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def lively(scene: Scene) -> Scene:
    """A scene in which one schedule was applied in time, one waits, one is due, and one failed once."""
    scene.create_by_git("applied", late=timedelta(seconds=10))
    scene.create("planned")
    scene.reaches("applied", "Pending")
    scene.process()
    scene.reaches("applied", "Applied")
    return scene


def test_the_figures_are_those_of_the_scene(lively: Scene) -> None:
    """Counters of objects and runs, gauges of the backlog, and the histogram of lateness say what happened."""
    flag = lively.database.value("SELECT id FROM feature_flags")
    lively.database.schedule(flag, {"enabled": True})
    retrying = lively.database.schedule(flag, {"enabled": True}, status="failed", retry_count=1)
    lively.database.run("UPDATE feature_flag_schedules SET next_retry_at = '2035-01-01' WHERE id = %s", retrying)

    found: dict[str, float] = {}

    def counted() -> bool:
        found.update(scraped(lively.operator))
        # The outbox entry of a status goes, and a reconcile is counted, after the status can be seen.
        return [found[name] for name in (
            "flagschedule_due_schedules",
            "flagschedule_outbox_entries[status]",
            "flagschedule_reconcile_duration_seconds_count",
        )] == [1, 0, 2]  # fmt: skip

    eventually(counted, "the due one is counted, and what was handled is finished")
    assert found["flagschedule_leader"] == 1
    assert found["flagschedule_database_up"] == 1
    assert found["flagschedule_oldest_due_seconds"] >= 60
    assert found["flagschedule_retrying_schedules"] == 1
    assert found["flagschedule_transitions_total[Applied]"] == 1
    assert found["flagschedule_transitions_total[Mirrored]"] == 2
    assert found["flagschedule_transitions_total[RetriesExhausted]"] == 0
    assert found["flagschedule_lateness_seconds_count"] == 1
    assert 10 <= found["flagschedule_lateness_seconds_sum"] < 70
    assert 0 <= found["flagschedule_last_run_age_seconds"] < 60
    assert 0 < found["flagschedule_last_run_duration_seconds"] < 60


def test_processed_rows_are_counted(scene: Scene) -> None:
    """All rows that runs processed are a metric, also those that other programs made."""
    flag = scene.database.flag("theirs")
    before = scraped(scene.operator)["flagschedule_processed_schedules_total[applied]"]
    scene.database.schedule(flag, {"enabled": True})
    scene.database.schedule(flag, {"rolloutPercentage": 700})
    scene.process()

    def counted() -> bool:
        found = scraped(scene.operator)
        applied, failed = (found[f"flagschedule_processed_schedules_total[{word}]"] for word in ("applied", "failed"))
        return (applied - before, failed) == (1, 1)

    eventually(counted, "both are counted")
    found = scraped(scene.operator)
    assert found["flagschedule_attempts_total[1][failed]"] == 1
    assert found["flagschedule_failed_attempts_total[InvalidUpdates]"] == 1


def test_phases_are_counted_at_each_comparison(lively: Scene) -> None:
    """How many objects stand in each phase follows from the comparison of all of them."""

    def counted() -> bool:
        found = scraped(lively.operator)
        return (found.get("flagschedule_objects[Applied]"), found.get("flagschedule_objects[Pending]")) == (1, 1)

    eventually(counted, "both phases are counted")
    assert scraped(lively.operator)["flagschedule_objects[Failed]"] == 0


def test_a_standby_says_only_that(api: Api, database_url: str, new_operator: Callable[..., Operator]) -> None:
    """Of two replicas only the leader counts, so that sums over both are right."""
    api.request("DELETE", LEASE)
    leader, standby = (new_operator(database_url, FLAG_SCHEDULE_LEASE_NAMESPACE=SYSTEM) for _ in range(2))
    leader.start()
    standby.start()

    assert scraped(leader)["flagschedule_leader"] == 1
    assert scraped(standby) == {"flagschedule_leader": 0}


def test_an_unreachable_database_is_reported(scene: Scene, postgres: Postgres) -> None:
    """A scrape comes back without the database, and says that it is down."""
    name = scene.database.value("SELECT current_database()")
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = 'flags_operate'"
    with connected(postgres.url) as server:
        server.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        server.run(end, name)
        eventually(lambda: scraped(scene.operator)["flagschedule_database_up"] == 0, "it is reported")
        server.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    eventually(lambda: scraped(scene.operator)["flagschedule_database_up"] == 1, "it is back")


@pytest.fixture
def server(lively: Scene, tmp_path: Path) -> Iterator[str]:
    """The address of a Prometheus that scrapes the operator each second."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    target = f"127.0.0.1:{lively.operator.port}"
    scrape = {"job_name": "operator", "scrape_interval": "1s", "static_configs": [{"targets": [target]}]}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [scrape]}))
    with (tmp_path / "prometheus.log").open("w") as log:
        running = subprocess.Popen(
            [
                prometheus.programs() / "prometheus",
                f"--config.file={tmp_path}/prometheus.yml",
                f"--storage.tsdb.path={tmp_path}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running.kill()
        running.wait()


def answer(server: str, query: str) -> list[Any]:
    """Return what Prometheus answers to a query; nothing while it starts."""
    try:
        address = f"{server}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(address, timeout=PATIENCE) as found:  # noqa: S310 -- our own server
            result: list[Any] = json.load(found)["data"]["result"]
            return result
    except OSError:
        return []


def test_every_query_of_the_dashboard_has_an_answer(lively: Scene, server: str) -> None:
    """No panel stays empty: each of its queries finds data in a Prometheus that scrapes an operator at work."""
    eventually(lambda: answer(server, "flagschedule_leader") != [], "it is scraped")
    lively.create_by_git("another")
    lively.reaches("another", "Pending")
    lively.process()
    lively.reaches("another", "Applied")

    for query in QUERIES:
        eventually(lambda query=query: _is_number(answer(server, query)), query)  # type: ignore[misc]  # bound at once
    assert len(QUERIES) == 23


def _is_number(result: list[Any]) -> bool:
    return bool(result) and all(sample["value"][1] != "NaN" for sample in result)


def test_the_metrics_follow_the_conventions(lively: Scene) -> None:
    """Prometheus' linter finds nothing, and no label holds a flag, an object or a namespace."""
    with urllib.request.urlopen(f"http://127.0.0.1:{lively.operator.port}/metrics", timeout=PATIENCE) as found:
        text = found.read()
    linted = subprocess.run(
        [prometheus.programs() / "promtool", "check", "metrics"], input=text, capture_output=True, check=False
    )

    assert (linted.returncode, linted.stdout + linted.stderr) == (0, b"")
    labels = {
        name
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        for name in sample.labels
    }
    assert labels == {"attempt", "condition", "le", "outbox", "outcome", "phase", "reason"}
