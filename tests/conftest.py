"""What all tests share: a clean environment, the local servers, and fresh databases.

Tests that need a cluster carry the marker `apiserver` or `node`; `tests/builds.py` does the rest.
"""

import itertools
import os
from collections.abc import Iterator

import hypothesis
import pytest
import redis as redis_client

from dev.cluster.control_plane import ControlPlane
from dev.parts.postgres import Postgres
from dev.parts.redis import Redis
from tests import roles, waiting

pytest_plugins = ["tests.builds", "tests.parallel"]

# A test never sees the settings, the database or the cluster of whoever runs it.
for _name in [*os.environ]:
    if _name.startswith(("FLAG_SCHEDULE_", "PG")) or _name in {"DATABASE_URL", "REDIS_URL", "KUBECONFIG"}:
        del os.environ[_name]

# A test run in the background, as by `make test &`, inherits signals that are ignored.
waiting.restore_signals()

# The same examples in every run. `--hypothesis-profile=explore` looks for new ones.
hypothesis.settings.register_profile("deterministic", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None)
hypothesis.settings.load_profile("deterministic")


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
