"""A receiver of notices: a real HTTP server on the loopback, in this process. Used by tests of what is delivered."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Delivery:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """The CloudEvent."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def id(self) -> str:
        """By which a receiver recognises what it got before."""
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """Answers with the next of `statuses`, with 204 when there is none left, or as `answer` does."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    answer: Answer | None = None
    deliveries: list[Delivery] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Note a request, and answer it."""
        self.deliveries.append(Delivery(request.path_qs, dict(request.headers), await request.read()))
        if self.answer is not None:
            return await self.answer(request)
        return web.Response(status=self.statuses.pop(0) if self.statuses else 204)


async def never(_: web.Request) -> web.StreamResponse:
    """Take a request, and do not answer."""
    await asyncio.sleep(3600)
    raise AssertionError("no test waits for so long")


async def endless(request: web.Request) -> web.StreamResponse:
    """Answer with a body that does not end."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    while True:
        await answer.write(b"x" * 2**16)


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncIterator[Receiver]:
    """Run a receiver whose path is a secret, as those of chat services are."""
    receiver = Receiver(statuses=[*statuses])
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", receiver.handle)
    # The server's own lines would look like the client's.
    quiet = logging.getLogger("tests.receiver")
    quiet.setLevel(logging.CRITICAL)
    runner = web.AppRunner(application, shutdown_timeout=0, handler_cancellation=True, logger=quiet, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    receiver.url = f"http://{host}:{port}/hunter2"
    try:
        yield receiver
    finally:
        await runner.cleanup()
