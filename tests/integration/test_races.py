"""Edits, cancellations, deletions and requests to retry at the very moment at which a change is made."""

import asyncio
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from flagschedule.adapters.postgres.mirror_store import PostgresMirrorStore
from flagschedule.adapters.postgres.process_store import PostgresProcessStore
from flagschedule.domain.decision import Rules, decide
from flagschedule.domain.errors import ConflictError
from flagschedule.domain.outcome import Snapshot, State
from flagschedule.domain.schedule import FlagSchedule
from flagschedule.domain.status import compute
from flagschedule.ports.processing import Due
from tests import roles
from tests.integration.database import Database, connected
from tests.integration.worlds import ACTIONS, KINDS, NEW, OLD, Action, Kind, Trial, judge, traces
from tests.unit.builders import body

RULES = Rules(max_retries=3, max_lateness=timedelta(minutes=10))
# A request to retry what was never tried requests nothing.
TRIALS = [each for each in itertools.product(ACTIONS, KINDS) if each != ("retry", "pending")]
ROUNDS = 20
SPREAD = 0.03  # seconds over which the actions of a round are spread
BUSY = 6  # mirrorings at a time, as behind the operator's circuit breaker


@dataclass(kw_only=True)
class Object:
    """A trial with three views of its object: as created, as edited, and with the edit taken back."""

    trial: Trial
    created: FlagSchedule
    edited: FlagSchedule
    reverted: FlagSchedule


class Stage:
    """Objects whose changes are due, and the two stores that race for them."""

    def __init__(self, database: Database, store: PostgresMirrorStore, url: str) -> None:
        self.database = database
        self.store = store
        self.url = url
        self.objects: list[Object] = []
        self._slots = asyncio.Semaphore(BUSY)
        self._numbers = itertools.count()

    async def mirror(self, obj: FlagSchedule, meanwhile: Callable[[], None] = lambda: None) -> Snapshot:
        """Mirror an object, again while its row is locked; `meanwhile` is called under the row's lock."""
        while True:
            with suppress(ConflictError):
                return await self.try_to_mirror(obj, meanwhile)
            await asyncio.sleep(0.005)

    async def try_to_mirror(self, obj: FlagSchedule, meanwhile: Callable[[], None] = lambda: None) -> Snapshot:
        """Mirror an object once, with the rules of the product."""
        async with self._slots, self.store.transaction(obj) as transaction:
            facts = await transaction.facts()
            meanwhile()
            return await transaction.save(decide(obj, facts, RULES))

    def flag(self) -> str:
        """Insert a flag. Returns: its key."""
        key = f"flag-{next(self._numbers)}"
        self.database.flag(key)
        return key

    @contextmanager
    def held(self, flags: list[str]) -> Iterator[Callable[[], None]]:
        """Hold the rows of these flags by another client until the yielded function is called."""
        with connected(self.url) as client:
            client.run("BEGIN")
            client.run("SELECT FROM feature_flags WHERE flag_key = ANY (%s) FOR NO KEY UPDATE", flags)
            yield partial(client.run, "ROLLBACK")

    async def plan(self, action: Action, kind: Kind, flag: str) -> Object:
        """Mirror an object of this flag whose next attempt is due."""
        uid = uuid4()
        now = self.database.value("SELECT now()")
        at = (now - timedelta(minutes=2)).replace(microsecond=0)
        later = at + timedelta(hours=1)

        def view(**differing: Any) -> FlagSchedule:
            fields = {"at": at, "created_at": at - timedelta(hours=1), "flagKey": flag, "updates": OLD, **differing}
            raw = body(**fields)
            raw["metadata"] |= {"uid": str(uid), "name": flag}
            return FlagSchedule.from_body(raw)

        edited: dict[Action, dict[str, Any]] = {
            "reschedule": {"at": later},
            "change": {"updates": NEW},
            "suspend": {"suspend": True},
            "cancel": {"cancel": True},
            "break": {"updates": {"rolloutPercentage": "22"}},
            "delete": {"deleting": True},
            "retry": {"annotations": {"flagschedule.io/retry-requested-at": "now"}, "generation": 1},
        }
        made = Object(
            trial=Trial(action=action, kind=kind, uid=uid, at=at, later=later),
            created=view(),
            edited=view(**{"generation": 2, **edited[action]}),
            reverted=view(generation=3),
        )
        await self.mirror(made.created)
        if kind == "retrying":
            self._fail_once(uid)
        self.objects.append(made)
        return made

    def _fail_once(self, uid: UUID) -> None:
        self.database.run(
            "WITH failed AS (UPDATE feature_flag_schedules SET status = 'failed', reason = 'AttemptFailed', "
            "retry_count = 1, next_retry_at = now(), last_error = 'no' "
            "WHERE id = (SELECT schedule_id FROM flag_schedule_objects WHERE uid = %s) RETURNING id) "
            "INSERT INTO flag_schedule_attempts (schedule_id, arming, attempt, run_id, outcome) "
            "SELECT id, 0, 1, 0, 'failed' FROM failed",
            uid,
        )

    async def status(self, obj: FlagSchedule) -> dict[str, Any]:
        """Compute the status of an object; check that it stays the same when it is computed again."""
        snapshot = await self.store.snapshot(obj.ref.uid)
        assert snapshot
        status = compute(obj, snapshot)
        assert status
        assert compute(replace(obj, status=status), snapshot) == status
        return status.as_json()

    async def judged(self) -> dict[UUID, str]:
        """Return which side was first, for every object."""
        alive = [each.edited for each in self.objects if not each.edited.deleting]
        seen = traces(self.database, {obj.ref.uid: await self.status(obj) for obj in alive})
        return {each.trial.uid: judge(each.trial, seen[each.trial.uid]) for each in self.objects}


