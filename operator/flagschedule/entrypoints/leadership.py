"""Work only while the lease is ours. Used by the operator's entry point.

A replica that loses the lease must end at once. An orderly end takes seconds in which it still writes.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from flagschedule.services.election import LeaderElector

_log = structlog.get_logger()
LEASE_LOST: Final = 3  # as for any dependency that is unavailable: it was the API server that did not let us renew


@asynccontextmanager
async def held(elector: LeaderElector | None, stop: asyncio.Event) -> AsyncIterator[bool]:
    """Wait for the lease and hold it. Yields False if `stop` came first; without an elector always True."""
    if elector is None:
        yield True
        return
    try:
        if not await unless_stopped(elector.acquire(), stop):
            yield False
            return
        holding = asyncio.create_task(_hold(elector, stop), name="lease")
        try:
            yield True
        finally:
            holding.cancel()
    finally:
        await elector.release()


async def unless_stopped(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Run the work. Returns whether it came to its end; False if `stop` came first."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in (working, stopping):
        task.cancel()
    if stop.is_set():
        return False
    working.result()
    return True


async def _hold(elector: LeaderElector, stop: asyncio.Event) -> None:
    try:
        await elector.hold()
    except Exception:  # noqa: BLE001 -- after any error the lease is not renewed any more
        _log.exception("Lease not held because of a bug")
        os._exit(1)
    # While an orderly end is on its way Kopf may cancel what we wait for; and the end is near enough.
    if not stop.is_set():
        os._exit(LEASE_LOST)
