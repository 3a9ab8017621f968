"""What kstatus, and with it Flux, says of a FlagSchedule, by the library itself; and the table that shows it."""

from pathlib import Path
from typing import Any

import pytest

from flagschedule.domain.outcome import Reason, Row
from tests.gitops import argocd, kstatus
from tests.gitops.reported import CASES, TABLE, reported
from tests.unit.builders import body

pytestmark = pytest.mark.kstatus

# By the status function's own table, so that a new phase needs an answer here.
VERDICTS = {
    "Pending": "Current",
    "Suspended": "Current",
    "Frozen": "Current",
    "Waiting": "InProgress",
    "Retrying": "Current",
    "Applied": "Current",
    "Superseded": "Current",
    "Skipped": "Current",
    "Cancelled": "Current",
    "Failed": "Failed",
    "Expired": "Failed",
    "Invalid": "Failed",
}
MEANS = {"Current": "is ready", "InProgress": "waits, until its timeout", "Failed": "fails"}


def _label(known: dict[str, Any], phase: str) -> str:
    if phase != "Expired":
        return phase
    return "Expired more than a day ago" if known.get("reason") is Reason.HISTORY else "Expired"


@pytest.mark.parametrize(("found", "known", "phase"), CASES)
def test_each_phase_has_its_verdict(found: Row | None, known: dict[str, Any], phase: str) -> None:
    """Stalled is Failed, Waiting is InProgress, all else is Current; a failure is shown with our message."""
    obj = reported(found, known, phase)

    (verdict,) = kstatus.judge(obj)

    expected = "Current" if known.get("reason") is Reason.HISTORY else VERDICTS[phase]
    assert verdict["status"] == expected
    if expected == "Failed":
        assert verdict["message"] in {condition["message"] for condition in obj["status"]["conditions"]}


def test_what_the_operator_has_not_seen_is_in_progress() -> None:
    """A new object and an edited one are never taken for reconciled ones, with any status."""
    edited = [reported(found, known, phase) for found, known, phase in TABLE]
    for obj in edited:
        obj["metadata"]["generation"] = 2

    assert {verdict["status"] for verdict in kstatus.judge(body(), *edited)} == {"InProgress"}


def test_an_object_that_is_being_deleted_is_terminating() -> None:
    """While the operator cancels, before it takes its finalizer off, no tool takes the object for ready."""
    (verdict,) = kstatus.judge(body(deleting=True))

    assert verdict["status"] == "Terminating"


def test_the_page_shows_what_each_tool_says() -> None:
    """The table of docs/how-to/gitops.md has for every phase Argo CD's, kstatus's and Flux's own answers."""
    objects = {"not yet seen in this version": body()}
    objects |= {_label(known, phase): reported(found, known, phase) for found, known, phase in TABLE}
    verdicts = [verdict["status"] for verdict in kstatus.judge(*objects.values())]
    healths = [argocd.health(obj)["status"] for obj in objects.values()]
    expected = [
        f"| {label} | {health} | {verdict} | {MEANS[verdict]} |"
        for label, health, verdict in zip(objects, healths, verdicts, strict=True)
    ]

    page = Path("docs/how-to/gitops.md").read_text().splitlines()
    start = page.index("| FlagSchedule | Argo CD: health | kstatus | Flux: a Kustomization with `wait: true` |")

    assert page[start + 2 : page.index("", start)] == expected
