"""Reads the objects of one namespace, of several, or of all that the user may read."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from flagschedule.plugin.errors import KubectlError, PluginError
from flagschedule.plugin.kubectl import Kubectl
from flagschedule.plugin.objects import FREEZE, PLAN, RESOURCES, SCHEDULE, SHORT, Obj

_AT_ONCE: Final = 8  # calls of kubectl
_NAME_THEM: Final = "name the namespaces that you may read: -n shop -n pay"


@dataclass(frozen=True)
class Scope:
    """Where to read: in these namespaces, in all, or in that of the context if none is named."""

    namespaces: tuple[str, ...] = ()
    is_all: bool = False


@dataclass(frozen=True)
class Found:
    """The objects that were read, and what could not be."""

    objects: tuple[Obj, ...]
    notes: tuple[str, ...] = ()

    def of(self, *kinds: str) -> tuple[Obj, ...]:
        """Return the objects of some kinds."""
        return tuple(obj for obj in self.objects if obj.kind in kinds)


def read(
    kubectl: Kubectl, scope: Scope, kinds: Sequence[str] = (SCHEDULE, PLAN, FREEZE), *, managed: bool = False
) -> Found:
    """Return all objects of some kinds, with their managed fields if these are wanted.

    What the user may not read is a note, unless nothing can be read.

    Raises:
        KubectlError: kubectl failed for another reason, or no namespace can be read.
    """
    resources = ",".join(RESOURCES[kind] for kind in kinds if kind != FREEZE)
    words = (resources, *["--show-managed-fields"] * managed)
    objects, notes = _in_scope(kubectl, scope, words) if resources else ([], [])
    if FREEZE in kinds:
        try:
            objects += _get(kubectl, RESOURCES[FREEZE])
        except KubectlError as error:
            if not error.is_forbidden:
                raise
            notes.append("FlagFreezes are not shown: you may not read them (ClusterRole flagschedule-freezer, or view)")
    return Found(tuple(objects), tuple(notes))


def _in_scope(kubectl: Kubectl, scope: Scope, words: Sequence[str]) -> tuple[list[Obj], list[str]]:
    if scope.is_all:
        try:
            return _get(kubectl, *words, "--all-namespaces"), []
        except KubectlError as error:
            if not error.is_forbidden:
                raise
        return _each(kubectl, words, _namespaces(kubectl))
    if len(scope.namespaces) > 1:
        return _each(kubectl, words, scope.namespaces)
    return _get(kubectl, *words, *(f"--namespace={name}" for name in scope.namespaces)), []


def _namespaces(kubectl: Kubectl) -> list[str]:
    try:
        return [found["metadata"]["name"] for found in kubectl.objects("get", "namespaces")]
    except KubectlError as error:
        if error.is_forbidden:
            raise PluginError(f"you may read neither all namespaces nor their list; {_NAME_THEM}") from error
        raise


def _each(kubectl: Kubectl, words: Sequence[str], namespaces: Iterable[str]) -> tuple[list[Obj], list[str]]:
    def one(name: str) -> tuple[str, list[Obj] | None]:
        try:
            return name, _get(kubectl, *words, f"--namespace={name}")
        except KubectlError as error:
            if error.is_forbidden:
                return name, None
            raise

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(one, namespaces))
    refused = [name for name, objects in found if objects is None]
    if refused and len(refused) == len(found):
        raise PluginError(f"you may read FlagSchedules and FlagPlans in none of {len(found)} namespaces; {_NAME_THEM}")
    notes = [f"not shown, because you may not read them: {', '.join(refused)}"] if refused else []
    return [obj for _, objects in found for obj in objects or ()], notes


def _get(kubectl: Kubectl, *words: str) -> list[Obj]:
    return [Obj(raw) for raw in kubectl.objects("get", *words)]


def find(kubectl: Kubectl, scope: Scope, name: str, kinds: Sequence[str], *, managed: bool = False) -> Obj:
    """Return the one object of this name; `fsched/launch` says which kind.

    Raises:
        PluginError: there is none, or there are several.
    """
    kind, slash, bare = name.rpartition("/")
    wanted = [each for each in kinds if not slash or kind.lower() in _names_of(each)]
    if not wanted:
        raise PluginError(f"{kind} is not one of the kinds of this command: {', '.join(map(str.lower, kinds))}")
    if len(scope.namespaces) > 1 or scope.is_all:
        raise PluginError("name one namespace of the object: -n shop")
    places = [f"--namespace={each}" for each in scope.namespaces]
    words = ["get", *(f"{RESOURCES[each]}/{bare}" for each in wanted), "--ignore-not-found", *places]
    objects = [Obj(raw) for raw in kubectl.objects(*words, *["--show-managed-fields"] * managed)]
    if len(objects) == 1:
        return objects[0]
    if objects:
        raise PluginError(f"several objects have this name: write {' or '.join(obj.resource for obj in objects)}")
    place = f" in namespace {scope.namespaces[0]}" if scope.namespaces else " in the namespace of your context"
    raise PluginError(f"no {' or '.join(map(str.lower, wanted))} {bare}{place if wanted != [FREEZE] else ''}")


def _names_of(kind: str) -> set[str]:
    return {kind.lower(), f"{kind.lower()}s", SHORT[kind], RESOURCES[kind]}
