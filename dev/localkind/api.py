"""The few requests that the launcher itself makes to an API server.

Called by the launcher, the supervisor and the control plane while they wait for readiness. Tests and the demo use
kubectl or a real client instead.
"""

import json
import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

# All that can go wrong while a server comes up: refused, reset, TLS not there yet, 4xx and 5xx, half an answer.
NOT_YET = (OSError, ValueError)


@dataclass(frozen=True, kw_only=True)
class Api:
    """An API server and its client's identity: a client certificate (with its key) or a token."""

    server: str
    ca: Path
    certificate: Path | None = None
    key: Path | None = None
    token: str = ""

    def get(self, path: str) -> Any:
        """Return the parsed answer.

        Raises:
            OSError: no connection, or an HTTP error (`HTTPError` is one).
            ValueError: the answer is not JSON.
        """
        return json.loads(self._request(path))

    def create(self, path: str, body: dict[str, Any]) -> None:
        """Create an object; that it exists already is fine.

        Raises:
            OSError: as `get`.
        """
        try:
            self._request(path, json.dumps(body).encode())
        except HTTPError as error:
            if error.code != 409:  # noqa: PLR2004 -- HTTP's Conflict: it exists already
                raise

    def is_ready(self) -> bool:
        """Return whether the server says that it is ready."""
        try:
            return self._request("/readyz") == b"ok"
        except NOT_YET:
            return False

    def _request(self, path: str, body: bytes | None = None) -> bytes:
        context = ssl.create_default_context(cafile=str(self.ca))
        headers = {"Content-Type": "application/json"}
        if self.certificate and self.key:
            context.load_cert_chain(self.certificate, self.key)
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.server + path, data=body, headers=headers)  # noqa: S310 -- https only
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler(
                {}
            ),  # the server is on this machine, so a proxy of the environment does not apply
            urllib.request.HTTPSHandler(context=context),
        )
        with opener.open(request, timeout=3) as answer:
            content: bytes = answer.read()
            return content
