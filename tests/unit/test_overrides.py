"""The annotation that lets a schedule go on during a freeze."""

from dataclasses import replace
from datetime import timedelta

import pytest

from flagschedule.domain.decision import Facts, Rules, decide
from flagschedule.domain.outcome import Row, Snapshot, State
from flagschedule.domain.schedule import OVERRIDE_ANNOTATION, FlagSchedule
from flagschedule.domain.status import compute
from tests.unit.builders import FLAG_ID, NOW, ROW_ID, obj, row
from tests.unit.test_status import record

RULES = Rules(max_retries=3, max_lateness=timedelta(minutes=10), allow_overrides=True)


def overriding(text: str = "incident-4711: this is the fix", generation: int = 1) -> FlagSchedule:
    """Return an object with the annotation."""
    return obj(annotations={OVERRIDE_ANNOTATION: text}, generation=generation)


@pytest.mark.parametrize(
    ("text", "freeze"),
    [
        ("incident-4711: this is the fix", "incident-4711"),
        ("a:b", "a"),
        (" spaces : around ", "spaces"),
        ("no reason", None),
        ("no-reason: ", None),
        (": no freeze", None),
        ("Not A Name: why", None),
        ("a" * 64 + ": too long", None),
        ("long: " + "x" * 600, None),
        ("", None),
    ],
)
def test_it_names_a_freeze_and_a_reason(text: str, freeze: str | None) -> None:
    """What names no freeze, or no reason, overrides nothing."""
    assert overriding(text).override == freeze


def decided(of: FlagSchedule, found: Row | None, rules: Rules = RULES) -> Row:
    """Return the row as it should be."""
    known = record() if found else None
    made = decide(of, Facts(record=known, row=found, flag_id=FLAG_ID, replay=None, now=NOW), rules).row
    assert made
    return made


def test_a_row_overrides_what_its_object_says() -> None:
    """A new row, and one whose object got or lost the annotation, which is no edit of the spec."""
    assert decided(overriding(), None).override == "incident-4711"
    assert decided(overriding(), row()).override == "incident-4711"
    assert decided(obj(), row(override="incident-4711")).override is None


def test_without_the_policy_no_annotation_overrides() -> None:
    """Every user who may edit an object can write the annotation, so that the setting is off by default."""
    rules = Rules(max_retries=3, max_lateness=timedelta(minutes=10))

    assert decided(overriding(), None, rules).override is None
    assert decided(overriding(), row(), rules).override is None


def test_what_was_done_stays_what_it_was() -> None:
    """An annotation that comes after the change does nothing."""
    applied = row(state=State.APPLIED, applied_at=NOW)

    assert decided(overriding(), applied) == applied


def test_the_status_shows_it_and_the_object_comes_to_rest() -> None:
    """An annotation changes no generation, so that the status must say that it was handled."""
    of = overriding()
    shown = compute(of, Snapshot(record=record(), row=row(id=ROW_ID, override="incident-4711"), now=NOW))
    assert shown
    at_rest = replace(of, status=shown, finalizers=("flagschedule.io/finalizer",))

    assert shown.as_json()["overridesFreeze"] == "incident-4711"
    assert at_rest.settled
    assert not replace(at_rest, override="another").settled
    assert not replace(at_rest, override=None).settled
