"""From object, record and row to the status that people and programs read."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagschedule.domain.history import Attempt, FlagChange, FlagValues, History
from flagschedule.domain.outcome import Holding, Reason, Record, Row, Snapshot, State
from flagschedule.domain.schedule import FlagSchedule
from flagschedule.domain.status import compute
from tests.unit.builders import HOUR, NOW, ROW_ID, obj, row


def record(**fields: Any) -> Record:
    """Return the record of the object that `obj()` makes."""
    made = obj()
    assert made.spec is not None
    values: dict[str, Any] = {
        "ref": made.ref,
        "created_at": made.created_at,
        "schedule_id": ROW_ID,
        "generation": 1,
        "flag_key": "checkout-v2",
        "environment": "production",
        "scheduled_at": made.spec.scheduled_at,
        "arming_hash": made.spec.arming_hash,
        "change_hash": made.spec.change_hash,
        **fields,
    }
    return Record(**values)


def status(found: Row | None, known: Record | None = None, **fields: Any) -> dict[str, Any]:
    """Return the status of an object made by `obj(**fields)`, in the API's shape."""
    return _computed(obj(**fields), Snapshot(record=known or record(), row=found, now=NOW))


def _computed(of: FlagSchedule, snapshot: Snapshot) -> dict[str, Any]:
    computed = compute(of, snapshot)
    assert computed is not None
    return computed.as_json()


