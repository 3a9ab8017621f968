"""Where the API server is and who we are: one answer for our own client and for Kopf.

Called at start by the client, and by Kopf whenever its session expires, so that a renewed token is read.
"""

import socket
import ssl
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import kopf
import yaml
from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from flagschedule.adapters.kubernetes.proxy import proxy_for
from flagschedule.domain import freeze
from flagschedule.domain.errors import ConfigurationError
from flagschedule.domain.schedule import PLURAL

_CONNECTIONS: Final = 50
_LIFETIME: Final = timedelta(minutes=10)
# Seconds, seconds, probes, milliseconds: without an answer for so long a connection is broken.
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}


async def configuration() -> Any:
    """The service account's configuration inside of a pod, else the kubeconfig's.

    Raises:
        ConfigurationError: there is neither.
    """
    found = Configuration()
    try:
        config.load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]  # untyped library
    except config.ConfigException:
        try:
            await config.load_kube_config(client_configuration=found)  # type: ignore[no-untyped-call]  # untyped library
        except (config.ConfigException, OSError, yaml.YAMLError):
            raise ConfigurationError(
                ["KUBECONFIG: names no usable cluster; set it to a kubeconfig file, or run the operator in a pod"]
            ) from None
    # A kubeconfig's own `proxy-url` wins over the environment. The library leaves the environment to aiohttp, which
    # knows no networks in NO_PROXY, and looks it up for every request, and a .netrc, in two threads.
    found.proxy = found.proxy or proxy_for(found.host)
    found.client_session_kwargs = {"trust_env": False}
    return found


async def login(**_: object) -> kopf.AiohttpSession:
    """Kopf's session: bounded connections, because its own opens one for every object that it patches."""
    found = await configuration()
    token = await found.get_api_key_with_prefix("BearerToken")
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=_tls(found), socket_factory=_kept_alive),
        headers={"Authorization": token} if token else {},
        proxy=found.proxy,
        middlewares=[_outlast_the_kind],
    )
    # Kopf reads the token again only when the session expires or is refused.
    return kopf.AiohttpSession(server=found.host, aiohttp_session=session, expiration=datetime.now(UTC) + _LIFETIME)


async def _outlast_the_kind(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Let Kopf wait for a kind that is deleted and made again as for a server that is away: a 404 would end it."""
    answer = await send(request)
    if answer.status == HTTPStatus.NOT_FOUND and request.url.name in {PLURAL, freeze.PLURAL}:
        answer.close()
        raise aiohttp.ClientConnectionError(f"the kind of {request.url.name} is not installed; apply its CRD")
    return answer


def _kept_alive(address: aiohttp.AddrInfoType) -> socket.socket:
    """Make a socket that probes its peer while a watch is quiet.

    A NAT or load balancer that forgets idle connections drops their packets without a word. The questions keep it from
    forgetting, and the connection ends after half a minute where it has forgotten all the same.
    """
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.settimeout(0)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if option := getattr(socket, name, None):  # not every system has all of them
            made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


def _tls(found: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=found.ssl_ca_cert, cadata=found.ca_cert_data)
    if found.cert_file:
        context.load_cert_chain(found.cert_file, keyfile=found.key_file)
    if not found.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
