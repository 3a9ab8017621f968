"""What stands behind an ObjectClient and a LeaseStore: an API server in memory, and a real one.

Both give clients, and let users act on the objects. Each world has a namespace of its own.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from kubernetes.aio.client import Configuration

from flagschedule.adapters.kubernetes import login
from flagschedule.adapters.kubernetes.lease_store import KubernetesLeaseStore
from flagschedule.adapters.kubernetes.object_client import FLAG_SCHEDULES, KubernetesObjectClient
from flagschedule.domain.schedule import FlagSchedule, ObjectRef
from tests.cluster.api import Api, flagschedule
from tests.cluster.spec_corpus import spec
from tests.support.memory.lease_store import MemoryLeaseStore
from tests.support.memory.object_client import MemoryApiServer, MemoryObjectClient

_LEASE = "flagschedule-operator"


class InMemory:
    """An API server in memory."""

    namespace = "shop"
    elsewhere = "another"

    def __init__(self) -> None:
        self._server = MemoryApiServer()
        self._leases = MemoryLeaseStore()
        self.cluster_uid = self._server.uid

    @asynccontextmanager
    async def client(self) -> AsyncIterator[MemoryObjectClient[FlagSchedule]]:
        """A client of this namespace."""
        yield MemoryObjectClient(self._server, FlagSchedule.from_body, [self.namespace])

    @asynccontextmanager
    async def leases(self) -> AsyncIterator[MemoryLeaseStore]:
        """The store of a lease in this namespace."""
        yield self._leases

    @asynccontextmanager
    async def without_server(self) -> AsyncIterator[tuple[MemoryObjectClient[FlagSchedule], MemoryLeaseStore]]:
        """A client and a store whose API server does not answer."""
        server, leases = MemoryApiServer(), MemoryLeaseStore()
        server.away = leases.away = True
        yield MemoryObjectClient(server, FlagSchedule.from_body), leases

    def create(self, name: str = "launch", *, namespace: str = namespace) -> Mapping[str, Any]:
        """Create an object."""
        return self._server.create(flagschedule(name, spec(), namespace=namespace))

    def read(self, name: str = "launch") -> Mapping[str, Any] | None:
        """Return the object, None if there is none."""
        return self._server.objects.get((self.namespace, name))

    def suspend(self, name: str = "launch") -> None:
        """Change an object's spec."""
        self._server.edit(self.namespace, name, suspend=True)

    def delete(self, name: str = "launch") -> None:
        """Delete an object."""
        self._server.delete(self.namespace, name)

    def delete_lease(self) -> None:
        """Delete the lease."""
        self._leases.lease = None

    def events(self, ref: ObjectRef) -> list[tuple[str, str, str]]:
        """Return type, reason and message of an object's Events."""
        return [(event.type, event.reason, event.message) for of, event, _ in self._server.events if of == ref]


class InKubernetes:
    """Two namespaces of a real API server, as its administrator sees them."""

    def __init__(self, api: Api, elsewhere: Api) -> None:
        self._api = api
        self._elsewhere = elsewhere
        self.namespace = api.namespace
        self.elsewhere = elsewhere.namespace
        self.cluster_uid: str = api.request("GET", "/api/v1/namespaces/kube-system").body["metadata"]["uid"]

    def client(self) -> KubernetesObjectClient[FlagSchedule]:
        """A client of this namespace."""
        return KubernetesObjectClient(FLAG_SCHEDULES, [self.namespace], "kube-system")

    def leases(self) -> KubernetesLeaseStore:
        """The store of a lease in this namespace."""
        return KubernetesLeaseStore(self.namespace, _LEASE)

    @asynccontextmanager
    async def without_server(self) -> AsyncIterator[tuple[KubernetesObjectClient[FlagSchedule], KubernetesLeaseStore]]:
        """A client and a store whose API server does not answer."""

        async def nowhere() -> Configuration:
            return Configuration(host="https://127.0.0.1:1")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(login, "configuration", nowhere)
            async with self.client() as client, self.leases() as leases:
                yield client, leases

    def create(self, name: str = "launch", *, namespace: str | None = None) -> Mapping[str, Any]:
        """Create an object."""
        answer = (self._api if namespace in {None, self.namespace} else self._elsewhere).create(
            flagschedule(name, spec())
        )
        assert answer.ok, answer.message
        return answer.body

    def read(self, name: str = "launch") -> Mapping[str, Any] | None:
        """Return the object, None if there is none."""
        found = self._api.get(name)
        return None if found["kind"] == "Status" else found

    def suspend(self, name: str = "launch") -> None:
        """Change an object's spec."""
        assert self._api.patch(name, {"spec": {"suspend": True}}).ok

    def delete(self, name: str = "launch") -> None:
        """Delete an object."""
        assert self._api.delete(name).ok

    def delete_lease(self) -> None:
        """Delete the lease."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases/{_LEASE}"
        assert self._api.request("DELETE", path).ok

    def events(self, ref: ObjectRef) -> list[tuple[str, str, str]]:
        """Return type, reason and message of an object's Events."""
        listed = self._api.request("GET", f"/api/v1/namespaces/{ref.namespace}/events").body["items"]
        return [
            (found["type"], found["reason"], found["message"])
            for found in listed
            if found["involvedObject"]["uid"] == str(ref.uid)
        ]


ApiServer = InMemory | InKubernetes
