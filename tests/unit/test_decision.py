"""The mirror's rules, each with the facts that call for it."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flagschedule.domain.decision import Decision, Facts, Replay, Rules, decide
from flagschedule.domain.outcome import Reason, Record, Row, State
from flagschedule.domain.schedule import FlagSchedule
from tests.unit.builders import FLAG_ID, HOUR, NOW, ROW_ID, obj, row

RULES = Rules(max_retries=3, max_lateness=timedelta(seconds=600))
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def facts(record: Record | None = None, found: Row | None = None, **fields: Any) -> Facts:
    """Return the facts of an existing flag without earlier changes, except for the given fields."""
    values: dict[str, Any] = {"flag_id": FLAG_ID, "replay": None, "now": NOW, **fields}
    return Facts(record=record, row=found, **values)


def mirrored(first: FlagSchedule, **fields: Any) -> tuple[Record, Row]:
    """Record and row as the first mirroring left them, the row then changed by `fields`."""
    decision = decide(first, facts(), RULES)
    assert decision.row is not None
    made = replace(decision.row, id=ROW_ID, **fields)
    return replace(decision.record, schedule_id=ROW_ID), made


def said_applied(**fields: Any) -> dict[str, Any]:
    """Return the status of an object whose change was made an hour ago, with `fields` replaced."""
    return {"observedGeneration": 1, "scheduleId": str(ROW_ID), "appliedAt": "2026-12-01T08:00:00Z", **fields}


def outcome(decision: Decision) -> tuple[State | None, Reason | None]:
    """State and reason, of the row where there is one."""
    where = decision.row or decision.record
    return where.state, where.reason


def test_a_new_object_gets_a_pending_row() -> None:
    """A new object in time, whose flag exists, is pending with the spec's values."""
    decision = decide(obj(maxRetries=5, startingDeadlineSeconds=60, suspend=True), facts(), RULES)

    assert decision.row == row(id=None, max_retries=5, not_after=NOW + HOUR + MINUTE, suspended=True)


def test_max_retries_default_to_the_setting() -> None:
    """A spec without maxRetries gets the setting's value."""
    decision = decide(obj(), facts(), Rules(max_retries=7, max_lateness=HOUR))

    assert decision.row is not None
    assert decision.row.max_retries == 7


def test_a_missing_flag_waits_and_is_mirrored_when_it_appears() -> None:
    """An object without flag waits; once the flag exists it is pending."""
    waiting = decide(obj(), facts(flag_id=None), RULES)
    later = decide(obj(), facts(waiting.record), RULES)

    assert outcome(waiting) == (State.WAITING, Reason.FLAG_NOT_FOUND)
    assert outcome(later) == (State.PENDING, None)
    assert later.record.state is None


def test_a_row_that_another_program_postponed_does_not_expire() -> None:
    """A row that another program moved does not expire without an edit of the object."""
    record, postponed = mirrored(obj(), scheduled_at=NOW + DAY)

    assert decide(obj(), facts(record, postponed, now=NOW + 2 * HOUR), RULES) == Decision(record=record, row=postponed)


def test_a_flag_that_appears_too_late_expires() -> None:
    """A waiting object expires when its time and the allowed lateness have passed, with or without a flag."""
    waiting = decide(obj(), facts(flag_id=None), RULES)

    late = decide(obj(), facts(waiting.record, now=NOW + 2 * HOUR), RULES)

    assert outcome(late) == (State.EXPIRED, Reason.EXPIRED)


@pytest.mark.parametrize(
    ("created", "observed", "late", "expected"),
    [
        (NOW - 2 * HOUR, -1, 30 * MINUTE, (State.PENDING, None)),  # accepted in time, the operator was down
        (NOW - 2 * HOUR, 1, 30 * MINUTE, (State.EXPIRED, Reason.EXPIRED)),  # another database knew it
        (NOW, -1, 5 * MINUTE, (State.PENDING, None)),  # late, within the allowance
        (NOW, -1, 11 * MINUTE, (State.EXPIRED, Reason.EXPIRED)),
        (NOW, -1, 25 * HOUR, (State.EXPIRED, Reason.HISTORY)),
    ],
)
def test_lateness_of_an_object_first_seen_past_its_time(
    created: datetime, observed: int, late: timedelta, expected: tuple[State, Reason | None]
) -> None:
    """Created in time and never observed: applied late. Else the allowance decides, and a day makes it history."""
    found = obj(at=NOW - late, created_at=created, status={"observedGeneration": observed})

    assert outcome(decide(found, facts(), RULES)) == expected


