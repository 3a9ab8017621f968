"""Each program's database role may do what the program does and nothing else."""

import asyncio
import re
from typing import LiteralString

import psycopg
import pytest

from dev.localkind.servers.postgres import Postgres
from flagschedule.adapters.postgres.migrate import migrate
from flagschedule.adapters.postgres.mirror_store import PostgresMirrorStore
from tests import roles
from tests.integration.conftest import Run
from tests.integration.database import Database, connected
from tests.integration.test_migrations import ORIGINAL, dump
from tests.integration.test_mirror_store import Scene

# Who may do what with which table, or with which of its columns; owners and their own rights apart.
GRANTS = """
auditor feature_flag_schedules: SELECT
auditor feature_flags: SELECT
auditor flag_plan_lineages: SELECT
auditor flag_plan_rows: SELECT
auditor flag_plans: SELECT
auditor flag_schedule_attempts: SELECT
auditor flag_schedule_cache_outbox: SELECT
auditor flag_schedule_changes: SELECT
auditor flag_schedule_clusters: SELECT
auditor flag_schedule_freezes: SELECT
auditor flag_schedule_migrations: SELECT
auditor flag_schedule_notices: SELECT
auditor flag_schedule_objects: SELECT
auditor flag_schedule_protocol: SELECT
auditor flag_schedule_runs: SELECT
auditor flag_schedule_status_outbox: SELECT
auditor flag_schedule_watermarks: SELECT
cleaner feature_flag_schedules: DELETE SELECT UPDATE(updated_at)
cleaner flag_plan_lineages: DELETE SELECT
cleaner flag_plan_rows: DELETE SELECT
cleaner flag_plans: DELETE SELECT
cleaner flag_schedule_attempts: DELETE SELECT
cleaner flag_schedule_changes: DELETE SELECT
cleaner flag_schedule_notices: DELETE SELECT
cleaner flag_schedule_objects: DELETE SELECT
cleaner flag_schedule_runs: DELETE SELECT
operator feature_flag_schedules: INSERT SELECT UPDATE(applied_at, arming, cluster, error_message, expect, last_error, \
max_retries, namespace, next_retry_at, not_after, on_mismatch, overrides, reason, requires, retry_count, \
retry_initial_seconds, retry_max_seconds, scheduled_at, set_aside_count, set_aside_until, status, suspended, \
updated_at, updates)
operator feature_flags: SELECT
operator flag_plan_lineages: INSERT SELECT UPDATE
operator flag_plan_rows: INSERT SELECT UPDATE
operator flag_plans: INSERT SELECT UPDATE
operator flag_schedule_attempts: SELECT
operator flag_schedule_cache_outbox: SELECT
operator flag_schedule_changes: INSERT
operator flag_schedule_clusters: INSERT SELECT UPDATE
operator flag_schedule_freezes: DELETE INSERT SELECT
operator flag_schedule_notices: INSERT SELECT UPDATE(ended_at, failures, next_try_at)
operator flag_schedule_objects: INSERT SELECT UPDATE
operator flag_schedule_protocol: SELECT UPDATE
operator flag_schedule_runs: SELECT
operator flag_schedule_status_outbox: DELETE SELECT
operator flag_schedule_watermarks: SELECT
processor feature_flag_schedules: SELECT UPDATE(applied_at, error_message, last_error, next_retry_at, reason, \
retry_count, set_aside_count, set_aside_until, status, updated_at)
processor feature_flags: SELECT UPDATE(enabled, rollout_percentage, updated_at)
processor flag_plan_rows: SELECT
processor flag_plans: SELECT
processor flag_schedule_attempts: INSERT
processor flag_schedule_cache_outbox: DELETE INSERT SELECT UPDATE(id)
processor flag_schedule_freezes: SELECT
processor flag_schedule_objects: SELECT
processor flag_schedule_protocol: SELECT
processor flag_schedule_runs: INSERT SELECT UPDATE(attempts, failed, finished_at, processed, \
refused_cache_keys, retried, set_aside, skipped, superseded)
processor flag_schedule_status_outbox: DELETE INSERT SELECT UPDATE(id)
processor flag_schedule_watermarks: INSERT SELECT UPDATE
""".strip().splitlines()

