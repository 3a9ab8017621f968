"""Migrations: from any earlier stage a database ends complete, and the host's own table is not touched."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dev.localkind.servers.postgres import Postgres
from flagschedule.adapters.postgres import migrate as migrations
from tests import roles
from tests.integration.conftest import Run
from tests.integration.database import Database, connected

ORIGINAL = Path(__file__).parent / "original"
PLAIN = {"idx_schedules_flag_id", "idx_schedules_scheduled_at", "idx_schedules_status", "idx_schedules_next_retry_at"}
STAGES = [[], ["flags"], ["flags", "schedules"], ["flags", "schedules", "retries"]]


def migrate(url: str) -> int:
    """Migrate the superuser's database as the migrator."""
    return migrations.migrate(roles.url(url, "migrate"))


def at_stage(url: str, stage: list[str]) -> None:
    """Bring an empty database to a stage of the original, with the application as owner of its tables."""
    with connected(url) as database:
        database.connection.execute(f"SET ROLE {roles.HOST}".encode())
        for name in stage:
            database.connection.execute((ORIGINAL / f"{name}.sql").read_bytes())
        if stage:
            database.connection.execute(roles.FLAGS.encode())


def dump(postgres: Postgres, url: str, *options: str) -> str:
    """pg_dump without the token that newer versions generate for each dump."""
    text = subprocess.run([postgres.tool("pg_dump"), *options, url], check=True, capture_output=True, text=True).stdout
    return "\n".join(line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: "+".join(stage) or "empty")
def test_every_stage_ends_complete(empty_database_url: str, database_url: str, stage: list[str]) -> None:
    """Empty, flags only, first step, second step: all end with the same tables, columns and indexes."""
    at_stage(empty_database_url, stage)

    migrate(empty_database_url)

    assert _shape(empty_database_url) == _shape(database_url)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: "+".join(stage) or "empty")
def test_running_again_changes_nothing(postgres: Postgres, empty_database_url: str, stage: list[str]) -> None:
    """A second run applies nothing and leaves schema and data as they are, to the letter of pg_dump."""
    at_stage(empty_database_url, stage)
    assert migrate(empty_database_url) > 0
    before = dump(postgres, empty_database_url)

    assert migrate(empty_database_url) == 0

    assert dump(postgres, empty_database_url) == before


@pytest.mark.parametrize("stage", STAGES[1:], ids="+".join)
def test_the_hosts_table_is_identical_before_and_after(
    postgres: Postgres, empty_database_url: str, stage: list[str]
) -> None:
    """pg_dump of feature_flags, schema and data, does not change by a letter."""
    at_stage(empty_database_url, stage)
    options = ("--table=feature_flags",)
    before = dump(postgres, empty_database_url, *options)

    migrate(empty_database_url)

    assert dump(postgres, empty_database_url, *options) == before


def test_rows_of_the_original_keep_their_data(empty_database_url: str) -> None:
    """Rows in every state keep every value, but for the time of a retry that the original would never have made."""
    at_stage(empty_database_url, STAGES[3])
    query = "SELECT to_jsonb(s) AS row FROM feature_flag_schedules AS s ORDER BY id"
    with connected(empty_database_url) as database:
        before = [row["row"] for row in database.query(query)]

        migrate(empty_database_url)

        after = [row["row"] for row in database.query(query)]
    changed = {
        old["error_message"] or old["status"]: {key for key in old if old[key] != new[key]}
        for old, new in zip(before, after, strict=True)
    }
    assert {name: keys for name, keys in changed.items() if keys} == {"exhausted": {"next_retry_at"}}
    assert [new["next_retry_at"] for new in after if new["error_message"] == "exhausted"] == [None]
    assert {(new["arming"], new["suspended"], new["reason"]) for new in after} == {(0, False, None)}


def test_rows_of_the_first_step_get_the_defaults(empty_database_url: str) -> None:
    """A database at the first step gets the retry columns, with the original's defaults."""
    at_stage(empty_database_url, STAGES[2])

    migrate(empty_database_url)

    with connected(empty_database_url) as database:
        found = database.query("SELECT DISTINCT retry_count, max_retries, next_retry_at FROM feature_flag_schedules")
    assert found == [{"retry_count": 0, "max_retries": 3, "next_retry_at": None}]


