"""A few lines of HTTP for requests to the API server; much quicker than a kubectl for each request.

Used by the tests of the CRD, of the policies and of RBAC. Answers are returned, never raised.
"""

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.waiting import PATIENCE, eventually

__all__ = [
    "Answer",
    "Api",
    "Object",
    "eventually",
    "flagfreeze",
    "flagplan",
    "flagschedule",
]  # `eventually` is for tests that wait for the server

_GROUP = "/apis/flagschedule.io/v1alpha1"
Object = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What the API server said: the HTTP status code, and the object or the Status."""

    code: int
    body: Object

    @property
    def ok(self) -> bool:
        """Whether the request was granted."""
        return self.code < 300

    @property
    def message(self) -> str:
        """The sentence of a refusal; empty if there was none."""
        return "" if self.ok else str(self.body.get("message", ""))


@dataclass(frozen=True, kw_only=True)
class Api:
    """The API server as one user sees it, in one namespace."""

    server: str
    ca_file: Path
    token: str | None = None
    namespace: str = "default"
    plural: str = "flagschedules"
    headers: dict[str, str] = field(default_factory=dict)

    def acting_as(self, user: str, group: str | None = None) -> "Api":
        """Return a client that impersonates a user; this one must be allowed to."""
        headers = {"Impersonate-User": user} | ({"Impersonate-Group": group} if group else {})
        return Api(**{**vars(self), "headers": headers})

    def of(self, plural: str) -> "Api":
        """Return a client of another one of our kinds."""
        return Api(**{**vars(self), "plural": plural})

    def request(self, method: str, path: str, body: Any = None, content: str = "application/json") -> Answer:
        """Send one request."""
        headers = {"Content-Type": content, **self.headers}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.server + path, data, headers, method=method)  # noqa: S310 -- https only
        context = ssl.create_default_context(cafile=self.ca_file)
        try:
            with urllib.request.urlopen(request, context=context, timeout=PATIENCE) as response:  # noqa: S310 -- https only
                return Answer(response.status, json.loads(response.read()))
        except urllib.error.HTTPError as error:
            return Answer(error.code, json.loads(error.read()))

    def create(self, obj: Object, *, dry_run: bool = False, manager: str = "tests") -> Answer:
        """Create an object, refusing unknown fields as kubectl does."""
        query = f"?fieldValidation=Strict&fieldManager={manager}" + "&dryRun=All" * dry_run
        return self.request("POST", self._path() + query, obj)

    def apply(self, obj: Object, *, manager: str) -> Answer:
        """Apply an object on the server's side, taking over what others own."""
        path = self._path(obj["metadata"]["name"]) + f"?fieldManager={manager}&force=true"
        return self.request("PATCH", path, obj, "application/apply-patch+yaml")

    def json_patch(self, name: str, operations: list[Object]) -> Answer:
        """Patch an object step by step."""
        return self.request("PATCH", self._path(name), operations, "application/json-patch+json")

    def get(self, name: str) -> Object:
        """Return the live object."""
        return self.request("GET", self._path(name)).body

    def list(self) -> dict[str, Object]:
        """Return every live object by its name."""
        return {obj["metadata"]["name"]: obj for obj in self.request("GET", self._path()).body["items"]}

    def replace(self, obj: Object) -> Answer:
        """PUT an object, as `kubectl replace` does."""
        return self.request("PUT", self._path(obj["metadata"]["name"]), obj)

    def patch(self, name: str, patch: Object, subresource: str = "", *, dry_run: bool = False) -> Answer:
        """Merge a patch into an object; None removes a field."""
        path = self._path(name) + subresource + "?dryRun=All" * dry_run
        return self.request("PATCH", path, patch, "application/merge-patch+json")

    def set_status(self, name: str, **status: Any) -> Answer:
        """Merge into the status, as the operator does."""
        return self.patch(name, {"status": status}, "/status")

    def delete(self, name: str) -> Answer:
        """Delete an object."""
        return self.request("DELETE", self._path(name))

    def _path(self, name: str = "") -> str:
        place = "" if self.plural == "flagfreezes" else f"/namespaces/{self.namespace}"
        return f"{_GROUP}{place}/{self.plural}" + f"/{name}" * bool(name)


def flagschedule(name: str, spec: Any, **metadata: Any) -> Object:
    """Return a FlagSchedule; without a spec if that is None."""
    return _object("FlagSchedule", name, spec, metadata)


def flagplan(name: str, spec: Any, **metadata: Any) -> Object:
    """Return a FlagPlan; without a spec if that is None."""
    return _object("FlagPlan", name, spec, metadata)


def flagfreeze(name: str, spec: Any, **metadata: Any) -> Object:
    """Return a FlagFreeze; without a spec if that is None."""
    return _object("FlagFreeze", name, spec, metadata)


def _object(kind: str, name: str, spec: Any, metadata: Object) -> Object:
    whole: Object = {"apiVersion": "flagschedule.io/v1alpha1", "kind": kind, "metadata": {"name": name, **metadata}}
    return whole if spec is None else whole | {"spec": spec}