def test_its_own_deadline_overrides_the_allowance() -> None:
    """startingDeadlineSeconds widens what counts as late."""
    found = obj(at=NOW - 30 * MINUTE, created_at=NOW, startingDeadlineSeconds=3600)

    assert outcome(decide(found, facts(), RULES)) == (State.PENDING, None)


def test_the_same_change_is_not_made_twice() -> None:
    """A re-created object whose change an earlier one of its name made is Replayed, with the first one's time."""
    decision = decide(obj(), facts(replay=Replay(applied_at=NOW - HOUR, change_hash=None)), RULES)

    assert outcome(decision) == (State.APPLIED, Reason.REPLAYED)
    assert decision.record.applied_at == NOW - HOUR
    assert decision.row is None


def test_an_edit_before_its_time_changes_the_row() -> None:
    """An edit of a pending schedule takes effect without arming it again."""
    record, found = mirrored(obj())
    edited = obj(at=NOW + 2 * HOUR, updates={"rolloutPercentage": 5}, generation=2)

    assert decide(edited, facts(record, found), RULES).row == replace(
        found, scheduled_at=NOW + 2 * HOUR, updates={"rolloutPercentage": 5}
    )


def test_an_edit_to_a_past_time_expires() -> None:
    """A time too far back expires here for every writer: policies let GitOps in, and may be missing."""
    record, found = mirrored(obj())

    assert outcome(decide(obj(at=NOW - HOUR, generation=2), facts(record, found), RULES)) == (
        State.FAILED,
        Reason.EXPIRED,
    )


def test_an_older_generation_never_overwrites_a_newer_one() -> None:
    """A stale view of the object writes nothing."""
    record, found = mirrored(obj(generation=3))

    assert decide(obj(generation=2, at=NOW + 5 * HOUR), facts(record, found), RULES) == Decision(
        record=record, row=found
    )


@pytest.mark.parametrize("state", [State.APPLIED, State.CANCELLED])
def test_a_handled_row_is_never_armed_again(state: State) -> None:
    """An edit that comes too late changes neither row nor record."""
    record, found = mirrored(obj(), state=state, reason=Reason.APPLIED, applied_at=NOW)

    edited = obj(generation=2, at=NOW + 3 * HOUR)

    assert decide(edited, facts(record, found), RULES) == Decision(record=record, row=found)


@pytest.mark.parametrize(
    "state",
    [
        {"state": State.FAILED, "reason": Reason.RETRIES_EXHAUSTED, "retry_count": 3},
        {"state": State.FAILED, "reason": Reason.EXPIRED},
        {"state": State.FAILED, "reason": Reason.ATTEMPT_FAILED, "retry_count": 1, "next_retry_at": NOW + MINUTE},
        {"state": State.CANCELLED, "reason": Reason.INVALID_SPEC},
    ],
)
def test_an_edit_arms_what_failed_again(state: dict[str, Any]) -> None:
    """An edit of a Failed, Expired, Retrying or Invalid schedule makes it pending, with a clean slate."""
    record, found = mirrored(obj(), last_error="no", **state)

    armed = decide(obj(generation=2, maxRetries=4), facts(record, found), RULES).row

    assert armed == replace(
        found,
        state=State.PENDING,
        reason=None,
        arming=1,
        retry_count=0,
        next_retry_at=None,
        last_error=None,
        max_retries=4,
    )


def test_suspend_never_arms() -> None:
    """Suspending a failed schedule changes that one column."""
    record, found = mirrored(obj(), state=State.FAILED, reason=Reason.RETRIES_EXHAUSTED)

    assert decide(obj(generation=2, suspend=True), facts(record, found), RULES).row == replace(found, suspended=True)


