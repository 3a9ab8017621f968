"""A's troubles. Each is a block with a function that is called at the beginning of each round, to go on with it."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import psycopg

from tests.cluster.api import Api, flagschedule
from tests.cluster.spec_corpus import spec
from tests.neighbours.world import NOISY, World, in_seconds, until

Disturb = Callable[[int], None]
_HELD: Final = 6.0  # seconds: longer than our lock_timeout
_GUARD: Final = """
CREATE FUNCTION noisy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NEW; END $$;
CREATE TRIGGER noisy BEFORE UPDATE ON feature_flags FOR EACH ROW
WHEN (OLD.environment = 'noisy') EXECUTE FUNCTION noisy();
"""


@dataclass(frozen=True)
class Trouble:
    """A row of the matrix.

    Attributes:
        name: for the table.
        begin: the trouble itself.
        free_at: until when it makes a change of any flag impossible, as Postgres defines it; the past if it does not.
        cache_rules: the rights of the processor's user in Redis.
    """

    name: str
    begin: Callable[[World], AbstractContextManager[Disturb]]
    free_at: Callable[[], float] = lambda: 0.0
    cache_rules: tuple[str, ...] = ()


@contextmanager
def _none(_: World) -> Iterator[Disturb]:
    yield lambda _: None


@contextmanager
def locked_row(world: World, objects: int = 50) -> Iterator[Disturb]:
    """Another program holds A's flag in a transaction that it leaves open; A goes on making objects of it."""
    world.flags([NOISY], NOISY)
    keys = [f"held-{number}" for number in range(objects)]
    with psycopg.connect(world.database_url) as holder:
        holder.execute("SELECT FROM feature_flags WHERE flag_key = %s FOR UPDATE", [NOISY])
        plan: dict[str, Any] = {"keys": dict.fromkeys(keys, NOISY), "environment": NOISY, "scheduledAt": in_seconds(5)}
        world.create(world.noisy, keys, **plan)

        def disturb(number: int) -> None:
            more = [f"more-{number}-{each}" for each in range(5)]
            world.create(world.noisy, more, keys=dict.fromkeys(more, NOISY), environment=NOISY)
            world.noisy.patch(keys[number % objects], {"spec": {"updates": {"rolloutPercentage": number % 101}}})

        yield disturb
        holder.rollback()


class _TableLock:
    """LOCK TABLE feature_flags IN SHARE MODE, as CREATE INDEX takes it: no flag can be changed meanwhile."""

    def __init__(self) -> None:
        self.released = 0.0

    @contextmanager
    def begin(self, world: World) -> Iterator[Disturb]:
        with psycopg.connect(world.database_url) as holder:

            def hold() -> None:
                time.sleep(_HELD)
                holder.rollback()

            def disturb(_: int) -> None:
                holder.execute("LOCK TABLE feature_flags IN SHARE MODE")
                self.released = time.time() + _HELD
                world.pool.submit(hold)

            yield disturb


@contextmanager
def refused(world: World, state: str) -> Iterator[Disturb]:
    """Refuse every change of A's flags by a trigger of the host with a chosen SQLSTATE; 150 are due."""
    keys = [f"{NOISY}-{number}" for number in range(150)]
    world.flags(keys, NOISY)
    world.database.connection.execute(_GUARD.format(f"RAISE EXCEPTION 'no' USING ERRCODE = '{state}';").encode())
    world.due_rows(keys, ago=600)
    named = keys[:20]
    world.create(world.noisy, named, environment=NOISY, scheduledAt=in_seconds(2))

    def disturb(number: int) -> None:
        world.due_rows(keys[number * 5 % 150 :][:5])

    yield disturb


@contextmanager
def slow(world: World, seconds: int) -> Iterator[Disturb]:
    """Delay each change of A's flags by a slow trigger of the host; some are due in each round."""
    keys = [f"{NOISY}-{number}" for number in range(40)]
    world.flags(keys, NOISY)
    world.database.connection.execute(_GUARD.format(f"PERFORM pg_sleep({seconds});").encode())
    world.due_rows(keys[:3], ago=60)
    world.create(world.noisy, keys[20:25], environment=NOISY, scheduledAt=in_seconds(2))

    def disturb(number: int) -> None:
        world.due_rows(keys[number % 20 :][:3])

    yield disturb


