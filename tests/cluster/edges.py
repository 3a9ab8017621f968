"""Every edge of docs/reference/state-machine.md, with the walk that sees it happen and the Events that report it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.cluster.walks import (
    GONE,
    UNPARSABLE,
    Seen,
    Walk,
    Walker,
    applied,
    cancelled,
    expired,
    expired_without_flag,
    failed,
    frozen,
    invalid,
    invalid_without_flag,
    long_past,
    mismatched,
    orphaned,
    pending,
    retrying,
    skipped,
    superseded,
    suspended,
    waiting,
)

Edge = tuple[str, str, str]


def then(start: Walk, act: Callable[[Walker], object], target: str, event: str | None = None, **fields: Any) -> Walk:
    """Return a walk into a phase, an action, and the phase after it. An action of several steps is itself a walk."""

    def walk(walker: Walker) -> Iterator[Seen]:
        yield from start(walker)
        steps = act(walker)
        if isinstance(steps, Iterable):
            yield from steps
        yield Seen(target, event, fields)

    return walk


def having(start: Walk, **fields: Any) -> Walk:
    """Return the same walk with other fields in the spec."""

    def walk(walker: Walker) -> Iterator[Seen]:
        walker.fields.update(fields)
        yield from start(walker)

    return walk


def edit(**fields: Any) -> Callable[[Walker], None]:
    """Return an edit of the spec."""
    return lambda walker: walker.edit(**fields)


def edit_by_git(**fields: Any) -> Callable[[Walker], None]:
    """Return an edit of the spec that is refused to a person."""
    return lambda walker: walker.edit_by_git(**fields)


def _to_the_past(walker: Walker) -> None:
    walker.edit_by_git(scheduledAt=long_past(), maxRetries=3)


def _to_another_flag(walker: Walker) -> None:
    walker.edit_by_git(flagKey=walker.other_flag())


def _fail_again(walker: Walker) -> None:
    walker.refuse()
    walker.retry_due()


def _be_overtaken_between_attempts(walker: Walker) -> Iterator[Seen]:
    walker.due()  # its time, not its retry, which is minutes away
    walker.overtake()
    yield Seen("Retrying")
    walker.retry_due()


def _be_changed_between_attempts(walker: Walker) -> None:
    walker.change_flag()
    walker.retry_due()


def _be_held_between_attempts(walker: Walker) -> Iterator[Seen]:
    walker.edit(suspend=True)
    yield Seen("Suspended", "Suspended")
    walker.edit(suspend=False)


def _miss_the_deadline(walker: Walker) -> None:
    walker.due()
    walker.miss_deadline()


def _spoil(walker: Walker) -> None:
    walker.spoil()
    walker.due()


def _again(walker: Walker) -> Iterator[Seen]:
    walker.delete()
    yield Seen(GONE)
    walker.create()


def _never_seen_waiting(walker: Walker) -> Iterator[Seen]:
    """Walk with an allowance of a second: the phase before is short, and its Event shows that it was there."""
    walker.create(scheduledAt=(datetime.now(UTC) + timedelta(seconds=15)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    yield Seen("Expired", "FlagNotFound")


def _freeze_between_attempts(walker: Walker) -> None:
    walker.freeze()
    walker.retry_due()


def _miss_the_deadline_frozen(walker: Walker) -> None:
    walker.miss_deadline()
    walker.wants_run = True


def _suspend_frozen(walker: Walker) -> Iterator[Seen]:
    walker.edit(suspend=True)
    yield Seen("Suspended", "Suspended")
    walker.edit(suspend=False)


_REPLANNED: Final = {"scheduledAt": "2036-01-01T09:00:00Z", "maxRetries": 3}
_PLANNED: Final = {
    "Pending": pending,
    "Suspended": suspended,
    "Waiting": waiting,
    "Retrying": retrying,
    "Frozen": frozen,
}
_UNHANDLED: Final = {**_PLANNED, "Failed": failed, "Expired": expired, "Invalid": invalid}
_HANDLED: Final[Mapping[str, Walk]] = {
    "Applied": applied,
    "Superseded": superseded,
    "Skipped": skipped,
    "Cancelled": cancelled,
}
_ALL: Final = {**_UNHANDLED, **_HANDLED}


def _delete(walker: Walker) -> None:
    walker.delete()


WALKS: Final[Mapping[Edge, Walk]] = {
    (GONE, "Pending", "created"): pending,
    (GONE, "Suspended", "created with suspend"): suspended,
    (GONE, "Waiting", "created before its flag"): waiting,
    (GONE, "Applied", "created again, its change was made before"): then(applied, _again, "Applied", "Applied"),
    (GONE, "Cancelled", "created with cancel"): cancelled,
    (GONE, "Expired", "first seen too late"): expired,
    (GONE, "Invalid", "created, cannot be understood"): invalid,
    ("Waiting", "Pending", "the flag appears"): then(waiting, Walker.flag, "Pending", "Mirrored"),
    ("Waiting", "Suspended", "the flag appears, suspend is set"): then(
        having(waiting, suspend=True), Walker.flag, "Suspended", "Mirrored"
    ),
    ("Waiting", "Expired", "it is too late for the flag to appear"): then(
        _never_seen_waiting, lambda _: None, "Expired", "Expired"
    ),
    ("Pending", "Applied", "the change is made"): applied,
    ("Pending", "Superseded", "a later schedule has set everything"): superseded,
    ("Pending", "Retrying", "the attempt fails"): retrying,
    ("Pending", "Failed", "the only attempt fails"): failed,
    ("Pending", "Failed", "startingDeadlineSeconds have passed"): then(
        pending, _miss_the_deadline, "Failed", "Expired"
    ),
    ("Pending", "Failed", "another program spoils the row's updates"): then(pending, _spoil, "Failed", "AttemptFailed"),
    ("Pending", "Failed", "the flag is deleted"): orphaned,
    ("Retrying", "Applied", "the change is made"): then(retrying, Walker.retry_due, "Applied", "Applied"),
    ("Retrying", "Superseded", "a later schedule has set everything"): then(
        retrying, _be_overtaken_between_attempts, "Superseded", "Applied"
    ),
    ("Pending", "Failed", "the flag has other values than expected"): then(
        mismatched, lambda _: None, "Failed", "ExpectationNotMet"
    ),
    ("Pending", "Skipped", "the flag has other values than expected, onMismatch is Skip"): skipped,
    ("Retrying", "Skipped", "the flag has other values than expected, onMismatch is Skip"): then(
        having(retrying, expect={"rolloutPercentage": 0}, onMismatch="Skip"),
        _be_changed_between_attempts,
        "Skipped",
        "Skipped",
    ),
    ("Retrying", "Retrying", "the attempt fails"): then(
        retrying, _fail_again, "Retrying", "AttemptFailed", retryCount=2
    ),
    ("Retrying", "Failed", "the last attempt fails"): then(
        having(retrying, maxRetries=1), _fail_again, "Failed", "RetriesExhausted"
    ),
    ("Retrying", "Failed", "the flag is deleted"): then(retrying, Walker.delete_flag, "Failed", "FlagNotFound"),
    ("Suspended", "Failed", "the flag is deleted"): then(suspended, Walker.delete_flag, "Failed", "FlagNotFound"),
    ("Pending", "Suspended", "suspend is set"): then(pending, edit(suspend=True), "Suspended", "Suspended"),
    ("Retrying", "Suspended", "suspend is set"): then(retrying, edit(suspend=True), "Suspended", "Suspended"),
    ("Suspended", "Pending", "suspend is taken back"): then(suspended, edit(suspend=False), "Pending", "Resumed"),
    ("Suspended", "Retrying", "suspend is taken back, a retry is planned"): then(
        retrying, _be_held_between_attempts, "Retrying", "Resumed"
    ),
    ("Pending", "Frozen", "a freeze is active when it is due"): frozen,
    ("Retrying", "Frozen", "a freeze is active when the retry is due"): then(
        retrying, _freeze_between_attempts, "Frozen", retryCount=1
    ),
    ("Suspended", "Frozen", "suspend is taken back, a freeze is active"): then(
        frozen, _suspend_frozen, "Frozen", "Resumed"
    ),
    ("Frozen", "Applied", "the freeze ends, the change is made"): then(frozen, Walker.unfreeze, "Applied", "Applied"),
    ("Frozen", "Suspended", "suspend is set"): then(frozen, edit(suspend=True), "Suspended", "Suspended"),
    ("Frozen", "Pending", "edited to a later time"): then(frozen, edit(**_REPLANNED), "Pending", "Edited"),
    ("Frozen", "Failed", "startingDeadlineSeconds have passed"): then(
        frozen, _miss_the_deadline_frozen, "Failed", "Expired"
    ),
    ("Frozen", "Failed", "the flag is deleted"): then(frozen, Walker.delete_flag, "Failed", "FlagNotFound"),
    ("Retrying", "Pending", "edited"): then(retrying, edit(**_REPLANNED), "Pending", "Edited"),
    ("Retrying", "Pending", "retry requested"): then(retrying, Walker.request_retry, "Pending"),
    ("Failed", "Pending", "edited"): then(failed, edit(**_REPLANNED), "Pending", "Mirrored"),
    ("Failed", "Pending", "retry requested"): then(failed, Walker.request_retry, "Pending", "Mirrored"),
    ("Failed", "Waiting", "retry requested, the flag is still missing"): then(
        orphaned, Walker.request_retry, "Waiting", "FlagNotFound"
    ),
    ("Expired", "Pending", "edited"): then(expired, edit(**_REPLANNED), "Pending", "Mirrored"),
    ("Expired", "Waiting", "edited, the flag does not exist"): then(
        expired_without_flag, edit(**_REPLANNED), "Waiting", "FlagNotFound"
    ),
    ("Invalid", "Pending", "edited"): then(invalid, edit(**_REPLANNED), "Pending", "Mirrored"),
    ("Invalid", "Waiting", "edited, the flag does not exist"): then(
        invalid_without_flag, edit(**_REPLANNED), "Waiting", "FlagNotFound"
    ),
    ("Pending", "Pending", "edited to another flag"): then(pending, _to_another_flag, "Pending", "Edited"),
    **{
        (phase, "Waiting", "edited to another flag, which does not exist"): then(
            start, edit_by_git(flagKey="no-such-flag"), "Waiting", "FlagNotFound"
        )
        for phase, start in {**_PLANNED, "Failed": failed}.items()
        if phase != "Waiting"
    },
    **{
        (phase, phase, "edited too late"): then(
            start, edit_by_git(updates={"enabled": False}, cancel=None), phase, "EditTooLate", reason="EditTooLate"
        )
        for phase, start in _HANDLED.items()
    },
    **{
        (phase, "Suspended", "edited, suspend is set"): then(
            start, edit(**_REPLANNED, suspend=True), "Suspended", "Mirrored"
        )
        for phase, start in {"Failed": failed, "Expired": expired, "Invalid": invalid}.items()
    },
    **{
        (phase, "Expired", "edited to a time long past"): then(start, _to_the_past, "Expired", "Expired")
        for phase, start in _UNHANDLED.items()
        if phase != "Expired"
    },
    **{
        (phase, "Invalid", "edited, cannot be understood"): then(
            start, edit(maxRetries=UNPARSABLE), "Invalid", "Cancelled"
        )
        for phase, start in _UNHANDLED.items()
        if phase != "Invalid"
    },
    **{
        (phase, "Cancelled", "cancel is set"): then(start, edit(cancel=True), "Cancelled", "Cancelled")
        for phase, start in _UNHANDLED.items()
    },
    **{(phase, GONE, "deleted"): then(start, _delete, GONE) for phase, start in _ALL.items()},
}