def test_a_retry_request_acts_once() -> None:
    """The annotation arms a failed schedule once for each value, also after its deadline and lateness."""
    record, found = mirrored(
        obj(startingDeadlineSeconds=60), state=State.FAILED, reason=Reason.RETRIES_EXHAUSTED, retry_count=3
    )
    requesting = obj(startingDeadlineSeconds=60, annotations={"flagschedule.io/retry-requested-at": "now"})
    late = {"now": NOW + 5 * HOUR}

    first = decide(requesting, facts(record, found, **late), RULES)
    assert first.row is not None
    again = replace(first.row, state=State.FAILED, reason=Reason.RETRIES_EXHAUSTED)
    second = decide(requesting, facts(first.record, again, **late), RULES)

    assert (first.row.state, first.row.arming, first.row.not_after) == (State.PENDING, 1, None)
    assert second.row == again
    assert second.record.retry_request == "now"


def test_a_request_or_an_edit_retries_a_set_aside_schedule_at_once() -> None:
    """A user who fixed the cause does not wait for set_aside_until; an edit that requests nothing changes nothing."""
    record, found = mirrored(obj(), set_aside_count=3, set_aside_until=NOW + HOUR)
    known = facts(record, found)

    requested = decide(obj(annotations={"flagschedule.io/retry-requested-at": "now"}), known, RULES)
    edited = decide(obj(generation=2, updates={"rolloutPercentage": 5}), known, RULES)

    assert decide(obj(), known, RULES).row == found
    for decision in (requested, edited):
        assert decision.row
        assert (decision.row.state, decision.row.set_aside_until) == (State.PENDING, None)


def test_a_retry_request_does_not_wake_what_expired() -> None:
    """A retry request does not arm a schedule that expired."""
    record, found = mirrored(obj(), state=State.FAILED, reason=Reason.EXPIRED)
    requesting = obj(annotations={"flagschedule.io/retry-requested-at": "now"})

    assert decide(requesting, facts(record, found), RULES).row == found


@pytest.mark.parametrize("value", ["", "2026-12-01T09:00:00+00:00", "please"])
def test_every_value_of_a_request_acts_once(value: str) -> None:
    """Any value of the annotation, also an empty one, is acted on once; removing it requests nothing."""
    record, found = mirrored(obj(), state=State.FAILED, reason=Reason.RETRIES_EXHAUSTED)
    requesting = obj(annotations={"flagschedule.io/retry-requested-at": value})

    first = decide(requesting, facts(record, found), RULES)
    assert first.row
    failed = facts(first.record, replace(first.row, state=State.FAILED, reason=Reason.RETRIES_EXHAUSTED))

    assert first.row.arming == 1
    for view in (requesting, obj()):
        assert decide(view, failed, RULES) == Decision(record=first.record, row=failed.row)
    assert first.record.retry_request == value


@pytest.mark.parametrize(
    "state",
    [
        {"state": State.PENDING},
        {"state": State.APPLIED, "reason": Reason.APPLIED, "applied_at": NOW},
        {"state": State.CANCELLED, "reason": Reason.CANCELLED},
        {"state": State.CANCELLED, "reason": Reason.INVALID_SPEC},
        {"state": State.FAILED, "reason": Reason.DEADLINE_EXCEEDED},
        {"state": State.FAILED, "reason": Reason.EXPIRED},
    ],
)
def test_a_request_with_nothing_to_retry_is_noted(state: dict[str, Any]) -> None:
    """A request with nothing to retry changes no row, and is recorded as handled."""
    record, found = mirrored(obj(), **state)
    requesting = obj(annotations={"flagschedule.io/retry-requested-at": "now"})

    decision = decide(requesting, facts(record, found), RULES)

    assert decision == Decision(record=replace(record, retry_request="now"), row=found)


def test_a_request_while_another_attempt_is_due_arms_again() -> None:
    """A Retrying schedule is tried at once, with all its retries ahead of it again."""
    retrying = {"state": State.FAILED, "reason": Reason.ATTEMPT_FAILED, "retry_count": 2, "next_retry_at": NOW + HOUR}
    record, found = mirrored(obj(), last_error="no", **retrying)
    requesting = obj(annotations={"flagschedule.io/retry-requested-at": "now"})

    assert decide(requesting, facts(record, found), RULES).row == row(arming=1)


