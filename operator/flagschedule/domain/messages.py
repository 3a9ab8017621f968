"""The sentences of the conditions: what happened, and what happens next or what to do.

Called by the status function. They must not contain the text of an exception, a host or a secret.
"""

from datetime import timedelta
from typing import Final

from flagschedule.domain.outcome import Holding, Outcome, Reason, Record, Row
from flagschedule.domain.schedule import RETRY_ANNOTATION, FlagSchedule, Phase
from flagschedule.domain.times import rfc3339

_RETRY: Final = (
    f"Fix the cause, then request a retry with the annotation {RETRY_ANNOTATION}, or set a later scheduledAt."
)
_LONGEST_FOREIGN_TEXT: Final = 1024  # the API server refuses a status whose texts are too long
_LATE: Final = timedelta(minutes=2)  # a run of the processor each minute, and its start
_FINAL: Final = {
    Reason.FLAG_DELETED: "The flag was deleted before its change was made. Create the flag again, then request a retry "
    f"with the annotation {RETRY_ANNOTATION} or set a later scheduledAt; or delete this object.",
    Reason.INVALID_UPDATES: "The updates of the row are no change that can be made; another program wrote them there. "
    "Edit spec.updates and set a later scheduledAt to write them again; a retry alone would fail again.",
    Reason.DEADLINE_EXCEEDED: "The first attempt would have been later than startingDeadlineSeconds allow, so the "
    "change was not made. Set a later scheduledAt to make it; a request to retry is refused.",
}
# Of two schedules with the same time the one created later wins.
_LATER: Final = "a schedule with a later time, or with the same time and created later,"
_APPLIED: Final = {
    Reason.REPLAYED: "Handled at {at} for an earlier object of this name, flag and time; nothing was done again.",
    Reason.RESTORED_FROM_STATUS: "Applied at {at}, as this status said; the database had lost it.",
    Reason.ALREADY_SET: "Handled at {at}: the flag had all of these values already; nothing was written.",
    Reason.SUPERSEDED: f"Handled at {{at}}: {_LATER} had already set everything this one sets.",
}


def explain(phase: Phase, obj: FlagSchedule, record: Record, row: Row | None, outcome: Outcome) -> str:
    """Explain the object's phase in one or two sentences, which stay true while time passes: nothing rewrites them."""
    match phase:
        case Phase.PENDING:
            return _pending(record, row)
        case Phase.SUSPENDED:
            return _suspended(record, row)
        case Phase.WAITING:
            return _waiting(record)
        case Phase.RETRYING:
            return _aside(row) if row and row.aside else f"{_attempt(row)}; {_next(row)}."
        case Phase.APPLIED | Phase.SUPERSEDED:
            return _applied(row, outcome)
        case Phase.SKIPPED:
            return f"Skipped: {_error(row)}. Nothing was changed, and nothing is left to do."
        case Phase.CANCELLED:
            return _cancelled(record, outcome.reason)
        case Phase.EXPIRED:
            return _expired(outcome.reason)
        case Phase.INVALID:
            fault = cut(obj.fault or "see the schema", _LONGEST_FOREIGN_TEXT)
            return f"The spec cannot be used: {fault}. Correct it; nothing was changed."
    return _failed(row, outcome)


def frozen(holding: Holding, row: Row | None) -> str:
    """Explain which freeze holds the change and until when, and for a retry why the last attempt failed."""
    held = held_by(holding)
    if row and row.retrying:
        return f"{_attempt(row)}; the next one is {held}"
    return f"The change is due, and {held}"


def held_by(holding: Holding) -> str:
    """Say which freeze holds something and until when, as the end of a sentence."""
    until = f"until {rfc3339(holding.ends_at)}" if holding.ends_at else "until it is deleted"
    why = cut(holding.reason.rstrip("."), _LONGEST_FOREIGN_TEXT)
    return f'held by the FlagFreeze "{holding.freeze}" {until}: {why}.'


def cut(text: str, length: int) -> str:
    """Return the text, or its beginning if it is too long."""
    return text if len(text) <= length else text[: length - 1] + "…"


def edit_too_late(outcome: Outcome, phase: Phase, change: str | None) -> str:
    """Explain what was done, and that the spec differs now. Which came first is not known, so no order is claimed."""
    when = f"at {rfc3339(outcome.applied_at)}" if outcome.applied_at else "at an unknown time"
    done = f"The change was applied {when}" + (f" as {change}" if change else "")
    if phase is Phase.CANCELLED:
        done = "This schedule was given up"
    elif phase is Phase.SKIPPED:
        done = "This schedule was skipped, because the flag did not have the expected values"
    elif phase is Phase.SUPERSEDED:
        done = f"This schedule was handled {when}, after {_LATER} had set everything it sets"
    elif outcome.reason is Reason.REPLAYED:
        done = f"The change was handled {when} for an earlier object of this name, flag and time"
    return (
        f"{done}; the spec now differs, and what differs does nothing. "
        "Revert it, and create a FlagSchedule with a new name for the next change."
    )


