"""Kopf's memory of objects, which is their own status."""

from typing import Any

import kopf
import pytest

from flagschedule.adapters.kubernetes.storage import FailureProgress, GenerationDiffBase
from tests.unit import builders

_HANDLER: Any = "mirror"
_ASKED = {"flagschedule.io/retry-requested-at": "now"}


def _body(**fields: Any) -> kopf.Body:
    raw: Any = builders.body(**fields)
    return kopf.Body(raw)


@pytest.mark.parametrize("status", [{}, {"observedGeneration": -1}])
def test_an_object_without_our_status_is_new(status: dict[str, Any]) -> None:
    """Neither an empty status nor the CRD's default counts as handled."""
    assert GenerationDiffBase().fetch(body=_body(status=status)) is None


def test_an_observed_generation_is_handled() -> None:
    """Nothing is to be done for an object whose status speaks of its current generation."""
    storage, body = GenerationDiffBase(), _body(generation=2, status={"observedGeneration": 2})

    assert storage.fetch(body=body) == storage.build(body=body)


def test_a_newer_generation_is_a_change() -> None:
    """An object whose status speaks of an older generation has changed."""
    storage, body = GenerationDiffBase(), _body(generation=2, status={"observedGeneration": 1})

    assert storage.fetch(body=body) not in (None, storage.build(body=body))


def test_a_retry_request_is_a_change_until_it_was_handled() -> None:
    """An annotation raises no generation, and yet a request is noticed, and only once."""
    storage = GenerationDiffBase()
    observed = {"observedGeneration": 1}
    asked = _body(annotations=_ASKED, status=observed)
    handled = _body(annotations=_ASKED, status={**observed, "lastHandledRetryRequest": "now"})

    assert storage.fetch(body=asked) not in (None, storage.build(body=asked))
    assert storage.fetch(body=handled) == storage.build(body=handled)


def test_other_metadata_is_no_change() -> None:
    """Labels and annotations of others, such as Argo CD's tracking id, do not matter."""
    storage = GenerationDiffBase()

    assert storage.build(body=_body()) == storage.build(body=_body(annotations={"argocd.argoproj.io/tracking-id": "x"}))


def test_a_success_leaves_nothing_on_the_object() -> None:
    """What Kopf notes of a handler that succeeded at once is gone before anything is sent."""
    storage, body, patch = FailureProgress(), _body(), kopf.Patch()

    storage.store(key=_HANDLER, record={"success": True}, body=body, patch=patch)
    storage.purge(key=_HANDLER, body=body, patch=patch)

    assert not patch


def test_a_failing_handler_wakes_itself_by_an_annotation() -> None:
    """Kopf repeats a failed handler when its own touch comes back; without it a retry would never fire."""
    storage, patch = FailureProgress(), kopf.Patch()

    storage.touch(body=_body(), patch=patch, value="2026-12-01T09:00:00")

    assert patch == {"metadata": {"annotations": {"flagschedule.io/touch-dummy": "2026-12-01T09:00:00"}}}
