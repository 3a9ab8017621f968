"""Walks through the phases: every edge of docs/state-machine.md, with what to do to see it happen.

A walk is a generator: it does something to its object and yields the phase that it expects to see next. `Walkers`
lets many walk at once, so that one run of the processor and one wait serve them all.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString

from tests.cluster.api import Object, flagschedule
from tests.cluster.operator_fixtures import Scene
from tests.cluster.spec_corpus import spec

Edge = tuple[str, str, str]
GONE: Final = "[*]"
FROM_GIT: Final = {"argocd.argoproj.io/tracking-id": "app:flagschedule.io/FlagSchedule:shop/x"}
UNPARSABLE: Final = 11  # more retries than we allow; `loosened_crd` lets it pass the schema
_REFUSALS: Final = """
CREATE TABLE refusals (flag_key text PRIMARY KEY);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM refusals AS r WHERE r.flag_key = NEW.flag_key) THEN
        RAISE EXCEPTION 'no' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER refuse BEFORE UPDATE ON feature_flags FOR EACH ROW EXECUTE FUNCTION refuse();
"""
_ROW: Final = " WHERE id = (SELECT o.schedule_id FROM flag_schedule_objects AS o WHERE o.name = %s)"


@dataclass(frozen=True)
class Seen:
    """What a walk expects to see next, and the Event that tells of it; `fields` are parts of the status."""

    phase: str
    event: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


Walk = Callable[["Walker"], Iterator[Seen]]


class Walker:
    """One object and its flag, which bears the object's name unless told otherwise."""

    def __init__(self, scene: Scene, name: str, flag: str | None = None, **fields: Any) -> None:
        self.name = name
        self.flag_key = flag or name
        self.wants_run = False
        self.fields = fields
        self._scene = scene

    def flag(self) -> None:
        """The flag appears."""
        self._scene.database.flag(self.flag_key)

    def delete_flag(self) -> None:
        """The flag goes, and its schedules with it."""
        self._scene.database.run("DELETE FROM feature_flags WHERE flag_key = %s", self.flag_key)

    def create(self, annotations: Mapping[str, str] | None = None, **fields: Any) -> None:
        """The object, as the walk wants it and with what this walker was told."""
        wish = spec(**{"flagKey": self.flag_key, **fields, **self.fields})
        answer = self._scene.api.create(flagschedule(self.name, wish, annotations=annotations or {}))
        assert answer.ok, answer.message

    def edit(self, **fields: Any) -> None:
        """Merge fields into the spec."""
        answer = self._scene.api.patch(self.name, {"spec": fields})
        assert answer.ok, answer.message

    def ask_for_retry(self) -> None:
        """Set the annotation."""
        answer = self._scene.api.patch(
            self.name, {"metadata": {"annotations": {"flagschedule.io/retry-requested-at": "now"}}}
        )
        assert answer.ok, answer.message

    def delete(self) -> None:
        """Delete the object."""
        assert self._scene.api.delete(self.name).ok

    def refuse(self) -> None:
        """From now on the database refuses to change the flag."""
        self._scene.database.run("INSERT INTO refusals VALUES (%s)", self.flag_key)

    def allow(self) -> None:
        """From now on it does not."""
        self._scene.database.run("DELETE FROM refusals WHERE flag_key = %s", self.flag_key)

    def due(self) -> None:
        """The first attempt is due, and will be made."""
        self._change("scheduled_at = now() - interval '1 hour'")
        self.wants_run = True

    def retry_due(self) -> None:
        """The next retry is due, and will be made."""
        self._change("next_retry_at = now() - interval '1 second'")
        self.wants_run = True

    def put_off(self) -> None:
        """The row's time is far away again, as its object says."""
        self._change("scheduled_at = '2035-01-01T09:00:00Z'")

    def spoil(self) -> None:
        """Another program writes updates that are none."""
        self._change("""updates = '{"colour": "red"}'""")

    def miss_deadline(self) -> None:
        """The time until which the first attempt may be made has passed."""
        self._change("not_after = now() - interval '1 second'")

    def overtake(self) -> None:
        """Another schedule of the flag, with a later time than this one will have, sets all that it sets."""
        (flag,) = self._scene.database.query("SELECT id FROM feature_flags WHERE flag_key = %s", self.flag_key)
        updates = {"enabled": True, "rolloutPercentage": 5}
        self._scene.database.schedule(flag["id"], updates, due=timedelta(seconds=-5))
        self.wants_run = True

    def _change(self, what: LiteralString) -> None:
        self._scene.database.run("UPDATE feature_flag_schedules SET " + what + _ROW, self.name)  # noqa: S608 -- literals


# ---- how an object gets into each phase ---------------------------------------------------------


