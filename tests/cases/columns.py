"""Every column at the extremes of its type, under every program: `python -m tests.cases columns`.

With any value in one row, every other one has its change made, its status written, its stop obeyed; the odd one has
an outcome, or is set aside, or is named in the log.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from flagschedule.adapters.postgres.freeze_store import PostgresFreezeStore
from flagschedule.adapters.postgres.mirror_store import PostgresMirrorStore
from flagschedule.adapters.postgres.plan_store import PostgresPlanStore
from flagschedule.domain import decision, planning, status
from flagschedule.domain.decision import Rules
from flagschedule.domain.errors import DependencyUnavailableError, FlagScheduleError, StatementRefusedError
from flagschedule.domain.freeze import Interval, Scope
from flagschedule.domain.outcome import Snapshot
from flagschedule.domain.plan import FlagPlan
from flagschedule.domain.schedule import FlagSchedule, ObjectRef, Uid
from tests import roles
from tests.cases import extremes, programs
from tests.cases.report import Report, some
from tests.cases.scene import (
    AGAIN,
    GOOD,
    GOOD_PLAN,
    GOOD_UID,
    HOSTS,
    ODD,
    ODD_PLAN,
    ODD_UID,
    OLD,
    PLANNED,
    WAITING_UID,
    Column,
    Host,
    Lane,
    OddScene,
)
from tests.support.plans import change, plan_body
from tests.unit.builders import body, rfc3339
from tests.waiting import PATIENCE

_RULES: Final = Rules(max_retries=3, max_lateness=timedelta(days=1))


@dataclass(frozen=True)
class Case:
    """One value in one column under one program, and where the odd row is and what the host says of it."""

    program: str
    column: Column
    extreme: str
    value: str | None
    lane: Lane
    host: Host

    def __str__(self) -> str:
        return f"{self.program}: {self.column} {self.extreme}, {self.lane}, host {self.host}"


def process(scene: OddScene) -> str | None:
    """Run the processor. Returns: why it failed, or None."""
    due = scene.is_due(ODD)
    run = programs.run("process", scene.url)
    if fault := run.fault():
        return fault
    if not (scene.is_applied(GOOD) and scene.is_applied(AGAIN)):
        return "a good row is not applied"
    if due and scene.is_due(ODD) and str(ODD) not in run.stderr:
        return f"the odd row is left without a message: {run.stderr[-200:]}"
    return None


def cleanup(scene: OddScene) -> str | None:
    """Run the cleaner. Returns: why it failed, or None."""
    if fault := programs.run("cleanup", scene.url).fault():
        return fault
    return "a row that is past its time is not purged" if scene.exists(OLD) else None


def migrate(scene: OddScene) -> str | None:
    """Run the migration once more. Returns: why it failed, or None."""
    return programs.run("migrate", scene.url).fault()


def operator(scene: OddScene) -> str | None:
    """Use every operation of the operator's store. Returns: why one failed, or None."""
    try:
        return asyncio.run(_operate(scene))
    except Exception as error:  # noqa: BLE001 -- every error is what we look for
        return f"{type(error).__name__}: {str(error)[:200]}"