@pytest.mark.parametrize(
    "unhandled",
    [
        {"state": State.PENDING},
        {"state": State.PENDING, "suspended": True},
        {"state": State.FAILED, "reason": Reason.ATTEMPT_FAILED, "next_retry_at": NOW + MINUTE},
        {"state": State.FAILED, "reason": Reason.RETRIES_EXHAUSTED},
        {"state": State.FAILED, "reason": Reason.EXPIRED},
        {"state": State.CANCELLED, "reason": Reason.INVALID_SPEC},
        None,
    ],
)
@pytest.mark.parametrize("edit", [{}, {"updates": {"enabled": False}, "at": NOW + 2 * HOUR}])
def test_cancel_ends_every_unhandled_schedule(unhandled: dict[str, Any] | None, edit: dict[str, Any]) -> None:
    """spec.cancel ends every unhandled schedule as Cancelled, regardless of the rest of the edit."""
    record, found = mirrored(obj(), **unhandled or {})
    waiting = decide(obj(), facts(flag_id=None), RULES).record
    known = facts(waiting, flag_id=None) if unhandled is None else facts(record, found)

    decision = decide(obj(cancel=True, generation=2, **edit), known, RULES)

    assert outcome(decision) == (State.CANCELLED, Reason.CANCELLED)
    assert decision.row is None or decision.row.finished


def test_a_cancelled_row_is_a_note_of_the_last_spec() -> None:
    """An edit that cancels and changes the plan at once leaves a row that equals the spec."""
    record, found = mirrored(obj())

    decision = decide(obj(cancel=True, generation=2, updates={"enabled": False}), facts(record, found), RULES)

    assert decision.row == replace(
        found, state=State.CANCELLED, reason=Reason.CANCELLED, updates={"enabled": False}, next_retry_at=None
    )


def test_a_deleted_schedule_is_never_armed() -> None:
    """A view of the object from before its deletion, with an edit that was never mirrored, comes too late."""
    record, found = mirrored(obj(), state=State.FAILED, reason=Reason.RETRIES_EXHAUSTED)
    gone = decide(obj(generation=3, deleting=True), facts(record, found), RULES)
    annotations = {"flagschedule.io/retry-requested-at": "now"}

    assert gone.record.deleted
    for before in (obj(generation=2, maxRetries=5), obj(generation=2, annotations=annotations)):
        assert decide(before, facts(gone.record, gone.row), RULES) == gone


def test_cancel_counts_also_in_a_spec_that_cannot_be_parsed() -> None:
    """spec.cancel works also in a spec whose other fields are invalid."""
    record, found = mirrored(obj())

    for given_facts in (facts(), facts(record, found)):
        decision = decide(obj(cancel=True, updates={}, generation=2), given_facts, RULES)
        assert outcome(decision) == (State.CANCELLED, Reason.CANCELLED)


def test_deletion_cancels_what_is_unfinished_and_keeps_what_is_finished() -> None:
    """Deleting the object gives up a pending or retrying row; an applied or failed one stays as it is."""
    record, pending = mirrored(obj())
    failed = replace(pending, state=State.FAILED, reason=Reason.RETRIES_EXHAUSTED)

    assert outcome(decide(obj(deleting=True), facts(record, pending), RULES)) == (State.CANCELLED, Reason.DELETED)
    assert decide(obj(deleting=True), facts(record, failed), RULES).row == failed


def test_a_live_object_was_not_replaced() -> None:
    """An object that is seen alive after its row was given up for a successor is armed again, if it is in time."""
    record, found = mirrored(obj(), state=State.CANCELLED, reason=Reason.REPLACED)
    gone = replace(record, deleted=True)

    early = decide(obj(), facts(gone, found), RULES)
    late = decide(obj(), facts(gone, found, now=NOW + 2 * HOUR), RULES)

    assert outcome(early) == (State.PENDING, None)
    assert not early.record.deleted
    assert outcome(late) == (State.FAILED, Reason.EXPIRED)


def test_a_status_that_says_applied_is_believed_over_a_restored_row() -> None:
    """A row that a restored database says is pending is not applied a second time."""
    planned: dict[str, Any] = {"at": NOW - HOUR, "created_at": NOW - 3 * HOUR}
    record, found = mirrored(obj(**planned))
    knowing = obj(**planned, status=said_applied())

    restored = decide(knowing, facts(record, found), RULES)
    forgotten = decide(knowing, facts(), RULES)

    assert outcome(restored) == outcome(forgotten) == (State.APPLIED, Reason.RESTORED_FROM_STATUS)
    assert restored.row is not None
    assert restored.row.applied_at == forgotten.record.applied_at == NOW - HOUR


