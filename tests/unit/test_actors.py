"""Who created and who changed an object: what is recorded of it, and what is not."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from flagschedule.domain import plan_status, status
from flagschedule.domain.actors import UNKNOWN, Actors
from flagschedule.domain.decision import Decision, Facts, Rules, decide
from flagschedule.domain.outcome import Snapshot, State
from flagschedule.domain.plan import FlagPlan, PlanStatus
from flagschedule.domain.plan_status import PlanTransition
from tests.support.plans import PlanWorld
from tests.unit.builders import FLAG_ID, NOW, ROW_ID, obj
from tests.unit.test_planning import MONDAY, ramp, world

RECORDING = Rules(max_retries=3, max_lateness=timedelta(minutes=10), record_actors=True)
SILENT = replace(RECORDING, record_actors=False)


def by(changed: str, created: str = "alice", origin: str | None = None) -> dict[str, str]:
    """Return the annotations of an object."""
    names = {"created-by": created, "changed-by": changed, "origin": origin}
    return {f"flagschedule.io/{key}": value for key, value in names.items() if value}


def decided(previous: Decision | None = None, rules: Rules = RECORDING, **fields: Any) -> Decision:
    """Decide on an object, given what was decided on it before."""
    record, row = (previous.record, previous.row) if previous else (None, None)
    if row is not None and row.id is None:
        row = replace(row, id=ROW_ID)
    facts = Facts(record=record, row=row, flag_id=FLAG_ID, replay=None, now=NOW)
    return decide(obj(**fields), facts, rules)


def test_a_new_object_is_recorded_with_its_creator() -> None:
    """The record names both users and the origin; the version that was acted on is kept with its spec."""
    found = decided(annotations=by("alice", origin="shop@4f2a"))

    assert found.record.actors == Actors(created_by="alice", changed_by="alice", origin="shop@4f2a")
    assert found.edit is not None
    assert (found.edit.generation, found.edit.actor, found.edit.origin) == (1, "alice", "shop@4f2a")
    assert found.edit.spec == {
        "flagKey": "checkout-v2",
        "scheduledAt": "2026-12-01T10:00:00Z",
        "updates": {"enabled": True},
    }


def test_without_the_setting_nothing_is_recorded() -> None:
    """Where no policy writes the annotations they are a tenant's text."""
    found = decided(rules=SILENT, annotations=by("mallory"))

    assert found.record.actors == UNKNOWN
    assert found.edit is None


def test_nothing_is_recorded_twice() -> None:
    """The same version again is no edit, nor is another origin alone: a tool may write each commit there."""
    first = decided(annotations=by("alice", origin="one"))

    again = decided(first, annotations=by("alice", origin="two"))

    assert again.edit is None
    assert again.record == first.record


def test_an_edit_and_a_request_to_retry_are_recorded() -> None:
    """Each with the user who made it."""
    first = decided(annotations=by("alice"))

    second = decided(first, generation=2, suspend=True, annotations=by("bob"))
    retry = decided(second, generation=2, suspend=True,
                    annotations=by("carol") | {"flagschedule.io/retry-requested-at": "now"})  # fmt: skip

    assert second.edit is not None
    assert (second.edit.generation, second.edit.actor) == (2, "bob")
    assert second.edit.spec is not None
    assert second.edit.spec["suspend"] is True
    assert retry.edit is not None
    assert (retry.edit.generation, retry.edit.actor) == (2, "carol")
    assert retry.record.actors.changed_by == "carol"
    again = by("carol") | {"flagschedule.io/retry-requested-at": "later"}
    assert decided(retry, generation=2, suspend=True, annotations=again).edit == retry.edit


def test_what_was_handled_keeps_its_name() -> None:
    """An edit that comes too late does nothing, so its author did not make the change."""
    first = decided(annotations=by("alice"))
    assert first.row
    applied = replace(first, row=replace(first.row, state=State.APPLIED, applied_at=NOW))

    late = decided(applied, generation=2, updates={"enabled": False}, annotations=by("bob"))

    retry = by("bob") | {"flagschedule.io/retry-requested-at": "now"}
    for found in (late, decided(applied, annotations=retry)):
        assert found.edit is None
        assert found.record.actors.changed_by == "alice"


def test_a_deletion_names_no_one() -> None:
    """No annotation says who deleted an object."""
    first = decided(annotations=by("alice"))

    gone = decided(first, generation=2, deleting=True, annotations=by("alice"))

    assert gone.edit is None
    assert gone.record.actors == first.record.actors


def test_an_older_view_records_nothing() -> None:
    """A copy of the object from before an edit does not take the name of its author away."""
    second = decided(decided(annotations=by("alice")), generation=2, suspend=True, annotations=by("bob"))

    assert decided(second, annotations=by("alice")).record.actors.changed_by == "bob"


def test_a_name_does_not_outlive_the_setting() -> None:
    """Once actors are not recorded any more, an edit is not shown with the name of an earlier one."""
    first = decided(annotations=by("alice"))

    assert decided(first, SILENT, annotations=by("alice")).record == first.record
    assert decided(first, SILENT, generation=2, suspend=True, annotations=by("bob")).record.actors == UNKNOWN


