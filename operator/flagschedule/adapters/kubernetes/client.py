"""Reads FlagSchedules from the API server, writes their status and posts Events. Implements ports.ObjectClient.

It must not write anything else, and no text of an answer leaves it: answers quote what they refuse.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, Self

import aiohttp
from kubernetes.aio.client import ApiClient, CoreV1Api, CustomObjectsApi
from kubernetes.aio.client.exceptions import ApiException

from flagschedule.adapters.kubernetes import connection
from flagschedule.domain.errors import DependencyUnavailableError, ObjectChangedError, ObjectGoneError
from flagschedule.domain.events import Event
from flagschedule.domain.schedule import GROUP, KIND, PLURAL, VERSION, ObjectRef

_KIND: Final = {"group": GROUP, "version": VERSION}
_COMPONENT: Final = "flagschedule"
_TIMEOUT: Final = 15.0
_PAGE: Final = 500
_PATIENCE: Final = 5  # answers "too many requests" before we give up for now
_LONGEST_WAIT: Final = 30.0
_CHANGED: Final = {
    HTTPStatus.CONFLICT,
    HTTPStatus.GONE,  # a LIST's continuation has expired
    HTTPStatus.UNPROCESSABLE_ENTITY,  # a test in a JSON patch failed
}


class KubernetesObjectClient:
    """One pool of connections; open it as a context manager. The API server need not be there yet."""

    def __init__(self, namespaces: Sequence[str]) -> None:
        self._namespaces = namespaces

    async def __aenter__(self) -> Self:
        self._api = ApiClient(await connection.configuration())
        self._objects = CustomObjectsApi(self._api)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._api.close()  # type: ignore[no-untyped-call]  # untyped library

    async def get(self, ref: ObjectRef) -> Mapping[str, Any]:
        """See ports.ObjectClient."""
        found: Mapping[str, Any] = await ask(
            self._objects.get_namespaced_custom_object, **_KIND, **_place(ref), plural=PLURAL
        )
        if found["metadata"]["uid"] != str(ref.uid):
            raise ObjectGoneError
        return found

    async def list(self) -> AsyncIterator[Mapping[str, Any]]:
        """See ports.ObjectClient. Each object once, also where the LIST has to begin anew."""
        seen: set[str] = set()
        for namespace in self._namespaces or (None,):
            async for found in self._list(namespace):
                if found["metadata"]["uid"] not in seen:
                    seen.add(found["metadata"]["uid"])
                    yield found

    async def _list(self, namespace: str | None) -> AsyncIterator[Mapping[str, Any]]:
        token = ""
        while True:
            try:
                page = await self._page(namespace, token)
            except ObjectChangedError:
                token = ""
                continue
            except ObjectGoneError as error:
                raise DependencyUnavailableError("the kind FlagSchedule is not installed; apply its CRD") from error
            for found in page["items"]:
                yield found
            token = page["metadata"].get("continue")
            if not token:
                return

    async def _page(self, namespace: str | None, token: str) -> Any:
        options: dict[str, Any] = {**_KIND, "limit": _PAGE, "_continue": token}
        if namespace is None:
            return await ask(self._objects.list_custom_object_for_all_namespaces, resource_plural=PLURAL, **options)
        return await ask(self._objects.list_namespaced_custom_object, namespace=namespace, plural=PLURAL, **options)

    async def write_status(self, ref: ObjectRef, resource_version: str, status: Mapping[str, Any]) -> None:
        """See ports.ObjectClient.

        A JSON patch, because it is the only kind whose uid the API server compares for `/status`: any other
        would write to whatever has this name by now.
        """
        await ask(
            self._objects.patch_namespaced_custom_object_status,
            **_KIND,
            **_place(ref),
            plural=PLURAL,
            body=[
                {"op": "test", "path": "/metadata/uid", "value": str(ref.uid)},
                {"op": "test", "path": "/metadata/resourceVersion", "value": resource_version},
                {"op": "add", "path": "/status", "value": dict(status)},
            ],
            field_manager=_COMPONENT,
            _content_type="application/json-patch+json",
        )

    async def post_event(self, ref: ObjectRef, event: Event, at: datetime) -> None:
        """See ports.ObjectClient."""
        try:
            await ask(
                CoreV1Api(self._api).create_namespaced_event,
                namespace=ref.namespace,
                body=_event(ref, event, at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
            )
        except (ObjectChangedError, ObjectGoneError) as error:
            raise DependencyUnavailableError("the API server takes no Events in this namespace") from error

    async def cluster_uid(self) -> str:
        """See ports.ObjectClient."""
        found = await ask(CoreV1Api(self._api).read_namespace, name="kube-system")
        return str(found.metadata.uid)


def _place(ref: ObjectRef) -> dict[str, str]:
    return {"namespace": ref.namespace, "name": ref.name}


def _event(ref: ObjectRef, event: Event, at: str) -> dict[str, Any]:
    return {
        "metadata": {"generateName": f"{ref.name}."},
        "involvedObject": {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, **_place(ref), "uid": str(ref.uid)},
        "type": event.type,
        "reason": event.reason,
        "message": event.message,
        "source": {"component": _COMPONENT},
        "reportingComponent": _COMPONENT,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }


async def ask(request: Callable[..., Awaitable[Any]], **arguments: Any) -> Any:
    """One request, with its errors turned into ours; a busy server is obeyed and asked again."""
    for _ in range(_PATIENCE):
        try:
            return await request(**arguments, _request_timeout=_TIMEOUT)
        except ApiException as error:
            if error.status != HTTPStatus.TOO_MANY_REQUESTS:
                raise _meaning(error) from error
            await asyncio.sleep(_retry_after(error))
        except (aiohttp.ClientError, OSError) as error:  # a timeout is an OSError, too
            raise DependencyUnavailableError("the API server does not answer") from error
    raise DependencyUnavailableError("the API server is too busy")


def _meaning(error: ApiException) -> Exception:
    if error.status == HTTPStatus.NOT_FOUND:
        return ObjectGoneError()
    if error.status in _CHANGED:
        return ObjectChangedError()
    if error.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return DependencyUnavailableError("the API server refuses us; check the operator's service account and role")
    return DependencyUnavailableError(f"the API server cannot serve now (HTTP {error.status})")


def _retry_after(error: ApiException) -> float:
    try:
        return min(float((error.headers or {}).get("Retry-After", 1)), _LONGEST_WAIT)
    except ValueError:  # a date; seldom enough
        return 1
