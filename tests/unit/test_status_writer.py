"""Which statuses are written in which order, and when an outcome leaves the outbox."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest

from flagschedule.adapters.prometheus import PrometheusTelemetry
from flagschedule.domain.errors import DependencyUnavailableError, ObjectGoneError
from flagschedule.domain.schedule import ObjectRef, Uid
from flagschedule.ports import StatusEntry
from flagschedule.services import status as module
from flagschedule.services.circuit_breaker import CircuitBreaker
from flagschedule.services.events import EventRecorder
from flagschedule.services.queue import Backoff
from flagschedule.services.status import StatusWriter

if TYPE_CHECKING:
    from flagschedule.ports import MirrorStore, ObjectClient


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK", 0.001)
    monkeypatch.setattr(module, "_BACKOFF", Backoff(0.001, 0.002))


class _Outbox:
    """The outbox, in memory: of each call the first entries that are not known."""

    def __init__(self) -> None:
        self.entries: list[StatusEntry] = []

    def add(self, *refs: ObjectRef) -> None:
        """Add an entry for each object."""
        number = self.entries[-1].id if self.entries else 0
        self.entries += [StatusEntry(id=number + place, ref=ref) for place, ref in enumerate(refs, 1)]

    async def status_entries(self, limit: int, known: Sequence[int]) -> Sequence[StatusEntry]:
        """See ports.MirrorStore."""
        return [entry for entry in self.entries if entry.id not in known][:limit]

    async def delete_status_entries(self, ids: Sequence[int]) -> None:
        """See ports.MirrorStore."""
        self.entries = [entry for entry in self.entries if entry.id not in ids]

    async def ping(self) -> None:
        """Do nothing: this database is always available."""


class _Api:
    """An API server whose objects are gone, which ends a write; some cannot be read for a while."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.failures: dict[str, int] = {}
        self.before_answer: Callable[[ObjectRef], None] = lambda _: None

    async def get(self, ref: ObjectRef) -> Mapping[str, Any]:
        """See ports.ObjectClient."""
        self.read.append(ref.name)
        await asyncio.sleep(0)
        self.before_answer(ref)
        if self.failures.get(ref.name):
            self.failures[ref.name] -= 1
            raise DependencyUnavailableError("busy")
        raise ObjectGoneError


def _ref(name: str) -> ObjectRef:
    """Return an object whose namespace is the first word of its name."""
    return ObjectRef(namespace=name.partition("-")[0], name=name, uid=Uid(uuid4()))


def _play(play: Callable[[_Outbox, _Api], Awaitable[None]]) -> None:
    async def scene() -> None:
        outbox, api = _Outbox(), _Api()
        client = cast("ObjectClient", api)
        breaker = CircuitBreaker(outbox.ping, 1)
        writer = StatusWriter(
            cast("MirrorStore", outbox), client, breaker, EventRecorder(client), PrometheusTelemetry()
        )
        running = asyncio.create_task(writer.serve_forever())
        async with asyncio.timeout(10):
            await play(outbox, api)
        running.cancel()

    asyncio.run(scene())


async def _reaches(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 -- the condition that is tested
        await asyncio.sleep(0.001)


def test_a_namespace_does_not_wait_for_the_outcomes_of_another() -> None:
    """An outcome that comes behind 500 of another namespace is written with their first."""

    async def play(outbox: _Outbox, api: _Api) -> None:
        outbox.add(*(_ref(f"noisy-{number}") for number in range(500)), _ref("quiet-one"))
        await _reaches(lambda: not outbox.entries)
        assert api.read.index("quiet-one") < 10
        assert len(api.read) == 501

    _play(play)


def test_an_outcome_that_comes_behind_a_batch_is_read_while_the_batch_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Entries are read as long as fewer than a batch are in line, so the outbox is served to its end."""
    monkeypatch.setattr(module, "_BATCH", 10)

    async def play(outbox: _Outbox, api: _Api) -> None:
        outbox.add(*(_ref(f"noisy-{number}") for number in range(95)))
        await _reaches(lambda: not outbox.entries)
        assert len(api.read) == 95

    _play(play)


def test_what_cannot_be_written_stays_and_holds_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outcomes of objects that fail stay in the outbox; those behind them are served meanwhile."""
    monkeypatch.setattr(module, "_BATCH", 10)

    async def play(outbox: _Outbox, api: _Api) -> None:
        odd = [_ref(f"odd-{number}") for number in range(20)]
        api.failures = {ref.name: 10**9 for ref in odd}
        good = [_ref(f"good-{number}") for number in range(20)]
        outbox.add(*odd, *good)
        await _reaches(lambda: {entry.ref for entry in outbox.entries} == set(odd))
        api.failures.clear()
        await _reaches(lambda: not outbox.entries)

    _play(play)


def test_an_outcome_during_the_write_is_written_again() -> None:
    """An entry that comes while its object's status is written may stand for a later change: both are served."""

    async def play(outbox: _Outbox, api: _Api) -> None:
        one = _ref("quiet-one")

        def change_again(_: ObjectRef) -> None:
            if len(api.read) == 1:
                outbox.add(one)

        api.before_answer = change_again
        outbox.add(one)
        await _reaches(lambda: len(api.read) == 2 and not outbox.entries)

    _play(play)
