"""Connections are verified as the environment says, where the URLs do not say it: what the Helm chart relies on."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis as redis_client

from dev.localkind.servers.postgres import Postgres
from dev.localkind.servers.redis import Redis
from tests.integration.database import connected
from tests.integration.tls import Authority, terminated

KEY = "feature_flags:production"


@dataclass(frozen=True)
class Place:
    """Postgres and Redis behind TLS, at localhost."""

    database_url: str
    redis_url: str
    trusted: Path
    other: Path

    def process(self, **environment: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the processor."""
        return subprocess.run(
            [sys.executable, "-m", "flagschedule", "process"],
            env={
                "PATH": os.environ["PATH"],
                "DATABASE_URL": self.database_url,
                **{k: str(v) for k, v in environment.items()},
            },
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    """The one that signed the servers' certificates, and another one."""
    folder = tmp_path_factory.mktemp("authorities")
    return Authority(folder / "ours"), Authority(folder / "other")


@pytest.fixture
def place(
    authorities: tuple[Authority, Authority], database_url: str, redis_url: str, postgres: Postgres, redis: Redis
) -> Iterator[Place]:
    """The servers of this test."""
    context = authorities[0].server("localhost")
    with (
        terminated(context, postgres.port, postgres=True) as database_port,
        terminated(context, redis.port) as redis_port,
    ):
        yield Place(
            database_url=_at(database_url, database_port),
            redis_url=_at(redis_url, redis_port).replace("redis://", "rediss://"),
            trusted=authorities[0].certificate,
            other=authorities[1].certificate,
        )


def _at(url: str, port: int) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.username}:{parts.password}@localhost:{port}").geturl()


def test_a_database_that_proves_itself_is_used(place: Place) -> None:
    """With PGSSLMODE=verify-full and the right authority the run does its work."""
    done = place.process(PGSSLMODE="verify-full", PGSSLROOTCERT=place.trusted)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("fault", ["another authority", "another host", "no TLS at all"])
def test_a_database_that_cannot_prove_itself_gets_nothing(place: Place, database_url: str, fault: str) -> None:
    """The run ends with 3 before the password is sent to an unknown server."""
    authority = place.other if fault == "another authority" else place.trusted
    url = {
        "another authority": place.database_url,
        "another host": place.database_url.replace("localhost", "127.0.0.1"),
        "no TLS at all": database_url,
    }[fault]

    done = place.process(DATABASE_URL=url, PGSSLMODE="verify-full", PGSSLROOTCERT=authority)

    assert done.returncode == 3, done.stderr
    assert "DATABASE_URL" in done.stderr
    assert str(urlsplit(url).password) not in done.stderr + done.stdout


def test_what_the_url_says_goes_before_the_environment(place: Place, database_url: str) -> None:
    """One program's URL may differ from what the chart says for all."""
    done = place.process(DATABASE_URL=f"{database_url}?sslmode=disable", PGSSLMODE="verify-full")

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("trusts", [True, False])
def test_redis_must_prove_itself_too(place: Place, database_url: str, redis_url: str, *, trusts: bool) -> None:
    """With rediss:// the key is deleted only by a server whose certificate SSL_CERT_FILE verifies."""
    with connected(database_url) as database, redis_client.Redis.from_url(redis_url) as cache:
        database.schedule(database.flag("checkout"), {"enabled": True})
        cache.set(KEY, "{}")

        done = place.process(
            DATABASE_URL=database_url,
            REDIS_URL=place.redis_url,
            SSL_CERT_FILE=place.trusted if trusts else place.other,
        )

        assert done.returncode == 0, done.stderr
        assert cache.exists(KEY) == (not trusts)
