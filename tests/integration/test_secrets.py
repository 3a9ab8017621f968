"""No secret anywhere: with any wrong part of an address, no part of it is printed, logged or recorded."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import redis as redis_client

from dev.localkind.servers.postgres import Postgres
from tests.integration.conftest import Run
from tests.integration.database import Database
from tests.integration.test_failures import guard

TABLES = ("schedules", "objects", "watermarks", "runs", "attempts", "cache_outbox", "status_outbox", "clusters")


@dataclass(frozen=True)
class Address:
    """A database's URL in parts, each of them easy to find in a text."""

    user: str
    password: str
    host: str
    port: int
    name: str
    rest: str = ""

    @property
    def url(self) -> str:
        """The URL itself."""
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.name}{self.rest}"

    def seen_in(self, text: str) -> list[str]:
        """Return the secret parts that a text shows as whole words or numbers."""
        parts = (self.user, self.password, self.host, str(self.port), self.name)
        return [part for part in parts if re.search(rf"(?<![\w.]){re.escape(part)}(?![\w.])", text)]


@pytest.fixture
def address(postgres: Postgres, database_url: str, database: Database) -> Iterator[Address]:
    """The test's database, for a user of its own that may do what the processor does."""
    name = database_url.rpartition("/")[2]
    user = f"clerk_of_{name}"
    run = database.connection.execute
    run(f"CREATE ROLE {user} LOGIN PASSWORD 'hunter2-{name}' IN ROLE flagschedule_processor".encode())
    yield Address(user, f"hunter2-{name}", "127.0.0.1", postgres.port, name)
    run(f"DROP OWNED BY {user}".encode())
    run(f"DROP ROLE {user}".encode())


WRONG = {
    "password": {"password": "hunter3-wrong"},
    "user": {"user": "norole-here"},
    "database": {"name": "no-such-database"},
    "port": {"port": 1},
    "host": {"host": "no-such-host.invalid"},
    "option": {"rest": "?nonsense=hunter2"},
    "value of an option": {"rest": "?connect_timeout=hunter2"},
    "way to encrypt": {"rest": "?sslmode=verify-full"},
    "certificate": {"rest": "?sslmode=require&sslrootcert=/nowhere/hunter2"},
    "server's option": {"rest": "?options=-cnonsense%3Dhunter2"},
}


@pytest.mark.parametrize("program", ["process", "migrate"])
@pytest.mark.parametrize("part", WRONG)
def test_a_wrong_part_of_the_address_shows_no_part(
    address: Address, flagschedule: Run, part: str, program: str
) -> None:
    """At DEBUG, too, a program that cannot connect names the variable, and nothing of what is in it."""
    wrong = replace(address, **WRONG[part])  # type: ignore[arg-type]  # parts of different types

    run = flagschedule(program, DATABASE_URL=wrong.url, FLAG_SCHEDULE_LOG_LEVEL="DEBUG")

    printed = run.stderr + run.stdout
    assert run.returncode in {2, 3}
    assert "DATABASE_URL" in run.stderr.splitlines()[-1]
    assert wrong.seen_in(printed) == []
    assert "hunter" not in printed


