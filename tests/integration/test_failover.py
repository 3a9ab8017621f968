"""After a failover no program works on with a server that takes no changes."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
import pytest

from dev.localkind.servers.pgbouncer import PgBouncer
from dev.localkind.servers.postgres import Postgres
from flagschedule.adapters.postgres import connection
from flagschedule.adapters.postgres.migrate import migrate
from flagschedule.adapters.postgres.mirror_store import PostgresMirrorStore
from flagschedule.adapters.postgres.process_store import PostgresProcessStore
from flagschedule.domain.errors import DependencyUnavailableError
from tests.waiting import PATIENCE, eventually


class Pair:
    """A server that can be made a standby and a primary again, behind a pooler that keeps its clients meanwhile."""

    def __init__(self, server: Postgres, pooler: PgBouncer) -> None:
        self.server = server
        self.pooler = pooler

    def demote(self) -> None:
        """Start the server as a standby, which takes no changes."""
        self.server.stop()
        (self.server.data / "standby.signal").touch()
        self.server.start()

    def promote(self) -> None:
        """Let it take changes again."""
        with psycopg.connect(self.server.url, autocommit=True) as session:
            session.execute("SELECT pg_promote()")
            eventually(lambda: session.execute("SELECT pg_is_in_recovery()").fetchone() == (False,))

    def pooler_leads_to_a_standby(self) -> bool:
        """Return whether the pooler has found the server again."""
        with (
            suppress(psycopg.OperationalError),
            psycopg.connect(self.pooler.url(self.server.url), autocommit=True, prepare_threshold=None) as session,
        ):
            return session.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
        return False


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A server of its own with the schema, and the pooler."""
    with Postgres() as server, PgBouncer(server, "transaction", settings="server_login_retry = 1") as pooler:
        migrate(server.url)
        yield Pair(server, pooler)


@pytest.mark.parametrize("way", ["direct", "pooled"])
def test_the_operators_pool_notices_a_standby_and_recovers(pair: Pair, way: str) -> None:
    """The ping says that the database is a standby, no session to it is kept, and the primary is found again."""
    url = pair.pooler.url(pair.server.url) if way == "pooled" else pair.server.url

    async def play() -> None:
        async with PostgresMirrorStore(url, "default", ()) as store:
            assert await store.claim_cluster("uid")

            pair.demote()

            async with asyncio.timeout(PATIENCE):
                await until_it_says(store, "standby")
            with pytest.raises(DependencyUnavailableError):
                await store.claim_cluster("uid")

            pair.promote()

            async with asyncio.timeout(PATIENCE):
                await until_it_says(store, None)
            assert await store.claim_cluster("uid")

    asyncio.run(play())


async def until_it_says(store: PostgresMirrorStore, word: str | None) -> None:
    """Ping until the answer has the word, or is that all is well."""
    while True:
        try:
            await store.ping()
        except DependencyUnavailableError as error:
            if word and word in str(error):
                return
        else:
            if word is None:
                return


@contextmanager
def run_of(url: str) -> Iterator[PostgresProcessStore]:
    """Open the processor's store in the middle of a run."""
    with PostgresProcessStore(url) as store:
        store.start_run()
        yield store


def test_a_run_ends_when_the_pooler_leads_to_a_standby(pair: Pair) -> None:
    """A processor whose pooler now leads to a standby ends with what it is, and not with a fault of some row."""
    with run_of(pair.pooler.url(pair.server.url)) as store:
        pair.demote()
        eventually(pair.pooler_leads_to_a_standby)

        with pytest.raises(DependencyUnavailableError, match="standby"):
            store.prune_status_entries()


@pytest.mark.parametrize("way", ["direct", "pooled"])
def test_a_server_that_was_made_read_only_is_left_alone(pair: Pair, way: str) -> None:
    """What the server's configuration forbids, as with a full disk, is not done, and a sentence names the setting."""
    url = pair.pooler.url(pair.server.url) if way == "pooled" else pair.server.url

    def configure(statement: bytes) -> None:
        with psycopg.connect(pair.server.url, autocommit=True) as session:
            session.execute(statement)
            session.execute("SELECT pg_reload_conf()")

    async def play() -> None:
        async with PostgresMirrorStore(url, "default", ()) as store:
            await store.ping()
            configure(b"ALTER SYSTEM SET default_transaction_read_only = on")
            async with asyncio.timeout(PATIENCE):
                await until_it_says(store, "default_transaction_read_only")
            with pytest.raises(DependencyUnavailableError, match="full"):
                run_of(url).__enter__()
            configure(b"ALTER SYSTEM RESET default_transaction_read_only")
            async with asyncio.timeout(PATIENCE):
                await until_it_says(store, None)

    asyncio.run(play())


def test_of_several_hosts_the_primary_is_chosen(pair: Pair) -> None:
    """With several hosts in the URL a standby among them is passed over; what the URL says itself is kept."""
    with Postgres() as other:
        urls = f"postgresql://postgres@127.0.0.1:{other.port},127.0.0.1:{pair.server.port}/postgres"

        assert connection.parameters(urls, "test")["target_session_attrs"] == "primary"
        assert connection.parameters(f"{urls}?target_session_attrs=any", "test")["target_session_attrs"] == "any"
        assert "target_session_attrs" not in connection.parameters(pair.server.url, "test")