def test_no_plan_of_a_restored_database_is_applied_again() -> None:
    """An applied change stays applied: a forgotten edit, a planned retry or a deletion does not change that."""
    record, found = mirrored(obj())
    retrying = replace(found, state=State.FAILED, reason=Reason.ATTEMPT_FAILED, next_retry_at=NOW)
    edited: dict[str, Any] = {"status": said_applied(), "generation": 2}
    edited |= {"updates": {"rolloutPercentage": 5}, "at": NOW - HOUR}

    live = decide(obj(**edited), facts(record, found), RULES)
    deleted = decide(obj(**edited, deleting=True), facts(record, retrying), RULES)

    assert outcome(live) == outcome(deleted) == (State.APPLIED, Reason.RESTORED_FROM_STATUS)
    assert live.row is not None
    assert (live.row.updates, live.row.scheduled_at) == ({"rolloutPercentage": 5}, NOW - HOUR)
    assert deleted.row is not None
    assert deleted.row.next_retry_at is None
    assert deleted.record.deleted
    assert live.record.change_hash != record.change_hash  # it is recognised when created again


def test_a_row_made_after_the_backup_is_not_made_a_second_time() -> None:
    """A status that is ahead of the database is believed although the row it names is gone; the older row is given up.

    After the backup another flag, or a retry of what a deleted flag had ended, has led to a row of its own.
    """
    planned: dict[str, Any] = {"at": NOW - HOUR, "created_at": NOW - 3 * HOUR}
    record, found = mirrored(obj(**planned))
    later = said_applied(scheduleId="00000000-0000-7000-8000-0000000000ff")
    moved = obj(**planned, generation=2, flagKey="other", status={**later, "observedGeneration": 2})
    requested = obj(**planned, status={**later, "lastHandledRetryRequest": "now"})

    for knowing in (moved, requested):
        restored = decide(knowing, facts(record, found), RULES)
        assert outcome(restored) == (State.APPLIED, Reason.RESTORED_FROM_STATUS)
        assert (restored.row, restored.record.schedule_id) == (None, None)
        assert restored.replaced == replace(found, state=State.CANCELLED, reason=Reason.REPLACED)
        assert decide(knowing, facts(restored.record), RULES) == replace(restored, replaced=None)


def test_what_was_accepted_in_time_is_not_made_days_later() -> None:
    """Created in time while no operator ran: made within a day, with any allowance; later it needs a person."""
    before = {"created_at": NOW - 40 * DAY}

    late = decide(obj(at=NOW - 23 * HOUR, **before), facts(), RULES)
    days_late = decide(obj(at=NOW - 25 * HOUR, **before), facts(), RULES)
    allowed = decide(obj(at=NOW - 25 * HOUR, **before, startingDeadlineSeconds=400 * 86400), facts(), RULES)

    assert outcome(late) == (State.PENDING, None)
    assert outcome(days_late) == outcome(allowed) == (State.EXPIRED, Reason.EXPIRED)


def test_an_edit_that_was_too_late_stays_so_after_a_restore() -> None:
    """A restored database does not mistake an edit that came too late for what was applied: Git may still revert it."""
    record, found = mirrored(obj())
    too_late = {"type": "Ready", "status": "True", "reason": "EditTooLate"}
    status = said_applied(conditions=[too_late])
    edited = obj(at=NOW - HOUR, generation=2, updates={"enabled": False}, status=status)

    restored = decide(edited, facts(record, found), RULES)

    assert outcome(restored) == (State.APPLIED, Reason.RESTORED_FROM_STATUS)
    assert restored.row is not None
    assert restored.row.updates == {"enabled": True}
    assert restored.record.arming_hash == record.arming_hash


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        ({"at": NOW - 400 * DAY}, Reason.EXPIRED),  # a year mistyped
        ({"maxRetries": 1}, Reason.HISTORY),  # one edit of all old files
    ],
)
def test_a_time_long_past_at_first_sight_is_history(edit: dict[str, Any], reason: Reason) -> None:
    """Long past at first sight is history until a person plans it again; then it is an accident."""
    first = decide(obj(at=NOW - 40 * DAY, created_at=NOW), facts(), RULES)
    assert outcome(first) == (State.EXPIRED, Reason.HISTORY)

    second = decide(obj(**{"at": NOW - 40 * DAY, **edit}, generation=2), facts(first.record), RULES)

    assert outcome(second) == (State.EXPIRED, reason)


