"""What every FreezeStore promises: each test runs on the store in memory and on Postgres.

What a freeze holds is the work of statements, and in tests/integration.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from flagschedule.domain.errors import DependencyUnavailableError
from flagschedule.domain.freeze import Interval, Scope
from flagschedule.domain.freeze_status import FreezeState
from flagschedule.domain.schedule import ObjectRef, Uid
from tests.conformance.databases import World

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = timedelta(hours=1)
SCOPE = Scope(reason="INC-4711")


def freeze(name: str = "incident") -> ObjectRef:
    """A freeze."""
    return ObjectRef(uid=Uid(uuid4()), namespace="", name=name)


async def test_a_look_shows_what_is_active_and_what_comes_next(world: World) -> None:
    """The end of the interval that is active, and both times of the next one."""
    ref, begin = freeze(), world.now
    active, following = Interval(begin - HOUR, begin + HOUR), Interval(begin + 2 * HOUR, begin + 3 * HOUR)
    async with world.freeze_store() as store:
        assert (await store.look()).states == {}

        await store.replace(ref, SCOPE, [following, active])

        look = await store.look()
        assert look.active
        assert look.states == {
            ref: FreezeState(
                active=True, until=active.ends_at, next_from=following.starts_at, next_until=following.ends_at
            )
        }


async def test_an_interval_without_an_end_has_none(world: World) -> None:
    """The stop button."""
    ref = freeze()
    async with world.freeze_store() as store:
        await store.replace(ref, SCOPE, [Interval(world.now - HOUR, None)])

        assert (await store.look()).states == {ref: FreezeState(active=True)}


async def test_what_is_over_is_not_stored(world: World) -> None:
    """It holds nothing and has no state."""
    async with world.freeze_store() as store:
        await store.replace(freeze(), SCOPE, [Interval(world.now - 2 * HOUR, world.now - HOUR)])

        look = await store.look()
        assert (look.states, look.active) == ({}, [])


async def test_a_version_changes_with_what_is_stored_and_not_otherwise(world: World) -> None:
    """So that what a restore has changed is found, and what is as it was is left alone."""
    ref, other = freeze(), freeze("other")
    intervals = [Interval(world.now - HOUR, world.now + HOUR)]
    versions = []
    async with world.freeze_store() as store:
        for scope, wanted in ((SCOPE, intervals), (SCOPE, intervals), (Scope(reason="other"), intervals)):
            await store.replace(ref, scope, wanted)
            versions.append((await store.look()).versions[ref])
        await store.replace(other, SCOPE, intervals)
        versions.append((await store.look()).versions[ref])
        await store.forget(other)
        await store.replace(ref, Scope(reason="other"), [Interval(world.now - HOUR, None)])
        versions.append((await store.look()).versions[ref])

    first, same, changed, untouched, longer = versions
    assert first == same
    assert changed not in (first, longer)
    assert changed == untouched


async def test_what_is_forgotten_is_gone(world: World) -> None:
    """Other freezes stay; to forget one twice is no error."""
    gone, stays = freeze("gone"), freeze("stays")
    async with world.freeze_store() as store:
        for ref in (gone, stays):
            await store.replace(ref, SCOPE, [Interval(world.now - HOUR, None)])
        await store.forget(gone)
        await store.forget(gone)

        look = await store.look()
        assert ([*look.states], [*look.versions]) == ([stays], [stays])


async def test_without_a_database_every_method_says_so(world: World) -> None:
    """The circuit breaker relies on one type of error."""
    async with world.others_without_database() as (_, store):
        works: list[Callable[[], Any]] = [
            store.look,
            store.held,
            lambda: store.replace(freeze(), SCOPE, []),
            lambda: store.forget(freeze()),
            lambda: store.held_objects(None),
            lambda: store.held_plans(None),
            lambda: store.unfinished([freeze()]),
        ]
        for work in works:
            with pytest.raises(DependencyUnavailableError):
                await work()
