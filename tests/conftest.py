"""What the tests of the product share: the local servers, and fresh databases.

Tests that need a cluster carry the marker `apiserver` or `node`; `tests/builds.py` does the rest.
"""

import itertools
from collections.abc import Iterator

import pytest
import redis as redis_client

from dev.localkind.control_plane import ControlPlane
from dev.localkind.servers.postgres import Postgres
from dev.localkind.servers.redis import Redis
from tests import roles


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One Postgres server for all tests, with the product's roles; a test that stops or breaks it starts its own."""
    with Postgres() as server:
        roles.create(server)
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    """One Redis server for all tests; a test that stops it starts its own."""
    with Redis() as server:
        yield server


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """A real API server with etcd and controllers, without nodes. For tests with the marker `apiserver`."""
    with ControlPlane() as control_plane:
        yield control_plane


@pytest.fixture(scope="session")
def migrated_template(postgres: Postgres) -> str:
    """The name of a migrated database that others are copied from: a copy takes 0.1 s, the migrations longer."""
    from flagschedule.adapters.postgres.migrate import migrate  # noqa: PLC0415 -- most tests need no database

    migrate(roles.url(postgres.create_database("migrated"), "migrate"))
    return "migrated"


_numbers = itertools.count(1)


@pytest.fixture
def empty_database_url(postgres: Postgres) -> Iterator[str]:
    """A fresh, empty database; the superuser's URL, as `roles.url` gives each program its own."""
    yield from _database(postgres, "template1")


@pytest.fixture
def database_url(postgres: Postgres, migrated_template: str) -> Iterator[str]:
    """A fresh database with the schema of the product; the superuser's URL."""
    yield from _database(postgres, migrated_template)


def _database(postgres: Postgres, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    yield postgres.create_database(name, template=template)
    postgres.drop_database(name)


@pytest.fixture
def redis_url(redis: Redis) -> str:
    """An empty Redis."""
    with redis_client.Redis.from_url(redis.url) as client:
        client.flushall()
    return redis.url
