"""The operator's store: records and rows of its own cluster name. Implements ports.MirrorStore.

`mirror` is the one transaction that writes: lock, read, let the caller decide, store the answer.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any, Final, Self
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.errors import ReadOnlySqlTransaction
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from flagschedule.adapters.postgres import statements
from flagschedule.adapters.postgres.connection import Url
from flagschedule.adapters.postgres.pool import SessionPool
from flagschedule.domain.decision import Decision, Facts, Replay
from flagschedule.domain.errors import DependencyUnavailableError, StatementRefusedError
from flagschedule.domain.outcome import Reason, Record, Row, Snapshot, State
from flagschedule.domain.schedule import FlagSchedule, ObjectRef, Uid
from flagschedule.ports import Backlog, StatusEntry

_SNAPSHOT: Final = statements.read("snapshots") + "WHERE o.uid = %(uid)s"
_SNAPSHOTS: Final = (
    statements.read("snapshots") + "WHERE o.cluster = %(cluster)s AND o.deleted_at IS NULL "
    "AND (%(namespaces)s::text[] = '{}' OR o.namespace = ANY (%(namespaces)s)) "
    "AND o.uid > %(after)s ORDER BY o.uid LIMIT %(page)s"
)
# Tables and rights must be there, too.
_SERVES: Final = (
    "SELECT pg_is_in_recovery() AS is_standby, EXISTS (SELECT FROM flag_schedule_objects LIMIT 0) AS has_tables"
)
_PING_TIMEOUT: Final = 2.0  # seconds; the gate waits for three, and shall hear why no connection could be had
_PAGE: Final = 1000
_TRIES: Final = 5
_PAUSE: Final = 0.1
# Passes by itself: the flag was deleted between our look and our insertion, a conflict, a row that is locked.
_PASSING: Final = {"23503", "40001", "40P01", "55P03", "57014"}
# No object's trouble: a missing right, table or column.
_FOR_ALL: Final = {"42501", "42P01", "42703"}
_CONNECTIONS: Final = 8
_RUN_COUNTS: Final = ("processed", "failed", "retried", "superseded", "set_aside", "skipped", "refused_cache_keys")


class _OvertakenError(Exception):
    """Between our look and our lock the processor applied what we were about to replace."""


class PostgresMirrorStore:
    """A pool of connections; open it as a context manager. The database need not be there yet."""

    def __init__(self, url: Url, cluster: str, namespaces: Sequence[str]) -> None:
        self._scope = {"cluster": cluster, "namespaces": list(namespaces)}
        self._runs_counted_to: object = None  # the database's time; it alone compares it
        self._pool = SessionPool(url, "flagschedule-operator", _CONNECTIONS)
        self._session = self._pool.session

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def _fetch(self, name: str, **values: object) -> list[DictRow]:
        async with self._session() as session:
            return await (await session.execute(statements.read(name), {**self._scope, **values})).fetchall()

    async def mirror(self, thing: FlagSchedule, decide: Callable[[Facts], Decision]) -> Snapshot:
        """See ports.MirrorStore."""
        for tries_left in reversed(range(_TRIES)):
            try:
                return await self._mirror_once(thing, decide)
            except StatementRefusedError as refusal:
                if refusal.sqlstate in _FOR_ALL:
                    raise DependencyUnavailableError(str(refusal)) from refusal
                if not tries_left or refusal.sqlstate not in _PASSING:
                    raise
            except _OvertakenError:
                if not tries_left:
                    raise
            await asyncio.sleep(_PAUSE)
        raise AssertionError("the last try returns or raises")

    async def _mirror_once(self, thing: FlagSchedule, decide: Callable[[Facts], Decision]) -> Snapshot:
        async with self._session() as session, session.transaction():
            values = {**self._scope, **_identity(thing)}
            await session.execute(statements.read("lock_object"), values)
            await session.execute(statements.read("lock_row"), values)
            await session.execute(statements.read("adopt_record"), values)
            facts, has_namesakes = await self._facts(session, values)
            decision = decide(facts)
            if thing.deleting and facts.record is None:
                return Snapshot(record=None, row=None, now=facts.now)
            schedule_id = await _store_row(session, facts, decision)
            record = {**values, **_record_values(decision.record), "schedule_id": schedule_id}
            if facts.record is None and has_namesakes:
                await _replace_predecessors(session, record)
                now, _ = await self._facts(session, values)
                if now.replay != facts.replay:
                    raise _OvertakenError
            if decision.record != facts.record or schedule_id != decision.record.schedule_id:
                await session.execute(statements.read("save_record"), record)
            snapshot = await self._read(session, thing.ref.uid)
            return snapshot or Snapshot(record=None, row=None, now=facts.now)

    async def _facts(self, session: AsyncConnection[DictRow], values: dict[str, Any]) -> tuple[Facts, bool]:
        """What to decide by, and whether there ever was another object of this name."""
        snapshot = await self._read(session, values["uid"])
        around = await (await session.execute(statements.read("facts"), values)).fetchone()
        if around is None:
            raise AssertionError("a SELECT without FROM returns a row")
        facts = Facts(
            record=snapshot.record if snapshot else None,
            row=snapshot.row if snapshot else None,
            flag_id=around["flag_id"],
            replay=_replay(around),
            now=around["now"],
        )
        return facts, around["has_namesakes"]

    async def _read(self, session: AsyncConnection[DictRow], uid: Uid) -> Snapshot | None:
        found = await (await session.execute(_SNAPSHOT, {"uid": uid})).fetchone()
        return _snapshot(found) if found else None

    async def snapshot(self, uid: Uid) -> Snapshot | None:
        """See ports.MirrorStore."""
        async with self._session() as session:
            return await self._read(session, uid)

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """See ports.MirrorStore. Page by page, so that a slow reader holds no transaction open."""
        after = UUID(int=0)
        while True:
            async with self._session() as session:
                values = {**self._scope, "after": after, "page": _PAGE}
                page = await (await session.execute(_SNAPSHOTS, values)).fetchall()
            for found in page:
                yield _snapshot(found)
            if len(page) < _PAGE:
                return
            after = page[-1]["uid"]

    async def waiting(self) -> Sequence[ObjectRef]:
        """See ports.MirrorStore."""
        return [_ref(found) for found in await self._fetch("waiting")]

    async def status_entries(self, limit: int) -> Sequence[StatusEntry]:
        """See ports.MirrorStore."""
        found = await self._fetch("status_entries", limit=limit)
        return [StatusEntry(id=entry["id"], ref=_ref(entry)) for entry in found]

    async def delete_status_entries(self, ids: Sequence[int]) -> None:
        """See ports.MirrorStore."""
        async with self._session() as session:
            await session.execute(statements.read("delete_status_entries"), {"ids": list(ids)})

    async def claim_cluster(self, kube_system_uid: str) -> bool:
        """See ports.MirrorStore."""
        return bool(await self._fetch("claim_cluster", kube_system_uid=kube_system_uid))

    async def backlog(self) -> Backlog:
        """See ports.MirrorStore."""
        (found,) = await self._fetch("backlog", mark=self._runs_counted_to)
        self._runs_counted_to = found.pop("mark")
        runs = {name: int(found.pop(name)) for name in _RUN_COUNTS}
        return Backlog(**found, runs=runs)

    async def wait_until_refused(self) -> None:
        """See ports.MirrorStore."""
        await self._pool.refused.wait()

    async def ping(self) -> None:
        """See ports.MirrorStore."""
        async with self._session(_PING_TIMEOUT) as session:
            found = await (await session.execute(_SERVES)).fetchone()
            if found and found["is_standby"]:
                raise ReadOnlySqlTransaction


async def _store_row(session: AsyncConnection[DictRow], facts: Facts, decision: Decision) -> UUID | None:
    """Bring the row in line with the decision; the id that the record should point to."""
    if decision.replaced is not None and decision.replaced != facts.row:
        await session.execute(statements.read("update_row"), _row_values(decision.replaced))
    if decision.row is not None and decision.row.id is None:
        values = {**_row_values(decision.row), "flag_id": facts.flag_id, "created_at": decision.record.created_at}
        made = await (await session.execute(statements.read("insert_row"), values)).fetchone()
        return made["id"] if made else None
    if decision.row is not None and decision.row != facts.row:
        await session.execute(statements.read("update_row"), _row_values(decision.row))
    return decision.record.schedule_id


async def _replace_predecessors(session: AsyncConnection[DictRow], record: dict[str, Any]) -> None:
    """Two live objects cannot share a name: what older ones had planned is given up, or the dead would fire.

    Comes after the insertion, which locks the flag: flag, row, record is the order of a cascading delete, too.
    """
    await session.execute(statements.read("lock_predecessors"), record)
    await session.execute(statements.read("cancel_predecessors"), record)
    await session.execute(statements.read("close_predecessors"), record)


def _identity(thing: FlagSchedule) -> dict[str, Any]:
    spec = thing.spec
    return {
        "uid": thing.ref.uid,
        "namespace": thing.ref.namespace,
        "name": thing.ref.name,
        "flag_key": spec.flag_key if spec else None,
        "environment": spec.effective_environment if spec else None,
        "planned_at": spec.scheduled_at if spec else None,
    }


def _replay(around: DictRow) -> Replay | None:
    if not around["is_replay"]:
        return None
    return Replay(applied_at=around["replayed_at"], change_hash=around["replayed_hash"])


def _row_values(row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "scheduled_at": row.scheduled_at,
        "status": row.state,
        "updates": Jsonb(row.updates),
        "max_retries": row.max_retries,
        "suspended": row.suspended,
        "not_after": row.not_after,
        "arming": row.arming,
        "reason": row.reason,
        "applied_at": row.applied_at,
        "retry_count": row.retry_count,
        "next_retry_at": row.next_retry_at,
        "last_error": row.last_error,
    }


def _record_values(record: Record) -> dict[str, Any]:
    return {
        "created_at": record.created_at,
        "generation": record.generation,
        "flag_key": record.flag_key,
        "environment": record.environment,
        "scheduled_at": record.scheduled_at,
        "arming_hash": record.arming_hash,
        "change_hash": record.change_hash,
        "retry_request": record.retry_request,
        "deleted": record.deleted,
        "state": record.state,
        "reason": record.reason,
        "applied_at": record.applied_at,
    }


def _ref(found: DictRow) -> ObjectRef:
    return ObjectRef(uid=Uid(found["uid"]), namespace=found["namespace"], name=found["name"])


def _reason(text: str | None) -> Reason | None:
    # A word that somebody else wrote there is no reason of ours, and no reason to stumble.
    return Reason(text) if text in set(Reason) else None


def _snapshot(found: DictRow) -> Snapshot:
    record = Record(
        ref=_ref(found),
        created_at=found["created_at"],
        schedule_id=found["schedule_id"],
        generation=found["generation"],
        flag_key=found["flag_key"],
        environment=found["environment"],
        scheduled_at=found["planned_at"],
        arming_hash=found["arming_hash"],
        change_hash=found["change_hash"],
        retry_request=found["retry_request"],
        deleted=found["deleted"],
        state=State(found["outcome"]) if found["outcome"] else None,
        reason=_reason(found["outcome_reason"]),
        applied_at=found["outcome_applied_at"],
    )
    row = _row(found) if found["id"] else None
    if row is None and record.schedule_id and record.state is None:
        # TRUNCATE fires no trigger that could have kept the outcome.
        record = replace(record, state=State.FAILED, reason=Reason.FLAG_DELETED)
    return Snapshot(record=record, row=row, now=found["now"])


def _row(found: DictRow) -> Row:
    sets = (("enabled", found["set_enabled"]), ("rolloutPercentage", found["set_rollout_percentage"]))
    return Row(
        id=UUID(str(found["id"])),
        scheduled_at=found["scheduled_at"],
        state=State(found["status"]),
        updates=found["updates"],
        max_retries=found["max_retries"],
        suspended=found["suspended"],
        not_after=found["not_after"],
        arming=found["arming"],
        reason=_reason(found["reason"]),
        applied_at=found["applied_at"],
        retry_count=found["retry_count"],
        next_retry_at=found["next_retry_at"],
        last_error=found["last_error"],
        set_aside_until=found["set_aside_until"],
        set_aside_count=found["set_aside_count"],
        sets=tuple(name for name, is_set in sets if is_set),
    )
