"""What B does in each round, and how long each takes. A figure is in seconds; one that never came is infinite."""

import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import redis as redis_client

from tests.cluster.api import flagschedule
from tests.cluster.spec_corpus import spec
from tests.neighbours.watching import Row
from tests.neighbours.world import FAR, World, in_seconds, until

if TYPE_CHECKING:
    from concurrent.futures import Future

LATER: Final = "2037-01-01T09:00:00Z"
_LOST: Final = 15.0  # seconds after which an operation counts as lost
_KEY: Final = "feature_flags:production"

# The bounds: of the stop and the status by promise, of the change by the lateness of the benchmarks.
BOUNDS: Final = {
    "suspend": 1.0,
    "cancel": 1.0,
    "delete": 1.0,
    "create": 2.0,
    "edit": 1.0,
    "change when due": 1.5,
    "status": 2.0,
    "Event": 2.0,
    "cache": 1.0,
}
EDITS: Final[dict[str, tuple[dict[str, Any], Callable[[Row], bool]]]] = {
    "suspend": ({"suspend": True}, lambda row: row["suspended"]),
    "cancel": ({"cancel": True}, lambda row: row["status"] == "cancelled"),
    "edit": ({"scheduledAt": LATER}, lambda row: row["scheduled_at"] > datetime(2036, 6, 1, tzinfo=UTC)),
}
_EACH: Final = 3


def prepare(world: World, rounds: int) -> None:
    """Create everything that B has before A's trouble begins."""
    places = [f"{number}-{each}" for number in range(rounds) for each in range(_EACH)]
    mirrored = [f"{operation}-{place}" for operation in (*EDITS, "delete") for place in places]
    mirrored += [f"change-{number}" for number in range(rounds)]
    world.flags([*mirrored, *(f"create-{place}" for place in places)])
    world.create(world.quiet, mirrored)
    assert until(lambda: all((name, "Pending") in world.shown.phases for name in mirrored), 120), "B is mirrored"


def run_all(world: World, number: int, free_at: Callable[[], float]) -> Iterator[tuple[str, float]]:
    """Do one round: B starts all operations at the same time, those on several objects `_EACH` times.

    Args:
        world: where.
        number: of the round.
        free_at: until when A's trouble makes any change of a flag impossible; the past if it does not.
    """
    started: list[tuple[str, Future[float]]] = []
    change = world.pool.submit(_change, world, number, free_at)
    for place in (f"{number}-{each}" for each in range(_EACH)):
        started += [
            (operation, world.pool.submit(_edit, world, operation, f"{operation}-{place}")) for operation in EDITS
        ]
        started.append(("delete", world.pool.submit(_delete, world, f"delete-{place}")))
        started.append(("create", world.pool.submit(_create, world, f"create-{place}")))
    for operation, seconds in started:
        yield operation, seconds.result()
    yield from change.result().items()


def committed(world: World, name: str, what: Callable[[Row], bool], since: float) -> float:
    """Wait until a row meets a condition. Returns: the seconds since `since`, infinite if it never does."""
    until(lambda: world.rows.first(name, what) is not None, _LOST)
    at = world.rows.first(name, what)
    return math.inf if at is None else max(0.0, at - since)


def _edit(world: World, operation: str, name: str) -> float:
    edit, done = EDITS[operation]
    since = time.time()
    answer = world.quiet.patch(name, {"spec": edit})
    assert answer.ok, answer.message
    return committed(world, name, done, since)


def _delete(world: World, name: str) -> float:
    since = time.time()
    assert world.quiet.delete(name).ok
    return committed(world, name, lambda row: row["status"] == "cancelled", since)


def _create(world: World, name: str) -> float:
    since = time.time()
    answer = world.quiet.create(flagschedule(name, spec(flagKey=name, scheduledAt=FAR)))
    assert answer.ok, answer.message
    until(lambda: (name, "Pending") in world.shown.phases, _LOST)
    return world.shown.phases.get((name, "Pending"), math.inf) - since


def _change(world: World, number: int, free_at: Callable[[], float]) -> dict[str, float]:
    """Make a change due by moving its row directly, so that it alone is measured. Returns: figures by operation."""
    name = f"change-{number}"
    with redis_client.Redis.from_url(world.cache.url) as cache:
        cache.set(_KEY, "cached")
        due = datetime.fromisoformat(in_seconds(1))
        world.database.run(
            "UPDATE feature_flag_schedules SET scheduled_at = %s WHERE id = "
            "(SELECT schedule_id FROM flag_schedule_objects WHERE namespace = 'quiet' AND name = %s)",
            due,
            name,
        )
        until(lambda: world.rows.first(name, lambda row: row["enabled"]) is not None, _LOST)
        made = world.rows.first(name, lambda row: row["enabled"])
        if made is None:
            return dict.fromkeys(("change when due", "status", "Event", "cache"), math.inf)
        until(lambda: not cache.exists(_KEY), _LOST)
        gone = time.time() if not cache.exists(_KEY) else math.inf
    until(lambda: (name, "Applied") in world.shown.phases and (name, "Applied") in world.shown.events, _LOST)
    return {
        "change when due": max(0.0, made - max(due.timestamp(), free_at())),
        "status": max(0.0, world.shown.phases.get((name, "Applied"), math.inf) - made),
        "Event": max(0.0, world.shown.events.get((name, "Applied"), math.inf) - made),
        "cache": max(0.0, gone - made),
    }
