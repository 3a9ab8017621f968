"""The API server's FlagSchedules in memory. Implements ports.cluster.ObjectClient; tests/conformance compares the two.

It knows no schema, no policy and no rights: it stores what it is given.
"""

import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import uuid4

from flagschedule.domain.errors import DependencyUnavailableError, ObjectChangedError, ObjectGoneError
from flagschedule.domain.events import Event
from flagschedule.domain.schedule import ObjectRef
from flagschedule.domain.watched import Watched
from tests.unit.builders import NOW, rfc3339

_Body = dict[str, Any]
_O = TypeVar("_O", bound=Watched)


class MemoryApiServer:
    """What clients share, and what users do to it.

    Attributes:
        objects: by namespace and name.
        events: what was posted, with its object and its time.
        away: whether it serves nothing.
        uid: of the cluster.
    """

    def __init__(self, uid: str = "the cluster") -> None:
        self.objects: dict[tuple[str, str], _Body] = {}
        self.events: list[tuple[ObjectRef, Event, datetime]] = []
        self.away = False
        self.uid = uid
        self._versions = itertools.count(1)

    def create(self, body: Mapping[str, Any]) -> _Body:
        """Store a new object; what the server sets is set where it is missing."""
        made: _Body = deepcopy({"status": {"observedGeneration": -1}, **body})
        made["metadata"] = {
            "uid": str(uuid4()),
            "generation": 1,
            "creationTimestamp": rfc3339(NOW),
            **made["metadata"],
            "resourceVersion": str(next(self._versions)),
        }
        self.objects[made["metadata"].get("namespace", ""), made["metadata"]["name"]] = made
        return made

    def edit(self, namespace: str, name: str, **spec: Any) -> _Body:
        """Change fields of a spec."""
        body = self.objects[namespace, name]
        meta = {**body["metadata"], "generation": body["metadata"]["generation"] + 1}
        return self.store({**body, "metadata": meta, "spec": {**body["spec"], **spec}})

    def annotate(self, namespace: str, name: str, **annotations: str) -> _Body:
        """Add annotations."""
        body = self.objects[namespace, name]
        annotations = {**(body["metadata"].get("annotations") or {}), **annotations}
        return self.store({**body, "metadata": {**body["metadata"], "annotations": annotations}})

    def delete(self, namespace: str, name: str) -> None:
        """Delete an object, or mark it where it has finalizers."""
        body = self.objects[namespace, name]
        meta = body["metadata"]
        if not meta.get("finalizers"):
            del self.objects[namespace, name]
        elif "deletionTimestamp" not in meta:
            deleted = {"deletionTimestamp": rfc3339(NOW), "generation": meta["generation"] + 1}
            self.store({**body, "metadata": {**meta, **deleted}})

    def store(self, body: _Body) -> _Body:
        """Store an object under its next version; an object that is deleted and has no finalizers left is removed."""
        meta = {**body["metadata"], "resourceVersion": str(next(self._versions))}
        stored = {**body, "metadata": meta}
        place = meta.get("namespace", ""), meta["name"]
        if "deletionTimestamp" in meta and not meta.get("finalizers"):
            del self.objects[place]
        else:
            self.objects[place] = stored
        return stored


class MemoryObjectClient(Generic[_O]):
    """The operator's view of an API server that serves one kind."""

    def __init__(
        self, server: MemoryApiServer, parse: Callable[[Mapping[str, Any]], _O], namespaces: Sequence[str] = ()
    ) -> None:
        self.server = server
        self._parse = parse
        self._namespaces = namespaces

    async def get(self, ref: ObjectRef) -> _O:
        """See ports.cluster.ObjectClient."""
        found = self._parse(self._find(ref))
        if found.ref.uid != ref.uid:
            raise ObjectGoneError
        return found

    async def list(self) -> AsyncIterator[_O]:
        """See ports.cluster.ObjectClient."""
        self._check()
        for (namespace, _), body in sorted(self.server.objects.items()):
            if not self._namespaces or namespace in self._namespaces:
                yield self._parse(body)

    async def write_status(self, ref: ObjectRef, resource_version: str, status: Any) -> None:
        """See ports.cluster.ObjectClient."""
        self.server.store({**self._find_version(ref, resource_version), "status": status.as_json()})

    async def write_finalizers(self, ref: ObjectRef, resource_version: str, finalizers: Sequence[str]) -> _O:
        """See ports.cluster.ObjectClient."""
        body = self._find_version(ref, resource_version)
        if "deletionTimestamp" in body["metadata"] and {*finalizers} - {*body["metadata"]["finalizers"]}:
            raise ObjectChangedError  # an object that is deleted gets no new ones
        meta = {**body["metadata"], "finalizers": [*finalizers]}
        return self._parse(self.server.store({**body, "metadata": meta}))

    async def post_event(self, ref: ObjectRef, event: Event, at: datetime) -> None:
        """See ports.cluster.ObjectClient."""
        self._check()
        self.server.events.append((ref, event, at))

    async def cluster_uid(self) -> str:
        """See ports.cluster.ObjectClient."""
        self._check()
        return self.server.uid

    def _check(self) -> None:
        if self.server.away:
            raise DependencyUnavailableError("the API server is away")

    def _find(self, ref: ObjectRef) -> _Body:
        self._check()
        try:
            return self.server.objects[ref.namespace, ref.name]
        except KeyError:
            raise ObjectGoneError from None

    def _find_version(self, ref: ObjectRef, resource_version: str) -> _Body:
        found = self._find(ref)
        if (found["metadata"]["uid"], found["metadata"]["resourceVersion"]) != (str(ref.uid), resource_version):
            raise ObjectChangedError
        return found
