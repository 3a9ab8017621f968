"""One object at a time, from what the watch shows to what the mirror is called with."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest
from structlog.testing import capture_logs

from flagschedule.domain.errors import ConflictError, DependencyUnavailableError, ObjectChangedError
from flagschedule.domain.schedule import FINALIZER, RETRY_ANNOTATION, FlagSchedule, ObjectRef
from flagschedule.services.reconcile import Reconciler
from tests.support.asynchronous import reaches
from tests.support.memory.object_client import MemoryApiServer, MemoryObjectClient
from tests.unit import builders

if TYPE_CHECKING:
    from flagschedule.services.mirror import Mirror

pytestmark = pytest.mark.simulated_time

_SETTLED = {"observedGeneration": 1}
_OTHER = "others/one"


class _Mirror:
    """Record the calls; raise the failures that a test has listed."""

    def __init__(self) -> None:
        self.reconciled: list[FlagSchedule] = []
        self.released: list[FlagSchedule] = []
        self.failures: list[Exception] = []
        self.is_held = False

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
    """A reconciler at work, on an API server with one object or none."""

    def __init__(self, body: Mapping[str, Any] | None) -> None:
        self.server = MemoryApiServer()
        self.client = MemoryObjectClient(self.server, FlagSchedule.from_body)
        self.mirror = _Mirror()
        self.reconciler = Reconciler(self.client, cast("Mirror", self.mirror))
        if body is not None:
            self.server.create(body)

    @property
    def finalizers(self) -> list[str] | None:
        """The object's finalizers; None once it is gone."""
        found = self.server.objects.get((_REF.namespace, _REF.name))
        return found["metadata"].get("finalizers", []) if found else None

    async def is_idle(self) -> None:
        """Wait until nothing is left to do for the object."""
        await reaches(lambda: _REF not in self.reconciler)

    async def notice(self, *bodies: Mapping[str, Any], gone: bool = False) -> None:
        """Let the watch show these states of the object, and wait until nothing is left to do."""
        for body in bodies:
            self.reconciler.notice(FlagSchedule.from_body(body), gone=gone)
        await self.is_idle()


async def _nothing() -> None: ...


@asynccontextmanager
async def _on(body: Mapping[str, Any] | None) -> AsyncIterator[_Scene]:
    on = _Scene(body)
    running = asyncio.create_task(on.reconciler.run_forever())
    await asyncio.sleep(0)
    yield on
    running.cancel()


def _body(*finalizers: str, **fields: Any) -> dict[str, Any]:
    found = builders.body(**fields)
    return {**found, "metadata": {**found["metadata"], "finalizers": [*finalizers]}}


def _with_finalizer(**fields: Any) -> dict[str, Any]:
    return _body(_OTHER, FINALIZER, **fields)


_REF = FlagSchedule.from_body(_body()).ref


async def test_a_new_object_has_its_finalizer_before_it_is_mirrored() -> None:
    """The object that the mirror gets has our finalizer, next to those of others."""
    new = _body(_OTHER)
    async with _on(new) as on:
        await on.notice(new)

        assert on.finalizers == [_OTHER, FINALIZER]
        assert [obj.has_finalizer for obj in on.mirror.reconciled] == [True]


@pytest.mark.parametrize(
    ("body", "mirrored"),
    [
        (_with_finalizer(status=_SETTLED), 0),
        (_with_finalizer(), 1),
        (_with_finalizer(generation=2, status=_SETTLED), 1),
        (_body(status=_SETTLED), 1),
        (_with_finalizer(annotations={RETRY_ANNOTATION: "now"}, status=_SETTLED), 1),
        (
            _with_finalizer(
                annotations={RETRY_ANNOTATION: "now"}, status={**_SETTLED, "lastHandledRetryRequest": "now"}
            ),
            0,
        ),
        (_with_finalizer(annotations={"argocd.argoproj.io/tracking-id": "x"}, status=_SETTLED), 0),
    ],
    ids=["settled", "new", "edited", "finalizer lost", "retry requested", "retry handled", "others' annotation"],
)
async def test_only_what_the_object_leaves_open_is_done(body: dict[str, Any], mirrored: int) -> None:
    """An object whose status covers all that it requests is left alone."""
    async with _on(body) as on:
        await on.notice(body)

        assert len(on.mirror.reconciled) == mirrored


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
async def test_annotations_of_a_tenant_do_not_keep_an_object(annotations: dict[str, str]) -> None:
    """A deleted object is released and its finalizer removed, regardless of its annotations."""
    body = _with_finalizer(deleting=True, annotations=annotations)
    async with _on(body) as on:
        await on.notice(body)

        assert len(on.mirror.released) == 1
        assert on.finalizers == [_OTHER]


async def test_the_finalizer_goes_after_the_release_alone() -> None:
    """While the release fails the object stays, and goes once it is committed."""
    body = _body(FINALIZER, deleting=True)
    async with _on(body) as on:
        on.mirror.failures = [ConflictError(), ValueError()]
        await on.notice(body)

        assert len(on.mirror.released) == 1
        assert on.finalizers is None


