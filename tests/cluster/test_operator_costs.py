"""What the operator costs the API server: counted by the API server itself."""

import asyncio
from collections.abc import Callable

import pytest
from pydantic import SecretStr

from dev.localkind.control_plane import ControlPlane
from flagschedule.bootstrap import operating
from flagschedule.domain.schedule import FlagSchedule
from flagschedule.settings import Settings
from tests import roles
from tests.cluster.api import Api, eventually, flagschedule
from tests.cluster.operator_fixtures import Scene, count_patches, log_in
from tests.cluster.spec_corpus import spec
from tests.cluster.test_metrics import scraped

pytestmark = pytest.mark.apiserver

_OBJECTS = 20


@pytest.fixture
def patches(installed: ControlPlane) -> Callable[[], int]:
    """The number of PATCH requests for FlagSchedules and their statuses so far."""
    return lambda: count_patches(installed)


@pytest.fixture
def settled(scene: Scene) -> Scene:
    """A scene with some mirrored objects."""
    for number in range(_OBJECTS):
        scene.create(f"launch-{number}")
    for number in range(_OBJECTS):
        scene.reaches(f"launch-{number}", "Pending")
    return scene


def test_a_new_object_costs_two_patches(patches: Callable[[], int], scene: Scene) -> None:
    """One for the finalizer and one for the status; nothing else is ever written to a healthy object."""
    before = patches()
    for number in range(_OBJECTS):
        scene.create(f"launch-{number}")
    for number in range(_OBJECTS):
        scene.reaches(f"launch-{number}", "Pending")

    scene.operator.stop()  # pending writes are done

    assert patches() - before == 2 * _OBJECTS
    assert "annotations" not in scene.api.get("launch-0")["metadata"]


def test_the_second_writer_writes_nothing(
    api: Api,
    database_url: str,
    installed: ControlPlane,
    monkeypatch: pytest.MonkeyPatch,
    patches: Callable[[], int],
) -> None:
    """Where an event and the comparison of everything meet at one new object, its status is written once."""
    log_in(monkeypatch, installed)
    answer = api.create(flagschedule("launch", spec()))
    assert answer.ok, answer.message
    seen = FlagSchedule.from_body(answer.body)
    settings = Settings(DATABASE_URL=SecretStr(roles.url(database_url, "operator")))

    async def mirror_twice() -> None:
        async with operating.operator(settings) as operator:
            await operator.mirror.reconcile(seen)
            await operator.mirror.reconcile(seen)

    before = patches()
    asyncio.run(mirror_twice())

    assert patches() - before == 1
    assert api.get("launch")["status"]["phase"] == "Waiting"


def test_a_restart_handles_nothing_that_is_in_order(patches: Callable[[], int], settled: Scene) -> None:
    """An operator that starts with everything in order changes no object and opens no transaction for any of them."""
    settled.operator.stop()
    before = patches()
    mirrored = len(settled.operator.lines("Schedule mirrored"))

    settled.operator.start()
    settled.create("next")
    settled.reaches("next", "Pending")  # so that all that was there before has been looked at
    # A reconcile is counted when it has returned, which is after its status can be seen.
    count = "flagschedule_reconcile_duration_seconds_count"
    handled = eventually(lambda: scraped(settled.operator)[count], "the new object is counted")
    settled.operator.stop()

    assert handled == 1
    assert patches() == before + 2
    assert len(settled.operator.lines("Schedule mirrored")) == mirrored + 1
