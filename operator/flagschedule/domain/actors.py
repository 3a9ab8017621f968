"""Who created an object, who changed it last, and where the change came from, by its annotations.

A policy of the cluster writes the first two from the request. Where it is not installed they are any tenant's text, so
they are recorded by a setting only (`decision.Rules.record_actors`). Names are personal data: in no log, in no metric.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

_CREATED: Final = "flagschedule.io/created-by"
_CHANGED: Final = "flagschedule.io/changed-by"
_ORIGIN: Final = "flagschedule.io/origin"
_LONGEST: Final = 256


@dataclass(frozen=True, kw_only=True)
class Actors:
    """Users by their names in the cluster, and the author's own word for the origin, for example a commit."""

    created_by: str | None = None
    changed_by: str | None = None
    origin: str | None = None

    @staticmethod
    def from_annotations(annotations: Mapping[str, str]) -> "Actors":
        """Read them; what is too long or unprintable is made storable."""
        return Actors(
            created_by=_bounded(annotations.get(_CREATED)),
            changed_by=_bounded(annotations.get(_CHANGED)),
            origin=_bounded(annotations.get(_ORIGIN)),
        )


UNKNOWN: Final = Actors()


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One version of an object that was acted on. `spec` is None where it could not be parsed."""

    generation: int
    actor: str | None
    origin: str | None
    spec: Mapping[str, Any] | None


def record_edit(
    found: Actors,
    known: Actors,
    *,
    is_new: bool,
    recording: bool,
    generation: int,
    spec: Callable[[], Mapping[str, Any] | None],
) -> tuple[Actors, Edit | None]:
    """Return whom the record names, and the version to keep where there is another one.

    Args:
        found: whom the object's annotations name.
        known: whom the record names.
        is_new: whether this version of the object is acted on for the first time.
        recording: whether the annotations may be believed.
        generation: the object's.
        spec: returns the object's spec; called only where a version is kept.
    """
    if not recording:  # a name that was recorded for an earlier version is not that of this one
        return UNKNOWN if is_new else known, None
    if not is_new and (known.created_by, known.changed_by) == (found.created_by, found.changed_by):
        return known, None
    return found, Edit(generation=generation, actor=found.changed_by, origin=found.origin, spec=spec())


def _bounded(text: str | None) -> str | None:
    if not text:
        return None
    return "".join(character if character.isprintable() else "\ufffd" for character in text[:_LONGEST])
