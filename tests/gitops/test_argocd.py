"""What Argo CD shows of a FlagSchedule and offers for it, by the Lua we ship."""

import re
from typing import Any

import pytest
from lupa.lua51 import LuaError

from flagschedule.domain.outcome import Reason, Row, State
from tests.gitops import argocd
from tests.gitops.reported import CASES, reported
from tests.unit.builders import body, row
from tests.unit.test_status import APPLIED, status

# By the status function's own table, so that a new phase needs an answer here.
HEALTH = {
    "Pending": "Healthy",
    "Suspended": "Suspended",
    "Frozen": "Suspended",
    "Waiting": "Degraded",
    "Retrying": "Healthy",
    "Applied": "Healthy",
    "Superseded": "Healthy",
    "Skipped": "Healthy",
    "Cancelled": "Healthy",
    "Failed": "Degraded",
    "Expired": "Degraded",
    "Invalid": "Degraded",
}
ACTIONS = {
    "Pending": {"suspend"},
    "Suspended": {"resume"},
    "Frozen": {"suspend"},
    "Waiting": {"suspend"},
    "Retrying": {"suspend", "retry"},
    "Failed": {"suspend", "retry"},
    "Expired": {"suspend"},
    "Invalid": {"suspend"},
    "Applied": set(),
    "Superseded": set(),
    "Skipped": set(),
    "Cancelled": set(),
}


@pytest.mark.parametrize(("found", "known", "phase"), CASES)
def test_each_phase_has_its_health(found: Row | None, known: dict[str, Any], phase: str) -> None:
    """Stalled and Waiting are Degraded, Suspended is Suspended, all else is Healthy; the message is ours."""
    obj = reported(found, known, phase)

    seen = argocd.health(obj)

    expected = "Healthy" if known.get("reason") is Reason.HISTORY else HEALTH[phase]
    assert seen["status"] == expected
    assert seen["message"] in {condition["message"] for condition in obj["status"]["conditions"]}


@pytest.mark.parametrize(("found", "known", "phase"), CASES)
def test_an_unseen_generation_is_progressing(found: Row | None, known: dict[str, Any], phase: str) -> None:
    """No status says anything of an edit that the operator has not seen."""
    obj = reported(found, known, phase)
    obj["metadata"]["generation"] = 2

    assert argocd.health(obj)["status"] == "Progressing"


def test_a_new_object_is_progressing() -> None:
    """An object with the API server's default status, or with none, is not taken for a reconciled one."""
    without = {key: value for key, value in body().items() if key != "status"}

    assert [argocd.health(obj)["status"] for obj in (body(), without)] == ["Progressing", "Progressing"]


def test_an_edit_that_came_too_late_is_healthy() -> None:
    """An applied object with a late edit is Healthy, because its change was made."""
    done = row(**APPLIED, reason=Reason.APPLIED)
    obj = body(generation=2, status=status(done, generation=2, updates={"enabled": False}))

    assert argocd.health(obj)["status"] == "Healthy"


@pytest.mark.parametrize(("found", "known", "phase"), CASES)
def test_each_phase_has_its_actions(found: Row | None, known: dict[str, Any], phase: str) -> None:
    """Retry is offered where it does something; a handled schedule is frozen and offers nothing."""
    assert argocd.enabled_actions(reported(found, known, phase)) == ACTIONS[phase]


def test_retry_is_requested_by_annotation() -> None:
    """Retry sets the annotation to the present time and leaves the rest of the object alone."""
    obj = reported(row(state=State.FAILED, reason=Reason.RETRIES_EXHAUSTED, retry_count=3), {}, "Failed")
    before = obj["spec"], obj["status"]

    changed = argocd.act("retry", obj)

    requested = changed["metadata"]["annotations"]["flagschedule.io/retry-requested-at"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", requested)
    assert (changed["spec"], changed["status"]) == before


@pytest.mark.parametrize(
    "script",
    [
        "return os.date()",
        "return ('x'):upper()",
        "return string.upper('x')",
        "return math.max(1, 2)",
        "return require('io')",
        "return require('string')",
        "return require('os').getenv('HOME')",
    ],
)
def test_what_argo_cd_does_not_offer_fails_here_too(script: str) -> None:
    """A script that would fail in Argo CD fails in the tests: `os` comes by require only and has few functions."""
    with pytest.raises(LuaError):
        argocd.run(script, body())


def test_suspend_and_resume_set_the_field() -> None:
    """Suspend and resume change spec.suspend and nothing else."""
    assert argocd.act("suspend", body())["spec"] == {**body()["spec"], "suspend": True}
    assert argocd.act("resume", body(suspend=True))["spec"] == {**body()["spec"], "suspend": False}
