"""What every LeaseStore promises: each test runs on the store in memory and on a real API server."""

import asyncio

import pytest

from flagschedule.domain.errors import DependencyUnavailableError, ObjectChangedError
from tests.conformance.api_servers import ApiServer


async def test_a_lease_is_made_by_its_first_holder(server: ApiServer) -> None:
    """There is none at first; after the first write it names its holder and how long it lasts."""
    async with server.leases() as leases:
        assert await leases.read() is None
        await leases.write(None, "one", 15)
        lease = await leases.read()

    assert lease
    assert (lease.holder, lease.duration) == ("one", 15)


async def test_each_renewal_can_be_seen(server: ApiServer) -> None:
    """A renewal keeps the holder and changes the lease's renewal; without one it stays."""
    async with server.leases() as leases:
        await leases.write(None, "one", 15)
        renewals = []
        for _ in range(3):
            lease = await leases.read()
            again = await leases.read()
            assert lease
            assert again
            assert (lease.holder, lease.renewal) == ("one", again.renewal)
            renewals.append(lease.renewal)
            await leases.write(lease, "one", 15)

    assert len(set(renewals)) == 3


async def test_a_lease_changes_hands(server: ApiServer) -> None:
    """It can be written by another holder, and by none."""
    async with server.leases() as leases:
        await leases.write(None, "one", 15)
        for holder, duration in (("two", 7), ("", 7), ("one", 15)):
            await leases.write(await leases.read(), holder, duration)
            lease = await leases.read()
            assert lease
            assert (lease.holder, lease.duration) == (holder, duration)


async def test_of_two_who_saw_the_same_one_writes(server: ApiServer) -> None:
    """A lease that was written since it was read is not overwritten; neither is a new one by a second new one."""
    async with server.leases() as leases:
        await leases.write(None, "one", 15)
        with pytest.raises(ObjectChangedError):
            await leases.write(None, "two", 15)
        seen = await leases.read()
        await leases.write(seen, "one", 15)
        with pytest.raises(ObjectChangedError):
            await leases.write(seen, "two", 15)

        lease = await leases.read()
        assert lease
        assert lease.holder == "one"


async def test_a_lease_that_was_deleted_is_made_again(server: ApiServer) -> None:
    """A deleted lease cannot be renewed by what was read before; it is read as none, and made again."""
    async with server.leases() as leases:
        await leases.write(None, "one", 15)
        seen = await leases.read()
        server.delete_lease()
        with pytest.raises(ObjectChangedError):
            await leases.write(seen, "one", 15)

        assert await leases.read() is None
        await leases.write(None, "two", 15)
        assert await leases.read()


async def test_a_server_that_is_away_is_no_lost_lease(server: ApiServer) -> None:
    """Without its API server both methods say that a dependency is unavailable."""
    async with server.without_server() as (_, lost):
        answers = await asyncio.gather(lost.read(), lost.write(None, "one", 15), return_exceptions=True)

    assert {type(answer) for answer in answers} == {DependencyUnavailableError}
