"""Reads the objects of one namespace, of several, or of all that the user may read."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from flagschedule.plugin.errors import KubectlError, PluginError
from flagschedule.plugin.kubectl import Kubectl
from flagschedule.plugin.objects import FREEZE, PLAN, RESOURCES, SCHEDULE, SHORT, Obj

_AT_ONCE: Final = 8  # calls of kubectl
_ALL: Final = "--all-namespaces"
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

    What the user may not read, or the cluster does not serve, is a note, unless nothing can be read.

    Raises:
        KubectlError: kubectl failed for another reason.
        PluginError: no kind that lies in namespaces can be read, though one was wanted.
    """
    namespaced = [kind for kind in kinds if kind != FREEZE]
    wide = [_ALL] if scope.is_all else [f"--namespace={name}" for name in scope.namespaces] or [""]
    requests = [_Request(kind, "" if kind == FREEZE else place) for kind in kinds for place in wide]
    answers = _fetch(kubectl, dict.fromkeys(requests), managed=managed)
    narrowed = [answer.kind for answer in answers if answer.request.place == _ALL and answer.is_forbidden]
    if narrowed:
        answers = [answer for answer in answers if answer.kind not in narrowed]
        answers += _in_each_namespace(kubectl, narrowed, managed=managed)
    if namespaced and all(answer.refusal for answer in answers if answer.kind != FREEZE):
        raise PluginError(_nothing(answers, namespaced))
    return Found(tuple(obj for answer in answers for obj in answer.objects), tuple(_notes(answers)))


@dataclass(frozen=True)
class _Request:
    """One kind in one place. If one of several kinds is refused, kubectl shows none of them."""

    kind: str
    place: str
    name: str = ""


@dataclass(frozen=True)
class _Answer:
    """What can be read of one kind in one place."""

    request: _Request
    objects: tuple[Obj, ...] = ()
    refusal: KubectlError | None = None

    @property
    def kind(self) -> str:
        """The kind of the request."""
        return self.request.kind

    @property
    def is_forbidden(self) -> bool:
        """Whether the user lacks the right."""
        return self.refusal is not None and self.refusal.is_forbidden


def _fetch(kubectl: Kubectl, requests: Iterable[_Request], *, managed: bool) -> list[_Answer]:
    def one(request: _Request) -> _Answer:
        resource = RESOURCES[request.kind]
        words = [f"{resource}/{request.name}", "--ignore-not-found"] if request.name else [resource]
        words += [request.place] * bool(request.place) + ["--show-managed-fields"] * managed
        try:
            return _Answer(request, tuple(Obj(raw) for raw in kubectl.objects("get", *words)))
        except KubectlError as error:
            if error.is_forbidden or error.is_not_served:
                return _Answer(request, refusal=error)
            raise

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(one, requests))


def _in_each_namespace(kubectl: Kubectl, kinds: Sequence[str], *, managed: bool) -> list[_Answer]:
    try:
        names = [found["metadata"]["name"] for found in kubectl.objects("get", "namespaces")]
    except KubectlError as error:
        if not error.is_forbidden:
            raise
        return [_Answer(_Request(kind, _ALL), refusal=error) for kind in kinds]
    return _fetch(kubectl, [_Request(kind, f"--namespace={name}") for kind in kinds for name in names], managed=managed)


def _nothing(answers: Iterable[_Answer], kinds: Iterable[str]) -> str:
    refused = [answer for answer in answers if answer.kind != FREEZE]
    what = " and ".join(f"{kind}s" for kind in kinds)
    if not any(answer.is_forbidden for answer in refused):
        return f"the cluster does not serve {what}: their CustomResourceDefinitions are not installed"
    places = {answer.request.place for answer in refused}
    if _ALL in places:
        return f"you may read neither all namespaces nor their list; {_NAME_THEM}"
    if places == {""}:
        return f"you may not read {what} in the namespace of your context; {_NAME_THEM}"
    return f"you may read {what} in none of {len(places)} namespaces; {_NAME_THEM}"


def _notes(answers: Sequence[_Answer]) -> Iterator[str]:
    """Yield one note for each set of kinds that lacks in the same places."""
    refused: dict[str, list[str]] = {}
    for answer in answers:
        if answer.is_forbidden:
            refused.setdefault(answer.kind, []).append(answer.request.place.removeprefix("--namespace="))
    absent = dict.fromkeys(answer.kind for answer in answers if answer.refusal and not answer.is_forbidden)
    for kind in absent:
        yield f"{kind}s are not shown: the cluster does not serve them (is their CustomResourceDefinition installed?)"
    if FREEZE in refused:
        yield "FlagFreezes are not shown: you may not read them (ClusterRole flagschedule-freezer, or view)"
    namespaced = {kind: tuple(places) for kind, places in refused.items() if kind != FREEZE}
    for places in dict.fromkeys(namespaced.values()):
        kinds = [kind for kind, others in namespaced.items() if others == places]
        read = {answer.kind for answer in answers if answer.kind != FREEZE and answer.kind not in absent}
        what = " and ".join(f"{kind}s" for kind in kinds)
        if set(places) <= {"", _ALL}:
            yield f"{what} are not shown: you may not read them"
        elif set(kinds) == read:
            yield f"not shown, because you may not read them: {', '.join(places)}"
        else:
            yield f"{what} are not shown: you may not read them in {', '.join(places)}"


def find(
    kubectl: Kubectl, scope: Scope, name: str, kinds: Sequence[str], *, managed: bool = False
) -> tuple[Obj, tuple[str, ...]]:
    """Return the one object of this name, and notes on kinds that cannot be read; `fsched/launch` says which kind.

    Raises:
        PluginError: there is none, or there are several.
    """
    kind, slash, bare = name.rpartition("/")
    wanted = [each for each in kinds if not slash or kind.lower() in _names_of(each)]
    if not wanted:
        raise PluginError(f"{kind} is not one of the kinds of this command: {', '.join(map(str.lower, kinds))}")
    if not bare:
        raise PluginError("the name is empty")
    if len(scope.namespaces) > 1 or scope.is_all:
        raise PluginError("name one namespace of the object: -n shop")
    place = f"--namespace={scope.namespaces[0]}" if scope.namespaces else ""
    answers = _fetch(kubectl, [_Request(each, place, bare) for each in wanted], managed=managed)
    objects = [obj for answer in answers for obj in answer.objects]
    if len(objects) == 1:
        return objects[0], tuple(_notes(answers))
    if objects:
        raise PluginError(f"several objects have this name: write {' or '.join(obj.resource for obj in objects)}")
    refusals = [str(answer.refusal) for answer in answers if answer.refusal]
    if len(refusals) == len(answers):
        raise PluginError("\n".join(refusals))
    where = f" in namespace {scope.namespaces[0]}" if scope.namespaces else " in the namespace of your context"
    known = [answer.kind for answer in answers if not answer.refusal]
    sentence = f"no {' or '.join(map(str.lower, known))} {bare}{where if known != [FREEZE] else ''}"
    raise PluginError("\n".join([sentence, *(f"note: {note}" for note in _notes(answers))]))


def _names_of(kind: str) -> set[str]:
    return {kind.lower(), f"{kind.lower()}s", SHORT[kind], RESOURCES[kind]}
