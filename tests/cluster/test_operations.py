"""Hundreds of generated operations on objects, judged when all is quiet by three oracles (Acto, SOSP 2023).

The row equals the spec; the way to a spec does not matter; and a good spec always corrects a bad one.
"""

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from tests.cluster.api import Object, eventually, flagschedule
from tests.cluster.operator_fixtures import Scene
from tests.cluster.spec_corpus import spec

pytestmark = pytest.mark.apiserver

PAIRS: Final = 45
PATIENTS: Final = 60
LEAST: Final = 300
OPTIONAL: Final = ("environment", "suspend", "cancel", "maxRetries", "startingDeadlineSeconds")
UNPARSABLE: Final = 11  # more retries than we allow; the loosened schema lets it pass
REFUSED: Final[tuple[Mapping[str, Any], ...]] = (
    {"updates": {"rolloutPercentage": 101}},
    {"updates": {"enabled": None, "rolloutPercentage": None}},
    {"scheduledAt": "2026-02-31T00:00:00Z"},
    {"maxRetries": -1},
    {"flagKey": "another"},
)


class Operations:
    """Performs operations on objects and counts them."""

    def __init__(self, scene: Scene, chance: random.Random) -> None:
        self.scene = scene
        self.chance = chance
        self.done = 0

    def wish(self, **fields: Any) -> Object:
        """Return a good spec in the future; fields that it leaves out are None, so that merging removes them."""
        at = datetime(2035, 1, 1, tzinfo=UTC) + timedelta(minutes=self.chance.randrange(10**6))
        updates: dict[str, Any] = {"enabled": self.chance.choice([True, False, None])}
        updates["rolloutPercentage"] = self.chance.randrange(101) if updates["enabled"] is None else None
        optional: dict[str, Any] = {
            "suspend": self.chance.choice([None, False, True]),
            "maxRetries": self.chance.choice([None, 0, 3, 10]),
            "startingDeadlineSeconds": self.chance.choice([None, 10, 600]),
        }
        written = self.chance.choice([at.isoformat(), f"{at:%Y-%m-%dT%H:%M:%S}.000001Z"])
        return {"scheduledAt": written, "updates": updates, **optional, **fields}

    def create(self, name: str, wish: Object, **metadata: Any) -> None:
        """Create an object of this wish."""
        given = {key: value for key, value in wish.items() if value is not None}
        given["updates"] = {key: value for key, value in wish["updates"].items() if value is not None}
        answer = self.scene.api.create(flagschedule(name, spec(**given), **metadata))
        assert answer.ok, answer.message
        self.done += 1

    def edit(self, name: str, wish: Mapping[str, Any], *, refused: bool = False) -> None:
        """Merge a wish into the spec."""
        answer = self.scene.api.patch(name, {"spec": dict(wish)})
        assert answer.ok != refused, answer.message
        self.done += 1

    def quiet(self) -> dict[str, Object]:
        """Wait until the operator has seen the last version of each object. Returns: every object."""
        found: dict[str, Object] = {}

        def settled() -> bool:
            found.update(self.scene.api.list())
            return all(
                obj.get("status", {}).get("observedGeneration") == obj["metadata"]["generation"]
                for obj in found.values()
            )

        eventually(settled, "every object is observed")
        return found

    def plans(self) -> dict[str, dict[str, Any]]:
        """Return the row of each object, without what is its own by nature."""
        rows = self.scene.database.query(
            "SELECT o.name, f.flag_key, f.environment, s.scheduled_at, s.updates, s.max_retries, s.suspended, "
            "s.not_after, s.status, s.reason, s.retry_count, s.next_retry_at, s.applied_at, s.last_error "
            "FROM flag_schedule_objects AS o JOIN feature_flag_schedules AS s ON s.id = o.schedule_id "
            "JOIN feature_flags AS f ON f.id = s.flag_id"
        )
        return {row.pop("name"): row for row in rows}


def planned(obj: Object) -> dict[str, Any]:
    """Return the oracle: what the row of this object must hold, from its spec alone."""
    wish = obj["spec"]
    at = datetime.fromisoformat(wish["scheduledAt"])
    deadline = wish.get("startingDeadlineSeconds")
    return {
        "flag_key": wish["flagKey"],
        "environment": wish.get("environment", "production"),
        "scheduled_at": at,
        "updates": wish["updates"],
        "max_retries": wish.get("maxRetries", 3),
        "suspended": wish.get("suspend", False),
        "not_after": at + timedelta(seconds=deadline) if deadline else None,
        "status": "cancelled" if wish.get("cancel") else "pending",
    }


