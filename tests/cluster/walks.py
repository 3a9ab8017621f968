"""Walks of objects through the phases, and how an object gets into each of them.

A walk is a generator: it does something to its object and yields the phase that it expects to see next. `walk_all`
lets many walk at once, so that one run of the processor and one wait serve them all.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString

from tests.cluster.api import Object, eventually, flagfreeze, flagschedule
from tests.cluster.operator_fixtures import Scene
from tests.cluster.spec_corpus import spec
from tests.waiting import PATIENCE

GONE: Final = "[*]"
FROM_GIT: Final = {"argocd.argoproj.io/tracking-id": "app:flagschedule.io/FlagSchedule:shop/x"}
UNPARSABLE: Final = 11  # more retries than we allow; `loosened_crd` lets it pass the schema
_REFUSALS: Final = """
CREATE TABLE refusals (flag_key text PRIMARY KEY);
GRANT SELECT ON refusals TO PUBLIC;
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
    """What a walk expects to see next, and the Event that reports it; `fields` are parts of the status."""

    phase: str
    event: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


Walk = Callable[["Walker"], Iterator[Seen]]


class Walker:
    """One object and its flag, which has the object's name by default."""

    def __init__(self, scene: Scene, name: str, flag: str | None = None, **fields: Any) -> None:
        self.name = name
        self.flag_key = flag or name
        self.wants_run = False
        self.fields = fields
        self.freeze_name = f"{name}-{scene.api.namespace}"
        self._scene = scene

    def flag(self) -> None:
        """Insert the flag."""
        self._scene.database.flag(self.flag_key)

    def other_flag(self) -> str:
        """Insert another flag. Returns: its key."""
        key = f"{self.flag_key}-other"
        self._scene.database.flag(key)
        return key

    def change_flag(self) -> None:
        """Set the flag to 10 %, as a person does."""
        self._scene.database.run("UPDATE feature_flags SET rollout_percentage = 10 WHERE flag_key = %s", self.flag_key)

    def delete_flag(self) -> None:
        """Delete the flag, and its schedules with it."""
        self._scene.database.run("DELETE FROM feature_flags WHERE flag_key = %s", self.flag_key)

    def create(self, annotations: Mapping[str, str] | None = None, **fields: Any) -> None:
        """Create the object with the walk's fields and this walker's."""
        wish = spec(**{"flagKey": self.flag_key, **fields, **self.fields})
        answer = self._scene.api.create(flagschedule(self.name, wish, annotations=annotations or {}))
        assert answer.ok, answer.message

    def edit(self, **fields: Any) -> None:
        """Merge fields into the spec."""
        answer = self._scene.api.patch(self.name, {"spec": fields})
        assert answer.ok, answer.message

    def edit_by_git(self, **fields: Any) -> None:
        """Edit as a GitOps tool, which marks the object as its own and is let in where people are not."""
        answer = self._scene.api.patch(self.name, {"metadata": {"annotations": FROM_GIT}, "spec": fields})
        assert answer.ok, answer.message

    def request_retry(self) -> None:
        """Set the annotation."""
        answer = self._scene.api.patch(
            self.name, {"metadata": {"annotations": {"flagschedule.io/retry-requested-at": "now"}}}
        )
        assert answer.ok, answer.message

    def freeze(self) -> None:
        """Hold all changes of the flag."""
        freeze = flagfreeze(self.freeze_name, {"reason": "INC-4711", "flagKeys": [self.flag_key]}, labels=self._mark)
        answer = self._scene.api.of("flagfreezes").create(freeze)
        assert answer.ok, answer.message
        held = "SELECT count(*) FROM flag_schedule_freezes WHERE name = %s"
        eventually(lambda: self._scene.database.value(held, self.freeze_name), "the database holds them")

    def unfreeze(self) -> None:
        """Hold them no longer, and let the processor make them."""
        freezes = self._scene.api.of("flagfreezes")
        assert freezes.delete(self.freeze_name).ok
        eventually(lambda: freezes.get(self.freeze_name)["kind"] == "Status", "the freeze is gone")
        self.wants_run = True

    @property
    def _mark(self) -> dict[str, str]:
        return {"made-by": self._scene.api.namespace}

    def delete(self) -> None:
        """Delete the object."""
        assert self._scene.api.delete(self.name).ok

    def refuse(self) -> None:
        """Let the database refuse to change the flag."""
        self._scene.database.run("INSERT INTO refusals VALUES (%s)", self.flag_key)

    def allow(self) -> None:
        """Let the database change the flag again."""
        self._scene.database.run("DELETE FROM refusals WHERE flag_key = %s", self.flag_key)

    def due(self) -> None:
        """Make the first attempt due."""
        self._change("scheduled_at = now() - interval '1 hour'")
        self.wants_run = True

    def retry_due(self) -> None:
        """Make the next retry due."""
        self._change("next_retry_at = now() - interval '1 second'")
        self.wants_run = True

    def put_off(self) -> None:
        """Move the row's time far ahead again, as its object says."""
        self._change("scheduled_at = '2035-01-01T09:00:00Z'")

    def spoil(self) -> None:
        """Write invalid updates, as another program may."""
        self._change("""updates = '{"colour": "red"}'""")

    def miss_deadline(self) -> None:
        """Let the deadline of the first attempt pass."""
        self._change("not_after = now() - interval '1 second'")

    def overtake(self) -> None:
        """Insert another schedule of the flag, with a later time, that sets all that this one sets."""
        (flag,) = self._scene.database.query("SELECT id FROM feature_flags WHERE flag_key = %s", self.flag_key)
        updates = {"enabled": True, "rolloutPercentage": 5}
        self._scene.database.schedule(flag["id"], updates, due=timedelta(seconds=-5))
        self.wants_run = True

    def _change(self, what: LiteralString) -> None:
        self._scene.database.run("UPDATE feature_flag_schedules SET " + what + _ROW, self.name)  # noqa: S608 -- literals


