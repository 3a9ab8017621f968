"""Where the API server is and who we are: one answer for our own client and for Kopf.

Called at start by the client, and by Kopf whenever its session expires, so that a renewed token is read.
"""

import ssl
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.request import getproxies

import aiohttp
import kopf
import yaml
from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from flagschedule.domain.errors import ConfigurationError

_CONNECTIONS: Final = 50
_LIFETIME: Final = timedelta(minutes=10)


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
    found.client_session_kwargs = {"trust_env": _behind_proxy()}
    return found


async def login(**_: object) -> kopf.AiohttpSession:
    """Kopf's session: bounded connections, because its own opens one for every object that it patches."""
    found = await configuration()
    token = await found.get_api_key_with_prefix("BearerToken")
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=_tls(found)),
        headers={"Authorization": token} if token else {},
        trust_env=_behind_proxy(),
    )
    # Kopf reads the token again only when the session expires or is refused.
    return kopf.AiohttpSession(server=found.host, aiohttp_session=session, expiration=datetime.now(UTC) + _LIFETIME)


def _behind_proxy() -> bool:
    # If told to heed the environment, aiohttp looks it up for every request anew, and a .netrc, in two threads.
    return bool(getproxies())


def _tls(found: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=found.ssl_ca_cert, cadata=found.ca_cert_data)
    if found.cert_file:
        context.load_cert_chain(found.cert_file, keyfile=found.key_file)
    if not found.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
