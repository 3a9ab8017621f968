"""The operator's store of plans: records, links and rows. Implements ports.planning.PlanStore.

Rows are not locked before they are changed: each change names the state in which its row was read, and a row that is
in another one by then makes the caller start again. So an outcome locks none of a plan's two thousand rows.
"""

import json
import secrets
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable, QueryCanceled
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from flagschedule.adapters.postgres import mapping, statements
from flagschedule.adapters.postgres.mirror_store import PostgresMirrorStore, insert_change
from flagschedule.domain.errors import ConflictError
from flagschedule.domain.notices import NoticeEvent
from flagschedule.domain.outcome import Reason, State
from flagschedule.domain.plan import Flag, FlagPlan
from flagschedule.domain.plan_rows import Content, Insert, Key, Link, Note, Part, PlanFacts, PlanRecord
from flagschedule.domain.planning import RECENT, PlanDecision, chain_occurrence
from flagschedule.domain.schedule import ObjectRef, Uid
from flagschedule.ports.mirroring import StatusEntry
from flagschedule.ports.planning import KnownPlan

_LONGEST_ERROR: Final = 1024
_LOCKED: Final = (LockNotAvailable, QueryCanceled)
_Session = AsyncConnection[DictRow]


class PostgresPlanStore:
    """Uses the sessions of the operator's other store."""

    def __init__(self, mirror: PostgresMirrorStore, cluster: str, namespaces: Sequence[str]) -> None:
        self._mirror = mirror
        self._scope = {"cluster": cluster, "namespaces": list(namespaces)}

    @asynccontextmanager
    async def transaction(self, obj: FlagPlan) -> AsyncIterator["_Transaction"]:
        """See ports.planning.PlanStore."""
        async with self._mirror.serving_one(writes=True) as session, session.transaction():
            yield _Transaction(session, {**self._scope, **_identity(obj)}, obj, self._mirror.events)

    async def hold(self, obj: FlagPlan) -> None:
        """See ports.planning.PlanStore."""
        values = {**_identity(obj), "generation": obj.generation}
        async with self._mirror.serving_one(writes=True) as session, session.transaction():
            await session.execute(_text("lock_name"), values)
            await session.execute(_text("hold"), values)

    async def facts(self, obj: FlagPlan) -> PlanFacts:
        """See ports.planning.PlanStore."""
        values = {**self._scope, **_identity(obj)}
        async with self._mirror.serving_one() as session, session.transaction():
            return await _read(session, obj, await _fetch_one(session, "record", values), values)

    async def known(self) -> Sequence[KnownPlan]:
        """See ports.planning.PlanStore."""
        return [
            KnownPlan(ref=mapping.to_ref(found), created_at=found["created_at"], generation=found["generation"])
            for found in await self._fetch("live")
        ]

    async def waiting(self) -> Sequence[ObjectRef]:
        """See ports.planning.PlanStore."""
        return [mapping.to_ref(found) for found in await self._fetch("waiting")]

    async def status_entries(self, limit: int, known: Sequence[int] = ()) -> Sequence[StatusEntry]:
        """See ports.planning.PlanStore."""
        found = await self._fetch("status_entries", limit=limit, known=list(known))
        return [StatusEntry(id=entry["id"], ref=mapping.to_ref(entry)) for entry in found]

    async def delete_status_entries(self, ids: Sequence[int]) -> None:
        """See ports.planning.PlanStore."""
        await self._mirror.delete_status_entries(ids)

    async def _fetch(self, name: LiteralString, **values: object) -> list[DictRow]:
        async with self._mirror.serving() as session:
            return await (await session.execute(_text(name), {**self._scope, **values})).fetchall()