_ALL: LiteralString = """
WITH rights AS (
    SELECT c.relname, c.relowner, NULL::text AS attname, a.*
    FROM pg_class AS c, aclexplode(c.relacl) AS a WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT c.relname, c.relowner, t.attname, a.*
    FROM pg_class AS c JOIN pg_attribute AS t ON t.attrelid = c.oid, aclexplode(t.attacl) AS a
    WHERE c.relnamespace = 'public'::regnamespace
),
words AS (
    SELECT coalesce(r.rolname, 'PUBLIC') AS who, relname, privilege_type
           || coalesce('(' || string_agg(attname, ', ' ORDER BY attname) || ')', '') AS word
    FROM rights LEFT JOIN pg_roles AS r ON r.oid = grantee
    WHERE grantee <> relowner
    GROUP BY who, relname, privilege_type
)
SELECT replace(who, 'flagschedule_', '') || ' ' || relname || ': ' || string_agg(word, ' ' ORDER BY word) AS line
FROM words GROUP BY who, relname ORDER BY 1
"""


def grants(database: Database) -> list[str]:
    """Return all rights of roles other than the owner, a line for each role and table."""
    return [row["line"] for row in database.query(_ALL)]


def refused(url: str, program: roles.Program, statement: LiteralString) -> bool:
    """Return whether a program's user lacks the right to do this (SQLSTATE 42501)."""
    with connected(roles.url(url, program)) as session:
        session.run("SET default_transaction_read_only = off")  # the auditor's default is no right
        try:
            session.run(statement)
        except psycopg.errors.InsufficientPrivilege:
            return True
    return False


def test_the_rights_are_exactly_these(database: Database) -> None:
    """No other role has any right, also not on the bookkeeping of the migrations."""
    assert grants(database) == GRANTS


def test_too_much_is_taken_away_by_the_next_migration(database: Database, database_url: str) -> None:
    """Rights that a role was given on our tables go, and those that were taken come back."""
    database.run("GRANT ALL ON ALL TABLES IN SCHEMA public TO flagschedule_cleaner")
    database.run("REVOKE ALL ON feature_flags FROM flagschedule_cleaner")
    database.run("GRANT UPDATE (outcome) ON flag_schedule_attempts TO flagschedule_operator")
    database.run("REVOKE ALL ON flag_schedule_attempts, feature_flags FROM flagschedule_processor")

    assert migrate(roles.url(database_url, "migrate")) == 0

    assert grants(database) == GRANTS


@pytest.mark.parametrize("program", ["operator", "process"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE flag_schedule_attempts SET outcome = ''",
        "DELETE FROM flag_schedule_attempts",
        "TRUNCATE flag_schedule_attempts",
        "UPDATE flag_schedule_changes SET actor = ''",
        "DELETE FROM flag_schedule_changes",
        "TRUNCATE flag_schedule_changes",
    ],
)
def test_attempts_are_append_only(database_url: str, program: roles.Program, statement: LiteralString) -> None:
    """Neither operator nor processor can change, delete or truncate the history."""
    assert refused(database_url, program, statement)


