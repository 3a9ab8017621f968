"""Works through many items with a bounded number of tasks. Used by the operator's root tasks."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

_T = TypeVar("_T")


async def for_each(items: Iterable[_T], work: Callable[[_T], Awaitable[None]], *, at_once: int = 6) -> None:
    """Call `work` for every item, `at_once` at a time.

    Raises:
        ExceptionGroup: the work on an item failed; the work on all others is cancelled.
    """
    remaining = iter(items)

    async def run_worker() -> None:
        for item in remaining:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(run_worker())