def shown(obj: Object) -> dict[str, Any]:
    """Return the status as people see it, without ids, generations and times of observation."""
    status = {key: obj["status"].get(key) for key in ("phase", "change", "retryCount", "maxRetries", "lastError")}
    shown = [
        {key: each[key] for key in ("type", "status", "reason", "message")} for each in obj["status"]["conditions"]
    ]
    return {**status, "conditions": shown}


def assert_rows_equal_specs(objects: Mapping[str, Object], rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Check every object against the first oracle."""
    for name, obj in objects.items():
        wanted = planned(obj)
        assert {key: rows[name][key] for key in wanted} == wanted, name
        phase = "Cancelled" if wanted["status"] == "cancelled" else "Suspended" if wanted["suspended"] else "Pending"
        assert obj["status"]["phase"] == phase, name


@pytest.fixture
def operations(scene: Scene) -> Operations:
    """Operations of a seed that is shown when the test fails."""
    seed = random.randrange(10**6)  # noqa: S311 -- a scene, not a secret
    print(f"seed {seed}")  # noqa: T201 -- pytest shows it when the test fails
    return Operations(scene, random.Random(seed))  # noqa: S311 -- the same


def broken(on: Operations, number: int) -> Iterator[None]:
    """Give one object a bad spec and, after a pause, a good one; the ways differ by `number`."""
    name, kind = f"patient-{number}", number % 5
    tracked = {"argocd.argoproj.io/tracking-id": f"shop:flagschedule.io/FlagSchedule:{name}"}
    if kind == 0:  # refused by the API server
        on.create(name, on.wish())
        on.edit(name, on.chance.choice(REFUSED), refused=True)
        yield
        on.edit(name, on.wish())
    elif kind == 1:  # let in, and not understood
        on.create(name, on.wish())
        on.edit(name, {"maxRetries": UNPARSABLE})
        yield
        on.edit(name, on.wish(maxRetries=on.chance.choice([None, 2])))
    elif kind == 2:  # for a flag that does not exist
        on.create(name, on.wish(flagKey=name))
        yield
        on.scene.database.flag(name)
        on.done += 1
    elif kind == 3:  # too late
        on.create(name, on.wish(scheduledAt="2026-01-01T00:00:00Z"), annotations=tracked)
        yield
        on.edit(name, on.wish())
    else:  # moved to a time that has passed
        on.create(name, on.wish(), annotations=tracked)
        on.edit(name, on.wish(scheduledAt="2026-01-01T00:00:00Z"))
        yield
        on.edit(name, on.wish())


def lead_astray(on: Operations, names: list[str]) -> None:
    """Edit objects once or twice, to specs that are not their last."""
    for number, name in enumerate(names):
        for _ in range(1 + (number % 3 == 0)):
            on.edit(name, on.wish())


@pytest.mark.usefixtures("loosened")
def test_any_way_to_a_spec_ends_in_the_same_state(operations: Operations) -> None:
    """Row and status follow from the last good spec alone, regardless of earlier operations, also after bad specs."""
    on = operations
    pairs = [(f"direct-{number}", f"around-{number}") for number in range(PAIRS)]
    for pair in pairs:
        wish = on.wish()
        for name in pair:
            on.create(name, wish)
    patients = [broken(on, number) for number in range(PATIENTS)]
    for patient in patients:
        next(patient)
    assert_rows_equal_specs(_healthy(on.quiet()), on.plans())

    lead_astray(on, [around for _, around in pairs])
    if on.chance.random() < 0.5:  # with and without a look of the operator in between
        on.quiet()
    for number, pair in enumerate(pairs):
        last = on.wish(cancel=True if number % 5 == 0 else None)
        for name in pair:
            on.edit(name, last)
    for patient in patients:
        assert next(patient, None) is None
    eventually(lambda: all(_is_fixed(obj) for obj in on.quiet().values()), "all are fixed")

    objects, rows = on.quiet(), on.plans()
    assert_rows_equal_specs(objects, rows)
    for direct, around in pairs:
        assert rows[direct] == rows[around]
        assert shown(objects[direct]) == shown(objects[around])
    assert on.done >= LEAST


def _healthy(objects: Mapping[str, Object]) -> dict[str, Object]:
    return {name: obj for name, obj in objects.items() if not name.startswith("patient")}


def _is_fixed(obj: Object) -> bool:
    return obj["status"]["phase"] in {"Pending", "Suspended", "Cancelled"}