def conditions(of: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return status and reason of each condition."""
    return {condition["type"]: (condition["status"], condition["reason"]) for condition in of["conditions"]}


APPLIED = {"state": State.APPLIED, "applied_at": NOW}
FAILED = {"state": State.FAILED, "last_error": "the database refused the change (check_violation)"}

ROWS: list[tuple[Row | None, dict[str, Any], str, dict[str, tuple[str, str]]]] = [
    (row(), {}, "Pending", {"Ready": ("True", "Mirrored"), "Applied": ("Unknown", "Scheduled")}),
    (
        row(suspended=True),
        {},
        "Suspended",
        {"Ready": ("True", "Suspended"), "Applied": ("Unknown", "Suspended")},
    ),
    (
        None,
        {"state": State.WAITING, "reason": Reason.FLAG_NOT_FOUND},
        "Waiting",
        {"Ready": ("False", "FlagNotFound"), "Applied": ("Unknown", "FlagNotFound")},
    ),
    (
        row(**FAILED, reason=Reason.ATTEMPT_FAILED, retry_count=2, next_retry_at=NOW + HOUR),
        {},
        "Retrying",
        {"Ready": ("True", "Mirrored"), "Applied": ("Unknown", "Retrying")},
    ),
    (
        row(
            set_aside_count=1, set_aside_until=NOW + HOUR, last_error="the database refused the change (no_data_found)"
        ),
        {},
        "Retrying",
        {"Ready": ("True", "Mirrored"), "Applied": ("Unknown", "Retrying")},
    ),
    (
        row(**APPLIED, reason=Reason.APPLIED),
        {},
        "Applied",
        {"Ready": ("True", "Applied"), "Applied": ("True", "Applied")},
    ),
    (
        row(**APPLIED, reason=Reason.PARTLY_SUPERSEDED, sets=("enabled",)),
        {},
        "Applied",
        {"Ready": ("True", "Applied"), "Applied": ("True", "PartlySuperseded")},
    ),
    (
        None,
        {"state": State.APPLIED, "reason": Reason.REPLAYED, "applied_at": NOW},
        "Applied",
        {"Ready": ("True", "Replayed"), "Applied": ("True", "Replayed")},
    ),
    (
        row(**APPLIED, reason=Reason.SUPERSEDED),
        {},
        "Superseded",
        {"Ready": ("True", "Superseded"), "Applied": ("True", "Superseded")},
    ),
    (
        row(**APPLIED, reason=Reason.ALREADY_SET),
        {},
        "Applied",
        {"Ready": ("True", "Applied"), "Applied": ("True", "AlreadySet")},
    ),
    (
        row(
            state=State.CANCELLED,
            reason=Reason.SKIPPED,
            last_error="expected enabled=true, but the flag has enabled=false",
        ),
        {},
        "Skipped",
        {"Ready": ("True", "Skipped"), "Applied": ("False", "Skipped")},
    ),
    (
        row(state=State.CANCELLED, reason=Reason.CANCELLED),
        {},
        "Cancelled",
        {"Ready": ("True", "Cancelled"), "Applied": ("False", "Cancelled")},
    ),
    (
        row(**FAILED, reason=Reason.RETRIES_EXHAUSTED, retry_count=3),
        {},
        "Failed",
        {
            "Ready": ("False", "RetriesExhausted"),
            "Applied": ("False", "RetriesExhausted"),
            "Stalled": ("True", "RetriesExhausted"),
        },
    ),
    (
        row(**FAILED, reason=Reason.EXPECTATION_NOT_MET),
        {},
        "Failed",
        {
            "Ready": ("False", "ExpectationNotMet"),
            "Applied": ("False", "ExpectationNotMet"),
            "Stalled": ("True", "ExpectationNotMet"),
        },
    ),
    (
        None,
        {"state": State.FAILED, "reason": Reason.FLAG_DELETED},
        "Failed",
        {"Ready": ("False", "FlagDeleted"), "Applied": ("False", "FlagDeleted"), "Stalled": ("True", "FlagDeleted")},
    ),
    (
        None,
        {"state": State.EXPIRED, "reason": Reason.EXPIRED},
        "Expired",
        {"Ready": ("False", "Expired"), "Applied": ("False", "Expired"), "Stalled": ("True", "Expired")},
    ),
    (
        None,
        {"state": State.EXPIRED, "reason": Reason.HISTORY},
        "Expired",
        {"Ready": ("True", "Expired"), "Applied": ("False", "Expired")},
    ),
    (
        None,
        {"state": State.INVALID, "reason": Reason.INVALID_SPEC},
        "Invalid",
        {"Ready": ("False", "InvalidSpec"), "Applied": ("False", "InvalidSpec"), "Stalled": ("True", "InvalidSpec")},
    ),
]


@pytest.mark.parametrize(
    ("found", "known", "phase", "expected"), ROWS, ids=[f"{case[2]}-{n}" for n, case in enumerate(ROWS)]
)
def test_each_outcome_has_its_phase_and_conditions(
    found: Row | None, known: dict[str, Any], phase: str, expected: dict[str, tuple[str, str]]
) -> None:
    """Phase, conditions and reasons are those of the design's table, each with a sentence and the generation."""
    made = status(found, record(**known), cancel=phase == "Cancelled")

    assert made["phase"] == phase
    assert conditions(made) == expected
    assert all(len(each["message"]) > 10 for each in made["conditions"])
    assert {each["observedGeneration"] for each in made["conditions"]} == {1}


HOLDING = Holding("incident-4711", "INC-4711: checkout is down", NOW + HOUR)


def frozen(found: Row, holding: Holding = HOLDING) -> dict[str, Any]:
    """Return the status of an object whose row is due and held."""
    return _computed(obj(), Snapshot(record=record(), row=found, now=NOW, holding=holding))


def test_a_frozen_schedule_names_the_freeze_its_reason_and_its_end() -> None:
    """It is accepted, its change is open, and the message says what holds it and when it goes on."""
    made = frozen(row())

    assert made["phase"] == "Frozen"
    assert conditions(made) == {"Ready": ("True", "Frozen"), "Applied": ("Unknown", "Frozen")}
    assert made["message"] == (
        'The change is due, and held by the FlagFreeze "incident-4711" until 2026-12-01T10:00:00Z: '
        "INC-4711: checkout is down."
    )
    assert "until it is deleted" in frozen(row(), replace(HOLDING, ends_at=None))["message"]


def test_a_frozen_retry_says_what_failed() -> None:
    """A retry that is due and held keeps its error and its count."""
    made = frozen(row(state=State.FAILED, retry_count=1, next_retry_at=NOW, last_error="no"))

    assert (made["phase"], made["retryCount"]) == ("Frozen", 1)
    assert made["message"].startswith("Attempt 1 of 4 failed: no; the next one is held by the FlagFreeze")


def test_what_is_suspended_or_done_is_not_frozen() -> None:
    """A person's own hold and an outcome come first."""
    assert frozen(row(suspended=True))["phase"] == "Suspended"
    assert frozen(row(**APPLIED))["phase"] == "Applied"


def test_change_and_times_are_for_people() -> None:
    """The change reads as one, and the times are RFC 3339."""
    made = status(row(**APPLIED, updates={"rolloutPercentage": 25, "enabled": True}, retry_count=1))

    assert made["change"] == "enabled=true, rolloutPercentage=25"
    assert made["appliedAt"] == "2026-12-01T09:00:00Z"
    assert (made["retryCount"], made["maxRetries"], made["scheduleId"]) == (1, 3, str(ROW_ID))


def test_a_retry_shows_what_happened_and_what_happens_next() -> None:
    """A Retrying object names the attempt, the error and the next time."""
    made = status(row(**FAILED, retry_count=2, next_retry_at=NOW + timedelta(minutes=8)))

    assert made["conditions"][1]["message"] == (
        "Attempt 2 of 4 failed: the database refused the change (check_violation); "
        "the next attempt is due at 2026-12-01T09:08:00Z."
    )


@pytest.mark.parametrize(
    "columns", [{}, {"state": State.FAILED, "retry_count": 1, "next_retry_at": NOW - HOUR}], ids=["first", "retry"]
)
def test_a_set_aside_schedule_shows_why_and_until_when(columns: dict[str, Any]) -> None:
    """A schedule that the database refused for no outcome says so: the condition, and when it is tried again."""
    found = row(
        set_aside_count=2,
        set_aside_until=NOW + timedelta(minutes=1),
        last_error="the database refused the change (lock_not_available)",
        **columns,
    )

    made = status(found)

    assert made["nextRetryAt"] == "2026-12-01T09:01:00Z"
    assert made["conditions"][1]["message"] == (
        "Set aside 2 times, without an attempt consumed: the database refused the change (lock_not_available); "
        "it is tried again at 2026-12-01T09:01:00Z."
    )


def test_a_schedule_set_aside_too_often_shows_a_failed_attempt() -> None:
    """Once it counts as failed, the ordinary sentence of a failed attempt describes it."""
    found = row(**FAILED, retry_count=1, next_retry_at=NOW + HOUR, set_aside_count=5, set_aside_until=NOW + HOUR)

    assert status(found)["conditions"][1]["message"].startswith("Attempt 1 of 4 failed: ")


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            row(),
            "Scheduled for 2026-12-01T10:00:00Z; the first run of the processor from then on makes the change.",
        ),
        (
            row(suspended=True),
            (
                "Held by spec.suspend; set it to false to have the change made at 2026-12-01T10:00:00Z, or at once if "
                "that has passed."
            ),
        ),
        (
            row(**FAILED, suspended=True, retry_count=1, next_retry_at=NOW + HOUR),
            (
                "Attempt 1 of 4 failed: the database refused the change (check_violation); "
                "held by spec.suspend. Set it to false to have the change tried again."
            ),
        ),
        (
            row(state=State.FAILED, retry_count=1, next_retry_at=NOW),
            ("Attempt 1 of 4 failed: the reason was not recorded; the next attempt is due at 2026-12-01T09:00:00Z."),
        ),
        (
            row(**FAILED, max_retries=0, reason=Reason.RETRIES_EXHAUSTED),
            (
                "The only attempt failed: the database refused the change (check_violation). "
                "Fix the cause, then request a retry with the annotation flagschedule.io/retry-requested-at, "
                "or set a later scheduledAt."
            ),
        ),
        (row(**APPLIED), "Applied at 2026-12-01T09:00:00Z."),
        (
            row(state=State.CANCELLED),
            (
                "Given up in the database, by another program, before its change was made; "
                "create a FlagSchedule with a new name for a new plan."
            ),
        ),
    ],
)
def test_a_message_says_what_happened_and_what_happens_next(found: Row, sentence: str) -> None:
    """The sentence of the condition Applied is one that a person can act on."""
    assert status(found)["conditions"][1]["message"] == sentence


