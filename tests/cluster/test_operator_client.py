"""The operator's client on the real API server: whom it writes to, and what its errors mean."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import pytest

from dev.localkind.control_plane import ControlPlane
from flagschedule.adapters.kubernetes import object_client as module
from flagschedule.adapters.kubernetes.object_client import FLAG_SCHEDULES, KubernetesObjectClient
from flagschedule.domain.errors import DependencyUnavailableError
from flagschedule.domain.schedule import FlagSchedule
from tests.cluster.api import Api, flagschedule
from tests.cluster.operator_fixtures import log_in
from tests.cluster.spec_corpus import spec

pytestmark = pytest.mark.apiserver

_T = TypeVar("_T")
Call = Callable[[Callable[[KubernetesObjectClient[FlagSchedule]], Awaitable[_T]]], _T]
_STATUS: Mapping[str, Any] = {"observedGeneration": 1, "phase": "Pending"}


@pytest.fixture
def call(installed: ControlPlane, api: Api, monkeypatch: pytest.MonkeyPatch) -> Call[Any]:
    """Runs one question on a client of this test's namespace."""
    log_in(monkeypatch, installed)

    async def run(question: Callable[[KubernetesObjectClient[FlagSchedule]], Awaitable[Any]]) -> Any:
        async with KubernetesObjectClient(FLAG_SCHEDULES, [api.namespace], "kube-system") as client:
            return await question(client)

    return lambda question: asyncio.run(run(question))


def _created(api: Api, name: str = "launch") -> FlagSchedule:
    answer = api.create(flagschedule(name, spec()))
    assert answer.ok, answer.message
    return FlagSchedule.from_body(answer.body)


def test_every_object_is_listed_once(api: Api, call: Call[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A LIST of several pages yields all objects, each once."""
    monkeypatch.setattr(module, "_PAGE", 2)
    for number in range(5):
        _created(api, f"launch-{number}")

    async def names(client: KubernetesObjectClient[FlagSchedule]) -> list[str]:
        return [found.ref.name async for found in client.list()]

    assert call(names) == [f"launch-{number}" for number in range(5)]


def test_large_objects_are_listed_in_small_pages(
    api: Api, call: Call[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of large objects no more are held at a time than a page may be long."""
    monkeypatch.setattr(module, "_LONGEST_PAGE", 40_000)
    for number in range(5):
        answer = api.create(flagschedule(f"launch-{number}", spec(), annotations={"large": "x" * 16_000}))
        assert answer.ok, answer.message
    pages: list[int] = []

    async def names(client: KubernetesObjectClient[FlagSchedule]) -> list[str]:
        page = client._page

        async def counted(*of: Any) -> Any:
            found = await page(*of)
            pages.append(len(found["items"]))
            return found

        monkeypatch.setattr(client, "_page", counted)
        return [found.ref.name async for found in client.list()]

    assert call(names) == [f"launch-{number}" for number in range(5)]
    assert max(pages) <= 2


def test_a_kind_that_is_not_served_is_no_objects_end(
    api: Api, call: Call[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the API server does not know the version, the object is not taken for gone: it may still be there."""
    obj = _created(api)
    monkeypatch.setattr(module, "_API", ("apis", "flagschedule.io", "v9"))

    with pytest.raises(DependencyUnavailableError):
        call(lambda client: client.get(obj.ref))


def test_a_missing_right_is_no_fault_of_the_object(
    api: Api, call: Call[Any], installed: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal is infrastructure trouble, whose message quotes nothing of the answer."""
    obj = _created(api)
    admin = installed.kubeconfig
    monkeypatch.setattr(installed, "kubeconfig", lambda: admin("norights"))

    with pytest.raises(DependencyUnavailableError, match="check the operator's role"):
        call(lambda client: client.get(obj.ref))
