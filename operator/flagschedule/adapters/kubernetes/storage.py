"""What Kopf remembers of an object: nothing that our own status does not say already.

Kopf compares the essence of an object with the one it handled last and calls creation, update or neither. By
default it keeps that essence in an annotation: a PATCH for every change, and a stale copy in whatever YAML is
exported. Here the status that the operator writes anyway answers the same question.
"""

from collections.abc import Iterable
from typing import Any, Final, cast

import kopf

from flagschedule.domain.schedule import GROUP, RETRY_ANNOTATION

_UNSEEN: Final = -1  # the CRD's default: no operator has written this status


class GenerationDiffBase(kopf.DiffBaseStorage):
    """Handled is what `status.observedGeneration` and `status.lastHandledRetryRequest` say is handled."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:  # noqa: ARG002 -- Kopf's signature; no handler of ours names fields
        """What a change of which must be handled: the spec, and a retry request, which raises no generation."""
        essence = {"spec": dict(body.get("spec") or {}), "retry": body.metadata.annotations.get(RETRY_ANNOTATION)}
        return cast("kopf.BodyEssence", essence)

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """None: never handled; the essence itself: handled; anything else: changed since."""
        status = body.get("status") or {}
        observed = status.get("observedGeneration", _UNSEEN)
        if observed == _UNSEEN:
            return None
        asked = body.metadata.annotations.get(RETRY_ANNOTATION)
        if observed == body.metadata.get("generation") and asked in {None, status.get("lastHandledRetryRequest")}:
            return self.build(body=body)
        return cast("kopf.BodyEssence", {})

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing to store: the status writer has done it."""


class FailureProgress(kopf.AnnotationsProgressStorage):
    """Annotations only while a handler keeps failing; Kopf wakes itself up by writing one.

    Kopf's own class also marks every object it handles with `kopf-managed`, which costs a PATCH for each and serves
    other Kopf operators' diff bases; we share no annotations with them.
    """

    def __init__(self) -> None:
        super().__init__(prefix=GROUP, v1=False)

    def _store_marker(self, prefix: str, patch: kopf.Patch, body: kopf.Body) -> None:
        """Leave healthy objects alone."""