@pytest.mark.parametrize("reason", [Reason.EXPIRED, Reason.DEADLINE_EXCEEDED])
def test_a_request_to_retry_what_came_too_late_is_refused_in_words(reason: Reason) -> None:
    """A retry request for a schedule that was never tried in time is answered with: this does not help; this does."""
    made = status(row(state=State.FAILED, reason=reason), record(retry_request="now"))

    message = made["conditions"][1]["message"]
    assert "a request to retry is refused" in message
    assert "Set a later scheduledAt" in message
    assert made["lastHandledRetryRequest"] == "now"


def test_a_partly_superseded_change_names_what_it_set() -> None:
    """The message of PartlySuperseded names the properties that this schedule set."""
    made = status(row(**APPLIED, reason=Reason.PARTLY_SUPERSEDED, sets=("enabled",)))

    assert "set enabled;" in made["conditions"][1]["message"]


def test_an_edit_that_came_too_late_says_so() -> None:
    """The object is observed, shows what was really applied and when, and Ready and the wide columns say so."""
    made = status(row(**APPLIED), generation=2, updates={"enabled": False}, at=NOW + 9 * HOUR)

    assert made["observedGeneration"] == 2
    assert (made["change"], made["scheduledAt"]) == ("enabled=true", "2026-12-01T10:00:00Z")
    assert conditions(made) == {"Ready": ("True", "EditTooLate"), "Applied": ("True", "Applied")}
    assert made["reason"] == "EditTooLate"
    assert made["message"] == made["conditions"][0]["message"]
    assert made["message"].startswith(
        "The change was applied at 2026-12-01T09:00:00Z as enabled=true; the spec now differs, and what differs does "
        "nothing."
    )


