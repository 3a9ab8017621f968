"""An object that waits takes no other object's turn: the real operator, with locked flags and tables."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
import pytest

from tests.cluster.api import Object, eventually
from tests.cluster.operator_fixtures import Scene

pytestmark = pytest.mark.apiserver

ROUNDS: Final = 2  # of each action; the figures of the docs come from 20
BOUND: Final = 5.0  # seconds; a busy machine is allowed more than the second that is promised
LATER: Final = "2036-01-01T09:00:00Z"
ACTIONS: Final[dict[str, Object]] = {
    "suspend": {"suspend": True},
    "cancel": {"cancel": True},
    "delete": {},
    "edit": {"scheduledAt": LATER},
}


@contextmanager
def held(database_url: str, statement: str, *values: object) -> Iterator[None]:
    """Another program's transaction that has taken a lock and stays open."""
    with psycopg.connect(database_url) as blocker:
        blocker.execute(statement, values)
        yield
        blocker.rollback()


def flags(scene: Scene, count: int, *, same: bool) -> list[str]:
    """Return the keys of as many flags, or of one for all."""
    names = ["locked-0"] * count if same else [f"locked-{number}" for number in range(count)]
    for name in set(names):
        scene.database.flag(name)
    return names


def act(scene: Scene, name: str, action: str) -> None:
    """Send the action as a person does."""
    answer = scene.api.delete(name) if action == "delete" else scene.api.patch(name, {"spec": ACTIONS[action]})
    assert answer.ok, answer.message


def is_done(action: str, row: dict[str, Any]) -> bool:
    """Return whether the row shows the action."""
    if action == "suspend":
        return bool(row["suspended"])
    if action == "edit":
        return bool(row["scheduled_at"].year == 2036)
    return bool(row["status"] == "cancelled")


def reaction(scene: Scene, name: str, action: str) -> float:
    """Return the seconds from a request to its commit."""
    began = time.monotonic()
    act(scene, name, action)
    eventually(lambda: is_done(action, scene.row(name)), f"{action} of {name} is committed")
    return time.monotonic() - began


@pytest.mark.parametrize("same", [True, False], ids=["one flag", "many flags"])
@pytest.mark.parametrize("count", [8, 50])
def test_a_stop_does_not_wait_for_others(scene: Scene, database_url: str, count: int, same: bool) -> None:
    """Suspend, cancel, delete and an edit are committed at once while objects of other flags wait for a lock."""
    names = {f"{action}-{number}": action for action in ACTIONS for number in range(ROUNDS)}
    for name in names:
        scene.create(name)
    for name in names:
        scene.reaches(name, "Pending")
    keys = flags(scene, count, same=same)
    with held(database_url, "SELECT FROM feature_flags WHERE flag_key LIKE 'locked-%%' FOR UPDATE"):
        for number, key in enumerate(keys):
            scene.create(f"blocked-{number}", flagKey=key)

        seconds = {name: reaction(scene, name, action) for name, action in names.items()}

        assert {name: late for name, late in seconds.items() if late > BOUND} == {}


def test_an_object_on_a_locked_flag_says_so(scene: Scene, database_url: str) -> None:
    """A new object whose flag is locked is Waiting and says why; it is planned once the lock is gone."""
    with held(database_url, "SELECT FROM feature_flags FOR UPDATE"):
        scene.create("first")
        scene.create("second")
        for name in ("first", "second"):
            status = scene.reaches(name, "Waiting")
            reasons = {condition["type"]: condition["reason"] for condition in status["conditions"]}
            assert reasons == {"Ready": "FlagLocked", "Applied": "FlagLocked"}

    for name in ("first", "second"):
        scene.reaches(name, "Pending")


def test_an_object_on_a_locked_flag_can_be_given_up(scene: Scene, database_url: str) -> None:
    """Cancel and delete need no lock on the flag."""
    with held(database_url, "SELECT FROM feature_flags FOR UPDATE"):
        for name in ("cancelled", "deleted"):
            scene.create(name)
            scene.reaches(name, "Waiting")
        act(scene, "cancelled", "cancel")
        act(scene, "deleted", "delete")

        scene.reaches("cancelled", "Cancelled")
        scene.is_gone("deleted")


@pytest.mark.parametrize("action", ["suspend", "cancel", "delete"])
@pytest.mark.parametrize("mode", ["SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"])
def test_a_stop_needs_no_flag(scene: Scene, database_url: str, action: str, mode: str) -> None:
    """A stop is committed while the host's table of flags is locked, as a migration of the host does."""
    scene.create("launch")
    scene.reaches("launch", "Pending")
    with held(database_url, f"LOCK TABLE feature_flags IN {mode} MODE"):
        scene.create("other")

        assert reaction(scene, "launch", action) < BOUND

    scene.reaches("other", "Pending")


@pytest.mark.parametrize("action", ["suspend", "cancel", "delete"])
def test_a_stop_of_a_locked_row_comes_as_soon_as_it_is_free(scene: Scene, database_url: str, action: str) -> None:
    """A stop that meets a locked row is committed when the lock ends, and the status shows it."""
    scene.create("launch")
    scene.reaches("launch", "Pending")
    with held(database_url, "SELECT FROM feature_flag_schedules FOR UPDATE"):
        act(scene, "launch", action)
        scene.create("next")
        scene.reaches("next", "Pending")

    freed = time.monotonic()
    eventually(lambda: is_done(action, scene.row("launch")), "the stop is committed")
    assert time.monotonic() - freed < BOUND


def _lock_all(database_url: str, table: str) -> Callable[[], Any]:
    return lambda: held(database_url, f"LOCK TABLE {table}")


@pytest.mark.parametrize(
    "table",
    ["feature_flag_schedules", "flag_schedule_objects", "flag_schedule_status_outbox", "flag_schedule_attempts"],
)
def test_a_locked_table_costs_no_turn(scene: Scene, database_url: str, table: str) -> None:
    """While one of our tables is locked for longer than any timeout nothing ends, and nothing is lost."""
    scene.create("launch")
    scene.reaches("launch", "Pending")
    with held(database_url, f"LOCK TABLE {table}"):
        act(scene, "launch", "suspend")
        scene.create("next")
        time.sleep(7)  # longer than the store waits for a lock; nothing shows that it has given up

    scene.reaches("launch", "Suspended")
    scene.reaches("next", "Pending")
    assert scene.operator.probe("healthz") == (200, None)