async def test_an_object_that_vanished_is_released() -> None:
    """A user who strips the finalizer cannot leave a plan behind."""
    async with _on(None) as on:
        on.server.away = True  # with its kind everything of the object may be gone
        await on.notice(_body(), gone=True)

        assert [obj.deleting for obj in on.mirror.released] == [True]


async def test_what_was_released_is_not_released_when_it_goes() -> None:
    """The last event of an object that we let go costs no transaction."""
    body = _body(FINALIZER, deleting=True)
    async with _on(body) as on:
        await on.notice(body)
        await on.notice(_body(deleting=True), gone=True)

        assert len(on.mirror.released) == 1


async def test_our_own_write_is_no_news() -> None:
    """The event of our own finalizer patch, which comes while the object is worked on, causes no second round."""
    new = _body()
    async with _on(new) as on:
        write = on.client.write_finalizers

        async def write_and_watch(ref: ObjectRef, version: str, finalizers: Sequence[str]) -> FlagSchedule:
            found = await write(ref, version, finalizers)
            on.reconciler.notice(found)
            return found

        on.client.write_finalizers = write_and_watch  # type: ignore[assignment,method-assign]  # with its event
        await on.notice(new)

        assert len(on.mirror.reconciled) == 1


@pytest.mark.parametrize("then_shown", [False, True])
async def test_an_outcome_during_a_turn_gets_a_turn_of_its_own(then_shown: bool) -> None:
    """The turn may have read the database before; the object is the same, also where the watch shows it once more."""
    body = _with_finalizer()
    async with _on(body) as on:
        begun, go_on = asyncio.Event(), asyncio.Event()
        turns: list[FlagSchedule] = []

        async def reconcile(obj: FlagSchedule) -> None:
            turns.append(obj)
            begun.set()
            await go_on.wait()

        on.mirror.reconcile = reconcile  # type: ignore[method-assign]  # a turn that takes a while
        on.reconciler.add(await on.client.get(_REF))
        await begun.wait()

        on.reconciler.add(await on.client.get(_REF), woken=True)
        if then_shown:
            on.reconciler.notice(FlagSchedule.from_body(body))
        go_on.set()
        await on.is_idle()

        assert len(turns) == 2


async def test_an_object_that_changed_is_looked_at_again() -> None:
    """A write that meets another version is made again on the live object, without a log line."""
    old = _body()
    async with _on(old) as on:
        on.server.edit(_REF.namespace, _REF.name, suspend=True)
        with capture_logs() as lines:
            await on.notice(old)

        assert [(obj.generation, obj.has_finalizer) for obj in on.mirror.reconciled] == [(2, True)]
        assert lines == []


async def test_a_comparison_hears_when_everything_was_tried() -> None:
    """A caller that waits for several objects continues when each had one try, also one that failed."""
    body = _with_finalizer()
    async with _on(body) as on:
        on.mirror.failures = [ConflictError(flag_locked=True)]
        async with asyncio.timeout(10):
            await on.reconciler.try_all([FlagSchedule.from_body(body)], _nothing)
        assert on.mirror.failures == []
        assert on.mirror.reconciled == []
        await on.is_idle()

        assert len(on.mirror.reconciled) == 1


@pytest.mark.parametrize("after", [{"status": _SETTLED}, {"status": _SETTLED, "generation": 2}])
async def test_a_retry_request_that_is_taken_away_at_once_is_not_lost(after: dict[str, Any]) -> None:
    """Flux removes what kubectl has set, and may edit the object with it, while the operator waits for the database."""
    requesting = _with_finalizer(status=_SETTLED, annotations={RETRY_ANNOTATION: "now"})
    quiet = _with_finalizer(**after)
    async with _on(quiet) as on:
        on.mirror.failures = [DependencyUnavailableError("away"), ConflictError()]
        await on.notice(requesting, quiet)

        last = on.mirror.reconciled[-1]
        assert (last.generation, last.retry_request) == (quiet["metadata"]["generation"], "now")


async def test_a_newer_retry_request_counts() -> None:
    """Of two requests the one that stands on the object is acted on."""
    first, second = (
        _with_finalizer(status=_SETTLED, annotations={RETRY_ANNOTATION: text}) for text in ("first", "second")
    )
    async with _on(second) as on:
        await on.notice(first, second)

        assert on.mirror.reconciled[-1].retry_request == "second"


async def test_a_finalizer_that_a_policy_refuses_is_reported_once_and_tried_again() -> None:
    """A policy's refusal has the status code of a conflict; an object unchanged at the second read gets the refusal.

    Once the refusal ends, the object gets its finalizer and is mirrored.
    """
    new = _body()
    async with _on(new) as on:
        write = on.client.write_finalizers
        refusals = iter(range(4))

        async def refuse(ref: ObjectRef, version: str, finalizers: Sequence[str]) -> FlagSchedule:
            if next(refusals, None) is not None:
                raise ObjectChangedError
            return await write(ref, version, finalizers)

        on.client.write_finalizers = refuse  # type: ignore[assignment,method-assign]  # the policy
        with capture_logs() as lines:
            await on.notice(new)

        assert on.mirror.reconciled[-1].has_finalizer
        assert [line["event"] for line in lines] == ["Finalizer refused"]
