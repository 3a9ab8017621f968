"""The outbox of notices, on the sessions of the operator's store of schedules. Implements ports.notifying.NoticeStore.

Notices of outcomes are not made here, but by the transaction that consumes the outcome's status entry.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg.rows import DictRow

from flagschedule.adapters.postgres import statements
from flagschedule.adapters.postgres.mirror_store import PostgresMirrorStore
from flagschedule.domain.notices import Notice, NoticeEvent
from flagschedule.ports.notifying import DueNotices

_HELD: Final = statements.read("notices/held", due=statements.read("freeze/due"))


class PostgresNoticeStore:
    """One cluster's notices."""

    def __init__(self, sessions: PostgresMirrorStore, cluster: str, namespaces: Sequence[str]) -> None:
        self._sessions = sessions
        self._scope = {"cluster": cluster, "namespaces": list(namespaces)}

    async def due(self, limit: int) -> DueNotices:
        """See ports.notifying.NoticeStore."""
        found = await self._fetch(statements.read("notices/due"), limit=limit)
        return DueNotices(now=found[0]["now"], notices=[_notice(row) for row in found if row["id"]])

    async def record(self, tries: Mapping[UUID, float | None]) -> None:
        """See ports.notifying.NoticeStore."""
        values = {"ids": list(tries), "pauses": list(tries.values())}
        async with self._sessions.serving() as session:
            await session.execute(statements.read("notices/record"), values)

    async def drop(self, seconds: float) -> int:
        """See ports.notifying.NoticeStore."""
        found = await self._fetch(statements.read("notices/drop"), seconds=seconds)
        return int(found[0]["count"])

    async def add_held(self) -> None:
        """See ports.notifying.NoticeStore."""
        async with self._sessions.serving() as session:
            await session.execute(_HELD, self._scope)

    async def add_released(self) -> None:
        """See ports.notifying.NoticeStore."""
        found = await self._fetch(statements.read("notices/released_entries"))
        if found:
            await self._sessions.delete_status_entries([row["id"] for row in found])

    async def _fetch(self, statement: LiteralString, **values: Any) -> list[DictRow]:
        async with self._sessions.serving() as session:
            return await (await session.execute(statement, {**self._scope, **values})).fetchall()


def _notice(row: DictRow) -> Notice:
    return Notice(
        id=row["id"],
        event=NoticeEvent(row["event"]),
        subject=row["subject"],
        happened_at=row["happened_at"],
        data=row["data"],
        failures=row["failures"],
    )