# ---- how an object gets into each phase ---------------------------------------------------------


def long_past() -> str:
    """Return the time an hour ago, which is too late for every change."""
    return (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pending(walker: Walker) -> Iterator[Seen]:
    """Created in time, its flag exists."""
    walker.flag()
    walker.create()
    yield Seen("Pending", "Mirrored")


def suspended(walker: Walker) -> Iterator[Seen]:
    """Walk the same with a suspended object."""
    walker.flag()
    walker.create(suspend=True)
    yield Seen("Suspended", "Mirrored")


def frozen(walker: Walker) -> Iterator[Seen]:
    """Walk until it is due while a freeze is active."""
    yield from pending(walker)
    walker.freeze()
    walker.due()
    yield Seen("Frozen")


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
    """Walk until the change was made."""
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


def mismatched(walker: Walker) -> Iterator[Seen]:
    """Walk with an expectation that its new flag, off and at 0 %, does not meet."""
    walker.flag()
    walker.create(expect={"rolloutPercentage": 5})
    yield Seen("Pending", "Mirrored")
    walker.due()


def skipped(walker: Walker) -> Iterator[Seen]:
    """Walk the same until it is skipped."""
    walker.fields["onMismatch"] = "Skip"
    yield from mismatched(walker)
    yield Seen("Skipped", "Skipped")


def cancelled(walker: Walker) -> Iterator[Seen]:
    """Walk with a schedule that is cancelled from the start."""
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
    """Walk until the flag was deleted."""
    yield from pending(walker)
    walker.delete_flag()
    yield Seen("Failed", "FlagNotFound")


def expired_without_flag(walker: Walker) -> Iterator[Seen]:
    """Came from Git, too late."""
    walker.create(FROM_GIT, scheduledAt=long_past())
    yield Seen("Expired", "Expired")


def expired(walker: Walker) -> Iterator[Seen]:
    """Walk the same with a flag that exists."""
    walker.flag()
    yield from expired_without_flag(walker)


def invalid_without_flag(walker: Walker) -> Iterator[Seen]:
    """Walk with a spec that an older schema let pass."""
    walker.create(maxRetries=UNPARSABLE)
    yield Seen("Invalid", "Cancelled")


def invalid(walker: Walker) -> Iterator[Seen]:
    """Walk the same with a flag that exists."""
    walker.flag()
    yield from invalid_without_flag(walker)


# ---- walking ------------------------------------------------------------------------------------


def prepare(scene: Scene) -> None:
    """Give the database the trigger that can refuse to change a flag."""
    scene.database.connection.execute(_REFUSALS)


def end_freezes(scene: Scene) -> None:
    """Delete the freezes that walks left, also without an operator: the API server is shared, and they hold others."""
    freezes = scene.api.of("flagfreezes")
    for name, obj in freezes.list().items():
        if obj["metadata"].get("labels", {}).get("made-by") == scene.api.namespace:
            freezes.delete(name)
            freezes.patch(name, {"metadata": {"finalizers": None}})


def walk_all(scene: Scene, walkers: Mapping[Walker, Walk]) -> dict[str, list[Seen]]:
    """Let all walk side by side; for each name what was seen, which ends where something else was seen."""
    steps = {walker: walk(walker) for walker, walk in walkers.items()}
    history: dict[str, list[Seen]] = {walker.name: [] for walker in walkers}
    while steps:
        expected = {walker: seen for walker, walk in steps.items() if (seen := next(walk, None)) is not None}
        if any(walker.wants_run for walker in expected):
            scene.process()
        found = _wait(scene, {walker.name: seen for walker, seen in expected.items()})
        for walker, seen in expected.items():
            walker.wants_run = False
            history[walker.name].append(seen if found[walker.name] else Seen(f"not {seen.phase}"))
        steps = {walker: steps[walker] for walker in expected if found[walker.name]}
    return history


def _wait(scene: Scene, expected: Mapping[str, Seen], seconds: float = PATIENCE) -> dict[str, bool]:
    """Wait until all objects are as expected. Returns: for each, whether it is."""
    deadline = time.monotonic() + seconds
    while True:
        objects = scene.api.list()
        found = {name: _is(objects.get(name), seen) for name, seen in expected.items()}
        if all(found.values()) or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def _is(obj: Object | None, seen: Seen) -> bool:
    if obj is None or seen.phase == GONE:
        return obj is None and seen.phase == GONE
    status: Object = obj["status"]
    wanted: Object = {"phase": seen.phase, "observedGeneration": obj["metadata"]["generation"], **seen.fields}
    return wanted.items() <= status.items()
