"""Work that waits for its turn."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flagschedule.services.queue import ORDINARY, URGENT, Backoff, Rank, RetryQueue

_SOON = Backoff(0.001, 0.002)
_STOP: Rank = (URGENT, 0.0)


class _Bench:
    """Work that is held until it is let go, and what was begun."""

    def __init__(self, **options: int) -> None:
        self.begun: list[str] = []
        self.answers: dict[str, list[Backoff | Exception | None]] = {}
        self.held: dict[str, asyncio.Event] = {}
        self.queue: RetryQueue[str] = RetryQueue(self._work, **{"at_once": 2, **options})

    async def _work(self, key: str) -> Backoff | None:
        self.begun.append(key)
        if key in self.held:
            await self.held[key].wait()
        answers = self.answers.get(key)
        answer = answers.pop(0) if answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def hold(self, *keys: str) -> None:
        """Keep work on these keys from ending."""
        for key in keys:
            self.held[key] = asyncio.Event()

    async def reaches(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds."""
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 -- the condition that is tested
                await asyncio.sleep(0)

    async def is_idle(self) -> None:
        """Wait until nothing is left."""
        await self.reaches(lambda: not self.queue)


def _play(play: Callable[[_Bench], Awaitable[None]], **options: Any) -> None:
    async def scene() -> None:
        bench = _Bench(**options)
        running = asyncio.create_task(bench.queue.run())
        await asyncio.sleep(0)
        await play(bench)
        running.cancel()

    asyncio.run(scene())


def test_a_failure_is_tried_again_and_takes_no_slot() -> None:
    """While a key waits for its next try the others are worked on."""

    async def play(bench: _Bench) -> None:
        bench.answers = {"locked": [Backoff(0.05, 0.05)] * 3}
        bench.queue.add("locked")
        await bench.reaches(lambda: "locked" in bench.begun)
        bench.queue.add("other")
        await bench.reaches(lambda: "other" in bench.begun)
        assert bench.begun.count("locked") == 1
        await bench.is_idle()
        assert bench.begun.count("locked") == 4

    _play(play, at_once=1)


def test_an_unexpected_error_concerns_its_key_alone() -> None:
    """Work that raises is tried again, and the queue goes on."""

    async def play(bench: _Bench) -> None:
        bench.answers = {"odd": [ValueError()]}
        bench.queue.add("odd")
        bench.queue.add("other")
        await bench.reaches(lambda: "other" in bench.begun)
        assert "odd" in bench.queue
        bench.queue.add("odd")  # seen again: its turn comes at once
        await bench.is_idle()
        assert bench.begun.count("odd") == 2

    _play(play)


def test_a_key_that_is_seen_again_begins_with_the_first_pause() -> None:
    """What failed for long is not kept waiting when something new is asked of it, and fails once more."""

    async def play(bench: _Bench) -> None:
        bench.answers = {"one": [Backoff(0.001, 3600)] * 30}
        for tries in range(30):
            bench.queue.add("one")
            await bench.reaches(lambda: len(bench.begun) > tries)  # noqa: B023 -- it is waited for at once
        await bench.is_idle()

    _play(play)


def test_a_key_is_worked_on_by_one_task_at_a_time() -> None:
    """A key that comes back while it is worked on has another turn after that, and only one."""

    async def play(bench: _Bench) -> None:
        bench.hold("one")
        bench.queue.add("one")
        await bench.reaches(lambda: bench.begun == ["one"])
        for _ in range(3):
            bench.queue.add("one")
        await asyncio.sleep(0)
        assert bench.begun == ["one"]
        bench.held["one"].set()
        await bench.is_idle()
        assert bench.begun == ["one", "one"]

    _play(play)


@pytest.mark.parametrize(("flood", "lone"), [(ORDINARY, _STOP), (_STOP, ORDINARY)], ids=["stop", "edit"])
def test_a_flood_of_one_class_leaves_slots_to_the_other(flood: Rank, lone: Rank) -> None:
    """Slots that are reserved serve whichever class the flood is not of."""

    async def play(bench: _Bench) -> None:
        keys = [f"flood-{number}" for number in range(50)]
        bench.hold(*keys)
        for key in keys:
            bench.queue.add(key, flood)
        await bench.reaches(lambda: len(bench.begun) == 2)
        bench.queue.add("lone", lone)
        await bench.reaches(lambda: "lone" in bench.begun)
        assert len(bench.begun) == 3

    _play(play, reserved=1)


def test_the_lowest_rank_goes_first() -> None:
    """Keys that wait in line are served by rank, and a key that has become urgent overtakes."""

    async def play(bench: _Bench) -> None:
        bench.hold("first")
        bench.queue.add("first")
        for key, rank in {"later": (1, 9.0), "sooner": (1, 1.0), "stop": (1, 99.0)}.items():
            bench.queue.add(key, rank)
        bench.queue.add("stop", _STOP)
        await bench.reaches(lambda: len(bench.begun) == 1)
        bench.held["first"].set()
        await bench.is_idle()
        assert bench.begun == ["first", "stop", "sooner", "later"]

    _play(play, at_once=1)


def test_what_is_kept_for_later_is_not_brought_forward() -> None:
    """A key that waits already keeps its place in time when it is kept once more."""

    async def play(bench: _Bench) -> None:
        bench.queue.retry("kept", Backoff(60, 60))
        bench.queue.retry("kept", _SOON)
        await asyncio.sleep(0.02)
        assert bench.begun == []
        bench.queue.add("kept")
        await bench.is_idle()
        assert bench.begun == ["kept"]

    _play(play)


def test_a_pause_grows_to_its_longest() -> None:
    """Each failure doubles the wait, within the jitter, up to a bound that no number of failures passes."""
    backoff = Backoff(1, 10, jitter=0)

    assert [backoff.pause(failures) for failures in (0, 1, 2, 3, 4, 10**6)] == [1, 2, 4, 8, 10, 10]
