"""An API server that cannot be used says why and what to do, and shows nothing of its address."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from kubernetes.aio.config import incluster_config

from flagschedule.adapters.kubernetes import login
from flagschedule.adapters.kubernetes.api import ApiServer
from flagschedule.domain.errors import DependencyUnavailableError
from tests.integration.tls import Authority, terminated

# The cause: the server, and a part of the sentence.
CAUSES = {
    "unknown host": ("https://nowhere.invalid:6443", "host of the API server is not known"),
    "refused port": ("https://127.0.0.1:1", "cannot be reached"),
    "another authority": ("https://localhost:{tls}", "certificate is not trusted"),
    "no TLS": ("https://localhost:{plain}", "TLS with the API server failed"),
    "no credentials": ("http://localhost:{plain}/401", "does not know us"),
    "no right": ("http://localhost:{plain}/403", "check the operator's role"),
}


class _Recorder(BaseHTTPRequestHandler):
    """Answers with the status that the path begins with, and remembers the tokens."""

    tokens: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.tokens.append(self.headers["Authorization"])
        status = self.path.split("/")[1]
        self.send_response(int(status) if status.isdecimal() else 200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """A server that refuses with the status that a path begins with; and TLS of an unknown authority before it."""
    authority = Authority(tmp_path_factory.mktemp("authority") / "other")
    with HTTPServer(("127.0.0.1", 0), _Recorder) as server, terminated(authority.server("localhost"), 1) as tls:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield {"plain": server.server_port, "tls": tls}
        server.shutdown()
        thread.join()


@contextmanager
def cluster(server: str, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Write a kubeconfig that names this server."""
    file = folder / "kubeconfig"
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": server}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "users": [{"name": "it", "user": {"token": "x"}}],
    }
    file.write_text(yaml.safe_dump(kubeconfig))
    patch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
    yield


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_has_a_sentence_of_its_own(
    ports: dict[str, int], cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong and what to do is said for each cause, without a part of the address."""
    server, part = CAUSES[cause]

    async def query() -> None:
        async with ApiServer() as api:
            await api.request("GET", "version")

    with cluster(server.format_map(ports), tmp_path, monkeypatch), pytest.raises(DependencyUnavailableError) as raised:
        asyncio.run(query())

    assert part in str(raised.value)
    assert "localhost" not in str(raised.value)
    assert "nowhere" not in str(raised.value)


def test_a_token_that_is_rotated_is_read_again(
    ports: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod's token is taken from its file when a minute has passed: the kubelet writes a new one there."""
    authority, token = Authority(tmp_path / "ours"), tmp_path / "token"
    read = incluster_config.InClusterConfigLoader._read_token_file

    def read_for_a_moment(loader: Any) -> None:
        read(loader)  # type: ignore[no-untyped-call]  # untyped library
        loader.token_expires_at = datetime.min  # noqa: DTZ901 -- the library's clock has no zone

    monkeypatch.setattr(incluster_config.InClusterConfigLoader, "_read_token_file", read_for_a_moment)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authority.certificate))

    async def query() -> None:
        token.write_text("first")
        async with ApiServer() as api:
            await api.request("GET", "version")
            token.write_text("second")
            await api.request("GET", "version")

    with terminated(authority.server("localhost"), ports["plain"]) as tls:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "localhost")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(tls))
        asyncio.run(query())

    assert _Recorder.tokens[-2:] == ["bearer first", "bearer second"]


def test_a_quiet_watch_is_probed_for_a_sign_of_life() -> None:
    """A watch's socket has keepalive on, so that one whose peer has forgotten it ends within a minute."""
    address = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 0))

    with login._kept_alive(address) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle, every, times = (
            made.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )

    assert idle + every * times < 60
