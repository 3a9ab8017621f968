"""`why`: what an object waits for, and what helps."""

from datetime import timedelta
from typing import Any

import pytest

from flagschedule.plugin.objects import Obj
from flagschedule.plugin.why import Mark, explain
from tests.unit.plugin.objects import NOW, freeze, plan, schedule, step

DUE = "2027-03-22T07:00:00Z"
AT_WORK = "kubectl get cronjobs,jobs,pods --namespace=flagschedule-system"


def approved_ramp() -> Obj:
    """Return a ramp whose second step waits for a person."""
    steps = [step("five", 5, at="2027-03-20T09:00:00Z"), step("all", 100, after="1h", approval=True)]
    five = {"step": "five", "part": "Start", "outcome": "Applied", "appliedAt": "2027-03-20T09:00:00Z"}
    return plan("ramp", phase="Waiting", steps=steps, status={"recent": [five], "waitingFor": {"approval": "all"}})


@pytest.mark.parametrize(
    ("obj", "waits_for", "helps"),
    [
        (schedule(phase=None), "seen by the operator: not seen yet", "kubectl logs --namespace=flagschedule-system"),
        (schedule(metadata={"generation": 2}), "seen by the operator: the last edit", "kubectl logs"),
        (
            schedule(phase="Invalid", status={"message": "bad"}),
            "a person: bad",
            "kubectl edit flagschedule/launch -n shop",
        ),
        (schedule(phase="Waiting", status={"message": "no flag"}), "the flag exists: no flag", None),
        (
            schedule(phase="Suspended", suspend=True, status={"by": "ann"}),
            "not suspended: suspended by ann",
            "kubectl flagschedule resume launch -n shop",
        ),
        (schedule(), "its time has come: 2027-03-23 09:00 UTC, in 1 d 1 h", None),
        (schedule(scheduledAt=DUE), "made by the processor: due for 1 h", AT_WORK),
        (
            schedule(
                phase="Retrying", status={"nextRetryAt": DUE, "lastError": "no\x1b", "retryCount": 1, "maxRetries": 3}
            ),
            r"accepted by the database: retry 1 of 3 follows; no\x1b",
            "kubectl flagschedule retry launch -n shop",
        ),
        (
            schedule(phase="Failed", status={"reason": "RetriesExhausted", "message": "refused"}),
            "a person: Failed: refused",
            "kubectl flagschedule retry launch -n shop",
        ),
        (
            schedule(phase="Failed", status={"reason": "DeadlineExceeded", "message": "late"}),
            "a person: Failed: late",
            "kubectl edit flagschedule/launch -n shop",
        ),
        (schedule(phase="Expired", status={"message": "late"}), "a person: Expired: late", "kubectl edit"),
        (schedule(phase="Applied", status={"message": "made"}), "nothing: it is Applied", None),
        (approved_ramp(), "approved: step all waits for approval", "kubectl flagschedule promote ramp -n shop"),
        (
            plan(phase="Suspended", timeZone="UTC", steps=[], suspend=True),
            "not suspended",
            "resume flagplan/hours -n shop",
        ),
    ],
)
def test_why(obj: Obj, waits_for: str, helps: str | None) -> None:
    """The first condition that is not met is the answer, and one command helps, or none."""
    verdict = explain(obj, [], NOW)

    assert verdict.sentence.startswith(waits_for)
    assert (verdict.helps is None) == (helps is None)
    assert helps is None or helps in str(verdict.helps)


def test_a_freeze_is_named() -> None:
    """What is due and held names the freeze and its end."""
    window = {"from": DUE, "until": "2027-03-22T10:00:00Z"}
    verdict = explain(schedule(phase="Frozen", scheduledAt=DUE), [freeze(windows=[window])], NOW)

    assert verdict.sentence == "not frozen: frozen by holidays until 2027-03-22 10:00 UTC"
    assert verdict.helps == "kubectl get flagfreezes"


def test_a_future_freeze_is_shown_next_to_the_time() -> None:
    """What is not due yet waits for its time first; the freeze stands in the list."""
    verdict = explain(schedule(), [freeze()], NOW)

    assert verdict.sentence.startswith("its time has come")
    assert [check.state for check in verdict.checks if check.name == "not frozen"] == [
        "frozen by holidays without an end"
    ]
    assert verdict.helps is None


def test_a_freeze_itself() -> None:
    """It says what it holds, and how to end it."""
    verdict = explain(freeze(phase="Active", status={"held": 3, "message": "Held."}), [], NOW)

    assert (verdict.sentence, verdict.helps) == ("It holds 3 changes.", "kubectl flagschedule unfreeze holidays")


def test_marks_differ_without_colours() -> None:
    """Each state has a character of its own."""
    assert len({str(mark) for mark in Mark}) == len(Mark)


def test_nothing_raises() -> None:
    """An object with any status that the schema allows is explained."""
    odd: list[Any] = [{}, {"message": ""}, {"recent": [{}]}, {"next": {}}, {"waitingFor": {"flag": "x"}}]
    for status in odd:
        assert explain(plan(status=status), [freeze()], NOW + timedelta(days=1)).checks


def test_what_cannot_be_read_is_said() -> None:
    """A plan whose times cannot be computed would else seem to wait for nothing."""
    broken = plan(steps=[{"name": "x", "when": "later", "changes": []}])

    assert "readable" in [check.name for check in explain(broken, [], NOW).checks]


def test_what_cannot_be_read_is_not_denied() -> None:
    """Without the right to read FlagFreezes it is not known whether one holds the change, unless the status says so."""
    frozen = schedule(phase="Frozen", scheduledAt=DUE, status={"message": "Held by the freeze incident."})

    (open_check,) = (check for check in explain(schedule(), None, NOW).checks if check.name == "not frozen")
    (held_check,) = (check for check in explain(frozen, None, NOW).checks if check.name == "not frozen")

    assert (open_check.mark, open_check.state) == (Mark.OPEN, "not known: FlagFreezes cannot be read")
    assert (held_check.mark, held_check.state) == (Mark.WAITS, "Held by the freeze incident.")