def long_past() -> str:
    """An hour ago: too late for anything."""
    return (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pending(walker: Walker) -> Iterator[Seen]:
    """Created in time, its flag exists."""
    walker.flag()
    walker.create()
    yield Seen("Pending", "Mirrored")


def suspended(walker: Walker) -> Iterator[Seen]:
    """The same, held."""
    walker.flag()
    walker.create(suspend=True)
    yield Seen("Suspended", "Mirrored")


def waiting(walker: Walker) -> Iterator[Seen]:
    """Created before its flag."""
    walker.create()
    yield Seen("Waiting", "FlagNotFound")


def retrying(walker: Walker) -> Iterator[Seen]:
    """Refused once; afterwards the flag may be changed."""
    walker.refuse()
    yield from pending(walker)
    walker.due()
    yield Seen("Retrying", "AttemptFailed")
    walker.allow()
    walker.put_off()


def applied(walker: Walker) -> Iterator[Seen]:
    """Its change was made."""
    yield from pending(walker)
    walker.due()
    yield Seen("Applied", "Applied")


def superseded(walker: Walker) -> Iterator[Seen]:
    """Another one had set everything."""
    yield from pending(walker)
    walker.overtake()
    yield Seen("Pending")
    walker.due()
    yield Seen("Superseded", "Applied")


def cancelled(walker: Walker) -> Iterator[Seen]:
    """Given up from the start."""
    walker.flag()
    walker.create(cancel=True)
    yield Seen("Cancelled", "Cancelled")


def failed(walker: Walker) -> Iterator[Seen]:
    """Refused, without retries; afterwards the flag may be changed."""
    walker.refuse()
    walker.flag()
    walker.create(maxRetries=0)
    yield Seen("Pending", "Mirrored")
    walker.due()
    yield Seen("Failed", "RetriesExhausted")
    walker.allow()
    walker.put_off()


def orphaned(walker: Walker) -> Iterator[Seen]:
    """Its flag was deleted."""
    yield from pending(walker)
    walker.delete_flag()
    yield Seen("Failed", "FlagNotFound")


def expired_without_flag(walker: Walker) -> Iterator[Seen]:
    """Came from Git, too late."""
    walker.create(FROM_GIT, scheduledAt=long_past())
    yield Seen("Expired", "Expired")


def expired(walker: Walker) -> Iterator[Seen]:
    """The same, its flag exists."""
    walker.flag()
    yield from expired_without_flag(walker)


def invalid_without_flag(walker: Walker) -> Iterator[Seen]:
    """An older schema let it pass."""
    walker.create(maxRetries=UNPARSABLE)
    yield Seen("Invalid", "Cancelled")


def invalid(walker: Walker) -> Iterator[Seen]:
    """The same, its flag exists."""
    walker.flag()
    yield from invalid_without_flag(walker)


# ---- the edges ----------------------------------------------------------------------------------


def then(start: Walk, act: Callable[[Walker], object], target: str, event: str | None = None, **fields: Any) -> Walk:
    """A walk that gets into a phase, acts, and sees the next one. An act of several steps is itself a walk."""

    def walk(walker: Walker) -> Iterator[Seen]:
        yield from start(walker)
        steps = act(walker)
        if isinstance(steps, Iterable):
            yield from steps
        yield Seen(target, event, fields)

    return walk


def having(start: Walk, **fields: Any) -> Walk:
    """The same walk with other fields in the spec."""

    def walk(walker: Walker) -> Iterator[Seen]:
        walker.fields.update(fields)
        yield from start(walker)

    return walk


def edit(**fields: Any) -> Callable[[Walker], None]:
    """An edit of the spec."""
    return lambda walker: walker.edit(**fields)


def _to_the_past(walker: Walker) -> None:
    walker.edit(scheduledAt=long_past(), maxRetries=3)


def _fail_again(walker: Walker) -> None:
    walker.refuse()
    walker.retry_due()


def _be_overtaken_between_attempts(walker: Walker) -> Iterator[Seen]:
    walker.due()  # its time, not its retry, which is minutes away
    walker.overtake()
    yield Seen("Retrying")
    walker.retry_due()


def _be_held_between_attempts(walker: Walker) -> Iterator[Seen]:
    walker.edit(suspend=True)
    yield Seen("Suspended")
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
    """With an allowance of a second the phase before is short; its Event tells that it was there."""
    walker.create(scheduledAt=(datetime.now(UTC) + timedelta(seconds=4)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    yield Seen("Expired", "FlagNotFound")


_ANEW: Final = {"scheduledAt": "2036-01-01T09:00:00Z", "maxRetries": 3}
_PLANNED: Final = {"Pending": pending, "Suspended": suspended, "Waiting": waiting, "Retrying": retrying}
_UNHANDLED: Final = {**_PLANNED, "Failed": failed, "Expired": expired, "Invalid": invalid}
_ALL: Final = {**_UNHANDLED, "Applied": applied, "Superseded": superseded, "Cancelled": cancelled}


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
    ("Retrying", "Retrying", "the attempt fails"): then(
        retrying, _fail_again, "Retrying", "AttemptFailed", retryCount=2
    ),
    ("Retrying", "Failed", "the last attempt fails"): then(
        having(retrying, maxRetries=1), _fail_again, "Failed", "RetriesExhausted"
    ),
    ("Retrying", "Failed", "the flag is deleted"): then(retrying, Walker.delete_flag, "Failed", "FlagNotFound"),
    ("Suspended", "Failed", "the flag is deleted"): then(suspended, Walker.delete_flag, "Failed", "FlagNotFound"),
    ("Pending", "Suspended", "suspend is set"): then(pending, edit(suspend=True), "Suspended"),
    ("Retrying", "Suspended", "suspend is set"): then(retrying, edit(suspend=True), "Suspended"),
    ("Suspended", "Pending", "suspend is taken back"): then(suspended, edit(suspend=False), "Pending"),
    ("Suspended", "Retrying", "suspend is taken back, a retry is planned"): then(
        retrying, _be_held_between_attempts, "Retrying"
    ),
    ("Retrying", "Pending", "edited"): then(retrying, edit(**_ANEW), "Pending"),
    ("Retrying", "Pending", "retry requested"): then(retrying, Walker.ask_for_retry, "Pending"),
    ("Failed", "Pending", "edited"): then(failed, edit(**_ANEW), "Pending", "Mirrored"),
    ("Failed", "Pending", "retry requested"): then(failed, Walker.ask_for_retry, "Pending", "Mirrored"),
    ("Failed", "Waiting", "retry requested, the flag is still missing"): then(
        orphaned, Walker.ask_for_retry, "Waiting", "FlagNotFound"
    ),
    ("Expired", "Pending", "edited"): then(expired, edit(**_ANEW), "Pending", "Mirrored"),
    ("Expired", "Waiting", "edited, the flag does not exist"): then(
        expired_without_flag, edit(**_ANEW), "Waiting", "FlagNotFound"
    ),
    ("Invalid", "Pending", "edited"): then(invalid, edit(**_ANEW), "Pending", "Mirrored"),
    ("Invalid", "Waiting", "edited, the flag does not exist"): then(
        invalid_without_flag, edit(**_ANEW), "Waiting", "FlagNotFound"
    ),
    **{
        (phase, "Suspended", "edited, suspend is set"): then(
            start, edit(**_ANEW, suspend=True), "Suspended", "Mirrored"
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


# ---- walking ------------------------------------------------------------------------------------


def prepare(scene: Scene) -> None:
    """Give the database the trigger that can refuse to change a flag."""
    scene.database.connection.execute(_REFUSALS)


def process(database_url: str) -> None:
    """One run of the processor, as the CronJob starts it."""
    subprocess.run(
        [sys.executable, "-m", "flagschedule", "process"],
        env={"PATH": os.environ["PATH"], "DATABASE_URL": database_url},
        check=True,
        capture_output=True,
        timeout=60,
    )


def walk_all(scene: Scene, database_url: str, walkers: Mapping[Walker, Walk]) -> dict[str, list[Seen]]:
    """Let all walk side by side; for each name what was seen, which ends where something else was seen."""
    steps = {walker: walk(walker) for walker, walk in walkers.items()}
    history: dict[str, list[Seen]] = {walker.name: [] for walker in walkers}
    while steps:
        expected = {walker: seen for walker, walk in steps.items() if (seen := next(walk, None)) is not None}
        if any(walker.wants_run for walker in expected):
            process(database_url)
        found = _wait(scene, {walker.name: seen for walker, seen in expected.items()})
        for walker, seen in expected.items():
            walker.wants_run = False
            history[walker.name].append(seen if found[walker.name] else Seen(f"not {seen.phase}"))
        steps = {walker: steps[walker] for walker in expected if found[walker.name]}
    return history


def _wait(scene: Scene, expected: Mapping[str, Seen], seconds: float = 30) -> dict[str, bool]:
    """Whether each object gets to be seen as expected; ends early when all are."""
    deadline = time.monotonic() + seconds
    while True:
        things = scene.api.list()
        found = {name: _is(things.get(name), seen) for name, seen in expected.items()}
        if all(found.values()) or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def _is(thing: Object | None, seen: Seen) -> bool:
    if thing is None or seen.phase == GONE:
        return thing is None and seen.phase == GONE
    status: Object = thing["status"]
    wanted: Object = {"phase": seen.phase, "observedGeneration": thing["metadata"]["generation"], **seen.fields}
    return wanted.items() <= status.items()
