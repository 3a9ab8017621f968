"""How the operator reaches the API server: past a proxy, by a proxy, and over connections that fall silent."""

import asyncio
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import aiohttp
import pytest

from dev.localkind.control_plane import ControlPlane
from flagschedule.adapters.kubernetes import login
from tests.cluster.api import Api
from tests.cluster.operator_fixtures import Operator, Scene, log_in
from tests.integration.database import connected

pytestmark = pytest.mark.apiserver


class Proxy:
    """An HTTP proxy that opens tunnels, on a thread of its own; `tunnels` are the targets that were requested."""

    def __init__(self) -> None:
        self.tunnels: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Take no more clients."""
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._tunnel, args=[client], daemon=True).start()

    def _tunnel(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            received = b""
            while not received.endswith(b"\r\n\r\n"):
                received += client.recv(1)
            target = received.split()[1].decode()
            self.tunnels.append(target)
            host, _, port = target.rpartition(":")
            with socket.create_connection((host, int(port))) as server:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                ways = {client: server, server: client}
                while True:
                    for source in select.select([*ways], [], [])[0]:
                        if not (data := source.recv(65536)):
                            return
                        ways[source].sendall(data)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy that works."""
    found = Proxy()
    yield found
    found.close()


@contextmanager
def mirrored(api: Api, database_url: str, new_operator: Callable[..., Operator], **environment: str) -> Iterator[None]:
    """Run an operator in this environment; it has mirrored an object and written its status."""
    with connected(database_url) as database:
        database.flag("checkout")
        scene = Scene(api, database, new_operator(database_url, **environment))
        scene.operator.start()
        scene.create("launch")
        scene.reaches("launch", "Pending")
        yield


def test_no_proxy_with_a_network_leads_past_the_proxy(
    api: Api, database_url: str, new_operator: Callable[..., Operator], proxy: Proxy
) -> None:
    """An API server whose address is in a network of NO_PROXY is reached directly, by every part of the operator."""
    with mirrored(api, database_url, new_operator, HTTPS_PROXY=proxy.url, NO_PROXY="localhost,127.0.0.0/8"):
        assert proxy.tunnels == []


def test_all_others_are_reached_by_the_proxy(
    api: Api, database_url: str, new_operator: Callable[..., Operator], proxy: Proxy
) -> None:
    """Where HTTPS_PROXY is the way to the API server, the operator works through it."""
    with mirrored(api, database_url, new_operator, HTTPS_PROXY=proxy.url, NO_PROXY="10.0.0.0/8"):
        assert set(proxy.tunnels) == {api.server.removeprefix("https://")}
        assert len(proxy.tunnels) >= 2  # our client's and the watch's


def test_a_quiet_watch_probes_for_a_sign_of_life(installed: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch's connection is kept alive by the kernel, and is dead after half a minute without an answer."""
    log_in(monkeypatch, installed)

    async def read_options() -> list[int]:
        logged_in = await login.login()
        session = logged_in.aiohttp_session
        assert isinstance(session, aiohttp.ClientSession)
        async with session, session.get(f"{installed.server}/api/v1/namespaces?watch=true") as answer:
            assert answer.connection
            assert answer.connection.transport
            transport = answer.connection.transport
            found: socket.socket = transport.get_extra_info("socket")
            options = [
                found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                found.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
            ]
            transport.abort()  # an orderly end waits for the server's answer, and would outlive the event loop
        return options

    assert asyncio.run(read_options()) == [1, 15, 30_000]