@pytest.mark.parametrize(
    "url",
    ["postgresql://{0}@[::1/x", "{0}", "host=h password={0}", "postgresql://%{0}"],
)
def test_an_address_that_cannot_be_parsed_is_not_repeated(flagschedule: Run, url: str) -> None:
    """An invalid address ends with 2 and a line that shows a valid one and does not repeat the given one."""
    run = flagschedule("process", DATABASE_URL=url.format("hunter2"), FLAG_SCHEDULE_LOG_LEVEL="DEBUG")

    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith("flagschedule: DATABASE_URL")
    assert "hunter2" not in run.stderr


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("redis://clerk:hunter2@no-such-cache.invalid:6399/0", 0),
        ("redis://clerk:hunter2@127.0.0.1:1/0", 0),
        ("redis://clerk:hunter2@{server}/0", 0),
        ("rediss://clerk:hunter2@{server}/0", 0),
        ("redis://clerk:hunter2@{server}/99999", 0),
        ("redis://clerk:hunter2@127.0.0.1:port/0", 2),
        ("redis://clerk:hunter2@127.0.0.1:6399/0?nonsense=hunter2", 2),
    ],
)
def test_a_broken_cache_shows_no_part_of_its_address(
    database: Database, flagschedule: Run, redis_url: str, url: str, code: int
) -> None:
    """A cache with a wrong host, port, password, encryption or number leaves nothing of its address in any log."""
    with redis_client.Redis.from_url(redis_url) as client:
        server = "{host}:{port}".format(**client.connection_pool.connection_kwargs)
    database.schedule(database.flag("checkout-v2"), {"enabled": True})

    run = flagschedule("process", REDIS_URL=url.format(server=server), FLAG_SCHEDULE_LOG_LEVEL="DEBUG")

    printed = run.stderr + run.stdout
    assert run.returncode == code
    assert "REDIS_URL" in printed
    assert [word for word in ("hunter2", "clerk", "no-such-cache", server.rpartition(":")[2]) if word in printed] == []


def test_nothing_of_an_address_is_recorded(
    address: Address, database: Database, database_url: str, flagschedule: Run, postgres: Postgres
) -> None:
    """Successes, failures and a lost cache leave no part of an address in any of our tables or log lines."""
    guard(database, "P0001")
    database.schedule(database.flag("good"), {"enabled": True})
    database.schedule(database.flag("bad"), {"rolloutPercentage": 95})
    cache = "redis://clerk:hunter2@no-such-cache.invalid:6399/0"

    run = flagschedule("process", DATABASE_URL=address.url, REDIS_URL=cache, FLAG_SCHEDULE_LOG_LEVEL="DEBUG")

    assert run.returncode == 0
    assert all(json.loads(line) for line in run.stderr.splitlines())
    options = [f"--table=*flag_{table}" for table in ("schedules", *(f"schedule_{table}" for table in TABLES[1:]))]
    dump = subprocess.run(
        [postgres.tool("pg_dump"), "--data-only", "--inserts", *options, database_url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert dump.count("INSERT INTO") >= 7
    recorded = "\n".join(line for line in dump.splitlines() if line.startswith("INSERT"))
    for text in (recorded, run.stderr + run.stdout):
        assert address.seen_in(text) == []
        assert [word for word in ("hunter2", "clerk", "no-such-cache", "6399") if word in text] == []


def test_a_cache_user_that_may_only_delete_is_enough(database: Database, flagschedule: Run, redis_url: str) -> None:
    """The user that the page about threats makes deletes our keys, and can read, write and flush nothing."""
    page = Path("docs/explanation/threat-model.md").read_text()
    (rules,) = re.findall(r"`ACL SETUSER flagschedule on >password (.*?)`", page)
    key = "feature_flags:production"
    with redis_client.Redis.from_url(redis_url) as client:
        client.set(key, "cached")
        client.execute_command("ACL SETUSER", "flagschedule", "reset", "on", ">password", *rules.split())
        limited = re.sub("//.*@", "//flagschedule:password@", redis_url)
        database.schedule(database.flag("banner"), {"enabled": True})

        done = flagschedule("process", REDIS_URL=limited)

        with redis_client.Redis.from_url(limited) as other:
            for refused in (("GET", key), ("FLUSHALL",), ("DEL", "session:1"), ("CONFIG", "GET", "*")):
                with pytest.raises(redis_client.exceptions.NoPermissionError):
                    other.execute_command(*refused)
        client.execute_command("ACL DELUSER", "flagschedule")
        assert (done.returncode, client.exists(key)) == (0, 0)
    assert database.query("SELECT * FROM flag_schedule_cache_outbox") == []
