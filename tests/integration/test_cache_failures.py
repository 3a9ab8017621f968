"""A cache that cannot be used says why and what to do, and shows nothing of its address."""

import re
from collections.abc import Iterator

import pytest
import redis

from dev.localkind.servers.redis import Redis
from flagschedule.adapters.redis import RedisCache
from flagschedule.domain.errors import DependencyUnavailableError
from tests.integration.tls import Authority, terminated

# The cause: the URL, and a part of the sentence.
CAUSES = {
    "wrong password": ("redis://:wrong@{server}/0", "refuses the user or the password"),
    "unknown user": ("redis://clerk:wrong@{server}/0", "refuses the user or the password"),
    "no password": ("redis://{server}/0", "has no password"),
    "unknown database": ("redis://:{password}@{server}/99", "no database of the number"),
    "missing right": ("redis://clerk:{password}@{server}/1", "lacks a right"),
    "unknown host": ("redis://:{password}@nowhere.invalid:6379/0", "is not known"),
    "refused port": ("redis://127.0.0.1:1/0", "nothing listens"),
    "TLS demanded": ("redis://:{password}@localhost:{tls}/0", "needs rediss://"),
    "another authority": ("rediss://:{password}@localhost:{tls}/0?ssl_ca_certs={other}", "is not trusted"),
    "no authority": ("rediss://:{password}@localhost:{tls}/0?ssl_ca_certs=/nowhere", "certificate file"),
    "another host": ("rediss://:{password}@127.0.0.1:{tls}/0?ssl_ca_certs={ours}", "for another host"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    """A server with a user who may only delete keys."""
    with Redis() as server, redis.Redis.from_url(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "clerk", "on", f">{server.password}", "~*", "+del")
        yield server


@pytest.fixture(scope="module")
def places(server: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the URLs of this module name."""
    folder = tmp_path_factory.mktemp("authorities")
    ours, other = Authority(folder / "ours"), Authority(folder / "other")
    with terminated(ours.server("localhost"), server.port) as tls:
        yield {
            "password": server.password,
            "server": f"127.0.0.1:{server.port}",
            "tls": str(tls),
            "ours": str(ours.certificate),
            "other": str(other.certificate),
        }


def sentence(url: str) -> str:
    """Return the error's message when no key can be deleted."""
    with pytest.raises(DependencyUnavailableError) as raised:
        RedisCache(url).invalidate(["production", "staging"])
    return str(raised.value)


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_has_a_sentence_of_its_own(places: dict[str, str], cause: str) -> None:
    """What is wrong and what to do is said for each cause, without a part of the address."""
    address, part = CAUSES[cause]

    found = sentence(address.format_map(places))

    assert part in found
    words = {"clerk", "wrong", "127.0.0.1", "nowhere", places["password"]}
    assert words & set(re.findall(r"[\w.-]+", found)) == set()


def test_a_replica_is_no_keys_trouble() -> None:
    """A cache that became a replica is reported as a replica, not as one that refuses each key."""
    with Redis() as server, redis.Redis.from_url(server.url) as admin:
        admin.replicaof("127.0.0.1", "1")

        assert "is a replica" in sentence(server.url)


def test_a_full_cache_says_so() -> None:
    """A cache that takes no more clients says which of its limits to raise."""
    with Redis() as server, redis.Redis.from_url(server.url) as admin:
        admin.config_set("maxclients", 1)

        assert "maxclients" in sentence(server.url)