@pytest.mark.parametrize(("found", "known", "phase", "_"), ROWS, ids=[f"{case[2]}-{n}" for n, case in enumerate(ROWS)])
@pytest.mark.parametrize("passed", [HOUR, timedelta(days=400)])
def test_no_message_becomes_untrue_while_time_passes(
    found: Row | None, known: dict[str, Any], phase: str, _: object, passed: timedelta
) -> None:
    """A status message depends on no clock, so it stays true without being rewritten."""
    fields = {"cancel": phase == "Cancelled"}
    first = status(found, record(**known), **fields)

    later = _computed(obj(**fields, status=first), Snapshot(record=record(**known), row=found, now=NOW + passed))

    assert later == first


@pytest.mark.parametrize("edit", [{"cancel": False}, {"cancel": None}, {"cancel": True, "updates": {"enabled": False}}])
def test_a_cancel_that_was_undone_says_that_it_stays(edit: dict[str, Any]) -> None:
    """A cancelled schedule stays cancelled; a spec that says something else is reported, and is no failure."""
    made = status(row(state=State.CANCELLED, reason=Reason.CANCELLED), generation=3, **edit)

    assert made["phase"] == "Cancelled"
    assert conditions(made) == {"Ready": ("True", "EditTooLate"), "Applied": ("False", "Cancelled")}
    assert made["message"].startswith("This schedule was given up; the spec now differs")


