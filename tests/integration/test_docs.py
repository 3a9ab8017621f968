"""The SQL that the pages show runs on the schema of the product."""

import re
from pathlib import Path

import pytest

from tests.integration.database import Database

PAGES = [Path(__file__).resolve().parents[2] / "docs" / "how-to" / name for name in ("operations.md", "monitoring.md")]
BLOCKS = [block.strip() for page in PAGES for block in re.findall(r"```sql\n(.*?)```", page.read_text(), re.DOTALL)]


def test_there_is_something_to_run() -> None:
    """The pages have SQL blocks that the next test runs."""
    assert len(BLOCKS) >= 7


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[0][:40])
def test_the_sql_of_the_page_runs(database: Database, block: str) -> None:
    """Every statement is accepted by a migrated database."""
    for statement in filter(None, map(str.strip, block.split(";"))):
        database.connection.execute(statement.encode())


def test_an_orphan_freeze_is_found_and_ended(database: Database) -> None:
    """Of two freezes that are active, the one whose cluster is silent is listed, and ended by its name."""
    (find,) = (block for block in BLOCKS if "heartbeat_at" in block)
    (end,) = (block for block in BLOCKS if block.startswith("DELETE FROM flag_schedule_freezes"))
    for cluster, minutes in (("west", 11), ("east", 1)):
        database.run(
            "INSERT INTO flag_schedule_clusters VALUES (%s, 'uid', now() - make_interval(mins => %s))", cluster, minutes
        )
        database.run(
            "INSERT INTO flag_schedule_freezes (cluster, uid, name, reason, starts_at)"
            " VALUES (%s, gen_random_uuid(), 'incident-4711', 'down', now() - interval '1 hour')",
            cluster,
        )

    found = database.connection.execute(find.rstrip(";").encode()).fetchall()
    database.connection.execute(end.rstrip(";").encode())

    assert len(found) == 1
    assert "west" in str(found)
    assert database.value("SELECT array_agg(cluster) FROM flag_schedule_freezes") == ["east"]
