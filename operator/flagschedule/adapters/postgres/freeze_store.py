"""The operator's store of freezes, on the sessions of its store of schedules. Implements ports.freezing.FreezeStore."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from psycopg.rows import DictRow

from flagschedule.adapters.postgres import mapping, statements
from flagschedule.adapters.postgres.mirror_store import PostgresMirrorStore
from flagschedule.domain.freeze import Interval, Scope
from flagschedule.domain.freeze_status import FreezeState
from flagschedule.domain.outcome import Holding
from flagschedule.domain.schedule import ObjectRef, Uid
from flagschedule.ports.freezing import FreezeLook

_DUE: Final = statements.read("freeze/due")
_HELD, _HELD_OBJECTS, _HELD_PLANS = (
    statements.read(f"freeze/{name}", due=_DUE) for name in ("held", "held_objects", "held_plans")
)


class PostgresFreezeStore:
    """One cluster's view of the freezes."""

    def __init__(self, sessions: PostgresMirrorStore, cluster: str, namespaces: Sequence[str]) -> None:
        self._sessions = sessions
        self._scope = {"cluster": cluster, "namespaces": list(namespaces)}

    async def _fetch(self, statement: Any, **values: object) -> list[DictRow]:
        async with self._sessions.serving() as session:
            return await (await session.execute(statement, {**self._scope, **values})).fetchall()

    async def look(self) -> FreezeLook:
        """See ports.freezing.FreezeStore."""
        found = await self._fetch(statements.read("freeze/states"))
        return FreezeLook(
            now=found[0]["now"],
            obeyed=found[0]["obeyed"],
            active=found[0]["active_ids"],
            states={_ref(row): _state(row) for row in found if row["active"] or row["next_from"]},
            versions={_ref(row): row["ids"] for row in found if row["uid"]},
        )

    async def held(self) -> Mapping[Uid, int]:
        """See ports.freezing.FreezeStore."""
        return {Uid(row["uid"]): row["held"] for row in await self._fetch(_HELD)}

    async def replace(self, ref: ObjectRef, scope: Scope, intervals: Sequence[Interval]) -> None:
        """See ports.freezing.FreezeStore."""
        values = {
            "uid": ref.uid,
            "name": ref.name,
            "reason": scope.reason,
            "environments": _list(scope.environments),
            "namespaces": _list(scope.namespaces),
            "flag_keys": _list(scope.flag_keys),
            "allow_switch_off": scope.allow_switch_off,
            "starts_at": [interval.starts_at for interval in intervals],
            "ends_at": [interval.ends_at for interval in intervals],
        }
        # The lock is a statement of its own: one that waits and reads in one step reads what was before.
        await self._change(values, "freeze/raise_protocol", "freeze/replace")

    async def forget(self, ref: ObjectRef) -> None:
        """See ports.freezing.FreezeStore."""
        await self._change({"uid": ref.uid}, "freeze/forget")

    async def _change(self, values: Mapping[str, object], *names: str) -> None:
        async with self._sessions.serving_one(writes=True) as session, session.transaction():
            for name in ("mirror/lock_object", *names):
                await session.execute(statements.read(name), {**self._scope, **values})

    async def held_objects(self, since: datetime | None) -> Mapping[ObjectRef, Holding]:
        """See ports.freezing.FreezeStore."""
        found = await self._fetch(_HELD_OBJECTS, since=since)
        return {mapping.to_ref(row): mapping.to_holding(row) for row in found}

    async def held_plans(self, since: datetime | None) -> Mapping[ObjectRef, Holding]:
        """See ports.freezing.FreezeStore."""
        found = await self._fetch(_HELD_PLANS, since=since)
        return {mapping.to_ref(row): mapping.to_holding(row) for row in found}

    async def unfinished(self, refs: Collection[ObjectRef]) -> Sequence[ObjectRef]:
        """See ports.freezing.FreezeStore."""
        by_uid = {ref.uid: ref for ref in refs}
        found = await self._fetch(statements.read("freeze/unfinished"), uids=list(by_uid))
        return [by_uid[Uid(row["uid"])] for row in found]


def _list(patterns: tuple[str, ...] | None) -> list[str] | None:
    return None if patterns is None else list(patterns)


def _ref(row: DictRow) -> ObjectRef:
    return ObjectRef(uid=Uid(row["uid"]), namespace="", name=row["name"])


def _state(row: DictRow) -> FreezeState:
    return FreezeState(
        active=row["active"], until=row["until"], next_from=row["next_from"], next_until=row["next_until"]
    )