def test_a_file_edited_and_created_again_says_so() -> None:
    """A replayed change with other updates was not made with them: they are not shown as if they had been."""
    first = obj().spec
    assert first
    known = record(
        schedule_id=None, state=State.APPLIED, reason=Reason.REPLAYED, applied_at=NOW, change_hash=first.change_hash
    )

    same, differs = status(None, known, maxRetries=9), status(None, known, updates={"enabled": False})

    assert conditions(same)["Ready"] == ("True", "Replayed")
    assert conditions(differs) == {"Ready": ("True", "EditTooLate"), "Applied": ("True", "Replayed")}
    assert "change" not in differs


def test_times_in_status_sort_as_text() -> None:
    """A time with an offset is shown in UTC, so that kubectl's sorting by text is sorting by time."""
    made = [
        status(row(scheduled_at=obj(scheduledAt=at).spec.scheduled_at))["scheduledAt"]  # type: ignore[union-attr]  # it is a good spec
        for at in ("2035-01-01T09:30:00Z", "2035-01-01T10:00:00+01:00", "2034-12-31T23:00:00-11:00")
    ]

    assert made == ["2035-01-01T09:30:00Z", "2035-01-01T09:00:00Z", "2035-01-01T10:00:00Z"]


def test_the_loser_of_a_tie_shows_no_later_time() -> None:
    """Of two schedules with the same time the one created later wins; both messages leave that open."""
    messages = [
        status(row(**APPLIED, reason=reason, sets=("enabled",)))["message"]
        for reason in (Reason.SUPERSEDED, Reason.PARTLY_SUPERSEDED)
    ]

    assert all("with a later time, or with the same time and created later," in message for message in messages)


def test_a_suspension_that_came_too_late_says_so() -> None:
    """A suspension at the time of the application is answered with: it was applied."""
    made = status(row(**APPLIED), generation=2, suspend=True)

    assert conditions(made)["Ready"] == ("True", "EditTooLate")


def test_a_row_that_failed_without_our_words_is_exhausted() -> None:
    """A row whose failure another program recorded, without a reason, is Failed like ours."""
    made = status(row(state=State.FAILED, retry_count=3))

    assert conditions(made)["Stalled"] == ("True", "RetriesExhausted")


def test_an_invalid_object_shows_no_change() -> None:
    """An invalid object does not show the change of its cancelled plan."""
    assert "change" not in status(row(state=State.CANCELLED, reason=Reason.INVALID_SPEC), generation=2, updates={})


@pytest.mark.parametrize(
    "late", [{"suspend": True}, {"cancel": True}, {"maxRetries": 1}, {"startingDeadlineSeconds": 60}, {"updates": {}}]
)
@pytest.mark.parametrize("reason", [Reason.APPLIED, Reason.SUPERSEDED])
def test_every_edit_that_came_too_late_says_so(late: dict[str, Any], reason: Reason) -> None:
    """After a late edit of any field Ready says so, so that the freeze lets the edit be taken back."""
    found = row(**APPLIED, reason=reason)

    assert conditions(status(found, generation=2, **late))["Ready"] == ("True", "EditTooLate")
    assert conditions(status(found, generation=3))["Ready"] != ("True", "EditTooLate")


def test_a_held_object_that_was_applied_before_is_no_edit() -> None:
    """An object that Git holds and that an earlier one of its name has applied was not edited."""
    known = record(state=State.APPLIED, reason=Reason.REPLAYED, applied_at=NOW)

    assert conditions(status(None, known, suspend=True))["Ready"] == ("True", "Replayed")


@pytest.mark.parametrize("reason", [Reason.EXPIRED, Reason.HISTORY, Reason.DEADLINE_EXCEEDED])
def test_what_came_too_late_says_that_a_retry_is_refused(reason: Reason) -> None:
    """A retry request for a schedule that came too late is refused in the status."""
    made = status(row(state=State.FAILED, reason=reason), record(retry_request="now"))

    assert "a request to retry is refused" in made["conditions"][0]["message"]
    assert made["lastHandledRetryRequest"] == "now"


def test_an_edit_not_yet_mirrored_is_not_observed() -> None:
    """A status written between edit and mirroring carries the generation that the row holds."""
    assert status(row(), generation=2, updates={"enabled": False})["observedGeneration"] == 1