@pytest.mark.parametrize(
    ("program", "statement"),
    [
        ("operator", "UPDATE feature_flags SET enabled = true"),
        ("operator", "UPDATE feature_flag_schedules SET flag_id = id"),
        ("operator", "DELETE FROM feature_flag_schedules"),
        ("operator", "INSERT INTO flag_schedule_attempts (outcome) VALUES ('applied')"),
        ("process", "UPDATE feature_flags SET flag_key = 'x'"),
        ("process", "INSERT INTO feature_flags (flag_key) VALUES ('x')"),
        ("process", "DELETE FROM feature_flags"),
        ("process", "UPDATE feature_flag_schedules SET updates = '{}'"),
        ("process", "DELETE FROM feature_flag_schedules"),
        ("process", "UPDATE flag_schedule_objects SET state = 'applied'"),
        ("cleanup", "SELECT FROM feature_flags"),
        ("audit", "UPDATE feature_flags SET enabled = true"),
        ("audit", "SELECT FROM feature_flag_schedules FOR SHARE"),
        ("audit", "DELETE FROM flag_schedule_changes"),
        ("audit", "CREATE TABLE mine ()"),
        ("cleanup", "UPDATE feature_flag_schedules SET status = 'applied'"),
        ("cleanup", "DELETE FROM flag_schedule_watermarks"),
        ("cleanup", "CREATE TABLE mine ()"),
        ("process", "CREATE TABLE mine ()"),
        ("operator", "CREATE TABLE mine ()"),
        ("operator", "SELECT flag_schedule_keep_outcome()"),
    ],
)
def test_what_would_hurt_is_refused(database_url: str, program: roles.Program, statement: LiteralString) -> None:
    """The most dangerous statements are refused to each program's user, one by one."""
    assert refused(database_url, program, statement)


def test_the_application_needs_no_right_of_ours(database: Database) -> None:
    """A user who deletes a flag has no right on our tables, and yet the outcome of its schedules is kept."""
    row = database.schedule(database.flag("checkout-v2"), {"enabled": True})
    database.run(
        "INSERT INTO flag_schedule_objects (uid, schedule_id, cluster, namespace, name, generation, created_at) "
        "VALUES (gen_random_uuid(), %s, 'default', 'shop', 'launch', 1, now())",
        row,
    )
    grant = f"GRANT SELECT, DELETE ON feature_flags TO {roles.HOST}; SET ROLE {roles.HOST}"
    database.connection.execute(grant.encode())

    database.run("DELETE FROM feature_flags")

    database.run("RESET ROLE")
    assert database.value("SELECT reason FROM flag_schedule_objects") == "FlagDeleted"


def test_no_role_is_powerful(database: Database) -> None:
    """Neither the roles nor their users are superusers, make roles or databases, or bypass row level security."""
    found = database.query(
        "SELECT rolname FROM pg_roles WHERE rolname ~ '^(flagschedule|flags)_' "
        "AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)"
    )

    assert found == []
    assert database.value("SELECT count(*) FROM pg_roles WHERE rolname ~ '^(flagschedule|flags)_'") == 10


def test_one_user_for_everything_needs_no_roles() -> None:
    """Where the roles do not exist, migrating as the one user works and grants no rights."""
    with Postgres() as server:
        url = server.create_database("simple")

        assert migrate(url) > 0

        with connected(url) as database:
            assert grants(database) == []


def test_a_migrator_without_rights_reports_what_to_run(
    postgres: Postgres, empty_database_url: str, flagschedule: Run
) -> None:
    """It ends with 2, a line for each missing right and nothing changed; after those statements ran, it works."""
    with connected(empty_database_url) as database:
        for statement in (
            f"GRANT CREATE, USAGE ON SCHEMA public TO {roles.OUTSIDER}",
            f"REVOKE CREATE ON SCHEMA public FROM flagschedule_migrator, {roles.HOST}",
            "REVOKE USAGE ON SCHEMA public FROM PUBLIC, flagschedule_cleaner",
        ):
            database.connection.execute(statement.encode())
        _as_outsider(database)
        before = dump(postgres, empty_database_url)

        ended = flagschedule("migrate", DATABASE_URL=empty_database_url)

        assert ended.returncode == 2
        assert dump(postgres, empty_database_url) == before
        hints = [re.search(r"let an administrator run: (GRANT .*;)$", line) for line in ended.stderr.splitlines()]
        statements = [found[1] for found in hints if found]
        assert len(statements) == len(hints) == 8
        for statement in statements:
            database.connection.execute(statement.encode())
        assert flagschedule("migrate", DATABASE_URL=empty_database_url).returncode == 0
        of_programs = [line for line in grants(database) if not line.startswith("migrator")]
        assert of_programs == GRANTS


