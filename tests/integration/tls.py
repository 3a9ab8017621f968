"""TLS in front of the real Postgres and Redis, whose local builds have none: what a managed database's proxy does."""

import contextlib
import shutil
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)


class Authority:
    """A certificate authority; `certificate` is what clients must be given to trust it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.certificate = folder / "ca.crt"
        self._key = folder / "ca.key"
        self._folder = folder
        use = ("-addext", "keyUsage=critical,keyCertSign")  # from Python 3.13 on an authority must have this flag
        self._openssl("-x509", *use, "-subj", "/CN=test", "-keyout", str(self._key), "-out", str(self.certificate))

    def server(self, name: str) -> ssl.SSLContext:
        """Return what a server of that host name shows."""
        certificate, key = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        says = ("-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=CA:FALSE")
        signed = ("-CA", str(self.certificate), "-CAkey", str(self._key), *says)
        self._openssl("-x509", *signed, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(certificate))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context

    def _openssl(self, *words: str) -> None:
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        openssl = shutil.which("openssl") or "openssl"
        subprocess.run([openssl, "req", *key, *words], check=True, capture_output=True)


@contextlib.contextmanager
def terminated(context: ssl.SSLContext, port: int, *, postgres: bool = False) -> Iterator[int]:
    """Open a port of localhost that speaks TLS and forwards to a plain one; Postgres' clients request TLS first."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if postgres:
                if self.request.recv(8, socket.MSG_WAITALL) != _SSL_REQUEST:
                    return
                self.request.sendall(b"S")
            with (
                contextlib.suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as outside,
                socket.create_connection(("127.0.0.1", port)) as inside,
            ):
                back = threading.Thread(target=_copy, args=(inside, outside))
                back.start()
                _copy(outside, inside)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        yield server.server_address[1]
        server.shutdown()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