def test_a_plan_that_expires_is_an_accident_however_late() -> None:
    """A Waiting object whose time passed days ago, and a pending row moved to long ago, want a person."""
    waiting = decide(obj(), facts(flag_id=None), RULES)
    record, found = mirrored(obj())

    forgotten = decide(obj(), facts(waiting.record, flag_id=None, now=NOW + 3 * DAY), RULES)
    moved = decide(obj(at=NOW - 400 * DAY, generation=2), facts(record, found), RULES)

    assert outcome(forgotten) == (State.EXPIRED, Reason.EXPIRED)
    assert outcome(moved) == (State.FAILED, Reason.EXPIRED)


def test_lateness_is_judged_again_at_every_re_arming() -> None:
    """An Expired object is armed by a time or deadline that allows it, and expires again by one that does not."""
    expired = decide(obj(at=NOW - HOUR, created_at=NOW), facts(), RULES).record
    exhausted = {"state": State.FAILED, "reason": Reason.RETRIES_EXHAUSTED}
    record, failed = mirrored(obj(at=NOW - HOUR, created_at=NOW - 2 * HOUR), **exhausted)
    edits: list[tuple[dict[str, Any], State]] = [
        ({"at": NOW - 30 * MINUTE}, State.EXPIRED),
        ({"at": NOW - HOUR, "maxRetries": 1}, State.EXPIRED),
        ({"at": NOW - HOUR, "startingDeadlineSeconds": 7200}, State.PENDING),
        ({"at": NOW + HOUR}, State.PENDING),
    ]

    for edit, state in edits:
        after = [decide(obj(**edit, generation=2), known, RULES) for known in (facts(expired), facts(record, failed))]
        assert outcome(after[0])[0] is state
        assert outcome(after[1])[0] is (State.FAILED if state is State.EXPIRED else State.PENDING)


def test_a_deletion_counts_at_any_generation() -> None:
    """A deletion is final: after a restore of etcd an object may be deleted at a generation below its record's."""
    record, found = mirrored(obj(generation=7))

    assert outcome(decide(obj(generation=2, deleting=True), facts(record, found), RULES)) == (
        State.CANCELLED,
        Reason.DELETED,
    )


def test_an_edit_that_cannot_be_parsed_disarms() -> None:
    """A bad edit disarms the old plan, and a good edit after it plans again."""
    record, found = mirrored(obj())

    bad = decide(obj(generation=2, updates={}), facts(record, found), RULES)
    good = decide(obj(generation=3), facts(bad.record, bad.row), RULES)

    assert outcome(bad) == (State.CANCELLED, Reason.INVALID_SPEC)
    assert outcome(good) == (State.PENDING, None)


REPLAYED = {"type": "Applied", "status": "True", "reason": "Replayed"}
FORGED: list[tuple[str, dict[str, Any]]] = [
    ("another row's", {"scheduleId": "00000000-0000-7000-8000-0000000000ff"}),
    ("no row's", {"scheduleId": None}),
    ("before its time", {"appliedAt": "2026-12-01T07:59:59Z"}),
    ("years ago", {"appliedAt": "2020-01-01T00:00:00Z"}),
    ("years ago, and its time too", {"appliedAt": "2020-01-01T00:00:00Z", "scheduledAt": "2020-01-01T00:00:00Z"}),
    ("years ago, for an earlier object", {"appliedAt": "2020-01-01T00:00:00Z", "conditions": [REPLAYED]}),
    ("tomorrow", {"appliedAt": "2026-12-02T09:00:00Z"}),
    ("not a time", {"appliedAt": "yesterday"}),
]