def test_a_table_of_ours_that_another_owns_is_named(database: Database, database_url: str, flagschedule: Run) -> None:
    """Its rights could not be set: the migration ends with 2 and the statement that helps, and then sets them."""
    database.connection.execute(f"REVOKE {roles.OUTSIDER} FROM flagschedule_migrator".encode())  # of another test
    database.connection.execute(f"ALTER TABLE flag_schedule_changes OWNER TO {roles.OUTSIDER}".encode())
    database.run("GRANT INSERT ON flag_schedule_changes TO flagschedule_auditor")

    ended = flagschedule("migrate", DATABASE_URL=roles.url(database_url, "migrate"))

    assert ended.returncode == 2
    (found,) = re.findall(r"let an administrator run: (GRANT .*;)$", ended.stderr, re.MULTILINE)
    assert found == f"GRANT {roles.OUTSIDER} TO flagschedule_migrator;"
    database.connection.execute(found.encode())
    assert migrate(roles.url(database_url, "migrate")) == 0
    assert "auditor flag_schedule_changes: SELECT" in grants(database)


def _as_outsider(database: Database) -> None:
    """Create the original's tables, owned by a role that the migrator is no member of."""
    for name in ("flags", "schedules"):
        text = f"SET ROLE {roles.OUTSIDER}; {(ORIGINAL / f'{name}.sql').read_text()}; RESET ROLE"
        database.connection.execute(text.encode())


HOSTILE = """
CREATE SCHEMA hostile;
GRANT USAGE ON SCHEMA hostile TO PUBLIC;
CREATE FUNCTION hostile.bite() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'bitten'; END $$;
CREATE FUNCTION hostile.bite(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.bite()';
CREATE FUNCTION hostile.bite(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.bite()';
CREATE FUNCTION hostile.bite(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.bite()';
CREATE OPERATOR hostile.= (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.bite);
CREATE OPERATOR hostile.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = hostile.bite);
CREATE OPERATOR hostile.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = hostile.bite);
CREATE FUNCTION hostile.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT hostile.bite()::text::timestamptz';
CREATE FUNCTION hostile.quote_ident(name) RETURNS text LANGUAGE sql AS 'SELECT hostile.bite()::text';
CREATE FUNCTION hostile.quote_ident(text) RETURNS text LANGUAGE sql AS 'SELECT hostile.bite()::text';
CREATE FUNCTION hostile.to_regclass(text) RETURNS regclass LANGUAGE sql AS 'SELECT hostile.bite()::text::regclass';
CREATE FUNCTION hostile.current_setting(text) RETURNS text LANGUAGE sql AS 'SELECT hostile.bite()::text';
CREATE FUNCTION hostile.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT hostile.bite()::text';
CREATE FUNCTION hostile.jsonb_typeof(jsonb) RETURNS text LANGUAGE sql AS 'SELECT hostile.bite()::text';
CREATE FUNCTION hostile.pg_try_advisory_lock(int) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.bite()';
CREATE FUNCTION hostile.pg_try_advisory_lock(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.bite()';
CREATE FUNCTION hostile.pg_advisory_xact_lock(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.bite()';
"""


def test_hostile_functions_are_not_called(database: Database, database_url: str, flagschedule: Run) -> None:
    """Functions and operators of a schema that comes first in search_path, before Postgres' own, are not used."""
    database.connection.execute(HOSTILE.encode())
    path = "?options=-csearch_path%3Dhostile,pg_catalog,public"
    schedule = database.schedule(database.flag("checkout-v2"), {"enabled": True})
    with connected(database_url + path) as bitten, pytest.raises(psycopg.errors.RaiseException, match="bitten"):
        bitten.value("SELECT now()")

    for program in ("process", "cleanup", "migrate"):
        assert flagschedule(program, DATABASE_URL=database_url + path).returncode == 0

    assert database.row(schedule)["status"] == "applied"

    async def mirror() -> None:
        async with PostgresMirrorStore(roles.url(database_url + path, "operator"), "default", ()) as store:
            on = Scene(store, database)
            assert (await on.mirror(on.obj())).row

    asyncio.run(mirror())