def _waiting(record: Record) -> str:
    flag = f'flag "{record.flag_key}" in environment "{record.environment}"'
    if record.reason is Reason.FLAG_LOCKED:
        return (
            f"Not planned yet: another transaction in the database holds a lock on {flag} or on its table. "
            "Tried again every few seconds."
        )
    if record.reason is Reason.FLAG_AMBIGUOUS:
        return (
            f"Not planned: the table feature_flags holds more than one {flag}. Remove all but one; "
            "the change is planned within a minute after that, unless it is too late."
        )
    return (
        f'Flag "{record.flag_key}" does not exist in environment "{record.environment}"; once it does, the '
        "change is planned, unless it is too late. Create the flag, or delete this object if the key is wrong."
    )


def _pending(record: Record, row: Row | None) -> str:
    at = row.scheduled_at if row else record.scheduled_at
    when = f"Scheduled for {rfc3339(at)}" if at else "Scheduled"
    return f"{when}; the first run of the processor from then on makes the change."


def _suspended(record: Record, row: Row | None) -> str:
    held = f"eld by spec.suspend{_changed_by(record)}"
    if row is None:
        return f"H{held}."
    if row.retrying:
        return f"{_attempt(row)}; h{held}. Set it to false to have the change tried again."
    when = f"at {rfc3339(row.scheduled_at)}, or at once if that has passed"
    return f"H{held}; set it to false to have the change made {when}."


def _changed_by(record: Record) -> str:
    """Who changed the object last, which need not be who suspended it: only that is known."""
    return f" (last changed by {record.actors.changed_by})" if record.actors.changed_by else ""


def _attempt(row: Row | None) -> str:
    if row is None:
        return "An attempt failed"
    return f"Attempt {row.retry_count} of {row.max_retries + 1} failed: {_error(row)}"


def _aside(row: Row) -> str:
    """Explain why it was set aside. The error is the last one that was recorded, possibly that of a retry."""
    times = "once" if row.set_aside_count <= 1 else f"{row.set_aside_count} times"
    when = f"at {rfc3339(row.set_aside_until)}" if row.set_aside_until else "by the next run of the processor"
    return f"Set aside {times}, without an attempt consumed: {_error(row)}; it is tried again {when}."


def _next(row: Row | None) -> str:
    if row is None or row.next_retry_at is None:
        return "the next run of the processor tries again"
    return f"the next attempt is due at {rfc3339(row.next_retry_at)}"


def _error(row: Row | None) -> str:
    return cut(row.last_error, _LONGEST_FOREIGN_TEXT) if row and row.last_error else "the reason was not recorded"


def _applied(row: Row | None, outcome: Outcome) -> str:
    when = rfc3339(outcome.applied_at) if outcome.applied_at else "an unknown time"
    if outcome.reason is Reason.PARTLY_SUPERSEDED:
        kept = " and ".join(row.sets) if row and row.sets else "a part"
        return f"Applied at {when}{_lateness(row, outcome)}: set {kept}; {_LATER} had already set the rest."
    text = _APPLIED.get(outcome.reason or Reason.APPLIED, "Applied at {at}{late}.")
    return text.format(at=when, late=_lateness(row, outcome))


def _lateness(row: Row | None, outcome: Outcome) -> str:
    """How late a change was made, if that is worth a word."""
    if row is None or outcome.applied_at is None or outcome.applied_at - row.scheduled_at < _LATE:
        return ""
    minutes = int((outcome.applied_at - row.scheduled_at).total_seconds()) // 60
    hours, minutes = divmod(minutes, 60)
    return f", {hours} h {minutes} min after its time" if hours else f", {minutes} min after its time"


def _cancelled(record: Record, reason: Reason | None) -> str:
    if reason is Reason.REPLACED:
        return "Given up: a newer object of the same name took its place."
    if reason is Reason.DELETED:  # seen again: etcd was restored from a backup
        return "Given up when this object was deleted; create a FlagSchedule with a new name for a new plan."
    by = "in the database, by another program,"
    if reason is Reason.CANCELLED:
        by = f"by spec.cancel{_changed_by(record)}"
    return f"Given up {by} before its change was made; create a FlagSchedule with a new name for a new plan."


def _expired(reason: Reason | None) -> str:
    if reason is Reason.HISTORY:
        return (
            "Its time had passed by more than a day before it was first seen, so the change was not made; nothing is "
            "left to do, and a request to retry is refused."
        )
    return (
        "Its time had passed by more than is allowed before it could be planned, so the change was not made. Set a "
        "later scheduledAt to make it, or, within a day, raise startingDeadlineSeconds; a request to retry is refused."
    )


def _failed(row: Row | None, outcome: Outcome) -> str:
    if outcome.reason in _FINAL:
        return _FINAL[outcome.reason]
    if outcome.reason is Reason.EXPECTATION_NOT_MET:
        return (
            f"The change was not made: {_error(row)}. If it shall be made all the same, edit spec.expect; to have it "
            f"judged again, set the annotation {RETRY_ANNOTATION}."
        )
    attempts = row.retry_count + 1 if row else 1
    if attempts == 1:
        return f"The only attempt failed: {_error(row)}. {_RETRY}"
    return f"All {attempts} attempts failed, the last: {_error(row)}. {_RETRY}"
