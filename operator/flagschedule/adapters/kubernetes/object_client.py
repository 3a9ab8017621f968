"""Reads objects of one kind, writes their status and finalizers, posts Events. Implements ports.cluster.ObjectClient.

It must not write anything else.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, Protocol, Self, TypeVar

import structlog

from flagschedule.adapters.kubernetes.api import JSON_PATCH, AnswerTooLargeError, ApiServer
from flagschedule.domain import freeze, plan
from flagschedule.domain.errors import (
    AccessForbiddenError,
    DependencyUnavailableError,
    ObjectChangedError,
    ObjectGoneError,
)
from flagschedule.domain.events import Event
from flagschedule.domain.schedule import GROUP, KIND, PLURAL, VERSION, FlagSchedule, ObjectRef
from flagschedule.domain.times import rfc3339
from flagschedule.domain.watched import Watched

_log = structlog.get_logger()
_O = TypeVar("_O", bound=Watched)
_API: Final = ("apis", GROUP, VERSION)
_COMPONENT: Final = "flagschedule"
_PAGE: Final = 500
_LONGEST_PAGE: Final = 4_000_000  # bytes; what a page holds in memory is a multiple of it


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[_O]):
    """A kind of objects: its names, and how to read one."""

    kind: str
    plural: str
    parse: Callable[[Mapping[str, Any]], _O]


FLAG_SCHEDULES: Final = Kind(kind=KIND, plural=PLURAL, parse=FlagSchedule.from_body)
FLAG_FREEZES: Final = Kind(kind=freeze.KIND, plural=freeze.PLURAL, parse=freeze.FlagFreeze.from_body)
FLAG_PLANS: Final = Kind(kind=plan.KIND, plural=plan.PLURAL, parse=plan.FlagPlan.from_body)


class _Status(Protocol):
    def as_json(self) -> dict[str, Any]:
        """The shape of the API."""


class KubernetesObjectClient(Generic[_O]):
    """One pool of connections; open it as a context manager. The API server need not be there yet."""

    def __init__(self, kind: Kind[_O], namespaces: Sequence[str], identity_namespace: str) -> None:
        self._kind = kind
        self._namespaces = namespaces
        self._identity_namespace = identity_namespace

    async def __aenter__(self) -> Self:
        self._api = await ApiServer().__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._api.__aexit__(*error)

    async def get(self, ref: ObjectRef) -> _O:
        """See ports.cluster.ObjectClient."""
        found = self._kind.parse(await self._api.request("GET", *self._place(ref)))
        if found.ref.uid != ref.uid:
            raise ObjectGoneError
        return found

    async def list(self) -> AsyncIterator[_O]:
        """See ports.cluster.ObjectClient. Each object once, also where the LIST has to start again."""
        seen: set[str] = set()
        for namespace in self._namespaces or (None,):
            async for body in self._list(namespace):
                if (uid := body["metadata"]["uid"]) in seen:
                    continue
                seen.add(uid)
                if (found := self._understood(body)) is not None:
                    yield found

    async def _list(self, namespace: str | None) -> AsyncIterator[Mapping[str, Any]]:
        token, limit = "", _PAGE
        while True:
            try:
                page = await self._page(namespace, token, limit)
            except ObjectChangedError:
                token = ""
                continue
            except AnswerTooLargeError:  # tenants may make objects large: read the same page again, with fewer
                limit = max(limit // 4, 1)
                continue
            limit = min(limit * 2, _PAGE)
            for found in page["items"]:
                yield found
            token = page["metadata"].get("continue")
            if not token:
                return

    async def _page(self, namespace: str | None, token: str, limit: int) -> Any:
        place = () if namespace is None else ("namespaces", namespace)
        options = {"limit": str(limit), "continue": token}
        longest = _LONGEST_PAGE if limit > 1 else None
        return await self._api.request("GET", *_API, *place, self._kind.plural, longest=longest, **options)

    async def write_status(self, ref: ObjectRef, resource_version: str, status: _Status) -> None:
        """See ports.cluster.ObjectClient.

        A JSON patch, because it is the only kind whose uid the API server compares for `/status`: any other
        would write to any object that has this name now.
        """
        await self._replace(ref, resource_version, "/status", status.as_json(), "status")

    async def write_finalizers(self, ref: ObjectRef, resource_version: str, finalizers: Sequence[str]) -> _O:
        """See ports.cluster.ObjectClient."""
        value = list(finalizers)
        return self._kind.parse(await self._replace(ref, resource_version, "/metadata/finalizers", value))

    async def _replace(self, ref: ObjectRef, resource_version: str, path: str, value: Any, *subresource: str) -> Any:
        return await self._api.request(
            "PATCH",
            *self._place(ref),
            *subresource,
            body=[
                {"op": "test", "path": "/metadata/uid", "value": str(ref.uid)},
                {"op": "test", "path": "/metadata/resourceVersion", "value": resource_version},
                {"op": "add", "path": path, "value": value},
            ],
            content_type=JSON_PATCH,
            fieldManager=_COMPONENT,
        )

    async def post_event(self, ref: ObjectRef, event: Event, at: datetime) -> None:
        """See ports.cluster.ObjectClient."""
        body = _event(self._kind.kind, ref, event, rfc3339(at))
        try:
            await self._api.request("POST", "api", "v1", "namespaces", ref.namespace, "events", body=body)
        except (ObjectChangedError, ObjectGoneError) as error:
            raise DependencyUnavailableError("the API server takes no Events in this namespace") from error

    async def cluster_uid(self) -> str:
        """See ports.cluster.ObjectClient."""
        name = self._identity_namespace
        try:
            found = await self._api.request("GET", "api", "v1", "namespaces", name)
        except AccessForbiddenError as error:
            raise DependencyUnavailableError(
                f"the operator may not get the namespace {name}, whose uid distinguishes clusters; "
                "give it that right, or set FLAG_SCHEDULE_IDENTITY_NAMESPACE to its own namespace"
            ) from error
        return str(found["metadata"]["uid"])

    def _understood(self, body: Mapping[str, Any]) -> _O | None:
        try:
            return self._kind.parse(body)
        except Exception:  # noqa: BLE001 -- an error in one object must not stop the others
            _log.exception("Object not understood", uid=body["metadata"]["uid"])
            return None

    def _place(self, ref: ObjectRef) -> tuple[str, ...]:
        namespaced = ("namespaces", ref.namespace) if ref.namespace else ()  # else a cluster-scoped kind
        return (*_API, *namespaced, self._kind.plural, ref.name)


def _names(ref: ObjectRef) -> dict[str, str]:
    return {"namespace": ref.namespace, "name": ref.name, "uid": str(ref.uid)}


def _event(kind: str, ref: ObjectRef, event: Event, at: str) -> dict[str, Any]:
    return {
        "metadata": {"generateName": f"{ref.name}."},
        "involvedObject": {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind, **_names(ref)},
        "type": event.type,
        "reason": event.reason,
        "message": event.message,
        "source": {"component": _COMPONENT},
        "reportingComponent": _COMPONENT,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