def test_nothing_old_wakes_up_by_surprise(empty_database_url: str) -> None:
    """After the migration the processor applies what the original would have applied, and no exhausted row."""
    at_stage(empty_database_url, STAGES[3])
    migrate(empty_database_url)

    with connected(empty_database_url) as database:
        due = database.query(
            "SELECT error_message FROM feature_flag_schedules WHERE status = 'failed' AND next_retry_at <= now()"
        )
    assert due == [{"error_message": "due for a retry"}]


def test_a_retry_of_the_original_does_not_overwrite_what_it_applied_later(
    empty_database_url: str, flagschedule: Run
) -> None:
    """The original's applied schedules count for the order: a migrated retry of an older one sets nothing."""
    at_stage(empty_database_url, STAGES[3])
    with connected(empty_database_url) as database:
        database.run("DELETE FROM feature_flag_schedules")
        flag = database.flag("checkout-v3")
        now = database.value("SELECT now()")
        older = [
            database.schedule(flag, updates, due=timedelta(hours=-2), status="failed", retry_count=1, next_retry_at=now)
            for updates in ({"enabled": False, "rolloutPercentage": 5}, {"rolloutPercentage": 5})
        ]
        for updates in ({"rolloutPercentage": 25}, {"enabled": True}, {"enabled": "no"}, 7):
            database.schedule(flag, updates, due=timedelta(hours=-1), status="applied")
        database.run("UPDATE feature_flags SET enabled = true, rollout_percentage = 25 WHERE id = %s", flag)
        migrate(empty_database_url)

        assert flagschedule("process", DATABASE_URL=empty_database_url).returncode == 0

        assert database.state(flag) == (True, 25)
        assert [database.row(row)["reason"] for row in older] == ["Superseded", "Superseded"]


def test_everything_goes_to_the_hosts_schema(empty_database_url: str, flagschedule: Run) -> None:
    """Where another schema comes first in the role's search_path, the host's tables are found, none is doubled."""
    with connected(empty_database_url) as database:
        database.run("CREATE SCHEMA mine")
        database.run("CREATE SCHEMA app")
        database.run("SET search_path = app")
        database.connection.execute((ORIGINAL / "flags.sql").read_bytes())
        database.connection.execute(roles.FLAGS.encode())
        for schema in ("mine", "app"):
            database.connection.execute(roles.rights_on_schema(schema))
        url = f"{empty_database_url}?options=-csearch_path%3Dmine,app"

        assert migrate(url) > 0
        assert migrate(url) == 0

        schemas = database.query("SELECT DISTINCT schemaname FROM pg_tables WHERE tablename ~ '^(feature_)?flag_'")
        assert schemas == [{"schemaname": "app"}]
        schedule = database.schedule(database.flag("checkout-v3"), {"enabled": True})
        assert flagschedule("process", DATABASE_URL=url).returncode == 0
        assert database.row(schedule)["status"] == "applied"


def test_new_tables_never_go_to_the_servers_own_schema(empty_database_url: str) -> None:
    """Where search_path names pg_catalog first, tables are made in the first schema that is not Postgres' own."""
    url = f"{empty_database_url}?options=-csearch_path%3Dpg_catalog,public"

    assert migrate(url) > 0
    assert migrate(url) == 0

    with connected(empty_database_url) as database:
        assert database.value("SELECT schemaname FROM pg_tables WHERE tablename = 'feature_flags'") == "public"


@pytest.mark.parametrize(
    ("search_path", "sentence"), [("a,b", "different schemas"), ("nowhere", "no schema")], ids=["two", "none"]
)
def test_a_schema_that_cannot_be_chosen_is_reported(
    empty_database_url: str, flagschedule: Run, search_path: str, sentence: str
) -> None:
    """Two schemas with a table each, or none to create tables in: exit code 2 and a sentence, nothing is changed."""
    with connected(empty_database_url) as database:
        database.run("CREATE SCHEMA a")
        database.run("CREATE SCHEMA b")
        for schema in ("a", "b"):
            database.connection.execute(roles.rights_on_schema(schema))
        database.run("CREATE TABLE a.feature_flags ()")
        database.run("CREATE TABLE b.feature_flag_schedules ()")

        ended = flagschedule("migrate", DATABASE_URL=f"{empty_database_url}?options=-csearch_path%3D{search_path}")

        assert ended.returncode == 2
        (line,) = ended.stderr.splitlines()
        assert sentence in line
        assert database.value("SELECT count(*) FROM pg_tables WHERE tablename ~ 'flag'") == 2