@pytest.mark.parametrize(("case", "claim"), FORGED, ids=[case for case, _ in FORGED])
def test_a_status_that_cannot_be_true_ends_no_plan(case: str, claim: dict[str, Any]) -> None:
    """A status that a user edited to Applied is believed only if row and times fit; otherwise the plan continues."""
    planned = {"at": NOW - HOUR, "created_at": NOW - 3 * HOUR}
    record, found = mirrored(obj(**planned))
    claiming = obj(**planned, status={key: value for key, value in said_applied(**claim).items() if value})

    assert decide(claiming, facts(record, found), RULES) == Decision(record=record, row=found), case


@pytest.mark.parametrize("claim", [{"appliedAt": "2020-01-01T00:00:00Z"}, {"appliedAt": "2027-01-01T00:00:00Z"}])
def test_an_object_without_record_is_not_believed_either(claim: dict[str, Any]) -> None:
    """Without a record a status is believed only if its times fit, or the change would never be made."""
    decision = decide(obj(status=said_applied(**claim)), facts(), RULES)

    assert outcome(decision) == (State.PENDING, None)


def test_a_restored_object_with_the_status_of_its_predecessor_makes_nothing() -> None:
    """A status restored by a backup tool into an empty database is not believed, and the change is not applied."""
    restored = obj(at=NOW - 2 * DAY, created_at=NOW, status=said_applied(appliedAt="2026-11-29T09:00:05Z"))

    assert outcome(decide(restored, facts(), RULES)) == (State.EXPIRED, Reason.HISTORY)


@pytest.mark.parametrize(
    ("late", "deadline", "expected"),
    [
        (23 * HOUR, 400 * 86400, (State.PENDING, None)),  # the author said so
        (25 * HOUR, 400 * 86400, (State.EXPIRED, Reason.HISTORY)),
        (800 * DAY, 2_147_483_647, (State.EXPIRED, Reason.HISTORY)),  # a file of long ago with a deadline of years
        (11 * MINUTE, None, (State.EXPIRED, Reason.EXPIRED)),
    ],
)
def test_no_deadline_lets_an_old_file_be_applied(
    late: timedelta, deadline: int | None, expected: tuple[State, Reason | None]
) -> None:
    """A change later than the allowance is applied only with the object's own deadline, and never after a day."""
    found = obj(at=NOW - late, created_at=NOW, startingDeadlineSeconds=deadline)

    assert outcome(decide(found, facts(), RULES)) == expected


def test_an_edit_makes_nothing_a_day_late() -> None:
    """A pending schedule moved to last year is not made, with any deadline; one mirrored in time is made."""
    record, found = mirrored(obj())
    deadline = {"startingDeadlineSeconds": 400 * 86400}

    moved = decide(obj(at=NOW - 2 * DAY, generation=2, **deadline), facts(record, found), RULES)
    kept = decide(obj(), facts(record, found, now=NOW + 5 * DAY), RULES)

    assert outcome(moved) == (State.FAILED, Reason.EXPIRED)
    assert outcome(kept) == (State.PENDING, None)


@pytest.mark.parametrize("edit", [{"flagKey": "other"}, {"environment": "staging"}])
def test_another_flag_gets_a_row_of_its_own(edit: dict[str, Any]) -> None:
    """A planned row is given up as Replaced, and the new flag is planned, or waited for, in its place."""
    record, found = mirrored(obj())
    moved = obj(generation=2, **edit)

    planned = decide(moved, facts(record, found), RULES)
    waiting = decide(moved, facts(record, found, flag_id=None), RULES)

    assert planned.replaced == waiting.replaced == replace(found, state=State.CANCELLED, reason=Reason.REPLACED)
    assert planned.row == row(id=None)
    assert (outcome(waiting), waiting.record.schedule_id) == ((State.WAITING, Reason.FLAG_NOT_FOUND), None)


def test_what_failed_for_another_flag_stays_failed() -> None:
    """A row that had ended keeps its outcome as history; the object goes on with a new one, late or not."""
    record, failed = mirrored(obj(), state=State.FAILED, reason=Reason.RETRIES_EXHAUSTED, retry_count=3)
    moved = obj(generation=2, flagKey="other")

    early = decide(moved, facts(record, failed), RULES)
    late = decide(moved, facts(record, failed, now=NOW + 3 * HOUR), RULES)

    assert early.replaced == late.replaced == failed
    assert outcome(early) == (State.PENDING, None)
    assert outcome(late) == (State.EXPIRED, Reason.EXPIRED)