async def answered(store: PostgresMirrorStore) -> None:
    """Wait until the store has its first connection: a machine that is busy with other work needs its time.

    Raises:
        DependencyUnavailableError: why there is none for so long.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return await store.ping()
        except DependencyUnavailableError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(1)


async def _operate(scene: OddScene) -> str | None:
    good = an_object(GOOD_UID, "good", suspend=True)
    async with PostgresMirrorStore(roles.url(scene.url, "operator"), "default", []) as store:
        await answered(store)
        seen = {found.record.ref.uid: found async for found in store.snapshots() if found.record}
        if not {GOOD_UID, WAITING_UID} <= set(seen):
            return "the comparison misses good objects"
        _rendered(good, seen[Uid(GOOD_UID)])
        if WAITING_UID not in {ref.uid for ref in await store.waiting()}:
            return "a waiting object is not found"
        if GOOD_UID not in {entry.ref.uid for entry in await store.status_entries(100)}:
            return "a status that waits is not found"
        await store.backlog()
        if not await store.claim_cluster("uid of kube-system"):
            return "the cluster's name is not had"
        await _mirror(store, good)
        if not scene.database.value("SELECT suspended FROM feature_flag_schedules WHERE id = %s", GOOD):
            return "a stop is not kept"
        if fault := await _operate_plans(PostgresPlanStore(store, "default", []), scene):
            return fault
        await _operate_freezes(PostgresFreezeStore(store, "default", []))
        return await _about_the_odd(store)


async def _operate_freezes(store: PostgresFreezeStore) -> None:
    now = (await store.look()).now
    ref = ObjectRef(uid=Uid(GOOD_PLAN), namespace="", name="freeze")
    scope = Scope(reason="a launch", environments=("elsewhere",), namespaces=(), flag_keys=())
    await store.replace(ref, scope, [Interval(now, now + timedelta(hours=1))])
    await store.look()
    await store.held()
    await store.held_objects(None)
    await store.forget(ref)


async def _operate_plans(store: PostgresPlanStore, scene: OddScene) -> str | None:
    if GOOD_PLAN not in {known.ref.uid for known in await store.known()}:
        return "the comparison misses a good plan"
    if GOOD_PLAN not in {ref.uid for ref in await store.waiting()}:
        return "a waiting plan is not found"
    if GOOD_PLAN not in {entry.ref.uid for entry in await store.status_entries(100)}:
        return "an outcome of a good plan is not found"
    await _plan(store, a_plan(GOOD_PLAN, "good", "waiting", suspend=True))
    if not scene.database.value("SELECT suspended FROM feature_flag_schedules WHERE id = %s", PLANNED):
        return "a stop of a plan is not kept"
    odd = a_plan(ODD_PLAN, "odd", "odd", suspend=True)
    for use in (
        store.facts(odd),
        store.hold(odd),
        _plan(store, odd),
        _plan(store, a_plan(ODD_PLAN, "odd", "odd", deleting=True)),
    ):
        try:
            await use
        except StatementRefusedError:
            pass
        except FlagScheduleError as error:
            return f"{type(error).__name__} for one odd plan: {error}"
    return None


async def _plan(store: PostgresPlanStore, obj: FlagPlan) -> None:
    async with store.transaction(obj) as transaction:
        await transaction.save(planning.plan(obj, await transaction.facts(), _RULES))


def _rendered(obj: FlagSchedule, snapshot: Snapshot) -> None:
    made = status.compute(obj, snapshot)
    json.dumps(made and made.as_json())


async def _about_the_odd(store: PostgresMirrorStore) -> str | None:
    """Check that the odd row affects itself alone: it has a status, or an error that names only this row."""
    odd = an_object(ODD_UID, "odd")
    try:
        if found := await store.snapshot(Uid(ODD_UID)):
            _rendered(odd, found)
    except FlagScheduleError:
        pass
    for obj in (an_object(ODD_UID, "odd", suspend=True), an_object(ODD_UID, "odd", deleting=True)):
        try:
            await _mirror(store, obj)
        except StatementRefusedError:
            pass
        except FlagScheduleError as error:
            return f"{type(error).__name__} for one odd object: {error}"
    return None


async def _mirror(store: PostgresMirrorStore, obj: FlagSchedule) -> None:
    async with store.transaction(obj) as transaction:
        await transaction.save(decision.decide(obj, await transaction.facts(), _RULES))


def an_object(uid: UUID, name: str, *, deleting: bool = False, **spec: Any) -> FlagSchedule:
    """Return the object of a record of the scene, after an edit."""
    found = body(flagKey=name, generation=2, deleting=deleting, **spec)
    found["metadata"] |= {"uid": str(uid), "name": name}
    return FlagSchedule.from_body(found)


def a_plan(uid: UUID, name: str, flag: str, *, deleting: bool = False, **spec: Any) -> FlagPlan:
    """Return the plan of a record of the scene, after an edit."""
    created = datetime.now(UTC) - timedelta(hours=2)
    step = {"name": "on", "at": rfc3339(created + timedelta(hours=3)), "changes": [change(flag)]}
    found = plan_body(step, created_at=created, uid=str(uid), generation=2, deleting=deleting, **spec)
    found["metadata"]["name"] = name
    return FlagPlan.from_body(found)


# For each program, the columns of the odd row that it reads, and whether the host's trigger refuses.
_PROGRAMS: Final[dict[str, tuple[Callable[[OddScene], str | None], tuple[Lane, ...], tuple[Host, ...]]]] = {
    "process": (process, ("pending", "retrying", "set aside"), HOSTS),
    "cleanup": (cleanup, ("finished",), ("accepts", "refuses: 23503")),
    "operator": (operator, ("pending", "retrying", "finished", "without a row"), ("accepts", "refuses: FF001")),
    "migrate": (migrate, ("pending",), ("accepts",)),
}


def cases(scene: OddScene, number: int | None, seed: int, only: str = "") -> list[Case]:
    """Run every program with every case, or so many of them."""
    everything = [
        Case(program, column, extreme, value, lane, host)
        for column in scene.columns()
        for extreme, value in extremes.of(column.kind).items()
        for program, (_, lanes, hosts) in _PROGRAMS.items()
        for lane, host in itertools.product(lanes, hosts)
    ]
    return some(everything, number, seed, only)


def run(scene: OddScene, report: Report, chosen: list[Case]) -> None:
    """Try them, one after the other."""
    for case in report.progress(chosen):
        scene.begin(case.lane)
        if not scene.store(case.column, case.value):
            report.skip("the table itself refuses the value")
            continue
        scene.refuse(case.host, case.program)
        failure = _PROGRAMS[case.program][0](scene)
        report.case(case.program, failure and f"{case}: {failure}")