def test_indexes_of_other_tables_are_left_alone(empty_database_url: str) -> None:
    """An index of another table that has a name of the original's, or one like ours, stays."""
    at_stage(empty_database_url, STAGES[1])
    names = ["idx_schedules_status", "idx_schedules_due", "idx_objects_name"]
    with connected(empty_database_url) as database:
        database.run("CREATE TABLE others (x integer)")
        for name in names:
            database.connection.execute(f"CREATE INDEX {name} ON others (x)".encode())

        migrate(empty_database_url)

        kept = database.query("SELECT indexname FROM pg_indexes WHERE tablename = 'others' ORDER BY 1")
    assert [index["indexname"] for index in kept] == sorted(names)


def test_an_invalid_index_of_an_interrupted_build_is_rebuilt(empty_database_url: str) -> None:
    """An index that a killed CREATE INDEX CONCURRENTLY left behind is dropped and built again."""
    at_stage(empty_database_url, STAGES[3])
    with connected(empty_database_url) as database:
        database.run("CREATE INDEX idx_feature_flag_schedules_due ON feature_flag_schedules (created_at)")
        database.run(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_feature_flag_schedules_due'::regclass"
        )

        migrate(empty_database_url)

        definition = database.value("SELECT pg_get_indexdef('idx_feature_flag_schedules_due'::regclass)")
        valid = database.value(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = 'idx_feature_flag_schedules_due'::regclass"
        )
    assert "(scheduled_at, id)" in definition
    assert valid


def test_migrators_take_turns(empty_database_url: str) -> None:
    """Three migrations at once apply each step once, and all of them end well."""
    with ThreadPoolExecutor(3) as pool:
        applied = sorted(pool.map(lambda _: migrate(empty_database_url), range(3)))

    assert applied == [0, 0, len(list(Path("migrations").glob("*.sql")))]


def test_the_originals_program_goes_on_working(database: Database) -> None:
    """The statements of the original still run on the new schema: insert, select due, mark, cancel."""
    flag = database.flag("checkout-v2")
    made = database.value(
        "INSERT INTO feature_flag_schedules (flag_id, scheduled_at, updates, max_retries) "
        "VALUES (%s, now(), '{\"enabled\": true}', 3) RETURNING id",
        flag,
    )
    due = database.query(
        "SELECT id FROM feature_flag_schedules WHERE (status = 'pending' AND scheduled_at <= now()) OR "
        "(status = 'failed' AND next_retry_at <= now() AND retry_count < max_retries) "
        "ORDER BY CASE status WHEN 'failed' THEN 0 ELSE 1 END, scheduled_at LIMIT 100 FOR UPDATE SKIP LOCKED"
    )
    database.run("UPDATE feature_flag_schedules SET status = 'cancelled', updated_at = now() WHERE id = %s", made)

    assert due == [{"id": made}]


def test_the_program_reports_its_progress(empty_database_url: str, flagschedule: Run) -> None:
    """`flagschedule migrate` names every step and says when it is done; so does a second run."""
    first = flagschedule("migrate", DATABASE_URL=empty_database_url)
    second = flagschedule("migrate", DATABASE_URL=empty_database_url)

    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stderr.count("Applying migration") == len(list(Path("migrations").glob("*.sql")))
    assert "Applying migration" not in second.stderr
    assert "Schema is up to date" in second.stderr


def _shape(url: str) -> dict[str, Any]:
    """Return tables with their columns, and indexes. Types of text and the order of columns do not count."""
    with connected(url) as database:
        columns = database.query(
            "SELECT table_name, column_name, replace(data_type, 'character varying', 'text') AS type, is_nullable, "
            "replace(column_default, 'character varying', 'text') AS default "
            "FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
        )
        indexes = database.query("SELECT indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1")
    names = {index["indexname"] for index in indexes}
    assert not names & PLAIN
    return {"columns": columns, "indexes": names}
