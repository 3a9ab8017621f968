"""What stands behind a MirrorStore: a database in memory, and a real one.

Both give stores, and let the application, the processor and time act on the database. What one of them cannot do is
not promised by a store.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import sql

from flagschedule.adapters.postgres.freeze_store import PostgresFreezeStore
from flagschedule.adapters.postgres.mirror_store import PostgresMirrorStore
from flagschedule.adapters.postgres.plan_store import PostgresPlanStore
from tests import roles
from tests.integration.database import Database, connected
from tests.support.memory.database import MemoryDatabase
from tests.support.memory.freeze_store import MemoryFreezeStore
from tests.support.memory.mirror_store import MemoryMirrorStore
from tests.support.memory.plan_store import MemoryPlanStore


class InMemory(MemoryDatabase):
    """A database in memory."""

    @asynccontextmanager
    async def store(self, cluster: str = "default", *namespaces: str) -> AsyncIterator[MemoryMirrorStore]:
        """A store of a cluster, of all its namespaces or of some."""
        yield MemoryMirrorStore(self, cluster, namespaces)

    @asynccontextmanager
    async def plan_store(self, cluster: str = "default", *namespaces: str) -> AsyncIterator[MemoryPlanStore]:
        """A store of the plans of a cluster, of all its namespaces or of some."""
        yield MemoryPlanStore(self, cluster, namespaces)

    @asynccontextmanager
    async def freeze_store(self) -> AsyncIterator[MemoryFreezeStore]:
        """A store of the freezes of a cluster."""
        yield MemoryFreezeStore(self)

    @asynccontextmanager
    async def others_without_database(self) -> AsyncIterator[tuple[MemoryPlanStore, MemoryFreezeStore]]:
        """Stores whose database does not answer."""
        lost = MemoryDatabase()
        lost.away = True
        yield MemoryPlanStore(lost), MemoryFreezeStore(lost)

    @asynccontextmanager
    async def store_without_database(self) -> AsyncIterator[MemoryMirrorStore]:
        """A store whose database does not answer."""
        lost = MemoryDatabase()
        lost.away = True
        yield MemoryMirrorStore(lost)

    def pass_time(self, time: timedelta) -> None:
        """Let time pass."""
        self.now += time


class InPostgres:
    """A migrated database on a real server.

    Attributes:
        now: the database's time at the beginning.
    """

    def __init__(self, url: str, database: Database) -> None:
        self._url = url
        self._database = database
        # Real tables of applications need not have it, and a test needs two flags of one key.
        database.run("ALTER TABLE feature_flags DROP CONSTRAINT feature_flags_flag_key_environment_key")
        self.now: datetime = database.value("SELECT now()")

    def store(self, cluster: str = "default", *namespaces: str) -> PostgresMirrorStore:
        """A store of a cluster, of all its namespaces or of some; with the operator's rights."""
        return PostgresMirrorStore(roles.url(self._url, "operator"), cluster, namespaces)

    @asynccontextmanager
    async def plan_store(self, cluster: str = "default", *namespaces: str) -> AsyncIterator[PostgresPlanStore]:
        """A store of the plans of a cluster, of all its namespaces or of some."""
        async with self.store(cluster, *namespaces) as mirror:
            yield PostgresPlanStore(mirror, cluster, namespaces)

    @asynccontextmanager
    async def freeze_store(self) -> AsyncIterator[PostgresFreezeStore]:
        """A store of the freezes of a cluster."""
        async with self.store() as mirror:
            yield PostgresFreezeStore(mirror, "default", ())

    @asynccontextmanager
    async def others_without_database(self) -> AsyncIterator[tuple[PostgresPlanStore, PostgresFreezeStore]]:
        """Stores whose database does not answer."""
        async with self.store_without_database() as mirror:
            yield PostgresPlanStore(mirror, "default", ()), PostgresFreezeStore(mirror, "default", ())

    def store_without_database(self) -> PostgresMirrorStore:
        """A store whose database does not answer."""
        return PostgresMirrorStore("postgresql://norole@127.0.0.1:1/x?connect_timeout=1", "default", ())

    def flag(self, key: str) -> UUID:
        """Add a flag, as the application does."""
        return self._database.flag(key)

    def delete_flag(self, flag: UUID) -> None:
        """Delete a flag, and with it its rows."""
        self._database.run("DELETE FROM feature_flags WHERE id = %s", flag)

    def delete_row(self, schedule: UUID) -> None:
        """Delete a row, as retention does."""
        self._database.run("DELETE FROM feature_flag_schedules WHERE id = %s", schedule)

    def change_row(self, schedule: UUID, **fields: Any) -> None:
        """Change a row, as the processor does."""
        for name, value in fields.items():
            column = sql.Identifier("status" if name == "state" else name)
            self._database.connection.execute(
                sql.SQL("UPDATE feature_flag_schedules SET {} = %s WHERE id = %s").format(column), [value, schedule]
            )

    def apply(self, schedule: UUID) -> None:
        """Record that a row's change was made, and that its object must show it."""
        self.change_row(schedule, state="applied", reason="Applied", applied_at=self.now)
        self.notify(schedule)

    def notify(self, schedule: UUID) -> None:
        """Put a row's outcome into the outbox."""
        self._database.run("INSERT INTO flag_schedule_status_outbox (schedule_id) VALUES (%s)", schedule)

    @contextmanager
    def held(self, found: UUID) -> Iterator[None]:
        """Hold the lock on a flag or a row, as another program's transaction does."""
        with connected(self._url) as other, other.connection.transaction():
            other.run("SELECT FROM feature_flags WHERE id = %s FOR UPDATE", found)
            other.run("SELECT FROM feature_flag_schedules WHERE id = %s FOR UPDATE", found)
            yield

    def finish_run(self, seconds: float, attempts: Mapping[str, int], **counts: int) -> None:
        """Record a run of the processor that has ended now."""
        self._database.run(
            "INSERT INTO flag_schedule_runs (started_at, finished_at, processed, failed, attempts) "
            "VALUES (now() - %s, now(), %s, %s, %s)",
            timedelta(seconds=seconds),
            counts["processed"],
            counts["failed"],
            json.dumps(attempts),
        )

    def pass_time(self, time: timedelta) -> None:
        """Let time pass for what was recorded of clusters and runs, as if it had been recorded earlier."""
        self._database.run("UPDATE flag_schedule_clusters SET heartbeat_at = heartbeat_at - %s", time)
        self._database.run(
            "UPDATE flag_schedule_runs SET started_at = started_at - %s, finished_at = finished_at - %s", time, time
        )


World = InMemory | InPostgres
