"""Ends the operator's tasks. Used by the operator's entry point.

Like `kopf.run_tasks`, but also for an operator that is stopped while it starts or is busy. There Kopf waits five
seconds for tasks that it does not track any more, raises their failures as ours, and waits without an end for a task
that missed its cancellation.
"""

import asyncio
import logging
from collections.abc import Collection
from typing import Any, Final

_Tasks = Collection[asyncio.Task[Any]]
_PATIENCE: Final = 3.0  # longer than Kopf gives its workers


async def run_until_one_ends(
    tasks: _Tasks, stop: asyncio.Event, others: _Tasks, *, patience: float = _PATIENCE
) -> None:
    """Wait until one of the tasks ends, then end all the rest but `others`; returns when they have ended.

    Args:
        tasks: those that should run until cancelled.
        stop: set when they must end, so that their errors are no failure.
        others: tasks to leave alone; all that are not named here are taken for children of `tasks`.
        patience: after how many seconds a task is cancelled once more.

    Raises:
        Exception: what the first task has failed with, unless `stop` is set.
    """
    ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    stopping = stop.is_set()
    if stopping:
        # Kopf's tasks log errors about each other while they are cancelled.
        logging.getLogger("kopf").setLevel(logging.CRITICAL)
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    left = set(tasks)
    spared = {*others, asyncio.current_task()}
    while left:
        await _cancel(left, patience)
        # Once more, and now each child by itself. Until Python 3.12 `asyncio.wait_for`, which psycopg uses for every
        # answer, forgets a cancellation that arrives together with what it waits for; and a task group cancels its
        # children once only, however often it is cancelled itself.
        left = {task for task in asyncio.all_tasks() if task not in spared}
    if not stopping:
        for task in ended:
            task.result()


async def _cancel(tasks: _Tasks, patience: float) -> None:
    for task in tasks:
        task.cancel()
    done, _ = await asyncio.wait(tasks, timeout=patience)
    for task in done:
        if not task.cancelled():
            task.exception()  # else Python logs it as lost whenever it collects the task