class _Transaction:
    """Implements ports.planning.PlanTransaction."""

    def __init__(
        self, session: _Session, values: dict[str, Any], obj: FlagPlan, events: Collection[NoticeEvent]
    ) -> None:
        self._session = session
        self._events = events
        self._values = values
        self._obj = obj
        self._is_locked = False
        self._locked: set[Flag] = set()

    async def facts(self) -> PlanFacts:
        """See ports.planning.PlanTransaction."""
        if not self._is_locked:
            for name in ("lock_name", "adopt"):
                await self._session.execute(_text(name), self._values)
            self._is_locked = True
        record = await _fetch_one(self._session, "record", self._values)
        if record["lineage"] is None:
            await self._session.execute(_text("make_lineage"), self._values)
            record = await _fetch_one(self._session, "record", self._values)
        self._values["lineage"] = record["lineage"]
        if record["uid"] is None and not record["replaced"] and not self._obj.deleting:
            await self._session.execute(_text("take_over"), self._values)
            await self._session.execute(_text("close_predecessors"), self._values)
        await self._session.execute(_text("keep_outcomes"), self._values)
        self._facts = await _read(self._session, self._obj, record, self._values, self._locked)
        return self._facts

    async def save(self, decision: PlanDecision) -> None:
        """See ports.planning.PlanTransaction."""
        changes = decision.changes
        if changes.suspend is not None:
            await self._session.execute(_text("suspend"), {**self._values, "suspended": changes.suspend})
        await self._change(
            "cancel", [_of(cancel.link) | {"reason": cancel.reason} for cancel in changes.cancels], suspended=None
        )
        await self._change(
            "update",
            [_of(update.link) | vars(update.content) for update in changes.updates],
            suspended=self._is_suspended,
        )
        restores = [_of(restore.link) | {"applied_at": restore.applied_at} for restore in changes.restores]
        await self._change("restore", restores, suspended=None)
        if changes.notes:
            await self._session.execute(_text("note"), {**self._values, "rows": _rows(map(_note, changes.notes))})
            expired = [_note(note) for note in changes.notes if note.state is State.EXPIRED]
            if expired and NoticeEvent.EXPIRED in self._events:
                values = {**self._values, "kind": "FlagPlan", "rows": _rows(expired)}
                await self._session.execute(statements.read("notices/expired"), values)
        await self._insert(changes.inserts)
        record = decision.record
        if self._locked:  # a request to retry is handled once all of its rows are stored
            handled = self._facts.record.retry_request if self._facts.record else None
            record = replace(record, retry_request=handled)
        if record != self._facts.record and not (self._facts.record is None and record.deleted):
            await self._session.execute(_text("save_record"), {**self._values, **_record_values(record)})
            if decision.edit is not None:
                await insert_change(self._session, self._obj.ref.uid, decision.edit)

    @property
    def _is_suspended(self) -> bool:
        return self._obj.spec is not None and self._obj.spec.suspend

    async def _change(self, name: LiteralString, rows: list[dict[str, Any]], *, suspended: bool | None) -> None:
        if not rows:
            return
        found = await _fetch_one(self._session, name, {**self._values, "rows": _rows(rows), "suspended": suspended})
        if found["count"] != len(rows):
            raise ConflictError

    async def _insert(self, inserts: Sequence[Insert]) -> None:
        """Insert rows, those of each flag on their own: one flag that is locked keeps no other one."""
        # Not of rows that are gone: a start without a row would look as if it was not made, and its end is planned
        # because it was.
        ids = {key: link.schedule_id for key, link in self._facts.links.items() if link.content is not None}
        by_flag: dict[Flag, list[Insert]] = {}
        for insert in inserts:
            ids[insert.key] = new_id(insert)
            by_flag.setdefault(insert.key.flag, []).append(insert)
        for flag, found in by_flag.items():
            rows = _rows(_new_row(insert, ids) for insert in found)
            values = {**self._values, "rows": rows, "flag_id": found[0].flag_id, "suspended": self._is_suspended}
            try:
                async with self._session.transaction():
                    await self._session.execute(_text("insert"), values)
            except _LOCKED:
                self._locked.add(flag)