@contextmanager
def odd(world: World) -> Iterator[Disturb]:
    """Write values that Postgres holds and programs may not, in rows that the host refuses and in rows of A."""
    keys = [f"{NOISY}-{number}" for number in range(100)]
    world.flags(keys, NOISY)
    run = world.database.connection.execute
    run(b"UPDATE feature_flags SET updated_at = 'infinity' WHERE environment = 'noisy'")
    run(_GUARD.format("RAISE EXCEPTION 'no' USING ERRCODE = '23514';").encode())
    objects = keys[50:60]
    world.create(world.noisy, objects, environment=NOISY)
    until(lambda: all("phase" in each.get("status", {}) for each in world.noisy.list().values()), 30)
    run(
        b"UPDATE feature_flag_schedules SET scheduled_at = CASE WHEN random() < 0.5 THEN timestamptz '-infinity' "
        b"ELSE '294276-01-01' END, not_after = 'infinity', retry_count = 2147483647 "
        b"WHERE flag_id IN (SELECT id FROM feature_flags WHERE environment = 'noisy')"
    )

    def disturb(number: int) -> None:
        world.due_rows(keys[number % 40 :][:5], ago=60)
        name = objects[number % len(objects)]
        world.noisy.patch(name, {"spec": {"updates": {"rolloutPercentage": number % 101}}})
        world.database.run(
            "INSERT INTO flag_schedule_status_outbox (schedule_id) SELECT schedule_id FROM flag_schedule_objects "
            "WHERE namespace = 'noisy' AND schedule_id IS NOT NULL"
        )

    yield disturb


def _flood(api: Api, objects: int) -> None:
    def create(number: int) -> None:
        plan = spec(flagKey=f"{NOISY}-{number % 100}", environment=NOISY, scheduledAt="2036-01-01T09:00:00Z")
        api.create(flagschedule(f"flood-{number}", plan))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(create, range(objects)))


@contextmanager
def flood(world: World, objects: int) -> Iterator[Disturb]:
    """Let A create very many objects at once, by a program of its own."""
    world.flags([f"{NOISY}-{number}" for number in range(100)], NOISY)
    process = multiprocessing.get_context("spawn").Process(target=_flood, args=(world.noisy, objects), daemon=True)
    process.start()
    try:
        yield lambda _: None
    finally:
        process.kill()
        process.join()


def _annotate(api: Api, names: Sequence[str], round_: int) -> None:
    def annotate(name: str) -> None:
        for key in ("flagschedule.io/retry-requested-at", "note"):
            # An object holds 256 KiB of annotations: the one replaces the other. A policy may refuse the first.
            words: dict[str, Any] = {"flagschedule.io/retry-requested-at": None, "note": None}
            api.patch(name, {"metadata": {"annotations": {**words, key: f"{round_}" + "x" * 250_000}}})

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(annotate, names))


@contextmanager
def large_annotations(world: World, objects: int) -> Iterator[Disturb]:
    """Let A write 250 KB into the annotation that requests a retry, onto many objects, by a program of its own."""
    world.flags([NOISY], NOISY)
    names = [f"large-{number}" for number in range(objects)]
    world.create(world.noisy, names, keys=dict.fromkeys(names, NOISY), environment=NOISY)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as program:
        program.submit(_annotate, world.noisy, names[:1], -1).result()  # its start does not count

        def disturb(number: int) -> None:
            some = [names[(number * 10 + each) % objects] for each in range(10)]
            program.submit(_annotate, world.noisy, some, number)

        yield disturb


@contextmanager
def namespace_deleted(world: World, objects: int) -> Iterator[Disturb]:
    """Delete A's namespace with all that is in it."""
    names = [f"{NOISY}-{number}" for number in range(objects)]
    world.flags(names, NOISY)
    world.create(world.noisy, names, environment=NOISY)

    def disturb(number: int) -> None:
        if number == 0:
            world.noisy.request("DELETE", f"/api/v1/namespaces/{NOISY}")

    yield disturb


@contextmanager
def cache_refused(world: World) -> Iterator[Disturb]:
    """Let Redis refuse to delete the key of A's environment, by its ACL; A has changes in each round."""
    keys = [f"{NOISY}-{number}" for number in range(100)]
    world.flags(keys, NOISY)
    yield lambda number: world.due_rows(keys[number % 100 :][:1])


def troubles(*, full: bool) -> list[Trouble]:
    """Return the rows of the matrix; `full` floods with ten thousand objects instead of five hundred."""
    table = _TableLock()
    many = 10_000 if full else 500
    return [
        Trouble("none", _none),
        Trouble("flag row locked", locked_row),
        Trouble("feature_flags locked in SHARE mode", table.begin, free_at=lambda: table.released),
        *(
            Trouble(f"refused by the host with {state}", partial(refused, state=state))
            for state in ("22012", "23514", "P0001", "40001", "55P03", "42501", "FF001")
        ),
        Trouble("trigger slow by 1 s", partial(slow, seconds=1)),
        Trouble("trigger slow by 40 s", partial(slow, seconds=40)),
        Trouble("odd values", odd),
        Trouble(f"{many:,} objects at once", partial(flood, objects=many)),
        Trouble("annotations of 250 KB", partial(large_annotations, objects=100)),
        Trouble("namespace deleted", partial(namespace_deleted, objects=200)),
        Trouble("cache key refused", cache_refused, cache_rules=("~feature_flags:production", "+@all")),
    ]
