"""A database without an encoding: text is what its bytes are as UTF-8, and bytes that are none stop no other row."""

import asyncio
from collections.abc import Iterator

import psycopg
import pytest
from structlog.testing import capture_logs

from dev.localkind.servers.postgres import Postgres
from flagschedule.adapters.postgres.mirror_store import PostgresMirrorStore
from tests import roles
from tests.integration.conftest import Run
from tests.integration.database import connected

NAME = "no_encoding"


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    """A database of the encoding SQL_ASCII, with a datestyle that the driver does not read."""
    with psycopg.connect(postgres.url, autocommit=True) as session:
        session.execute(f"CREATE DATABASE {NAME} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0".encode())
        session.execute(f"ALTER DATABASE {NAME} SET datestyle = German".encode())
    url = postgres.database_url(NAME)
    try:
        with connected(url) as database:
            database.connection.execute(roles.rights_on_schema("public"))
        yield url
    finally:
        postgres.drop_database(NAME)


def test_every_program_works_without_an_encoding(url: str, migrated_template: str, flagschedule: Run) -> None:
    """Migration, processor and cleaner do their work; a key in Latin-1 is set aside, and a key in UTF-8 is not."""
    assert migrated_template  # the roles exist
    assert flagschedule("migrate", DATABASE_URL=url).returncode == 0
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("SET client_encoding = SQL_ASCII")
        for key in (b"k\xc3\xbcr", b"k\xfcr"):
            session.execute("INSERT INTO feature_flags (flag_key) VALUES (convert_from(%s, 'SQL_ASCII'))", [key])
        session.execute(
            "INSERT INTO feature_flag_schedules (flag_id, scheduled_at, updates) "
            "SELECT id, now() - interval '1 minute', '{\"enabled\": true}' FROM feature_flags"
        )

    done = flagschedule("process", DATABASE_URL=url)
    cleaned = flagschedule("cleanup", DATABASE_URL=url)

    assert (done.returncode, cleaned.returncode) == (0, 0), done.stderr + cleaned.stderr
    with psycopg.connect(url) as session:
        found = session.execute("SELECT convert_to(flag_key, 'SQL_ASCII'), enabled FROM feature_flags").fetchall()
    assert dict(found) == {b"k\xc3\xbcr": True, b"k\xfcr": False}


def test_text_that_is_no_utf8_in_one_row_hides_no_other_object(
    url: str, migrated_template: str, flagschedule: Run
) -> None:
    """The operator reads the rows of all other objects, and names the object whose row it cannot read."""
    assert migrated_template  # the roles exist
    assert flagschedule("migrate", DATABASE_URL=url).returncode == 0
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("SET client_encoding = SQL_ASCII")
        session.execute("INSERT INTO feature_flags (flag_key) VALUES ('checkout-v2')")
        for name, text in ((b"good-1", b""), (b"odd", b"k\xfcr"), (b"good-2", b"k\xc3\xbcr")):
            session.execute(
                "WITH made AS (INSERT INTO feature_flag_schedules (flag_id, scheduled_at, updates, last_error) "
                "SELECT id, now() + interval '1 hour', '{\"enabled\": true}', convert_from(%s, 'SQL_ASCII') "
                "FROM feature_flags RETURNING id) "
                "INSERT INTO flag_schedule_objects "
                "(uid, schedule_id, cluster, namespace, name, generation, created_at) "
                "SELECT gen_random_uuid(), id, 'default', 'shop', convert_from(%s, 'SQL_ASCII'), 1, now() FROM made",
                [text, name],
            )

    async def read() -> set[str]:
        async with PostgresMirrorStore(roles.url(url, "operator"), "default", []) as store:
            return {each.record.ref.name async for each in store.snapshots() if each.record}

    with capture_logs() as logged:
        assert asyncio.run(read()) == {"good-1", "good-2"}
    assert [line["name"] for line in logged if line["event"] == "Row not understood"] == ["odd"]
