"""The operator's probes, /healthz (restart me if not) and /readyz (I am at work), and /metrics. Own ones, not Kopf's.

Kopf's say that a web server answers; these say that objects are looked at. Waiting for the database is alive:
a restart would not bring it back.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from aiohttp import web

_TEXT_FORMAT: Final = "text/plain; version=0.0.4; charset=utf-8"
Ailment = Callable[[], str | None]


@asynccontextmanager
async def serving(
    port: int, *, sick: Ailment, unready: Ailment, metrics: Callable[[], Awaitable[bytes]]
) -> AsyncIterator[None]:
    """Serve the probes and the metrics.

    Args:
        port: on all addresses, because the kubelet calls from outside of the pod.
        sick: one word why the program should be restarted; None if it is well.
        unready: one word why it is not at work; None if it is.
        metrics: all metrics in Prometheus' text format.
    """
    probes = web.Application()
    probes.router.add_get("/healthz", lambda _: _answer(sick()))
    probes.router.add_get("/readyz", lambda _: _answer(sick() or unready()))

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=await metrics(), headers={"Content-Type": _TEXT_FORMAT})

    probes.router.add_get("/metrics", scrape)
    runner = web.AppRunner(probes, access_log=None, handle_signals=False, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104 -- see port; two words, no secret
        yield
    finally:
        await runner.cleanup()


async def _answer(reason: str | None) -> web.Response:
    if reason is None:
        return web.json_response({"status": "ok"})
    return web.json_response({"status": "unavailable", "reason": reason}, status=HTTPStatus.SERVICE_UNAVAILABLE)
