"""The recipes for other tables and other tools, run as their pages show them."""

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import LiteralString
from uuid import UUID

import psycopg
import pytest

from tests.integration.conftest import Run
from tests.integration.database import Database

PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"


def blocks(page: str) -> list[bytes]:
    """Return the SQL of a page."""
    found: list[str] = re.findall(r"```sql\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)
    return [block.encode() for block in found]


@pytest.fixture
def toggles(database: Database) -> Database:
    """A database whose application has a table of its own, with a toggle from before the recipe."""
    table, *recipe = blocks("other-tables.md")
    database.connection.execute(table)
    database.run("INSERT INTO toggles VALUES ('checkout', false, 12.50)")
    for block in recipe:
        database.connection.execute(block)
    return database


def toggle(database: Database) -> tuple[bool, Decimal]:
    """Return the application's values."""
    (row,) = database.query("SELECT is_on, percent FROM toggles WHERE name = 'checkout'")
    return row["is_on"], row["percent"]


def flag(database: Database) -> UUID:
    """Return the flag that the toggle is carried over to."""
    found: UUID = database.value("SELECT id FROM feature_flags WHERE flag_key = 'checkout'")
    return found


def test_a_change_is_written_through_and_back(toggles: Database, flagschedule: Run) -> None:
    """The processor's change reaches the application's table, and the application's own change the flag."""
    assert toggles.state(flag(toggles)) == (False, 13)
    schedule = toggles.schedule(flag(toggles), {"enabled": True})

    assert flagschedule("process").returncode == 0

    assert toggles.row(schedule)["status"] == "applied"
    assert toggles.state(flag(toggles)) == (True, 13)
    assert toggle(toggles) == (True, Decimal("12.50"))
    toggles.run("UPDATE toggles SET is_on = false, percent = 99.5")
    assert toggles.state(flag(toggles)) == (False, 100)
    assert toggle(toggles) == (False, Decimal("99.50"))


@pytest.mark.parametrize(
    ("write", "untouched"),
    [
        ("UPDATE feature_flags SET enabled = enabled", "SELECT xmin::text FROM toggles"),
        ("UPDATE toggles SET percent = 12.6", "SELECT xmin::text FROM feature_flags"),
    ],
)
def test_a_write_that_changes_nothing_ends_the_circle(
    toggles: Database, write: LiteralString, untouched: LiteralString
) -> None:
    """An update to values that are the same after the cast writes no row of the other table."""
    before = toggles.value(untouched)

    toggles.run(write)

    assert toggles.value(untouched) == before


def test_a_write_that_the_application_refuses_fails_the_attempt(toggles: Database, flagschedule: Run) -> None:
    """A constraint of the application's table leaves both tables as they were, and another flag is changed."""
    toggles.run("ALTER TABLE toggles ADD CONSTRAINT few CHECK (percent < 50)")
    schedule = toggles.schedule(flag(toggles), {"rolloutPercentage": 50})
    toggles.run("INSERT INTO toggles VALUES ('other')")
    other = toggles.schedule(toggles.value("SELECT id FROM feature_flags WHERE flag_key = 'other'"), {"enabled": True})

    assert flagschedule("process").returncode == 0

    row = toggles.row(schedule)
    assert (row["status"], row["retry_count"]) == ("failed", 1)
    assert "check_violation" in row["last_error"]
    assert toggles.state(flag(toggles)) == (False, 13)
    assert toggle(toggles) == (False, Decimal("12.50"))
    assert toggles.row(other)["status"] == "applied"


def test_a_flag_without_a_toggle_fails(toggles: Database, flagschedule: Run) -> None:
    """A change that would reach `feature_flags` alone is refused."""
    schedule = toggles.schedule(toggles.flag("alone"), {"enabled": True})

    assert flagschedule("process").returncode == 0

    assert toggles.row(schedule)["status"] == "failed"


def test_a_toggle_that_is_deleted_takes_its_flag_along(toggles: Database) -> None:
    """The flag goes with the toggle, and so do its pending changes."""
    toggles.schedule(flag(toggles), {"enabled": True})

    toggles.run("DELETE FROM toggles")

    assert toggles.query("SELECT FROM feature_flags") == toggles.query("SELECT FROM feature_flag_schedules") == []


def test_no_other_role_may_call_the_functions(toggles: Database) -> None:
    """The functions run with their owner's rights, so that only the triggers call them."""
    may = "SELECT bool_or(has_function_privilege(%s, oid, 'EXECUTE')) FROM pg_proc WHERE proname ~ 'toggles'"

    assert toggles.value(may, "flagschedule_processor") is False


@pytest.fixture
def relay(database: Database) -> Iterator[Database]:
    """A database with the view for GO Feature Flag, and its user."""
    for block in blocks("openfeature.md"):
        database.connection.execute(block)
    yield database
    database.run("DROP OWNED BY relay; DROP ROLE relay")


OFF, ON = {"variation": "off"}, {"variation": "on"}


@pytest.mark.parametrize(
    ("enabled", "percent", "rule"),
    [
        (True, 0, OFF),
        (True, 1, {"percentage": {"on": 1, "off": 99}}),
        (True, 99, {"percentage": {"on": 99, "off": 1}}),
        (True, 100, ON),
        (False, 50, OFF),
        (False, 100, OFF),
    ],
)
def test_the_view_is_what_the_relay_proxy_reads(relay: Database, enabled: bool, percent: int, rule: object) -> None:
    """Each row is a flag of its environment's set, with two variations and a rule; its user sees nothing else."""
    relay.run(
        "INSERT INTO feature_flags (flag_key, environment, enabled, rollout_percentage) "
        "VALUES ('x', 'staging', %s, %s)",
        enabled,
        percent,
    )

    with relay.connection.transaction():
        relay.run("SET LOCAL ROLE relay")
        (found,) = relay.query("SELECT flag_name, flagset, config FROM go_feature_flag ORDER BY flag_name")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), relay.connection.transaction():
            relay.query("SELECT FROM feature_flags")

    assert (found["flag_name"], found["flagset"]) == ("x", "staging")
    assert found["config"] == {"variations": {"on": True, "off": False}, "defaultRule": rule}