def staged(url: str, play: Callable[[Stage], Awaitable[None]]) -> None:
    """Run an asynchronous test."""

    async def run() -> None:
        with connected(url) as database:
            async with PostgresMirrorStore(roles.url(url, "operator"), "default", ()) as store:
                await play(Stage(database, store, url))

    asyncio.run(run())


def look(store: PostgresProcessStore, limit: int = 100) -> None:
    """Do what the processor does in each round of its work."""
    for retries in (True, False):
        store.apply(retries=retries, limit=limit, left_out=[])


@contextmanager
def processors(url: str, number: int, seed: int) -> Iterator[None]:
    """Run so many processors, in small batches, until the block has ended and nothing is due."""
    done = threading.Event()
    failures: list[Exception] = []

    def work(chance: random.Random) -> None:
        try:
            with PostgresProcessStore(roles.url(url, "process")) as store:
                while not done.is_set() or store.what_is_due([]) is not Due.NOTHING:
                    look(store, limit=chance.randint(1, 9))
                    time.sleep(chance.uniform(0, 0.005))
        except Exception as error:  # noqa: BLE001 -- the test fails below
            failures.append(error)

    threads = [threading.Thread(target=work, args=[random.Random(seed + each)]) for each in range(number)]  # noqa: S311 -- a scene, not a secret
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []


