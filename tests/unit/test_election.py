"""The election of the replica that works, in simulated time: delays, lost answers and crashes at every point."""

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from flagschedule.domain.errors import DependencyUnavailableError
from flagschedule.ports.cluster import Lease
from flagschedule.services.election import LeaderElector, Terms
from tests.support.asynchronous import reaches, simulate
from tests.support.memory.lease_store import MemoryLeaseStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.simulated_time

TERMS = Terms()


class _FaultyStore(MemoryLeaseStore):
    """A lease that loses answers, which a test cannot make a real API server do.

    `before_write` runs once, between a candidate's look and its write.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lose_answer = False
        self.before_write: Callable[[], Awaitable[object]] | None = None

    async def write(self, before: Lease | None, holder: str, duration: float) -> None:
        interrupt, self.before_write = self.before_write, None
        if interrupt:
            await interrupt()
        await super().write(before, holder, duration)
        if self.lose_answer:
            raise DependencyUnavailableError


class _World:
    """Some candidates, one lease, one time."""

    def __init__(self, candidates: int = 2) -> None:
        clock = asyncio.get_running_loop().time
        self.store = _FaultyStore()
        self.candidates = [LeaderElector(self.store, f"candidate-{n}", TERMS, clock) for n in range(candidates)]

    @property
    def leaders(self) -> list[int]:
        return [number for number, candidate in enumerate(self.candidates) if candidate.remaining > 0]

    @property
    def holder(self) -> str | None:
        return self.store.lease.holder if self.store.lease else None

    async def attempt(self, number: int) -> bool:
        return await self.candidates[number].attempt()


async def test_a_standby_waits_as_long_as_the_holder_promised() -> None:
    """A lease that is not renewed is taken after its 15 seconds as the standby counts them, not before."""
    world = _World()
    assert await world.attempt(0)
    assert not await world.attempt(1)

    await asyncio.sleep(TERMS.duration)
    assert not await world.attempt(1)
    await asyncio.sleep(1)
    assert await world.attempt(1)


async def test_what_counts_is_when_we_saw_the_renewal() -> None:
    """A standby that starts late, or checks rarely, begins to count at its own first check."""
    world = _World()
    await world.attempt(0)
    await asyncio.sleep(1000)

    assert not await world.attempt(1)


async def test_a_released_lease_is_free_at_once() -> None:
    """After an orderly end the next candidate takes over without waiting."""
    world = _World()
    await world.attempt(0)
    await world.candidates[0].release()

    assert await world.attempt(1)


async def test_only_ones_own_lease_is_released() -> None:
    """A replica that has lost the lease does not take it from its successor."""
    world = _World()
    await world.attempt(0)
    await world.attempt(1)
    await asyncio.sleep(TERMS.duration + 1)
    assert await world.attempt(1)

    await world.candidates[0].release()

    assert world.holder == "candidate-1"


async def test_a_release_without_an_answer_is_given_up() -> None:
    """An API server that is away delays the end of a replica by seconds at most; the lease runs out by itself."""
    world = _World()
    await world.attempt(0)
    world.store.before_write = asyncio.Event().wait

    async with asyncio.timeout(TERMS.answer_within + 1):
        await world.candidates[0].release()

    assert world.holder == "candidate-0"


async def test_a_holder_stops_before_another_candidate_takes_over() -> None:
    """A holder that cannot renew is done after 10 seconds, while a standby waits for 15."""
    world = _World()
    await world.attempt(0)
    await world.attempt(1)

    await asyncio.sleep(TERMS.renew_deadline)

    assert world.leaders == []
    assert not await world.attempt(1)


async def test_a_holder_counts_from_its_request() -> None:
    """A renewal that took long gives its holder less time: the others may have seen it before its answer came."""
    world = _World()
    world.store.before_write = lambda: asyncio.sleep(3)

    assert await world.attempt(0)

    assert world.candidates[0].remaining == pytest.approx(TERMS.renew_deadline - 3)


async def test_a_lost_answer_is_no_lost_lease() -> None:
    """A renewal that was made although its answer was lost does not stop the next one."""
    world = _World()
    await world.attempt(0)
    world.store.lose_answer = True
    assert not await world.attempt(0)
    world.store.lose_answer = False

    assert await world.attempt(0)


async def test_of_two_that_see_the_same_lease_one_gets_it() -> None:
    """Two candidates that look before either writes do not both win."""
    world = _World()
    world.store.before_write = world.candidates[1].attempt

    assert not await world.attempt(0)
    assert world.leaders == [1]


async def test_a_deleted_lease_is_made_again() -> None:
    """A deleted lease delays the election only shortly."""
    world = _World()
    await world.attempt(0)
    world.store.lease = None

    assert await world.attempt(0)


async def test_an_api_server_that_is_away_is_logged_once() -> None:
    """A candidate goes on trying while the API server is away, and says so once."""
    world = _World()
    world.store.away = True
    with capture_logs() as lines:
        acquiring = asyncio.create_task(world.candidates[0].acquire())
        await asyncio.sleep(600)
        world.store.away = False
        await acquiring

    assert [line["event"] for line in lines] == ["Lease not served", "Lease acquired"]


faults = st.sampled_from(["none", "request lost", "answer lost", "late write", "interrupted"])
steps = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.5, 2.0, 4.9, 9.9, 15.1, 40.0]), faults),
    min_size=1,
    max_size=60,
)


@given(steps)
def test_there_are_never_two_leaders(steps: list[tuple[int, float, str]]) -> None:
    """Regardless of what gets lost or delayed, there is at most one leader by the clock of the simulation."""

    async def scene() -> None:
        world = _World(candidates=3)
        for number, pause, fault in steps:
            world.store.away = fault == "request lost"
            world.store.lose_answer = fault == "answer lost"
            world.store.before_write = None
            if fault == "late write":
                world.store.before_write = lambda: asyncio.sleep(TERMS.answer_within - 0.1)
            if fault == "interrupted":
                world.store.before_write = world.candidates[(number + 1) % 3].attempt
            await world.attempt(number)
            assert len(world.leaders) <= 1
            await asyncio.sleep(pause)

    simulate(scene())


async def test_a_stopped_renewal_is_noticed_by_its_holder() -> None:
    """A holder whose requests get no answer any more returns from holding in time, and without help."""
    world = _World()
    await world.candidates[0].acquire()
    world.store.away = True

    async with asyncio.timeout(TERMS.renew_deadline + 0.1):
        await world.candidates[0].hold()

    assert world.leaders == []


async def test_a_holder_whose_request_hangs_notices_it() -> None:
    """A renewal that gets no answer at all ends the holding before a standby takes over."""
    world = _World()
    await world.candidates[0].acquire()
    world.store.before_write = asyncio.Event().wait

    async with asyncio.timeout(TERMS.duration):
        holding = asyncio.create_task(world.candidates[0].hold())
        await reaches(lambda: world.store.before_write is None)
        world.store.away = True
        await holding


async def test_a_holder_keeps_the_lease() -> None:
    """A holder renews for as long as it is served, and its standby never takes over."""
    world = _World()
    await world.candidates[0].acquire()
    tasks = [asyncio.create_task(work) for work in (world.candidates[0].hold(), world.candidates[1].acquire())]

    await asyncio.sleep(1000)

    assert (world.leaders, world.holder) == ([0], "candidate-0")
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()


async def test_a_successor_holds_on() -> None:
    """Who took over from a dead holder keeps the lease, and does not take its predecessor for a rival."""
    world = _World()
    await world.store.write(None, "the dead", TERMS.duration)
    await world.candidates[0].acquire()
    holding = asyncio.create_task(world.candidates[0].hold())

    await asyncio.sleep(1000)

    assert not holding.done()
    holding.cancel()


async def test_a_holder_notices_its_successor() -> None:
    """A holder that finds the lease in other hands returns from holding at its next look."""
    world = _World()
    await world.candidates[0].acquire()
    await world.store.write(world.store.lease, "another", 15)

    async with asyncio.timeout(TERMS.renew_period + 0.1):
        await world.candidates[0].hold()
