"""Work that waits for its turn, or for its next try. Used by the reconciler, the status writer and the event recorder.

Each key is worked on by one task at a time. A key that failed waits here and not in a task, so that its wait takes
no other key's turn. Groups of keys, which are namespaces, take turns: a flood of one delays the others by one key.
"""

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import structlog

_log = structlog.get_logger()
_K = TypeVar("_K", bound=Hashable)

Rank = tuple[int, float]  # the priority, then the order within it; the lowest goes first
URGENT: Final = 0  # the priority that has slots of its own; all others share theirs
ORDINARY: Final[Rank] = (1, 0.0)


@dataclass(frozen=True)
class Backoff:
    """How long a key waits after each failure: twice as long each time, uneven so that not all return at once."""

    first: float
    longest: float
    jitter: float = 0.25

    def pause(self, failures: int) -> float:
        """Return the seconds to wait after a failure.

        Args:
            failures: how many failures came before this one.
        """
        pause = min(self.first * 2.0 ** min(failures, 32), self.longest)
        return pause * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 -- spreads load, guards nothing


_UNEXPECTED: Final = Backoff(1, 60)


@dataclass
class _Entry:
    rank: Rank = ORDINARY
    failures: int = 0
    ticket: int = 0  # of its valid place in a queue; 0: it is not queued
    working: bool = False
    again: bool = False  # added while it was worked on
    timer: asyncio.TimerHandle | None = None


class _FairQueue(Generic[_K]):
    """Keys that wait for their turn. Next is the group that had the fewest turns, with its key of the lowest rank."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, list[tuple[Rank, int, _K]]] = {}
        self._turns: dict[Hashable, int] = {}
        self._turn = 0  # of the group that was served last
        self._heads: list[tuple[int, Rank, int, Hashable]] = []  # may hold outdated entries, which `pop` skips

    def __bool__(self) -> bool:
        return bool(self._groups)

    def push(self, group: Hashable, rank: Rank, ticket: int, key: _K) -> None:
        """Queue a key; tickets are unique."""
        keys = self._groups.get(group)
        if keys is None:
            # A group that had no keys for a time does not get the turns that it missed: it would delay all others.
            keys = self._groups[group] = []
            self._turns[group] = max(self._turns.get(group, 0), self._turn)
        heapq.heappush(keys, (rank, ticket, key))
        if keys[0][1] == ticket:
            self._offer(group)

    def pop(self) -> tuple[int, _K]:
        """Take the next key.

        Returns:
            its ticket and the key.
        """
        while True:
            turn, _, head, group = heapq.heappop(self._heads)
            keys = self._groups.get(group)
            if keys and (turn, head) == (self._turns[group], keys[0][1]):
                break
        _, ticket, key = heapq.heappop(keys)
        self._turn = turn
        self._turns[group] = turn + 1
        if keys:
            self._offer(group)
        else:
            del self._groups[group]
        if not self._groups:
            self._heads.clear()
            self._turns.clear()
            self._turn = 0
        return ticket, key

    def _offer(self, group: Hashable) -> None:
        rank, ticket, _ = self._groups[group][0]
        heapq.heappush(self._heads, (self._turns[group], rank, ticket, group))


@dataclass
class _Slots(Generic[_K]):
    """The keys that wait for one kind of slot, and the tasks that use such slots."""

    waiting: _FairQueue[_K] = field(default_factory=_FairQueue)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class RetryQueue(Generic[_K]):
    """Works on at most `at_once` urgent and `at_once` other keys, and on `at_once + reserved` in all.

    So neither a flood of stops nor a flood of new objects keeps the other waiting.
    """

    def __init__(
        self,
        work: Callable[[_K], Awaitable[Backoff | None]],
        *,
        at_once: int,
        reserved: int = 0,
        group: Callable[[_K], Hashable] = lambda _: None,
    ) -> None:
        """Make a queue.

        Args:
            work: does the work for one key; returns None when it is done, else the backoff of the next try.
            at_once: how many urgent keys, and how many others, are worked on at the same time.
            reserved: how many slots are left for urgent keys while others use `at_once`, and the reverse.
            group: returns the group of a key; groups take turns.
        """
        self._work = work
        self._group = group
        self._at_once = at_once
        self._in_all = at_once + reserved
        self._entries: dict[_K, _Entry] = {}
        self._tickets = 0
        self._urgent: _Slots[_K] = _Slots()
        self._ordinary: _Slots[_K] = _Slots()
        self._open = False

    def __contains__(self, key: _K) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def in_line(self) -> int:
        """Return how many keys wait for their turn or are worked on, without those that wait for their next try."""
        return sum(entry.working or bool(entry.ticket) for entry in self._entries.values())

    def add(self, key: _K, rank: Rank = ORDINARY) -> None:
        """Queue a key, also one that waits for its next try; one that is being worked on gets another turn."""
        entry = self._entries.setdefault(key, _Entry())
        keeps_its_place = entry.ticket and entry.rank == rank
        entry.rank = rank
        entry.failures = 0  # earlier failures do not concern the new request
        if entry.working:
            entry.again = True
        elif not keeps_its_place:
            self._enqueue(key, entry)

    def retry(self, key: _K, backoff: Backoff, rank: Rank = ORDINARY) -> None:
        """Queue a key after a pause; one that is here already is left as it is."""
        if key not in self._entries:
            self._entries[key] = entry = _Entry(rank=rank)
            self._wait(key, entry, backoff)

    async def run(self) -> None:
        """Work until cancelled."""
        self._open = True
        self._start()
        try:
            await asyncio.Event().wait()
        finally:
            self._open = False
            for task in self._urgent.tasks | self._ordinary.tasks:
                task.cancel()

    def _enqueue(self, key: _K, entry: _Entry) -> None:
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None
        self._tickets += 1
        entry.ticket = self._tickets
        slots = self._urgent if entry.rank[0] == URGENT else self._ordinary
        slots.waiting.push(self._group(key), entry.rank, entry.ticket, key)
        self._start()

    def _wait(self, key: _K, entry: _Entry, backoff: Backoff) -> None:
        pause = backoff.pause(entry.failures)
        entry.failures += 1
        entry.timer = asyncio.get_running_loop().call_later(pause, self._enqueue, key, entry)

    def _start(self) -> None:
        """Start as many tasks as there are slots for."""
        for own, other in ((self._urgent, self._ordinary), (self._ordinary, self._urgent)):
            while self._open and own.waiting and len(own.tasks) < min(self._at_once, self._in_all - len(other.tasks)):
                ticket, key = own.waiting.pop()
                entry = self._entries.get(key)
                if entry is None or entry.ticket != ticket:
                    continue  # it has another place by now
                entry.ticket = 0
                entry.working = True
                task = asyncio.create_task(self._turn(key, entry), name="work")
                own.tasks.add(task)
                task.add_done_callback(own.tasks.discard)
                task.add_done_callback(lambda _: self._start())

    async def _turn(self, key: _K, entry: _Entry) -> None:
        try:
            backoff = await self._work(key)
        except Exception:  # noqa: BLE001 -- a fault of one key must not end the work on the others
            _log.exception("Work on one object failed unexpectedly", key=str(key))
            backoff = _UNEXPECTED
        entry.working = False
        if entry.again:
            entry.again = False
            self._enqueue(key, entry)
        elif backoff is None:
            del self._entries[key]
        else:
            self._wait(key, entry, backoff)
