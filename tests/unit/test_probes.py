"""The server of probes and metrics, on real sockets: where it listens, and how it handles clients that do nothing."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest

from flagschedule.entrypoints import probes
from tests.waiting import PATIENCE

_SERVE = """
import asyncio, sys, urllib.request
from flagschedule.entrypoints import probes

async def metrics(): return b""

async def main():
    async with probes.serving(18080, liveness=lambda: None, readiness=lambda: None, metrics=metrics):
        for host in sys.argv[1:]:
            await asyncio.to_thread(urllib.request.urlopen, f"http://{host}:18080/readyz", timeout=60)
            print(host)

asyncio.run(main())
"""
_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def serve(play: Callable[[int], Awaitable[None]]) -> None:
    """Run a scene while a server runs; the scene gets the port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]

    async def metrics() -> bytes:
        return b""

    async def run() -> None:
        async with probes.serving(port, liveness=lambda: None, readiness=lambda: None, metrics=metrics):
            await asyncio.wait_for(play(port), PATIENCE)

    asyncio.run(run())


async def answer(port: int, host: str = "127.0.0.1", request: bytes = _REQUEST) -> bytes:
    """Send a request, and return all that comes until the server closes the connection."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request)
    got = await reader.read()
    writer.close()
    return got


def in_a_network_of_its_own(prepare: str, *hosts: str) -> list[str]:
    """Serve where only the loopback device exists, prepared by a shell command; return which addresses answered."""
    command = f"ip link set lo up && {prepare} && exec {sys.executable} -c '{_SERVE}' {' '.join(hosts)}"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", command], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_families_are_answered(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """The kubelet of an IPv4 and of an IPv6 cluster gets its answer."""
    monkeypatch.setattr(probes, "_IDLE_SECONDS", 0.5)

    async def play(port: int) -> None:
        assert (await answer(port, host)).startswith(b"HTTP/1.1 200 OK")

    serve(play)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a network")
@pytest.mark.parametrize(
    ("prepare", "hosts"),
    [("ip -4 address flush dev lo", ["[::1]"]), ("sysctl -qw net.ipv6.conf.all.disable_ipv6=1", ["127.0.0.1"])],
    ids=["IPv6 only", "IPv6 disabled"],
)
def test_one_family_is_enough(prepare: str, hosts: list[str]) -> None:
    """Where a pod has addresses of one family only, those are served."""
    assert in_a_network_of_its_own(prepare, *hosts) == hosts


def test_a_taken_port_is_an_error() -> None:
    """A port that another program has is not shared with it, in either family."""
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(OSError, match="in use"):
        probes._listener(other.getsockname()[1])


@pytest.mark.parametrize(
    "request_", [b"", b"GET /healthz HTTP/1.1\r\n", b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"]
)
def test_a_client_that_sends_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch, request_: bytes) -> None:
    """A connection without a request, with half of one, or without its body is closed after a time."""
    monkeypatch.setattr(probes, "_IDLE_SECONDS", 0.5)
    monkeypatch.setattr(probes, "_UNREAD_BODY_SECONDS", 0.5)

    async def play(port: int) -> None:
        await answer(port, request=request_)

    serve(play)


def test_silent_clients_do_not_keep_a_probe_out() -> None:
    """With any number of idle connections the next request is answered; the oldest ones are closed for it."""

    async def play(port: int) -> None:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2 * probes._CONNECTIONS)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_REQUEST)

        assert (await reader.readline()).startswith(b"HTTP/1.1 200 OK")

        oldest = [await reader.read() for reader, _ in silent[: probes._CONNECTIONS]]
        assert oldest == [b""] * probes._CONNECTIONS
        for _, each in [*silent, (reader, writer)]:
            each.close()

    serve(play)