def test_an_edit_meets_the_processor_at_any_moment(database_url: str) -> None:
    """An action on an object around its instant either comes first or does nothing, and the status shows which."""
    seed = random.randrange(10**6)  # noqa: S311 -- a scene, not a secret
    print(f"seed {seed}")  # noqa: T201 -- pytest shows it when the test fails
    chance = random.Random(seed)  # noqa: S311 -- the same
    answered: dict[UUID, State] = {}

    async def round_of(on: Stage) -> None:
        async def disturb(made: Object) -> None:
            await asyncio.sleep(chance.uniform(0, SPREAD))
            snapshot = await on.mirror(made.edited)
            assert snapshot.row
            answered[made.trial.uid] = snapshot.row.state

        async def echo(made: Object) -> None:  # a replica that still sees the object as it was created
            await asyncio.sleep(chance.uniform(0, SPREAD))
            await on.mirror(made.created)

        async def due(release: Callable[[], None]) -> None:
            await asyncio.sleep(chance.uniform(0, 2 * SPREAD))
            release()

        flags = [on.flag() for _ in TRIALS]
        with on.held(flags) as release:
            made = [await on.plan(*trial, flag) for trial, flag in zip(TRIALS, flags, strict=True)]
            await asyncio.gather(due(release), *map(disturb, made), *map(echo, chance.sample(made, 4)))

    async def play(on: Stage) -> None:
        with processors(database_url, 2, seed):
            for _ in range(ROUNDS):
                await round_of(on)
        first = await on.judged()
        print(sorted(Counter((each.trial.action, first[each.trial.uid]) for each in on.objects).items()))  # noqa: T201 -- the same
        # The side that committed first reported it at once, and that stays.
        said = {uid: "processor" if state is State.APPLIED else "edit" for uid, state in answered.items()}
        assert said == first

    staged(database_url, play)


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_while_the_change_is_made_comes_too_late(database_url: str, kind: Kind) -> None:
    """While the processor has the row an edit is refused at once; tried again, it finds the change and does nothing."""

    async def play(on: Stage) -> None:
        made = [await on.plan(*trial, on.flag()) for trial in TRIALS if trial[1] == kind]
        with PostgresProcessStore(roles.url(database_url, "process")) as processor:
            with processor._connection.transaction():
                look(processor)
                for each in made:
                    with pytest.raises(ConflictError):
                        await on.try_to_mirror(each.edited)
            snapshots = await asyncio.gather(*(on.mirror(each.edited) for each in made))

        assert {snapshot.row.state for snapshot in snapshots if snapshot.row} == {State.APPLIED}
        assert set((await on.judged()).values()) == {"processor"}

    staged(database_url, play)


@pytest.mark.parametrize("kind", KINDS)
def test_the_processor_leaves_what_is_being_edited(database_url: str, kind: Kind) -> None:
    """A processor skips a flag while an edit is being stored, and the next one applies what the edit requested."""

    async def play(on: Stage) -> None:
        with PostgresProcessStore(roles.url(database_url, "process")) as processor:
            for trial in [each for each in TRIALS if each[1] == kind]:
                each = await on.plan(*trial, on.flag())
                await on.mirror(each.edited, meanwhile=lambda: look(processor))
            look(processor)

        assert set((await on.judged()).values()) == {"edit"}

    staged(database_url, play)


def test_an_edit_that_came_too_late_is_taken_back(database_url: str) -> None:
    """Reverting such an edit clears the reason; further edits and retry requests apply nothing again."""

    async def play(on: Stage) -> None:
        made = [await on.plan(*trial, on.flag()) for trial in TRIALS if trial[0] not in {"delete", "retry"}]
        with PostgresProcessStore(roles.url(database_url, "process")) as processor:
            look(processor)
            before = on.database.query("SELECT * FROM feature_flag_schedules ORDER BY id")
            for each in made:
                requesting = replace(each.edited, retry_request="again")
                for obj, reason, generation in (
                    (each.edited, "EditTooLate", 2),
                    (requesting, "EditTooLate", 2),
                    (each.reverted, "Applied", 3),
                ):
                    await on.mirror(obj)
                    status = await on.status(obj)
                    assert status["conditions"][0]["reason"] == reason
                    assert (status["phase"], status["observedGeneration"]) == ("Applied", generation)
                assert status["lastHandledRetryRequest"] == "again"
            look(processor)

        assert on.database.query("SELECT * FROM feature_flag_schedules ORDER BY id") == before
        assert on.database.query("SELECT DISTINCT generation FROM flag_schedule_objects") == [{"generation": 1}]

    staged(database_url, play)
