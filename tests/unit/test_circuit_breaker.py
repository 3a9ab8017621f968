"""The breaker in front of the database."""

import asyncio

import pytest

from flagschedule.domain.errors import DependencyUnavailableError
from flagschedule.services import circuit_breaker as module
from flagschedule.services.circuit_breaker import CircuitBreaker
from flagschedule.services.queue import Backoff


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BACKOFF", Backoff(0.001, 0.002))


class _Database:
    """A database that answers or does not, and counts the calls."""

    def __init__(self, *, silent_pings: int = 0) -> None:
        self.silent_pings = silent_pings
        self.pings = 0
        self.at_once = 0
        self.most_at_once = 0

    async def ping(self) -> None:
        self.pings += 1
        if self.pings <= self.silent_pings:
            raise DependencyUnavailableError

    async def operation(self) -> str:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.001)
        self.at_once -= 1
        if self.pings < self.silent_pings:
            raise DependencyUnavailableError
        return "done"


async def _run_many(breaker: CircuitBreaker, database: _Database) -> list[str]:
    return await asyncio.gather(*(breaker.run(database.operation) for _ in range(100)))


def test_all_operations_end_once_the_database_is_back() -> None:
    """No caller sees the outage: all their operations are repeated until they succeed."""
    database = _Database(silent_pings=3)
    breaker = CircuitBreaker(database.ping, concurrency=5, reserved=1)

    assert asyncio.run(_run_many(breaker, database)) == ["done"] * 100
    assert breaker.away is False


def test_one_prober_serves_all_operations() -> None:
    """A hundred callers that fail cause one series of pings, not a hundred."""
    database = _Database(silent_pings=10)

    asyncio.run(_run_many(CircuitBreaker(database.ping, concurrency=100, reserved=1), database))

    assert database.pings < 20


def test_no_more_pass_than_there_are_connections() -> None:
    """Callers wait at the breaker and not in the pool, where waiting for long is an error."""
    database = _Database()

    asyncio.run(_run_many(CircuitBreaker(database.ping, concurrency=5, reserved=1), database))

    assert database.most_at_once == 5


def test_an_outage_shows() -> None:
    """While the database does not answer, `away` is set for the readiness probe."""

    async def observe() -> bool:
        database = _Database(silent_pings=1_000_000)
        breaker = CircuitBreaker(database.ping, concurrency=5, reserved=1)
        caller = asyncio.create_task(breaker.run(database.operation))
        while not breaker.away:  # noqa: ASYNC110 -- the condition that is tested
            await asyncio.sleep(0)
        caller.cancel()
        return breaker.away

    assert asyncio.run(observe())


def test_a_failure_of_the_object_passes() -> None:
    """Only an unavailable database is waited for; any other error goes to the caller."""

    async def broken() -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 -- the test is about the type
        asyncio.run(CircuitBreaker(_Database().ping, concurrency=5, reserved=1).run(broken))
