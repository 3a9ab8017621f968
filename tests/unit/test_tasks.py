"""How the operator's tasks end."""

import asyncio
import gc
import logging
from collections.abc import Iterator

import pytest

from flagschedule.entrypoints.tasks import run_until_one_ends


async def _never_end() -> None:
    await asyncio.Event().wait()


async def _deaf(times: int) -> None:
    """Ignore that many cancellations, as `asyncio.wait_for` of Python 3.11 does at times."""
    for _ in range(times):
        try:
            await _never_end()
        except asyncio.CancelledError:
            continue
    await _never_end()


async def _fail_when_cancelled() -> None:
    try:
        await _never_end()
    finally:
        raise RuntimeError("cancelled")


async def _fail() -> None:
    raise RuntimeError("first")


@pytest.fixture(autouse=True)
def _kopf_may_speak_again() -> Iterator[None]:
    yield
    logging.getLogger("kopf").setLevel(logging.NOTSET)


def test_a_task_that_misses_its_cancellation_is_cancelled_again() -> None:
    """A lost cancellation is sent again, so that the operator ends."""

    async def scene() -> None:
        stop = asyncio.Event()
        stopping = asyncio.create_task(stop.wait())
        deaf = asyncio.create_task(_deaf(2))
        stop.set()

        await run_until_one_ends([stopping, deaf], stop, [], patience=0.01)

        assert deaf.cancelled()

    asyncio.run(scene())


def test_a_child_in_a_group_that_misses_its_cancellation_is_cancelled_again() -> None:
    """A task group cancels its children once; a child that missed it ends all the same."""

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_deaf(2))

    async def scene() -> None:
        stop = asyncio.Event()
        grouped = asyncio.create_task(group())
        stop.set()

        async with asyncio.timeout(10):
            await run_until_one_ends([asyncio.create_task(stop.wait()), grouped], stop, _current(), patience=0.01)

        assert grouped.cancelled()

    asyncio.run(scene())


def test_children_end_and_others_live() -> None:
    """Tasks that were started by those that end are ended, those from before are left alone."""

    async def scene() -> None:
        other = asyncio.create_task(_never_end())
        stop = asyncio.Event()
        stop.set()
        child = asyncio.create_task(_never_end())

        await run_until_one_ends([asyncio.create_task(stop.wait())], stop, [other, *_current()])

        assert child.cancelled()
        assert not other.done()
        other.cancel()

    asyncio.run(scene())


def test_the_first_failure_is_raised() -> None:
    """The failure of the task that ended first is raised, not those of the others."""

    async def scene() -> None:
        tasks = [asyncio.create_task(_fail_when_cancelled()), asyncio.create_task(_fail())]

        with pytest.raises(RuntimeError, match="first"):
            await run_until_one_ends(tasks, asyncio.Event(), _current())

    asyncio.run(scene())


def test_what_others_fail_with_is_not_reported_as_lost() -> None:
    """Python logs an unread failure when it collects the task, during other work; our code must read it before."""
    reports: list[object] = []

    async def scene() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        tasks = [asyncio.create_task(_fail_when_cancelled()), asyncio.create_task(_fail())]
        with pytest.raises(RuntimeError, match="first"):
            await run_until_one_ends(tasks, asyncio.Event(), _current())

    asyncio.run(scene())
    gc.collect()

    assert reports == []


def test_a_task_that_is_ending_may_fail() -> None:
    """A task that fails while the program ends does not make the end a failure."""

    async def scene() -> None:
        stop = asyncio.Event()
        stop.set()
        tasks = [asyncio.create_task(stop.wait()), asyncio.create_task(_fail_when_cancelled())]

        await run_until_one_ends(tasks, stop, _current())

        assert tasks[1].done()

    asyncio.run(scene())


def _current() -> set[asyncio.Task[object]]:
    task = asyncio.current_task()
    assert task
    return {task}
