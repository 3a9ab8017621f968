"""What Kopf remembers of an object: nothing.

By default it keeps its progress and a copy of the spec in annotations, and believes what it finds there, which
every user who may edit the object can write.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import kopf


class NoDiffBase(kopf.DiffBaseStorage):
    """Every object looks the same to Kopf: whether it has changed is ours to see."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:  # noqa: ARG002 -- Kopf's signature
        """Nothing of the object matters."""
        return cast("kopf.BodyEssence", {})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002 -- Kopf's signature
        """Return nothing: nothing is stored."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing to keep."""


class NoProgress(kopf.ProgressStorage):
    """No handler has a state: errors are tried again by our own queue."""

    def fetch(self, *, key: Any, body: kopf.Body) -> Any:  # noqa: ARG002 -- Kopf's signature
        """Return nothing: nothing is stored."""
        return None

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nothing to keep."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nothing to forget."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        """Kopf need not wake itself."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """Nothing of ours is in it."""
        return essence


def drop_what_others_write(body: Mapping[str, Any]) -> None:
    """Take from an object that was handled what may be large: Kopf holds it for a while longer."""
    for name in ("annotations", "managedFields"):
        body["metadata"].pop(name, None)
