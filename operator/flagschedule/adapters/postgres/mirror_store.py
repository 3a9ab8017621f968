"""The operator's store: records and rows of its own cluster name. Implements ports.mirroring.MirrorStore.

`transaction` is the one that writes: lock, read, let the caller decide, store the decision.
"""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, Final, LiteralString, Self
from uuid import UUID

import structlog
from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable, QueryCanceled, ReadOnlySqlTransaction
from psycopg.rows import DictRow

from flagschedule.adapters.postgres import mapping, statements
from flagschedule.adapters.postgres.connection import Url
from flagschedule.adapters.postgres.pool import SessionPool
from flagschedule.domain.actors import Edit
from flagschedule.domain.decision import Decision, Facts
from flagschedule.domain.errors import (
    ConflictError,
    CredentialsRefusedError,
    DependencyUnavailableError,
    FlagScheduleError,
    StatementRefusedError,
)
from flagschedule.domain.notices import NoticeEvent
from flagschedule.domain.outcome import Reason, Row, Snapshot
from flagschedule.domain.schedule import FlagSchedule, ObjectRef, Uid
from flagschedule.ports.measuring import Backlog
from flagschedule.ports.mirroring import StatusEntry

_SNAPSHOT: Final = statements.read("mirror/snapshots", which=statements.read("mirror/one_object"))
_SNAPSHOTS, _RECORDS = (
    statements.read(name, which=statements.read("mirror/next_page")) for name in ("mirror/snapshots", "mirror/records")
)
_BACKLOG_OF_FREEZES: Final = statements.read("freeze/backlog", due=statements.read("freeze/due"))
_TIMEOUT: Final = 5.0  # seconds, for a connection
_PING_TIMEOUT: Final = 2.0  # seconds; the circuit breaker waits for three, and logs why there is no connection
_PAGE: Final = 1000
_LONGEST_ERROR: Final = 200
# Passes by itself: the flag was deleted between our look and our insertion, a conflict, a row that is locked.
_PASSING: Final = {"23503", "40001", "40P01", "55P03", "57014"}
# Concerns all objects: a missing right, table or column.
_FOR_ALL: Final = {"42501", "42P01", "42703"}
_CONNECTIONS: Final = 8
_RUN_COUNTS: Final = ("processed", "failed", "retried", "superseded", "set_aside", "skipped", "refused_cache_keys")

_log = structlog.get_logger()