def _text(name: LiteralString) -> LiteralString:
    return statements.read(f"plan/{name}")


async def _fetch_one(session: _Session, name: LiteralString, values: Mapping[str, Any]) -> DictRow:
    found = await (await session.execute(_text(name), values)).fetchone()
    if found is None:
        raise AssertionError("the statement returns a row")
    return found


async def _read(
    session: _Session, obj: FlagPlan, record: DictRow, values: Mapping[str, Any], locked: Iterable[Flag] = ()
) -> PlanFacts:
    found: list[DictRow] = []
    if record["lineage"] is not None:
        of = {**values, "lineage": record["lineage"], "recent": RECENT}
        found = await (await session.execute(_text("links"), of)).fetchall()
    flags, unusable = await _flags(session, obj)
    unusable |= dict.fromkeys(locked, Reason.FLAG_LOCKED)
    links = {link.key: link for link in map(_to_link, found)}
    held: list[DictRow] = []
    if any(_is_due(link, record["now"]) for link in links.values()):
        held = await (await session.execute(_text("holding"), {"lineage": record["lineage"]})).fetchall()
    return PlanFacts(
        record=_to_record(obj, record) if record["uid"] is not None else None,
        links=links,
        holding=mapping.to_holding(held[0]) if held else None,
        flags=flags,
        unusable=unusable,
        now=record["now"],
        replaced=record["replaced"],
    )


def _is_due(link: Link, now: datetime) -> bool:
    return link.unfinished and not link.suspended and link.content is not None and link.content.scheduled_at <= now


async def _flags(session: _Session, obj: FlagPlan) -> tuple[dict[Flag, UUID], dict[Flag, Reason]]:
    """Find the plan's flags. What ends a plan does not look at them, so that a stop waits for no lock of the host's."""
    if obj.deleting or obj.cancel or obj.spec is None:
        return {}, {}
    wanted = obj.spec.flags
    values = {"keys": [key for key, _ in wanted], "environments": [environment for _, environment in wanted]}
    try:
        async with session.transaction():
            rows = await (await session.execute(_text("flags"), values)).fetchall()
    except _LOCKED:
        return {}, dict.fromkeys(wanted, Reason.FLAG_LOCKED)
    found = {(row["flag_key"], row["environment"]): row["ids"] for row in rows}
    ambiguous = {flag: Reason.FLAG_AMBIGUOUS for flag, ids in found.items() if len(ids) > 1}
    return {flag: ids[0] for flag, ids in found.items()}, ambiguous


def _identity(obj: FlagPlan) -> dict[str, Any]:
    chains = obj.spec.chains if obj.spec is not None and not obj.spec.is_recurring else ()
    return {
        "uid": obj.ref.uid,
        "namespace": obj.ref.namespace,
        "name": obj.ref.name,
        "created_at": obj.created_at,
        "chains": [chain_occurrence(chain) for chain in chains],
    }


def _to_record(obj: FlagPlan, found: DictRow) -> PlanRecord:
    return PlanRecord(
        ref=obj.ref,
        created_at=found["created_at"],
        planned_from=found["planned_from"],
        generation=found["generation"],
        plan_hash=found["plan_hash"],
        planned_until=found["planned_until"],
        tzdata=found["tzdata"],
        retry_request=found["retry_request"],
        approval=found["approval"],
        cancelled=found["cancelled"],
        missing=tuple(_missing(found["missing"])),
        deleted=found["deleted"],
        actors=mapping.to_actors(found),
    )


def _missing(found: object) -> Iterator[Flag]:
    """Yield the flags of a record; what is none is left out, and planning stores the right ones."""
    for entry in found if isinstance(found, list) else ():
        match entry:
            case [str(key), str(environment)]:
                yield key, environment