def test_transition_time_moves_only_with_the_status() -> None:
    """lastTransitionTime is kept while a condition's status stays, and set when it changes."""
    before = status(row())
    old = [{**each, "lastTransitionTime": "2020-01-01T00:00:00Z"} for each in before["conditions"]]

    after = status(row(**APPLIED), status={**before, "conditions": old})

    assert [each["lastTransitionTime"] for each in after["conditions"]] == [
        "2020-01-01T00:00:00Z",  # Ready stays True, with another reason
        "2026-12-01T09:00:00Z",  # Applied goes from Unknown to True
    ]


def test_nothing_recorded_is_no_status() -> None:
    """An object that was never mirrored keeps the status it has."""
    assert compute(obj(), Snapshot(record=None, row=None, now=NOW)) is None


purgeable = st.builds(
    row,
    state=st.sampled_from([State.APPLIED, State.CANCELLED]),
    reason=st.one_of(st.none(), st.sampled_from(sorted({*Reason} - {Reason.INVALID_SPEC}))),
    applied_at=st.one_of(st.none(), st.just(NOW)),
    last_error=st.one_of(st.none(), st.text()),
    retry_count=st.integers(0, 10),
    sets=st.sampled_from([(), ("enabled",)]),
)


@given(purgeable)
def test_a_purged_row_changes_no_status(found: Row) -> None:
    """Once an applied or cancelled row is purged its record keeps the outcome: the status stays, to the letter."""
    first = status(found)
    outcome = record(state=found.state, reason=found.reason, applied_at=found.applied_at)

    assert status(None, outcome, status=first) == first


def test_a_lost_row_does_not_lend_its_words_to_another_outcome() -> None:
    """A retry whose flag was deleted has that message, not the one of the attempt before."""
    before = status(row(**FAILED, reason=Reason.ATTEMPT_FAILED, retry_count=2, next_retry_at=NOW + HOUR))

    made = status(None, record(state=State.FAILED, reason=Reason.FLAG_DELETED), status=before)

    assert "flag was deleted" in made["conditions"][1]["message"]
    assert not made.keys() & {"retryCount", "lastError"}


def test_a_late_change_says_how_late() -> None:
    """`latenessSeconds` counts from the scheduled time; the message names a lateness that is more than a run's."""
    late = row(**{**APPLIED, "applied_at": NOW + HOUR + timedelta(hours=3, minutes=5)}, reason=Reason.APPLIED)
    in_time = row(**{**APPLIED, "applied_at": NOW + HOUR + timedelta(seconds=20)}, reason=Reason.APPLIED)

    assert (status(late)["latenessSeconds"], status(in_time)["latenessSeconds"]) == (11_100, 20)
    assert ", 3 h 5 min after its time." in status(late)["message"]
    assert "after its time" not in status(in_time)["message"]


def test_what_was_tried_stays_where_it_was_not_read() -> None:
    """The attempts and the flag's values come with the outcome, and stay when a later look does not read them."""
    history = History(
        attempts=(Attempt(number=1, arming=0, at=NOW, outcome="applied", reason="Applied"),),
        flag=FlagChange(before=FlagValues(enabled=False, rollout_percentage=0), after=FlagValues(enabled=True)),
    )
    found = row(**APPLIED, reason=Reason.APPLIED)
    first = compute(obj(), Snapshot(record=record(), row=found, now=NOW, history=history))
    assert first

    again = compute(obj(status=first.as_json()), Snapshot(record=record(), row=found, now=NOW + HOUR))

    assert again
    assert again.as_json() == first.as_json()
    assert first.as_json()["flag"] == {
        "before": {"enabled": False, "rolloutPercentage": 0},
        "after": {"enabled": True},
    }
    assert first.as_json()["attempts"] == [
        {"number": 1, "arming": 0, "at": "2026-12-01T09:00:00Z", "outcome": "applied", "reason": "Applied"}
    ]
