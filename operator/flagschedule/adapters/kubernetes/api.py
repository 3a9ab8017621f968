"""Requests to the API server, with their errors turned into ours. Used by the other modules of this adapter.

No text of an answer leaves it: answers quote what they refuse. The library's classes for each kind are left alone:
to load those of the core group takes 1.3 seconds of CPU time and 24 MB for each start.
"""

import asyncio
import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, Self

import aiohttp
from kubernetes.aio.client import ApiClient

from flagschedule.adapters.kubernetes import login
from flagschedule.domain.errors import (
    AccessForbiddenError,
    DependencyUnavailableError,
    KindMissingError,
    ObjectChangedError,
    ObjectGoneError,
)

KIND_MISSING: Final = "the kind FlagSchedule is not installed; apply its CRD"
JSON_PATCH: Final = "application/json-patch+json"
_JSON: Final = "application/json"
_AWAY: Final = "the API server does not answer"
# By kind, because the texts hold its address; the first that fits.
_CAUSES: Final[dict[type[Exception], str]] = {
    aiohttp.ClientConnectorDNSError: (
        "the host of the API server is not known; check the kubeconfig's server, and the DNS of this machine or pod"
    ),
    aiohttp.ClientProxyConnectionError: "the proxy to the API server does not answer; check HTTPS_PROXY and NO_PROXY",
    aiohttp.ClientHttpProxyError: "the proxy to the API server refuses us; check HTTPS_PROXY and NO_PROXY",
    aiohttp.ClientConnectorCertificateError: (
        "the API server's certificate is not trusted, or for another host; check the kubeconfig's "
        "certificate-authority and server"
    ),
    aiohttp.ClientSSLError: "TLS with the API server failed; check the kubeconfig's server and its port",
    aiohttp.ClientConnectorError: (
        "the API server cannot be reached; check its address, and firewalls and network policies on the way"
    ),
}
_TIMEOUT: Final = 15.0
_PATIENCE: Final = 5  # answers "too many requests" before we give up for now
_LONGEST_WAIT: Final = 30.0
_CHUNK: Final = 2**16
_CHANGED: Final = {
    HTTPStatus.CONFLICT,
    HTTPStatus.GONE,  # a LIST's continuation has expired
    HTTPStatus.UNPROCESSABLE_ENTITY,  # a test in a JSON patch failed
}


class AnswerTooLargeError(Exception):
    """The answer is longer than the caller allows."""


class ApiServer:
    """One pool of connections; open it as a context manager. The API server need not be there yet."""

    async def __aenter__(self) -> Self:
        self._client = ApiClient(await login.configuration())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]  # untyped library

    async def request(
        self,
        method: str,
        *path: str,
        body: Any = None,
        content_type: str = _JSON,
        longest: int | None = None,
        **query: str,
    ) -> Any:
        """Return the API server's answer as parsed JSON; a request that a busy server refuses is sent again.

        Args:
            method: the HTTP method.
            path: the steps of the URL's path; none of them may be empty.
            body: what to send as JSON.
            content_type: the kind of the body.
            longest: how many bytes of an answer are read.
            query: options of the URL; empty ones are left out.

        Raises:
            DependencyUnavailableError: it does not answer, cannot serve, is too busy, or refuses us.
            AccessForbiddenError: it refuses us, and a right would help.
            AnswerTooLargeError: the answer is longer than `longest`.
            ObjectChangedError: the object is not what we took it for.
            ObjectGoneError: there is no such object.
        """
        for _ in range(_PATIENCE):
            try:
                answer = await self._send(method, path, body, content_type, list(query.items()))
                text = await _read(answer.response, longest)
            except (aiohttp.ClientError, OSError) as error:  # a timeout is an OSError, too
                raise DependencyUnavailableError(_cause(error)) from error
            if answer.status < HTTPStatus.BAD_REQUEST:
                return json.loads(text)
            if answer.status != HTTPStatus.TOO_MANY_REQUESTS:
                raise _meaning(answer.status, text)
            await asyncio.sleep(_seconds(answer.headers.get("Retry-After")))
        raise DependencyUnavailableError("the API server is too busy")

    async def _send(
        self, method: str, path: Sequence[str], body: Any, content_type: str, query: list[tuple[str, str]]
    ) -> Any:
        names = [str(number) for number in range(len(path))]
        request = await self._client.param_serialize(
            method,
            "".join(f"/{{{name}}}" for name in names),
            path_params=dict(zip(names, path, strict=True)),
            query_params=[(name, value) for name, value in query if value],
            header_params={"Accept": _JSON, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        return await self._client.call_api(*request, _request_timeout=_TIMEOUT)


async def _read(answer: aiohttp.ClientResponse, longest: int | None) -> bytes:
    if longest is None:
        return await answer.read()
    text = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK):
        text += chunk
        if len(text) > longest:
            answer.close()
            raise AnswerTooLargeError
    return bytes(text)


def _cause(error: Exception) -> str:
    """Why a request had no answer, in a sentence that shows nothing of the address."""
    return next((sentence for kind, sentence in _CAUSES.items() if isinstance(error, kind)), _AWAY)


def _meaning(status: int, text: bytes) -> Exception:
    if status == HTTPStatus.NOT_FOUND:
        return ObjectGoneError() if _names_what_is_missing(text) else KindMissingError(KIND_MISSING)
    if status in _CHANGED:
        return ObjectChangedError()
    if status == HTTPStatus.UNAUTHORIZED:
        return DependencyUnavailableError(
            "the API server does not know us; check that the operator's service account still exists, "
            "or the kubeconfig's credentials"
        )
    if status == HTTPStatus.FORBIDDEN:
        return AccessForbiddenError("the API server refuses us; check the operator's role and its binding")
    return DependencyUnavailableError(f"the API server cannot serve now (HTTP {status})")


def _names_what_is_missing(text: bytes) -> bool:
    """Distinguish a missing object from a kind that is not served, whose objects may still exist."""
    try:
        return bool(json.loads(text)["details"]["name"])
    except (ValueError, LookupError, TypeError):
        return False


def _seconds(retry_after: str | None) -> float:
    try:
        return min(float(retry_after or 1), _LONGEST_WAIT)
    except ValueError:  # a date, which is rare
        return 1
