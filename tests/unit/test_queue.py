"""Work that waits for its turn."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagschedule.services.queue import ORDINARY, URGENT, Backoff, Rank, RetryQueue

_SOON = Backoff(0.001, 0.002)
_STOP: Rank = (URGENT, 0.0)


class _Bench:
    """Work that is held until it is let go, and what was begun."""

    def __init__(self, **options: Any) -> None:
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
    """A key that failed for long and gets a new request is tried without delay, and may fail once more."""

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
    """Reserved slots serve the class that is not flooded."""

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


def test_groups_take_turns() -> None:
    """Keys of one group wait for one key of each other group at most, however many these have and however urgent."""

    async def play(bench: _Bench) -> None:
        bench.hold("first-0")
        bench.queue.add("first-0")
        for key in ("flood-1", "flood-2", "flood-3", "quiet-1", "late-1", "late-2"):
            bench.queue.add(key, (1, 0.0) if key.startswith("flood") else (2, 0.0))
        await bench.reaches(lambda: len(bench.begun) == 1)
        bench.held["first-0"].set()
        await bench.is_idle()
        assert bench.begun == ["first-0", "flood-1", "quiet-1", "late-1", "flood-2", "late-2", "flood-3"]

    _play(play, at_once=1, group=lambda key: key.partition("-")[0])


def test_a_group_that_comes_later_does_not_wait_for_the_turns_of_the_others() -> None:
    """A group whose first key comes while others had many turns is next; one that was idle has saved no turns."""

    async def play(bench: _Bench) -> None:
        keys = [f"flood-{number}" for number in range(6)]
        bench.hold(*keys)
        bench.queue.add("idle-0")
        for key in keys:
            bench.queue.add(key)
        for number, key in enumerate(keys):
            if number == 3:
                bench.queue.add("idle-1")
                bench.queue.add("idle-2")
            await bench.reaches(lambda: key in bench.begun)  # noqa: B023 -- it is waited for at once
            bench.held[key].set()
        await bench.is_idle()
        assert bench.begun == ["idle-0", *keys[:3], "idle-1", keys[3], "idle-2", *keys[4:]]

    _play(play, at_once=1, group=lambda key: key.partition("-")[0])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), min_size=1, max_size=40))
def test_no_group_waits_for_two_keys_of_another(added: list[tuple[str, int]]) -> None:
    """Between two keys of a group that waits all the time each other group has at most one more turn than it."""

    async def play(bench: _Bench) -> None:
        bench.hold("first")
        bench.queue.add("first")
        await bench.reaches(lambda: len(bench.begun) == 1)
        for number, (group, rank) in enumerate(added):
            bench.queue.add(f"{group}-{number}", (1, float(rank)))
        bench.held["first"].set()
        await bench.is_idle()
        order = bench.begun[1:]
        assert sorted(order) == sorted(f"{group}-{number}" for number, (group, _) in enumerate(added))
        waiting = Counter(key[0] for key in order)
        for place in range(len(order)):
            served = Counter(key[0] for key in order[:place])
            left = [group for group in waiting if served[group] < waiting[group]]
            assert max(served.values(), default=0) - min((served[group] for group in left), default=0) <= 1
        for group in waiting:  # the lowest rank first, and of one rank in order
            own = [int(key[2:]) for key in order if key[0] == group]
            assert own == sorted(own, key=lambda number: (added[number][1], number))

    _play(play, at_once=1, group=lambda key: key.partition("-")[0])


def test_a_stop_that_failed_is_still_a_stop() -> None:
    """A key that waits for its next try keeps its rank: it comes back before the ordinary keys in line."""

    async def play(bench: _Bench) -> None:
        bench.answers = {"stop": [_SOON]}
        bench.queue.add("stop", _STOP)
        await bench.reaches(lambda: bench.begun == ["stop"])
        bench.hold("first")
        for key in ("first", "second", "third"):
            bench.queue.add(key)
        await bench.reaches(lambda: "first" in bench.begun and bench.queue.in_line() == 4)
        bench.held["first"].set()
        await bench.is_idle()
        assert bench.begun == ["stop", "first", "stop", "second", "third"]

    _play(play, at_once=1)
