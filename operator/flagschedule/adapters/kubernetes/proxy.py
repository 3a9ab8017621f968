"""Which proxy leads to the API server: HTTPS_PROXY and NO_PROXY as kubectl and the other Go programs read them.

Called by connection.py. The API server's address in a pod is an IP, which NO_PROXY often covers by a network
("10.0.0.0/8"): Python's own reading of the variable knows no networks.
"""

import ipaddress
from typing import Final
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies_environment

_PORTS: Final = {"http": 80, "https": 443}


def proxy_for(server: str) -> str | None:
    """Return the URL of the proxy for this server from the environment; None if it is to be reached directly."""
    target = urlsplit(server)
    proxies = getproxies_environment()
    found = proxies.get(target.scheme)
    if not found or any(_covers(entry.strip().lower(), target) for entry in proxies.get("no", "").split(",")):
        return None
    return found if "://" in found else f"http://{found}"


def _covers(entry: str, target: SplitResult) -> bool:
    """Whether an entry of NO_PROXY means this server: "*", a network, an address, or a domain and all below it."""
    host = target.hostname or ""
    if entry in {"", "*"}:
        return entry == "*"
    if "/" in entry:
        return _is_in_network(host, entry)
    name, port = _split(entry)
    if port and port != str(target.port or _PORTS.get(target.scheme)):
        return False
    domain = name.removeprefix("*") if name.startswith("*.") else name
    if domain.startswith("."):
        return host.endswith(domain)
    return host in {domain, _plain(domain)} or host.endswith(f".{domain}")


def _split(entry: str) -> tuple[str, str]:
    """Split "host:port"; an IPv6 address has its port behind brackets, and colons of its own."""
    if entry.startswith("["):
        name, _, port = entry[1:].partition("]")
        return name, port.removeprefix(":")
    name, _, port = entry.partition(":")
    return (entry, "") if ":" in port else (name, port)


def _is_in_network(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:  # a name is in no network, and Go ignores what it cannot read
        return False


def _plain(text: str) -> str:
    """Return an address in its canonical form, so that "::0001" is found to be "::1"; other text as it is."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text
