"""A kubectl that reads objects of a test, and lacks the rights and the kinds that the test names."""

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from flagschedule.plugin.errors import KubectlError
from flagschedule.plugin.kubectl import Kubectl
from flagschedule.plugin.objects import RESOURCES, Obj

NAMESPACES: Final = ("shop", "pay")


class Reader(Kubectl):
    """Answers `get` as kubectl does: one refused kind fails the whole call."""

    def __init__(
        self, objects: Iterable[Obj] = (), *, forbidden: Collection[str] = (), absent: Collection[str] = ()
    ) -> None:
        """Hold objects; `forbidden` has kinds, or `Kind/namespace`, or `Kind/*` for all namespaces at once."""
        super().__init__()
        self.objects_of_test = list(objects)
        self._forbidden = forbidden
        self._absent = absent
        self.sent: list[Sequence[str]] = []

    def run(self, *words: str, stdin: str | None = None) -> str:
        """Return a list as JSON, or fail as the API server does."""
        self.sent.append(words)
        if words[0] != "get":
            return stdin or ""
        if words[1] == "namespaces":
            if "Namespace" in self._forbidden:
                raise KubectlError("Error from server (Forbidden): namespaces is forbidden")
            return _list({"kind": "Namespace", "metadata": {"name": name}} for name in NAMESPACES)
        resources, _, name = words[1].partition("/")
        place = next((each.removeprefix("--namespace=") for each in words if each.startswith("--namespace=")), None)
        scope = "*" if "--all-namespaces" in words else place
        found = [obj for each in resources.split(",") for obj in self._of(each, scope)]
        return _list(obj.raw for obj in found if not name or obj.name == name)

    def _of(self, resource: str, scope: str | None) -> list[Obj]:
        kind = next(kind for kind, each in RESOURCES.items() if each == resource)
        if kind in self._absent:
            raise KubectlError(f'error: the server doesn\'t have a resource type "{kind.lower()}s"')
        if {kind, f"{kind}/{scope}"} & set(self._forbidden):
            raise KubectlError(f"Error from server (Forbidden): {resource} is forbidden")
        here = [obj for obj in self.objects_of_test if obj.kind == kind]
        return [obj for obj in here if scope in {"*", None} or obj.namespace in {scope, ""}]


def _list(items: Iterable[Any]) -> str:
    return json.dumps({"kind": "List", "items": list(items)})
