"""Ends the operator's tasks. Used by the operator's entry point.

What `kopf.run_tasks` does, but also for an operator that is stopped while it starts, or while it is busy: there Kopf
would wait five seconds for tasks of its own that it has lost sight of, pass on their failures as ours, and wait for
ever for a task that did not notice its cancellation.
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
        tasks: those that ought to run for ever.
        stop: set when they were told to end, so that whatever they fail with is no failure.
        others: tasks to leave alone; all that are not named here are taken for children of `tasks`.
        patience: after how many seconds a task is cancelled once more.

    Raises:
        Exception: what the first task has failed with, unless `stop` is set.
    """
    ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    told = stop.is_set()
    if told:
        # What Kopf's parts say while they lose each other is no news.
        logging.getLogger("kopf").setLevel(logging.CRITICAL)
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    await _end(tasks, patience)
    spared = {*others, asyncio.current_task()}
    await _end([task for task in asyncio.all_tasks() if task not in spared], patience)
    if not told:
        for task in ended:
            task.result()


async def _end(tasks: _Tasks, patience: float) -> None:
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        # Until Python 3.12 `asyncio.wait_for`, which psycopg uses for every answer, forgets a cancellation that
        # arrives together with what it waits for.
        done, left = await asyncio.wait(left, timeout=patience)
        for task in done:
            if not task.cancelled():
                task.exception()  # else Python logs it as lost whenever it collects the task
