"""HTTPS_PROXY and NO_PROXY: the way to the API server is the one that kubectl would take."""

import os

import pytest

from flagschedule.adapters.kubernetes.proxy import proxy_for

IN_POD = "https://10.96.0.1:443"
PROXY = "http://user:secret@proxy.example.com:3128"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


# What golang.org/x/net/http/httpproxy decides, which kubectl uses.
@pytest.mark.parametrize(
    ("server", "no_proxy", "direct"),
    [
        (IN_POD, "", False),
        (IN_POD, "10.0.0.0/8", True),
        (IN_POD, "example.com, 10.96.0.0/12 ,192.168.0.0/16", True),
        (IN_POD, "10.96.0.1", True),
        (IN_POD, "10.96.0.1:443", True),
        (IN_POD, "10.96.0.1:6443", False),
        ("https://10.96.0.1", "10.96.0.1:443", True),
        (IN_POD, "192.168.0.0/16", False),
        (IN_POD, "10.0.0.5/8", True),
        (IN_POD, "10.0.0.0/99", False),
        (IN_POD, "*", True),
        (IN_POD, ",,", False),
        ("https://[fd00::1]:443", "fd00::/8", True),
        ("https://[fd00::1]:443", "fd00:0::0001", True),
        ("https://[fd00::1]:443", "[fd00::1]:443", True),
        ("https://[fd00::1]:443", "[fd00::1]:6443", False),
        ("https://[fd00::1]:443", "10.0.0.0/8", False),
        ("https://kubernetes.default.svc", ".svc", True),
        ("https://kubernetes.default.svc", "svc", True),
        ("https://kubernetes.default.svc", "*.svc", True),
        ("https://kubernetes.default.svc", "kubernetes.default.svc", True),
        ("https://kubernetes.default.svc", ".kubernetes.default.svc", False),
        ("https://kubernetes.default.svc", "default", False),
        ("https://Kubernetes.Default.SVC", "kubernetes.default.svc", True),
        ("https://mysvc", "svc", False),
        ("https://kubernetes.default.svc", "10.0.0.0/8", False),
    ],
)
def test_no_proxy_is_obeyed(monkeypatch: pytest.MonkeyPatch, server: str, no_proxy: str, direct: bool) -> None:
    """Addresses, networks, names and domains in NO_PROXY are reached directly, all others by the proxy."""
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)

    assert proxy_for(server) == (None if direct else PROXY)


def test_without_a_proxy_the_way_is_direct() -> None:
    """Without proxy variables the connection is direct."""
    assert proxy_for(IN_POD) is None


def test_the_proxy_of_another_scheme_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY does not concern a server that is reached by https."""
    monkeypatch.setenv("HTTP_PROXY", PROXY)

    assert proxy_for(IN_POD) is None


def test_a_proxy_without_scheme_is_an_http_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """`proxy:3128` is understood as curl and kubectl do."""
    monkeypatch.setenv("https_proxy", "proxy:3128")

    assert proxy_for(IN_POD) == "http://proxy:3128"
