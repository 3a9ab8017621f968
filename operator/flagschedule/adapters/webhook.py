"""Requests to the receiver of notices. Implements ports.notifying.Receiver.

No text of an error or of an answer leaves it: both can hold the URL, which is a secret. Answers are not read beyond
their headers.
"""

from collections.abc import Mapping
from typing import Final, Self

import aiohttp

from flagschedule import __version__
from flagschedule.adapters.kubernetes.proxy import proxy_for
from flagschedule.domain.errors import DependencyUnavailableError

_TIMEOUT: Final = 10.0  # seconds for the whole exchange
_AWAY: Final = "the webhook's receiver does not answer in time, or ends the connection"
# By kind, because the texts hold the address; the first that fits.
_CAUSES: Final[dict[type[Exception], str]] = {
    aiohttp.ClientConnectorDNSError: (
        "the host of the webhook's URL is not known; check the URL in the Secret, and the DNS of this pod"
    ),
    aiohttp.ClientProxyConnectionError: "the proxy to the webhook does not answer; check HTTPS_PROXY and NO_PROXY",
    aiohttp.ClientHttpProxyError: "the proxy to the webhook refuses us; check HTTPS_PROXY and NO_PROXY",
    aiohttp.ClientConnectorCertificateError: (
        "the certificate of the webhook's receiver is not trusted, or for another host; name the file of its "
        "authority in SSL_CERT_FILE"
    ),
    aiohttp.ClientSSLError: "TLS with the webhook's receiver failed; check the URL in the Secret and its port",
    aiohttp.ClientConnectorError: (
        "the webhook's receiver cannot be reached; check the URL in the Secret, that the receiver runs, and firewalls "
        "and network policies on the way"
    ),
    aiohttp.InvalidURL: "the webhook's URL cannot be used; check the Secret",
}


class HttpReceiver:
    """A client without cookies; open it as a context manager. It connects with the first request."""

    def __init__(self, timeout: float = _TIMEOUT) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout)

    async def __aenter__(self) -> Self:
        self._client = aiohttp.ClientSession(
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"flagschedule/{__version__}"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """See ports.notifying.Receiver."""
        try:
            answer = await self._client.post(
                url, data=body, headers=headers, allow_redirects=False, proxy=proxy_for(url)
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:  # a timeout is an OSError, too
            raise DependencyUnavailableError(_cause(error)) from error
        answer.release()  # ends the connection if there is more to read
        return answer.status


def _cause(error: Exception) -> str:
    return next((sentence for kind, sentence in _CAUSES.items() if isinstance(error, kind)), _AWAY)
