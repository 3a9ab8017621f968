"""What every ObjectClient promises: each test runs on the client in memory and on a real API server.

What only a real server does is in tests/cluster: pages, rights, and a kind that is not served.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final
from uuid import uuid4

import pytest

from flagschedule.domain.errors import DependencyUnavailableError, ObjectChangedError, ObjectGoneError
from flagschedule.domain.events import Event
from flagschedule.domain.schedule import FINALIZER, FlagSchedule, Phase, Status, Uid
from flagschedule.ports.cluster import ObjectClient
from tests.conformance.api_servers import ApiServer
from tests.unit.builders import NOW

STATUS: Final = Status(observed_generation=1, phase=Phase.PENDING)
EVENT: Final = Event(type="Warning", reason="AttemptFailed", message="It failed.")


async def found(client: ObjectClient[FlagSchedule, Status], body: Mapping[str, Any]) -> FlagSchedule:
    """The object as the client reads it now."""
    return await client.get(FlagSchedule.from_body(body).ref)


async def test_an_object_is_read_as_it_is(server: ApiServer) -> None:
    """A client sees the object that was created, and each change under another version."""
    body = server.create()
    async with server.client() as client:
        before = await found(client, body)
        server.suspend()
        after = await found(client, body)

    assert before == FlagSchedule.from_body(body)
    assert (before.generation, before.observed, before.deleting) == (1, False, False)
    assert after.spec
    assert (after.generation, after.spec.suspend) == (2, True)
    assert after.resource_version != before.resource_version


async def test_an_object_that_is_gone_or_another_is_gone(server: ApiServer) -> None:
    """What does not exist, and what another object has the name of, cannot be read."""
    ref = FlagSchedule.from_body(server.create()).ref
    async with server.client() as client:
        for missing in (replace(ref, name="missing"), replace(ref, uid=Uid(uuid4()))):
            with pytest.raises(ObjectGoneError):
                await client.get(missing)


async def test_every_object_of_the_namespaces_is_listed_once(server: ApiServer) -> None:
    """A client lists the objects of its own namespaces, each once."""
    for number in range(3):
        server.create(f"launch-{number}")
    server.create("foreign", namespace=server.elsewhere)
    async with server.client() as client:
        names = [obj.ref.name async for obj in client.list()]

    assert sorted(names) == ["launch-0", "launch-1", "launch-2"]


async def test_a_status_is_replaced_as_a_whole(server: ApiServer) -> None:
    """What is written is the whole status; it changes the version, and neither spec nor generation."""
    obj = FlagSchedule.from_body(server.create())
    longer = replace(STATUS, change="enabled=true")
    async with server.client() as client:
        await client.write_status(obj.ref, obj.resource_version, longer)
        first = await client.get(obj.ref)
        await client.write_status(obj.ref, first.resource_version, STATUS)
        second = await client.get(obj.ref)

    assert (first.status, second.status) == (longer, STATUS)
    assert (second.generation, second.spec) == (obj.generation, obj.spec)
    assert len({obj.resource_version, first.resource_version, second.resource_version}) == 3


async def test_a_stale_view_cannot_write(server: ApiServer) -> None:
    """A client that has not seen the object's latest version writes neither status nor finalizers."""
    obj = FlagSchedule.from_body(server.create())
    server.suspend()
    async with server.client() as client:
        await _is_refused(ObjectChangedError, client, obj)

        left = await client.get(obj.ref)
        assert (left.observed, left.finalizers) == (False, ())


async def test_a_successor_is_not_written_to(server: ApiServer) -> None:
    """The uid is compared with each write, even if the version happens to fit."""
    obj = FlagSchedule.from_body(server.create())
    successor = replace(obj, ref=replace(obj.ref, uid=Uid(uuid4())))
    async with server.client() as client:
        await _is_refused(ObjectChangedError, client, successor)

        left = await client.get(obj.ref)
        assert (left.resource_version, left.observed, left.finalizers) == (obj.resource_version, False, ())


