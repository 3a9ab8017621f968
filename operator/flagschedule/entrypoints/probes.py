"""Serves the operator's probes /healthz (liveness) and /readyz (readiness), and /metrics. They replace Kopf's.

Kopf's probe proves that a web server answers; these prove that objects are processed. A program that waits for the
database is alive: a restart would not bring the database back.
"""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final, cast

from aiohttp import web

_TEXT_FORMAT: Final = "text/plain; version=0.0.4; charset=utf-8"
# Bounds the file descriptors: any client can open connections that send nothing.
_CONNECTIONS: Final = 100
_IDLE_SECONDS: Final = 15.0
_UNREAD_BODY_SECONDS: Final = 1.0
Probe = Callable[[], str | None]  # one word why it fails, None if it does not


@asynccontextmanager
async def serving(
    port: int, *, liveness: Probe, readiness: Probe, metrics: Callable[[], Awaitable[bytes]]
) -> AsyncIterator[None]:
    """Serve the probes and the metrics.

    Args:
        port: on all addresses of both families, because the kubelet calls from outside of the pod.
        liveness: fails if the program must be restarted.
        readiness: fails if the program neither works nor could take over.
        metrics: all metrics in Prometheus' text format.
    """

    async def healthz(_: web.Request) -> web.Response:
        return _answer(liveness())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(liveness() or readiness())

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=await metrics(), headers={"Content-Type": _TEXT_FORMAT})

    probes = web.Application()
    for path, handler in {"/healthz": healthz, "/readyz": readyz, "/metrics": scrape}.items():
        probes.router.add_get(path, handler)
    runner = web.AppRunner(
        probes,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=1,
        keepalive_timeout=_IDLE_SECONDS,
        lingering_time=_UNREAD_BODY_SECONDS,
    )
    await runner.setup()
    server = cast("web.Server", runner.server)
    try:
        with _listener(port) as listener:
            site = await asyncio.get_running_loop().create_server(lambda: _accept(server), sock=listener)
            yield
            site.close()
    finally:
        await runner.cleanup()


def _listener(port: int) -> socket.socket:
    """Listen on every address; on those of IPv4 alone where the kernel knows no IPv6."""
    try:
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise
        return socket.create_server(("", port))


def _accept(server: web.Server) -> asyncio.Protocol:
    """Accept a connection. The oldest ones are closed where there are too many, so that a probe is answered."""
    for oldest in server.connections[: 1 - _CONNECTIONS]:
        oldest.force_close()
    return server()


def _answer(reason: str | None) -> web.Response:
    if reason is None:
        return web.json_response({"status": "ok"})
    return web.json_response({"status": "unavailable", "reason": reason}, status=HTTPStatus.SERVICE_UNAVAILABLE)
