"""Fixtures of the conformance tests: the same world in memory and made of the real parts."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.cluster.conftest import in_namespace, installed
from tests.cluster.operator_fixtures import log_in
from tests.conformance import api_servers, databases
from tests.integration.database import connected

__all__ = ["installed"]  # a fixture that stands in another file


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def world(request: Any) -> Iterator[databases.World]:
    """A database without anything in it."""
    if request.param == "memory":
        yield databases.InMemory()
        return
    url = request.getfixturevalue("database_url")
    with connected(url) as database:
        yield databases.InPostgres(url, database)


@pytest.fixture(params=["memory", pytest.param("kubernetes", marks=pytest.mark.apiserver)])
def server(request: Any, monkeypatch: pytest.MonkeyPatch) -> api_servers.ApiServer:
    """An API server without any object."""
    if request.param == "memory":
        return api_servers.InMemory()
    control_plane = request.getfixturevalue("installed")
    log_in(monkeypatch, control_plane)
    return api_servers.InKubernetes(*(in_namespace(control_plane, f"test-{uuid4().hex[:8]}") for _ in range(2)))