def test_objects_from_before_the_setting_get_their_names() -> None:
    """When the policy and the setting come, what is planned is shown with the name of its author."""
    known = decided(rules=SILENT, annotations=by("alice"))

    assert decided(known, annotations=by("alice")).record.actors.changed_by == "alice"


@pytest.mark.parametrize(
    ("name", "kept"), [("x" * 300, "x" * 256), ("a\x00b\x1b\n", "a\ufffdb\ufffd\ufffd"), ("", None)]
)
def test_names_are_bounded_and_printable(name: str, kept: str | None) -> None:
    """The database refuses some characters, and a terminal obeys others."""
    assert Actors.from_annotations({"flagschedule.io/origin": name}).origin == kept


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"suspend": True}, "Held by spec.suspend (last changed by bob); set it to false to have the change made"),
        ({"cancel": True}, "Given up by spec.cancel (last changed by bob) before its change was made;"),
    ],
)
def test_a_stop_names_who_changed_the_object_last(fields: dict[str, Any], message: str) -> None:
    """In the status and in the message that people read."""
    first = decided(annotations=by("alice"))
    stopped = decided(first, generation=2, annotations=by("bob"), **fields)

    shown = status.compute(obj(generation=2, **fields), Snapshot(record=stopped.record, row=stopped.row, now=NOW))

    assert shown
    assert shown.by == "bob"
    assert (shown.message or "").startswith(message)


def shown(on: PlanWorld, plan: FlagPlan) -> PlanStatus:
    """Plan it, and return the status that it has then."""
    decision = on.reconcile(plan)
    found = plan_status.compute(plan, on.facts(plan), decision)
    assert found
    return found


def test_versions_of_a_plan_are_recorded_with_their_authors() -> None:
    """Each version once, with its spec; a plan that was given up keeps the name of who gave it up."""
    on = replace(world(MONDAY), rules=RECORDING)

    for _ in range(2):
        on.reconcile(ramp(annotations=by("alice", origin="shop@4f2a")))
    on.reconcile(ramp(generation=2, suspend=True, annotations=by("bob")))
    on.reconcile(ramp(generation=2, suspend=True, annotations=by("eve") | {"flagschedule.io/approved": "all"}))
    on.reconcile(ramp(generation=3, cancel=True, annotations=by("carol")))
    on.reconcile(ramp(generation=4, annotations=by("dave")))

    kept = [(edit.generation, edit.actor, edit.origin) for edit in on.edits]
    assert kept == [(1, "alice", "shop@4f2a"), (2, "bob", None), (2, "eve", None), (3, "carol", None)]
    assert on.edits[0].spec is not None
    assert [step["name"] for step in on.edits[0].spec["steps"]] == ["five", "quarter", "all"]
    assert [record.actors.changed_by for record in on.records.values()] == ["carol"]


def test_without_the_setting_nothing_is_recorded_of_a_plan() -> None:
    """Where no policy writes the annotations they are a tenant's text."""
    on = replace(world(MONDAY), rules=SILENT)

    assert shown(on, ramp(annotations=by("mallory"))).by is None

    assert on.edits == []
    assert [record.actors for record in on.records.values()] == [UNKNOWN]


def test_who_resumes_a_plan_that_waits_then_is_named() -> None:
    """Also where the plan has something else to say, as for a flag that is missing by then."""
    on = replace(world(MONDAY), rules=RECORDING)
    on.flags.clear()
    shown(on, ramp(annotations=by("alice")))
    suspended = shown(on, ramp(generation=2, suspend=True, annotations=by("bob")))
    resumed = shown(on, ramp(generation=3, annotations=by("carol")))

    events = PlanTransition(old=suspended, new=resumed).events

    assert [event.reason for event in events] == ["FlagNotFound", "Resumed"]
    assert events[1].message.startswith("Resumed by carol.")


def test_a_plan_and_its_events_name_who_acted() -> None:
    """BY, the messages of Suspended and Cancelled, and the Events of what a person did."""
    on = replace(world(MONDAY), rules=RECORDING)
    planned = shown(on, ramp(annotations=by("alice")))
    suspended = shown(on, ramp(generation=2, suspend=True, annotations=by("bob")))
    resumed = shown(on, ramp(generation=3, annotations=by("bob")))
    edited = shown(on, ramp("2027-01-13T09:00:00Z", generation=4, annotations=by("carol")))
    cancelled = shown(on, ramp("2027-01-13T09:00:00Z", generation=5, cancel=True, annotations=by("dave")))

    versions = [planned, suspended, resumed, edited, cancelled]
    assert [found.by for found in versions] == ["alice", "bob", "bob", "carol", "dave"]
    events = [
        [
            (event.reason, event.message[: event.message.index(".") + 1])
            for event in PlanTransition(old=old, new=new).events
        ]
        for old, new in pairwise(versions)
    ]
    assert events == [
        [("Suspended", "Held by spec.")],
        [("Resumed", "Resumed by bob.")],
        [("Edited", "Edited by carol.")],
        [("Cancelled", "Given up by spec.")],
    ]
    assert (suspended.message or "").startswith("Held by spec.suspend (last changed by bob), ends of")
    assert (cancelled.message or "").startswith("Given up by spec.cancel (last changed by dave); create")
