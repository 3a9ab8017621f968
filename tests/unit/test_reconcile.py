"""One object at a time, from what the watch shows to what the mirror is called with."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import pytest
from structlog.testing import capture_logs

from flagschedule.domain.errors import (
    ConflictError,
    DependencyUnavailableError,
    ObjectChangedError,
    ObjectGoneError,
)
from flagschedule.domain.schedule import FINALIZER, RETRY_ANNOTATION, FlagSchedule, ObjectRef
from flagschedule.services import reconcile as module
from flagschedule.services.queue import Backoff
from flagschedule.services.reconcile import Reconciler
from tests.unit import builders

if TYPE_CHECKING:
    from flagschedule.ports import ObjectClient
    from flagschedule.services.mirror import Mirror

_SETTLED = {"observedGeneration": 1}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_CHANGED", "_STOP", "_BUSY", "_LOCKED", "_FAILED"):
        monkeypatch.setattr(module, name, Backoff(0.001, 0.002))
    monkeypatch.setattr(module, "_PASSING", set())


class _Api:
    """The API server, for one object."""

    def __init__(self, body: dict[str, Any] | None) -> None:
        self.body = body
        self.writes: list[list[str]] = []
        self.watcher: Callable[[Mapping[str, Any]], None] = lambda _: None

    async def get(self, _: ObjectRef) -> Mapping[str, Any]:
        """Return the object from the server."""
        if self.body is None:
            raise ObjectGoneError
        return self.body

    async def write_finalizers(self, _: ObjectRef, version: str, finalizers: Sequence[str]) -> Mapping[str, Any]:
        """Replace the finalizers; a deleted object without any is gone."""
        if self.body is None:
            raise ObjectGoneError
        meta = self.body["metadata"]
        if version != meta["resourceVersion"]:
            raise ObjectChangedError
        self.writes.append(list(finalizers))
        changed = {"finalizers": list(finalizers), "resourceVersion": version + "1"}
        found = {**self.body, "metadata": {**meta, **changed}}
        self.body = found if finalizers or "deletionTimestamp" not in meta else None
        self.watcher(found)
        return found


class _Mirror:
    """Record the calls; raise the failures that a test has listed."""

    def __init__(self) -> None:
        self.reconciled: list[FlagSchedule] = []
        self.released: list[FlagSchedule] = []
        self.failures: list[Exception] = []

    async def reconcile(self, obj: FlagSchedule) -> None:
        """Note it."""
        if self.failures:
            raise self.failures.pop()
        self.reconciled.append(obj)

    async def release(self, obj: FlagSchedule) -> None:
        """Note it."""
        if self.failures:
            raise self.failures.pop()
        self.released.append(obj)


class _Scene:
    def __init__(self, body: dict[str, Any] | None) -> None:
        self.api = _Api(body)
        self.mirror = _Mirror()
        self.reconciler = Reconciler(cast("ObjectClient", self.api), cast("Mirror", self.mirror))

    async def is_idle(self, ref: ObjectRef) -> None:
        """Wait until nothing is left to do for the object."""
        async with asyncio.timeout(10):
            while ref in self.reconciler:  # noqa: ASYNC110 -- the condition that is tested
                await asyncio.sleep(0.001)


def _play(body: dict[str, Any] | None, play: Callable[[_Scene], Awaitable[None]]) -> None:
    async def scene() -> None:
        on = _Scene(body)
        running = asyncio.create_task(on.reconciler.run_forever())
        await asyncio.sleep(0)
        await play(on)
        running.cancel()

    asyncio.run(scene())


def _body(*, guarded: bool = False, **fields: Any) -> dict[str, Any]:
    found = builders.body(**fields)
    if guarded:
        found["metadata"]["finalizers"] = ["others/one", FINALIZER]
    return found


_REF = FlagSchedule.from_body(_body()).ref


def test_a_new_object_is_guarded_before_it_is_mirrored() -> None:
    """The object that the mirror gets has our finalizer, next to those of others."""
    new = _body()
    new["metadata"]["finalizers"] = ["others/one"]

    async def play(on: _Scene) -> None:
        on.reconciler.notice(new)
        await on.is_idle(_REF)
        assert on.api.writes == [["others/one", FINALIZER]]
        assert [obj.guarded for obj in on.mirror.reconciled] == [True]

    _play(new, play)


@pytest.mark.parametrize(
    ("body", "mirrored"),
    [
        (_body(guarded=True, status=_SETTLED), 0),
        (_body(guarded=True), 1),
        (_body(guarded=True, generation=2, status=_SETTLED), 1),
        (_body(status=_SETTLED), 1),
        (_body(guarded=True, annotations={RETRY_ANNOTATION: "now"}, status=_SETTLED), 1),
        (
            _body(
                guarded=True,
                annotations={RETRY_ANNOTATION: "now"},
                status={**_SETTLED, "lastHandledRetryRequest": "now"},
            ),
            0,
        ),
        (_body(guarded=True, annotations={"argocd.argoproj.io/tracking-id": "x"}, status=_SETTLED), 0),
    ],
    ids=["settled", "new", "edited", "finalizer lost", "retry requested", "retry handled", "others' annotation"],
)
def test_only_what_the_object_leaves_open_is_done(body: dict[str, Any], mirrored: int) -> None:
    """An object whose status covers all that it requests is left alone."""

    async def play(on: _Scene) -> None:
        on.reconciler.notice(body)
        await on.is_idle(_REF)
        assert len(on.mirror.reconciled) == mirrored

    _play(body, play)


@pytest.mark.parametrize(
    "annotations",
    [
        {"flagschedule.io/mirror": "garbage"},
        {"flagschedule.io/release": '{"started":"2026-01-01T00:00:00","delayed":"2999-01-01T00:00:00Z"}'},
        {"kopf.zalando.org/last-handled-configuration": "{"},
        {RETRY_ANNOTATION: "\0" * 250_000},
    ],
    ids=["progress", "delayed", "diff base", "request"],
)
def test_annotations_of_a_tenant_do_not_keep_an_object(annotations: dict[str, str]) -> None:
    """A deleted object is released and its finalizer removed, regardless of its annotations."""
    body = _body(guarded=True, deleting=True, annotations=annotations)

    async def play(on: _Scene) -> None:
        on.reconciler.notice(body)
        await on.is_idle(_REF)
        assert len(on.mirror.released) == 1
        assert on.api.writes == [["others/one"]]

    _play(body, play)


def test_the_finalizer_goes_after_the_release_alone() -> None:
    """While the release fails the object stays, and goes once it is committed."""
    body = _body(guarded=True, deleting=True)

    async def play(on: _Scene) -> None:
        on.mirror.failures = [ConflictError(), ValueError()]
        on.reconciler.notice(body)
        await on.is_idle(_REF)
        assert len(on.mirror.released) == 1
        assert on.api.writes == [["others/one"]]

    _play(body, play)


def test_an_object_that_vanished_is_released() -> None:
    """A user who strips the finalizer cannot leave a plan behind."""

    async def unavailable(_: ObjectRef) -> Mapping[str, Any]:
        raise DependencyUnavailableError

    async def play(on: _Scene) -> None:
        on.api.get = unavailable  # type: ignore[method-assign]  # with its kind everything of the object may be gone
        on.reconciler.notice(_body(), gone=True)
        await on.is_idle(_REF)
        assert [obj.deleting for obj in on.mirror.released] == [True]
        assert on.api.writes == []

    _play(None, play)


def test_what_was_released_is_not_released_when_it_goes() -> None:
    """The last event of an object that we let go costs no transaction."""
    body = _body(guarded=True, deleting=True)
    body["metadata"]["finalizers"] = [FINALIZER]

    async def play(on: _Scene) -> None:
        on.reconciler.notice(body)
        await on.is_idle(_REF)
        on.reconciler.notice({**body, "metadata": {**body["metadata"], "finalizers": []}}, gone=True)
        await on.is_idle(_REF)
        assert len(on.mirror.released) == 1

    _play(body, play)


def test_our_own_write_is_no_news() -> None:
    """The event of our own finalizer patch, which comes while the object is worked on, causes no second round."""
    new = _body()

    async def play(on: _Scene) -> None:
        on.api.watcher = on.reconciler.notice
        on.reconciler.notice(new)
        await on.is_idle(_REF)
        assert len(on.mirror.reconciled) == 1

    _play(new, play)


def test_an_object_that_changed_is_looked_at_again() -> None:
    """A write that meets another version is made again on the live object."""
    live = _body(generation=2)
    live["metadata"]["resourceVersion"] = "7"

    async def play(on: _Scene) -> None:
        on.reconciler.notice(_body())
        await on.is_idle(_REF)
        assert [obj.generation for obj in on.mirror.reconciled] == [2]

    _play(live, play)


def test_a_comparison_hears_when_everything_was_tried() -> None:
    """A caller that waits for several objects continues when each had one try, also one that failed."""
    body = _body(guarded=True)

    async def play(on: _Scene) -> None:
        on.mirror.failures = [ConflictError(flag_locked=True)]
        async with asyncio.timeout(10):
            await on.reconciler.try_all([FlagSchedule.from_body(body)])
        assert on.mirror.failures == []
        await on.is_idle(_REF)
        assert len(on.mirror.reconciled) == 1

    _play(body, play)


@pytest.mark.parametrize("after", [{"status": _SETTLED}, {"status": _SETTLED, "generation": 2}])
def test_a_retry_request_that_is_taken_away_at_once_is_not_lost(after: dict[str, Any]) -> None:
    """Flux removes what kubectl has set, and may edit the object with it, while the operator waits for the database."""
    requesting = _body(guarded=True, status=_SETTLED, annotations={RETRY_ANNOTATION: "now"})
    quiet = _body(guarded=True, **after)

    async def play(on: _Scene) -> None:
        on.mirror.failures = [DependencyUnavailableError("away"), ConflictError()]
        on.reconciler.notice(requesting)
        on.reconciler.notice(quiet)
        await on.is_idle(_REF)
        last = on.mirror.reconciled[-1]
        assert (last.generation, last.retry_request) == (quiet["metadata"]["generation"], "now")

    _play(quiet, play)


def test_a_newer_retry_request_counts() -> None:
    """Of two requests the one that stands on the object is acted on."""
    first = _body(guarded=True, status=_SETTLED, annotations={RETRY_ANNOTATION: "first"})
    second = _body(guarded=True, status=_SETTLED, annotations={RETRY_ANNOTATION: "second"})

    async def play(on: _Scene) -> None:
        on.reconciler.notice(first)
        on.reconciler.notice(second)
        await on.is_idle(_REF)
        assert on.mirror.reconciled[-1].retry_request == "second"

    _play(second, play)


def test_a_finalizer_that_a_policy_refuses_is_reported_once_and_tried_again() -> None:
    """A policy's refusal has the status code of a conflict; an object unchanged at the second read gets the refusal.

    Once the refusal ends, the object is guarded and mirrored.
    """
    new = _body()

    async def play(on: _Scene) -> None:
        write = on.api.write_finalizers
        refusals = iter(range(4))

        async def refuse(ref: ObjectRef, version: str, finalizers: Sequence[str]) -> Mapping[str, Any]:
            if next(refusals, None) is not None:
                raise ObjectChangedError
            return await write(ref, version, finalizers)

        on.api.write_finalizers = refuse  # type: ignore[method-assign,assignment]  # the policy
        on.reconciler.notice(new)
        await on.is_idle(_REF)
        assert on.mirror.reconciled[-1].guarded

    with capture_logs() as lines:
        _play(new, play)
    assert [line["event"] for line in lines] == ["Finalizer refused"]


def test_a_conflict_is_no_refusal() -> None:
    """An object that has really changed meanwhile is read again without a log line."""
    new = _body()

    async def play(on: _Scene) -> None:
        assert on.api.body
        on.api.body = {**new, "metadata": {**new["metadata"], "resourceVersion": "7"}}
        on.reconciler.notice(new)
        await on.is_idle(_REF)
        assert on.mirror.reconciled[-1].guarded

    with capture_logs() as lines:
        _play(new, play)
    assert lines == []