async def test_an_object_that_is_gone_cannot_be_written_to(server: ApiServer) -> None:
    """A write to an object that does not exist says that it is gone."""
    obj = FlagSchedule.from_body(server.create())
    server.delete()
    async with server.client() as client:
        await _is_refused(ObjectGoneError, client, obj)


async def test_finalizers_are_replaced(server: ApiServer) -> None:
    """The answer of a write is the object with its finalizers, at the version that the next write needs."""
    obj = FlagSchedule.from_body(server.create())
    async with server.client() as client:
        guarded = await client.write_finalizers(obj.ref, obj.resource_version, ["example.com/other", FINALIZER])
        assert guarded.finalizers == ("example.com/other", FINALIZER)
        assert guarded == await client.get(obj.ref)

        await client.write_finalizers(obj.ref, guarded.resource_version, [FINALIZER])

        assert (await client.get(obj.ref)).finalizers == (FINALIZER,)


async def test_a_deleted_object_stays_until_its_last_finalizer_goes(server: ApiServer) -> None:
    """A deletion marks a guarded object and raises its generation; it gets no new finalizer, and goes with its last."""
    obj = FlagSchedule.from_body(server.create())
    async with server.client() as client:
        await client.write_finalizers(obj.ref, obj.resource_version, [FINALIZER])
        server.delete()
        deleted = await client.get(obj.ref)
        assert (deleted.deleting, deleted.generation, deleted.finalizers) == (True, 2, (FINALIZER,))
        with pytest.raises(ObjectChangedError):
            await client.write_finalizers(obj.ref, deleted.resource_version, [FINALIZER, "example.com/other"])

        left = await client.write_finalizers(obj.ref, deleted.resource_version, [])

        assert (left.deleting, left.finalizers) == (True, ())
        with pytest.raises(ObjectGoneError):
            await client.get(obj.ref)
    assert server.read() is None


async def test_an_event_is_posted_to_its_object(server: ApiServer) -> None:
    """An Event names its object by uid, and keeps type, reason and message."""
    obj, other = (FlagSchedule.from_body(server.create(name)) for name in ("launch", "other"))
    async with server.client() as client:
        await client.post_event(obj.ref, EVENT, NOW)

    assert server.events(obj.ref) == [("Warning", "AttemptFailed", "It failed.")]
    assert server.events(other.ref) == []


async def test_a_cluster_is_named_by_one_uid(server: ApiServer) -> None:
    """The cluster's uid is that of kube-system."""
    async with server.client() as client:
        assert await client.cluster_uid() == server.cluster_uid


async def test_a_server_that_is_away_is_no_objects_fault(server: ApiServer) -> None:
    """Without its API server every method says that a dependency is unavailable; no object is taken for gone."""
    obj = FlagSchedule.from_body(server.create())
    async with server.without_server() as (lost, _):

        async def listed() -> list[FlagSchedule]:
            return [obj async for obj in lost.list()]

        calls: list[Awaitable[object]] = [
            *(
                lost.get(obj.ref),
                listed(),
                *(write() for write in _writes(lost, obj)),
                lost.post_event(obj.ref, EVENT, NOW),
            ),
            lost.cluster_uid(),
        ]
        answers = await asyncio.gather(*calls, return_exceptions=True)

    assert {type(answer) for answer in answers} == {DependencyUnavailableError}


async def _is_refused(error: type[Exception], client: ObjectClient[FlagSchedule, Status], obj: FlagSchedule) -> None:
    for write in _writes(client, obj):
        with pytest.raises(error):
            await write()


def _writes(client: ObjectClient[FlagSchedule, Status], obj: FlagSchedule) -> list[Callable[[], Awaitable[object]]]:
    """Every write to an object, at the version of this view of it."""
    return [
        partial(client.write_status, obj.ref, obj.resource_version, STATUS),
        partial(client.write_finalizers, obj.ref, obj.resource_version, [FINALIZER]),
    ]