def _record_values(record: PlanRecord) -> dict[str, Any]:
    return {
        "generation": record.generation,
        "plan_hash": record.plan_hash,
        "planned_from": record.planned_from,
        "planned_until": record.planned_until,
        "tzdata": record.tzdata,
        "retry_request": record.retry_request,
        "approval": record.approval,
        "cancelled": record.cancelled,
        "missing": Jsonb(record.missing),
        **vars(record.actors),
        "deleted": record.deleted,
    }


def _to_link(found: DictRow) -> Link:
    """A link, with the row's state while there is a row."""
    has_row = found["id"] is not None
    state = mapping.to_state(found["status"] if has_row else found["kept_state"])
    reason = mapping.to_reason(found["reason"] if has_row else found["kept_reason"])
    if state is None:  # TRUNCATE fires no trigger that could have kept the outcome
        state, reason = State.FAILED, Reason.FLAG_DELETED
    error = found["last_error"] if has_row else found["kept_error"]
    return Link(
        key=Key(found["occurrence"], found["step"], Part(found["part"]), found["flag_key"], found["environment"]),
        plan=Uid(found["plan"]),
        schedule_id=found["schedule_id"],
        is_chain=found["is_chain"],
        is_moved=found["is_moved"],
        due_at=found["due_at"],
        updates=found["planned_updates"],
        state=state,
        reason=reason,
        applied_at=found["applied_at"] if has_row else found["kept_applied_at"],
        error=error[:_LONGEST_ERROR] if error else None,
        retrying=has_row and found["status"] == State.FAILED and found["next_retry_at"] is not None,
        next_retry_at=found["next_retry_at"] if has_row else None,
        retry_count=found["retry_count"] if has_row else 0,
        arming=found["arming"] if has_row else 0,
        suspended=has_row and found["suspended"],
        content=_to_content(found) if has_row else None,
    )


def _to_content(found: DictRow) -> Content:
    return Content(
        scheduled_at=found["scheduled_at"],
        updates=found["updates"],
        max_retries=found["max_retries"],
        expect=found["expect"],
        on_mismatch=found["on_mismatch"],
        not_after=found["not_after"],
        retry_initial_seconds=found["retry_initial_seconds"],
        retry_max_seconds=found["retry_max_seconds"],
    )


def _of(link: Link) -> dict[str, Any]:
    """The row of a link, and the state in which it was read."""
    return {"id": link.schedule_id, "status": link.state, "arming": link.arming}


def _note(note: Note) -> dict[str, Any]:
    values = {"due_at": note.due_at, "updates": note.updates, "state": note.state, "reason": note.reason}
    return {**note.key._asdict(), **values, "applied_at": note.applied_at, "is_moved": note.is_moved}


def _new_row(insert: Insert, ids: Mapping[Key, UUID | None]) -> dict[str, Any]:
    return {
        **insert.key._asdict(),
        **vars(insert.content),
        "id": ids[insert.key],
        "follows": ids.get(insert.key.start) if insert.key.part is Part.END else None,
        "is_chain": insert.is_chain,
        "is_moved": insert.is_moved,
        "relinked": insert.relinked,
    }


def new_id(insert: Insert) -> UUID:
    """A UUID of version 8: the seconds of the window's start, whether it is the window's end, and random bits.

    Of two rows at the same time the one with the greater id wins. A UUID of version 7 begins with milliseconds and is
    greater, so a FlagSchedule wins over a plan. The end of an earlier window is less than the start of a later one, and
    more than its own start.
    """
    seconds = int(insert.began_at.timestamp())
    is_end = int(insert.key.part is Part.END)
    return UUID(
        int=seconds << 80 | 8 << 76 | is_end << 75 | secrets.randbits(11) << 64 | 2 << 62 | secrets.randbits(62)
    )


def _rows(rows: Iterable[Mapping[str, Any]]) -> Jsonb:
    return Jsonb(list(rows), dumps=lambda value: json.dumps(value, default=_plain))


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
