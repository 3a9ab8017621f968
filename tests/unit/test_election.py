"""The election of the replica that works, in simulated time: delays, lost answers and crashes at every point."""

import asyncio
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from flagschedule.domain.errors import DependencyUnavailableError, ObjectChangedError
from flagschedule.ports import Lease
from flagschedule.services.election import LeaderElector, Terms
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

TERMS = Terms(answer_within=1000)  # time is simulated; the real time limit must have no effect


class _FaultyBook:
    """A lease in memory that loses requests and answers, which a test cannot make the real API server do.

    `before_write` runs between a candidate's look and its write.
    """

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.writes = 0
        self.lose_request = False
        self.lose_answer = False
        self.before_write: Callable[[], Any] | None = None

    async def read(self) -> Lease | None:
        if self.lose_request:
            raise DependencyUnavailableError
        return self.lease

    async def write(self, before: Lease | None, holder: str, duration: float) -> None:
        if interrupt := self.before_write:
            self.before_write = None
            await interrupt()
        if before is not self.lease:
            raise ObjectChangedError
        self.writes += 1
        self.lease = Lease(holder=holder, renewal=str(self.writes), duration=duration, body={})
        if self.lose_answer:
            raise DependencyUnavailableError


class _World:
    """Some candidates, one lease, one time."""

    def __init__(self, candidates: int = 2) -> None:
        self.now = 1000.0
        self.book = _FaultyBook()
        self.candidates = [
            LeaderElector(self.book, f"candidate-{n}", TERMS, lambda: self.now) for n in range(candidates)
        ]

    @property
    def leaders(self) -> list[int]:
        return [number for number, candidate in enumerate(self.candidates) if candidate.remaining > 0]

    def attempt(self, number: int) -> bool:
        return asyncio.run(self.candidates[number].attempt())


def test_a_standby_waits_as_long_as_the_holder_promised() -> None:
    """A lease that is not renewed is taken after its 15 seconds as the standby counts them, not before."""
    world = _World()
    assert world.attempt(0)
    assert not world.attempt(1)

    world.now += TERMS.duration
    assert not world.attempt(1)
    world.now += 1
    assert world.attempt(1)


def test_what_counts_is_when_we_saw_the_renewal() -> None:
    """A standby that starts late, or checks rarely, counts from its own first check."""
    world = _World()
    world.attempt(0)
    world.now += 1000

    assert not world.attempt(1)


def test_a_released_lease_is_free_at_once() -> None:
    """After an orderly end the next candidate takes over without waiting."""
    world = _World()
    world.attempt(0)
    asyncio.run(world.candidates[0].release())

    assert world.attempt(1)


def test_only_ones_own_lease_is_released() -> None:
    """A replica that has lost the lease does not take it from its successor."""
    world = _World()
    world.attempt(0)
    world.attempt(1)
    world.now += TERMS.duration + 1
    assert world.attempt(1)

    asyncio.run(world.candidates[0].release())

    assert world.book.lease is not None
    assert world.book.lease.holder == "candidate-1"


def test_a_holder_stops_before_another_candidate_takes_over() -> None:
    """A holder that cannot renew is done after 10 seconds, while a standby waits for 15."""
    world = _World()
    world.attempt(0)
    world.attempt(1)

    world.now += TERMS.renew_deadline

    assert world.leaders == []
    assert not world.attempt(1)


def test_a_lost_answer_is_no_lost_lease() -> None:
    """A renewal that was made although its answer was lost does not stop the next one."""
    world = _World()
    world.attempt(0)
    world.book.lose_answer = True
    assert not world.attempt(0)
    world.book.lose_answer = False

    assert world.attempt(0)


def test_of_two_that_see_the_same_lease_one_gets_it() -> None:
    """Of two candidates that read the same lease before either writes, one gets it."""
    world = _World()
    world.book.before_write = world.candidates[1].attempt

    assert not world.attempt(0)
    assert world.leaders == [1]


def test_a_deleted_lease_is_made_again() -> None:
    """A deleted lease delays the election only shortly."""
    world = _World()
    world.attempt(0)
    world.book.lease = None

    assert world.attempt(0)


faults = st.sampled_from(["none", "request lost", "answer lost", "late write", "interrupted"])
steps = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.5, 2.0, 4.9, 9.9, 15.1, 40.0]), faults),
    min_size=1,
    max_size=60,
)


@given(steps)
def test_there_are_never_two_leaders(steps: list[tuple[int, float, str]]) -> None:
    """Regardless of what gets lost or delayed, there is at most one leader by the clock of the simulation."""
    world = _World(candidates=3)
    for number, pause, fault in steps:
        world.book.lose_request = fault == "request lost"
        world.book.lose_answer = fault == "answer lost"
        world.book.before_write = None
        if fault == "late write":
            world.book.before_write = lambda: _pass(world, 4.0)
        if fault == "interrupted":
            world.book.before_write = world.candidates[(number + 1) % 3].attempt
        world.attempt(number)
        assert len(world.leaders) <= 1
        world.now += pause


async def _pass(world: _World, seconds: float) -> None:
    world.now += seconds


def test_a_stopped_renewal_is_noticed_by_its_holder() -> None:
    """A holder whose requests get no answer any more stops holding by itself in real time."""

    async def hold() -> None:
        book = _FaultyBook()
        elector = LeaderElector(book, "candidate", Terms(renew_deadline=0.05, renew_period=0.01))
        await elector.acquire()
        book.lose_request = True
        await elector.hold()

    asyncio.run(asyncio.wait_for(hold(), PATIENCE))


def test_a_successor_holds_on() -> None:
    """A candidate that took over from a dead holder keeps the lease."""

    async def succeed() -> bool:
        book = _FaultyBook()
        await book.write(None, "the dead", 0.01)
        elector = LeaderElector(book, "candidate", Terms(retry_period=0.01, renew_period=0.01))
        await elector.acquire()
        holding = asyncio.create_task(elector.hold())
        while book.writes < 5 and not holding.done():  # noqa: ASYNC110 -- the lease store has no event to wait for
            await asyncio.sleep(0.01)
        holding.cancel()
        return book.writes >= 5

    assert asyncio.run(asyncio.wait_for(succeed(), PATIENCE))


def test_a_holder_notices_its_successor() -> None:
    """A holder that finds another holder in the lease stops holding at once."""

    async def hold() -> None:
        book = _FaultyBook()
        elector = LeaderElector(book, "candidate", Terms(renew_period=0.01, renew_deadline=1000))
        await elector.acquire()
        await book.write(book.lease, "another", 15)
        await elector.hold()

    asyncio.run(asyncio.wait_for(hold(), PATIENCE))
