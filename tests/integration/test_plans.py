"""With history behind it a claim still reads only what is due."""

import json
from collections.abc import Iterator
from typing import Any, LiteralString

import pytest

from flagschedule.adapters.postgres import statements
from tests.integration.database import Database

HISTORY = 100_000
LOOKS = {
    "first attempts, full": statements.full_claim("process/apply", "process/claim_due"),
    "retries, full": statements.full_claim("process/apply", "process/claim_retries"),
    "look, full": statements.look(),
    "first attempts": statements.plain_claim("process/apply", "process/claim_due"),
    "retries": statements.plain_claim("process/apply", "process/claim_retries"),
    "seconds until due": statements.plain("process/seconds_until_due"),
    "is a retry due": statements.read("process/is_retry_due"),
    "is anything due": statements.anything_due(),
    "is aside due": statements.read("process/is_aside_due"),
    "suspects": statements.read("process/suspects"),
    "skipped": statements.read("process/skipped"),
}


@pytest.fixture
def history(database: Database) -> Database:
    """100,000 finished rows of which a tenth failed for good, and 5,000 in the future; never analysed."""
    database.run("ALTER TABLE feature_flag_schedules SET (autovacuum_enabled = false)")
    database.run("INSERT INTO feature_flags (flag_key) SELECT 'flag-' || n FROM generate_series(1, 5000) AS n")
    database.run(
        """
        INSERT INTO feature_flag_schedules (flag_id, scheduled_at, updates, status, retry_count)
        SELECT f.id, now() - n * interval '1 minute', '{"enabled": true}',
               CASE WHEN n % 10 = 0 THEN 'failed' ELSE 'applied' END, 3
        FROM generate_series(1, 20) AS n, feature_flags AS f
        """
    )
    database.run(
        "INSERT INTO feature_flag_schedules (flag_id, scheduled_at, updates) "
        """SELECT f.id, now() + interval '1 day', '{"enabled": true}' FROM feature_flags AS f"""
    )
    return database


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every node of a plan."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def explain(database: Database, text: LiteralString, user: LiteralString = "flags_process") -> list[dict[str, Any]]:
    """Return the executed plan of a statement, for the role that runs it.

    Prepared, because EXPLAIN of a statement itself always knows the values: only EXECUTE can have a generic plan.
    """
    values = {
        "suspects": "'{}'",
        "left_out": "'{}'",
        "stuck": "'{}'",
        "run_id": "1",
        "since": "'-infinity'",
        "since_id": "'00000000-0000-0000-0000-000000000000'",
        "since_retry": "'-infinity'",
        "mark": "NULL",
    }
    statement, names = statements.numbered(text)
    given = f"({', '.join(values[name] for name in names)})" if names else ""
    database.run("SET ROLE " + user)
    if user == "flags_process":
        database.run("SET enable_bitmapscan = off")  # as its store does
    database.connection.execute(b"PREPARE explained AS " + statement)
    explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE explained {given}"
    found = database.connection.execute(explained.encode()).fetchone()
    database.run("RESET enable_bitmapscan")
    database.run("RESET ROLE")
    assert found
    (plan,) = found["QUERY PLAN"] if not isinstance(found["QUERY PLAN"], str) else json.loads(found["QUERY PLAN"])
    return list(nodes(plan["Plan"]))


@pytest.mark.parametrize("analysed", [False, True], ids=["fresh", "analysed"])
@pytest.mark.parametrize("look", LOOKS)
def test_an_idle_look_reads_no_history(history: Database, look: str, analysed: bool) -> None:
    """With nothing due a look scans no table, filters no history and touches a handful of pages."""
    if analysed:
        history.run("ANALYZE")

    plan = explain(history, LOOKS[look])

    assert "feature_flag_schedules" not in _scans(plan)
    assert sum(node.get("Rows Removed by Filter", 0) for node in plan) == 0
    assert plan[0]["Shared Hit Blocks"] + plan[0]["Shared Read Blocks"] < 20


@pytest.mark.parametrize("analysed", [False, True], ids=["fresh", "analysed"])
def test_a_scrape_reads_no_history(history: Database, analysed: bool) -> None:
    """The metrics of the database cost no more with years behind it."""
    if analysed:
        history.run("ANALYZE")

    plan = explain(history, statements.read("mirror/backlog"), "flags_operate")

    assert "feature_flag_schedules" not in _scans(plan)
    assert plan[0]["Shared Hit Blocks"] + plan[0]["Shared Read Blocks"] < 20


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("analysed", [False, True], ids=["fresh", "analysed"])
def test_a_full_batch_reads_its_rows_only(history: Database, analysed: bool, mode: str) -> None:
    """With 5,000 rows due a batch of 100 scans neither schedules nor history, also with a generic plan.

    Nor does it compare each of its rows with each other one: no part of it is read more than a few times.
    """
    history.run(
        "UPDATE feature_flag_schedules SET scheduled_at = now() - interval '1 second' WHERE scheduled_at > now()"
    )
    if analysed:
        history.run("ANALYZE")
    history.connection.execute(f"SET plan_cache_mode = {mode}".encode())

    plan = explain(history, statements.plain_claim("process/apply", "process/claim_due"))

    assert "feature_flag_schedules" not in _scans(plan)
    blocks = plan[0]["Shared Hit Blocks"] + plan[0]["Shared Read Blocks"]
    assert blocks < 100 * 100  # pages for each row, not for the table
    assert all(node["Actual Loops"] <= 4 for node in plan if node["Node Type"] == "CTE Scan")
    assert not any(node["Node Type"] == "Sort" and node["Actual Rows"] > 100 for node in plan)  # stops early


def _scans(plan: list[dict[str, Any]]) -> set[str]:
    """Return the tables that were read completely."""
    return {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan" and node["Actual Loops"] > 0}