@pytest.mark.parametrize("edit", [{"flagKey": "other"}, {"environment": "staging"}, {"cancel": True}])
def test_a_handled_row_keeps_its_flag(edit: dict[str, Any]) -> None:
    """For every writer, also without a policy, an edit of a handled schedule changes neither row nor record."""
    record, found = mirrored(obj(), state=State.APPLIED, reason=Reason.APPLIED, applied_at=NOW)

    assert decide(obj(generation=2, **edit), facts(record, found), RULES) == Decision(record=record, row=found)


def test_a_cancel_cannot_be_undone() -> None:
    """For every writer a cancelled schedule stays cancelled when the field leaves the file."""
    record, found = mirrored(obj())
    gone = decide(obj(cancel=True, generation=2), facts(record, found), RULES)

    again = decide(obj(generation=3, at=NOW + 2 * HOUR), facts(gone.record, gone.row), RULES)

    assert again == Decision(record=gone.record, row=gone.row)


def test_an_edited_file_created_again_is_replayed() -> None:
    """A tool that deletes and re-creates an edited applied file does not have it applied twice."""
    first = obj()
    assert first.spec
    replay = Replay(applied_at=NOW - HOUR, change_hash=first.spec.change_hash)

    decision = decide(obj(updates={"enabled": False}), facts(replay=replay), RULES)

    assert outcome(decision) == (State.APPLIED, Reason.REPLAYED)
    assert decision.record.change_hash == first.spec.change_hash


TOO_LATE = {"type": "Ready", "status": "True", "reason": "EditTooLate"}
edits = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "at": st.sampled_from([NOW - 30 * HOUR, NOW - HOUR, NOW - MINUTE, NOW + HOUR]),
            "updates": st.sampled_from([{"enabled": True}, {"rolloutPercentage": 7}, {}]),
            "suspend": st.booleans(),
            "flagKey": st.sampled_from(["checkout-v2", "other"]),
            "cancel": st.booleans(),
            "maxRetries": st.integers(0, 10),
            "deleting": st.booleans(),
            "annotations": st.sampled_from([{}, {"flagschedule.io/retry-requested-at": "now"}]),
            # What only a status knows, because the database was restored to an earlier time.
            "status": st.sampled_from(
                [
                    said_applied(),
                    said_applied(conditions=[TOO_LATE]),
                    said_applied(scheduleId=None, observedGeneration=9),
                ]
            ),
        },
    ),
    min_size=1,
    max_size=5,
)
replays = st.sampled_from([None, Replay(applied_at=NOW - HOUR, change_hash=None)])
# What the processor makes of the row between two looks.
fates = st.sampled_from([
    {},
    {"state": State.FAILED, "reason": Reason.ATTEMPT_FAILED, "retry_count": 1, "next_retry_at": NOW + MINUTE},
    {"state": State.FAILED, "reason": Reason.RETRIES_EXHAUSTED},
    {"state": State.APPLIED, "reason": Reason.APPLIED, "applied_at": NOW - HOUR},
])  # fmt: skip


@given(edits, st.sampled_from([FLAG_ID, None]), replays, fates)
@example([{"at": NOW - HOUR, "deleting": True, "status": said_applied(conditions=[TOO_LATE])}], FLAG_ID, None, {})
@example(
    [{}, {"updates": {}, "deleting": True, "status": said_applied(scheduledAt="2026-12-01T08:00:00Z")}],
    FLAG_ID,
    None,
    {},
)
def test_deciding_twice_is_deciding_once(
    history: list[dict[str, Any]], flag: Any, replay: Replay | None, fate: dict[str, Any]
) -> None:
    """After any history, a restored database included, an object and the facts it made lead to the same facts."""
    record: Record | None = None
    found: Row | None = None
    for generation, fields in enumerate(history, start=1):
        current = obj(generation=generation, **fields)
        decision = decide(current, facts(record, found, flag_id=flag, replay=replay), RULES)
        record = decision.record
        found = replace(decision.row, id=ROW_ID) if decision.row else None
        again = decide(current, facts(record, found, flag_id=flag, replay=replay), RULES)
        assert again == Decision(record=record, row=found)
        found = found if found is None or found.finished else replace(found, **fate)