class PostgresMirrorStore:
    """A pool of connections; open it as a context manager. The database need not be there yet."""

    def __init__(self, url: Url, cluster: str, namespaces: Sequence[str], events: Sequence[NoticeEvent] = ()) -> None:
        """Make a store.

        Args:
            url: the database's URL.
            cluster: whose records are ours.
            namespaces: whose objects; empty for all.
            events: of which events notices are kept for the webhook.
        """
        self.events = frozenset(events)
        self._scope = {"cluster": cluster, "namespaces": list(namespaces)}
        self._has_adopted_rows = False
        self._runs_counted_to: object = None  # the database's time; it alone compares it
        self._pool = SessionPool(url, "flagschedule-operator", _CONNECTIONS)
        self._session = self._pool.session

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def _fetch(self, name: str, **values: object) -> list[DictRow]:
        async with self.serving() as session:
            return await (await session.execute(statements.read(name), {**self._scope, **values})).fetchall()

    @asynccontextmanager
    async def serving(self, within: float = _TIMEOUT) -> AsyncIterator[AsyncConnection[DictRow]]:
        """A session for what concerns no single object, so that a refusal is no object's fault either."""
        try:
            async with self._session(within) as session:
                yield session
        except StatementRefusedError as refusal:
            raise DependencyUnavailableError(str(refusal)) from refusal

    @asynccontextmanager
    async def serving_one(self, *, writes: bool = False) -> AsyncIterator[AsyncConnection[DictRow]]:
        """A session for statements that the values of single rows can spoil.

        Raises:
            DependencyUnavailableError: the refusal is no object's fault.
            ConflictError: another transaction is in the way of a write.
            StatementRefusedError: the values are refused. To repeat that as if the database were away would keep all
                other objects waiting.
        """
        try:
            async with self._session() as session:
                yield session
        except StatementRefusedError as refusal:
            if writes and refusal.sqlstate in _PASSING:
                raise ConflictError from refusal
            if refusal.sqlstate in _FOR_ALL | _PASSING:
                raise DependencyUnavailableError(str(refusal)) from refusal
            raise

    @asynccontextmanager
    async def transaction(self, obj: FlagSchedule, *, flag_locked: bool = False) -> AsyncIterator["_Transaction"]:
        """See ports.mirroring.MirrorStore."""
        async with self.serving_one(writes=True) as session, session.transaction():
            values = {**self._scope, **mapping.identity(obj)}
            yield _Transaction(session, values, obj, flag_locked=flag_locked, events=self.events)

    async def snapshot(self, uid: Uid) -> Snapshot | None:
        """See ports.mirroring.MirrorStore."""
        async with self.serving_one() as session:
            found = await _read(session, uid)
            if found is None:
                return None
            attempts = await (await session.execute(statements.read("mirror/history"), {"uid": uid})).fetchall()
            return replace(found, history=mapping.to_history(attempts))

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """See ports.mirroring.MirrorStore. Page by page, so that a slow reader holds no transaction open.

        One row whose values the server refuses spoils its whole page: the pages are halved until it is alone.
        """
        after, size = UUID(int=0), _PAGE
        while True:
            alone = False
            try:
                page = await self._page(_SNAPSHOTS, after, size)
            except StatementRefusedError:
                if size > 1:
                    size //= 2
                    continue
                page, alone = await self._page(_RECORDS, after, size), True
            for found in page:
                try:
                    snapshot = await self.snapshot(found["uid"]) if alone else mapping.to_snapshot(found)
                except (StatementRefusedError, ValueError) as error:
                    _log.error(
                        "Row not understood",
                        namespace=found["namespace"],
                        name=found["name"],
                        uid=str(found["uid"]),
                        scheduleId=str(found["schedule_id"]),
                        error=str(error)[:_LONGEST_ERROR],
                    )
                else:
                    if snapshot:
                        yield snapshot
            if len(page) < size:
                return
            after, size = page[-1]["uid"], min(2 * size, _PAGE)

    async def _page(self, statement: LiteralString, after: UUID, size: int) -> list[DictRow]:
        async with self.serving_one() as session:
            values = {**self._scope, "after": after, "page": size}
            return await (await session.execute(statement, values)).fetchall()

    async def waiting(self) -> Sequence[ObjectRef]:
        """See ports.mirroring.MirrorStore."""
        return [mapping.to_ref(found) for found in await self._fetch("mirror/waiting")]

    async def status_entries(self, limit: int, known: Sequence[int] = ()) -> Sequence[StatusEntry]:
        """See ports.mirroring.MirrorStore."""
        found = await self._fetch("mirror/status_entries", limit=limit, known=list(known))
        return [StatusEntry(id=entry["id"], ref=mapping.to_ref(entry)) for entry in found]

    async def delete_status_entries(self, ids: Sequence[int]) -> None:
        """See ports.mirroring.MirrorStore."""
        if self.events:
            await self._consume(ids)
            return
        async with self.serving() as session:
            await session.execute(statements.read("mirror/delete_status_entries"), {"ids": list(ids)})

    async def _consume(self, ids: Sequence[int]) -> None:
        """Delete entries and keep their notices; a row that spoils its notice keeps no other one from it."""
        values = {**self._scope, "ids": list(ids), "events": list(self.events)}
        try:
            async with self.serving_one() as session:
                await session.execute(statements.read("notices/consume"), values)
        except StatementRefusedError as error:
            if len(ids) > 1:
                for half in (ids[: len(ids) // 2], ids[len(ids) // 2 :]):
                    await self._consume(half)
                return
            _log.error("Notice not kept", entry=ids[0], error=str(error)[:_LONGEST_ERROR])
            async with self.serving() as session:
                await session.execute(statements.read("mirror/delete_status_entries"), values)

    async def claim_cluster(self, kube_system_uid: str) -> bool:
        """See ports.mirroring.MirrorStore."""
        is_ours = bool(await self._fetch("mirror/claim_cluster", kube_system_uid=kube_system_uid))
        if is_ours and not self._has_adopted_rows:
            await self._adopt_rows([found["id"] for found in await self._fetch("mirror/rows_to_adopt")])
            self._has_adopted_rows = True
        return is_ours

    async def _adopt_rows(self, ids: Sequence[UUID]) -> None:
        """Write what freezes look at; a row that the host refuses to change keeps no other one from it."""
        try:
            async with self.serving_one() as session:
                await session.execute(statements.read("mirror/adopt_rows"), {"ids": list(ids)})
        except StatementRefusedError as error:
            if len(ids) == 1:
                _log.error("Row not adopted", scheduleId=str(ids[0]), error=str(error)[:_LONGEST_ERROR])
                return
            for half in (ids[: len(ids) // 2], ids[len(ids) // 2 :]):
                await self._adopt_rows(half)

    async def backlog(self) -> Backlog:
        """See ports.mirroring.MirrorStore."""
        (found,) = await self._fetch("mirror/backlog", mark=self._runs_counted_to)
        self._runs_counted_to = found.pop("mark")
        runs = {name: int(found.pop(name)) for name in _RUN_COUNTS}
        held = await self._held() if found["active_freezes"] else None
        if held is not None:  # it is in its place, and nothing waits for a processor
            found["due"] = max(found["due"] - held["first_attempts"], 0)
            found["retrying"] = max(found["retrying"] - held["retries"], 0)
            found["oldest_due"] = held["oldest_due"]
        found["attempts"] = found["attempts"] or {}
        return Backlog(**found, held=held["first_attempts"] + held["retries"] if held else 0, runs=runs)

    async def _held(self) -> DictRow | None:
        """Return what is due and held; None while the table of flags is locked."""
        try:
            async with self.serving_one() as session, session.transaction():
                await session.execute(statements.read("freeze/patience"))
                return await (await session.execute(_BACKLOG_OF_FREEZES)).fetchone()
        except (StatementRefusedError, DependencyUnavailableError):
            return None

    async def wait_until_refused(self) -> FlagScheduleError:
        """See ports.mirroring.MirrorStore."""
        await self._pool.refused.wait()
        return self._pool.failure or CredentialsRefusedError()

    async def ping(self) -> None:
        """See ports.mirroring.MirrorStore."""
        async with self.serving(_PING_TIMEOUT) as session:
            found = await (await session.execute(statements.read("mirror/serves"))).fetchone()
            if found and found["is_read_only"]:
                raise ReadOnlySqlTransaction


class _Transaction:
    """Implements ports.mirroring.Transaction."""

    def __init__(
        self,
        session: AsyncConnection[DictRow],
        values: dict[str, Any],
        obj: FlagSchedule,
        *,
        flag_locked: bool,
        events: Collection[NoticeEvent],
    ) -> None:
        self._session = session
        self._values = values
        self._obj = obj
        self._flag_locked = flag_locked
        self._events = events
        self._has_namesakes = False  # whether there ever was another object of this name

    async def facts(self) -> Facts:
        """See ports.mirroring.Transaction."""
        for name in ("mirror/lock_object", "mirror/lock_row", "mirror/adopt_record"):
            await self._session.execute(statements.read(name), self._values)
        self._facts = await self._read_facts()
        return self._facts

    async def save(self, decision: Decision) -> Snapshot:
        """See ports.mirroring.Transaction."""
        facts = self._facts
        nothing = Snapshot(record=None, row=None, now=facts.now)
        if self._obj.deleting and facts.record is None:
            return nothing
        schedule_id = await _store_row(self._session, facts, decision, self._values)
        record = {**self._values, **mapping.record_values(decision.record), "schedule_id": schedule_id}
        if facts.undecided and self._has_namesakes:
            await _replace_predecessors(self._session, record)
            if mapping.to_replay(await _around(self._session, self._values)) != facts.replay:
                raise ConflictError  # the processor has just applied what we were about to replace
        if decision.record != facts.record or schedule_id != decision.record.schedule_id:
            await self._session.execute(statements.read("mirror/save_record"), record)
        if decision.edit is not None:
            await insert_change(self._session, self._obj.ref.uid, decision.edit)
        saved = await _read(self._session, self._obj.ref.uid) or nothing
        if NoticeEvent.EXPIRED in self._events and _has_expired(facts, saved):
            await self._session.execute(statements.read("notices/expired"), mapping.expired_values(self._obj, record))
        return saved

    async def _read_facts(self) -> Facts:
        obj = self._obj
        snapshot = await _read(self._session, obj.ref.uid)
        if snapshot is not None and (obj.deleting or (snapshot.row is not None and not _is_moved(obj, snapshot))):
            # Nothing of the host's is looked at, so that a stop needs no lock but the row's.
            return Facts(record=snapshot.record, row=snapshot.row, flag_id=None, replay=None, now=snapshot.now)
        around = await _around(self._session, self._values)
        self._has_namesakes = around["has_namesakes"]
        planned = not obj.deleting and obj.spec is not None and not obj.spec.cancel
        flags = await _flags(self._session, self._values) if planned and not self._flag_locked else []
        ambiguous = Reason.FLAG_AMBIGUOUS if len(flags) > 1 else None
        return Facts(
            record=snapshot.record if snapshot else None,
            row=snapshot.row if snapshot else None,
            flag_id=flags[0] if flags else None,
            replay=mapping.to_replay(around),
            now=around["now"],
            flag_trouble=Reason.FLAG_LOCKED if self._flag_locked else ambiguous,
        )


async def _read(session: AsyncConnection[DictRow], uid: Uid) -> Snapshot | None:
    found = await (await session.execute(_SNAPSHOT, {"uid": uid})).fetchone()
    return mapping.to_snapshot(found) if found else None


async def insert_change(session: AsyncConnection[DictRow], uid: Uid, edit: Edit) -> None:
    """Keep a version of an object of any kind that is acted on."""
    await session.execute(statements.read("mirror/insert_change"), {"uid": uid, **mapping.edit_values(edit)})


def _has_expired(before: Snapshot, after: Snapshot) -> bool:
    """Whether it was just found to be too late by an accident; what is old history from Git has another reason."""
    return after.outcome.reason is Reason.EXPIRED is not before.outcome.reason


async def _store_row(
    session: AsyncConnection[DictRow], facts: Facts, decision: Decision, values: Mapping[str, Any]
) -> UUID | None:
    """Bring the row in line with the decision; the id that the record should point to."""
    if decision.replaced is not None and decision.replaced != facts.row:
        await _update_row(session, facts.row, decision.replaced, values)
    if decision.row is not None and decision.row.id is None:
        made_for = {"flag_id": facts.flag_id, "created_at": decision.record.created_at}
        inserted = {**values, **mapping.row_values(decision.row), **made_for}
        with _needing_the_flag():
            made = await (await session.execute(statements.read("mirror/insert_row"), inserted)).fetchone()
        return made["id"] if made else None
    if decision.row is not None and decision.row != facts.row:
        await _update_row(session, facts.row, decision.row, values)
    return decision.record.schedule_id


async def _update_row(
    session: AsyncConnection[DictRow], before: Row | None, row: Row, values: Mapping[str, Any]
) -> None:
    """Write a row; JSON that stays is not written, because another program may have stored what we cannot send back."""
    kept = {"updates": None} if before and row.updates == before.updates else {}
    keeps_expect = {"keeps_expect": before is not None and row.expect == before.expect}
    wanted = {**values, **mapping.row_values(row), **kept, **keeps_expect}
    await session.execute(statements.read("mirror/update_row"), wanted)


def _is_moved(obj: FlagSchedule, snapshot: Snapshot) -> bool:
    """Whether the spec names another flag than the row has."""
    if obj.spec is None or snapshot.record is None:
        return False
    known = (snapshot.record.flag_key, snapshot.record.environment)
    return known != (obj.spec.flag_key, obj.spec.effective_environment)


async def _around(session: AsyncConnection[DictRow], values: dict[str, Any]) -> DictRow:
    found = await (await session.execute(statements.read("mirror/facts"), values)).fetchone()
    if found is None:
        raise AssertionError("a SELECT without FROM returns a row")
    return found


async def _flags(session: AsyncConnection[DictRow], values: dict[str, Any]) -> list[UUID]:
    with _needing_the_flag():
        found = await (await session.execute(statements.read("mirror/find_flag"), values)).fetchall()
    return [flag["id"] for flag in found]


@contextmanager
def _needing_the_flag() -> Iterator[None]:
    """Distinguish a wait for the flag from a wait for the object's own row, which an object without a flag needs."""
    try:
        yield
    except (LockNotAvailable, QueryCanceled) as error:
        raise ConflictError(flag_locked=True) from error


async def _replace_predecessors(session: AsyncConnection[DictRow], record: dict[str, Any]) -> None:
    """Cancel what older objects of this name had planned; two live objects cannot share a name.

    Comes after the insertion, which locks the flag: flag, row, record is the order of a cascading delete, too.
    """
    await session.execute(statements.read("mirror/lock_predecessors"), record)
    await session.execute(statements.read("mirror/cancel_predecessors"), record)
    await session.execute(statements.read("mirror/close_predecessors"), record)
