"""Random operations on plans on a real Postgres, and what must hold after each of them.

`PlanOperations` is the API server's users, the operator and time: objects lie in memory, rows in the database. The
operator's services and the processor are the real ones. The operator keeps nothing between two looks: each look is one
after a restart. The database's clock stands still but for what the operations let pass.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from flagschedule.adapters.postgres.freeze_store import PostgresFreezeStore
from flagschedule.adapters.postgres.mirror_store import PostgresMirrorStore
from flagschedule.adapters.postgres.plan_store import PostgresPlanStore
from flagschedule.adapters.postgres.process_store import PostgresProcessStore
from flagschedule.adapters.prometheus import PrometheusTelemetry
from flagschedule.domain.freeze import Interval, Scope
from flagschedule.domain.outcome import Reason, State
from flagschedule.domain.plan import FlagPlan
from flagschedule.domain.plan_rows import Content, Key, Link, Part, PlanFacts
from flagschedule.domain.planning import plan
from flagschedule.domain.schedule import FINALIZER, ObjectRef, Uid
from flagschedule.services.circuit_breaker import CircuitBreaker
from flagschedule.services.event_recorder import EventRecorder
from flagschedule.services.plan_mirror import PlanMirror
from flagschedule.services.plan_status import PlanStatusWriter
from tests import roles
from tests.integration.database import Database, connected
from tests.support import processing
from tests.support.memory.object_client import MemoryApiServer, MemoryObjectClient
from tests.support.mirroring import RULES
from tests.support.postgres_clock import PostgresClock
from tests.unit.builders import rfc3339

BEGIN: Final = datetime(2027, 3, 25, 8, 0, 30, tzinfo=UTC)  # Oslo's clocks change three days later
_FLAGS: Final = ("cart", "chat", "search")
_NAMES: Final = ("ramp", "launch", "hours", "nightly")
_RECURRING: Final = ("hours", "nightly")
_CRONS: Final = (
    ("0 9 * * 1-5", "17:00"),
    ("30 2 * * *", "03:15"),
    ("0 22 * * *", "06:00"),
    ("0 */8 * * *", None),
    ("30 1 * * *", None),
)
_REFUSED: Final = 13  # a percentage that the host's table refuses
_MADE: Final = (Reason.APPLIED, Reason.ALREADY_SET, Reason.PARTLY_SUPERSEDED)
_MOST_LOOKS: Final = 12
_HOUR: Final = timedelta(hours=1)

Identity = tuple[int, Key]  # lineage and key


@dataclass(frozen=True)
class Outcome:
    """What the processor did to a row, and what was planned at that moment."""

    identity: Identity
    plan: Uid
    schedule: UUID
    scheduled_at: datetime
    at: datetime
    state: str
    reason: str
    sets: Mapping[str, object]


class PlanOperations:
    """Four names of plans over three flags.

    Attributes:
        counts: how often each kind of operation was done.
        words: every operation, for the message of a failure.
    """

    def __init__(self, url: str, seed: int) -> None:
        self._url = url
        self._chance = random.Random(seed)  # noqa: S311 -- a choice, no secret
        self._server = MemoryApiServer()
        self._client: MemoryObjectClient[FlagPlan] = MemoryObjectClient(self._server, FlagPlan.from_body)
        self._telemetry = PrometheusTelemetry()
        self._clock = PostgresClock(url)
        self._now = BEGIN
        self._clock.set(BEGIN)
        self._freezes: dict[str, ObjectRef] = {}
        self._good: dict[str, dict[str, Any]] = {}  # the last spec of each name that can be parsed
        self._history: list[Outcome] = []
        self._by_hand: dict[tuple[UUID, str], object] = {}
        self._seen: set[tuple[UUID, int, int]] = set()
        self.words: list[str] = []
        self.counts: dict[str, int] = {}
        self.attempts = 0
        with connected(url) as database:
            database.run("ALTER TABLE feature_flags ADD CHECK (rollout_percentage <> 13)")
            for key in _FLAGS:
                database.flag(key)
        for name in _NAMES:
            self.words.append(self._create_as(name, None))

    # The operations.

    async def step(self) -> None:
        """Do one operation, let everything settle, and check what must hold."""
        possible = [*self._possible()]
        weights = [weight for weight, _ in possible]
        (_, operation), *_rest = self._chance.choices(possible, weights)
        name = operation.__name__.strip("_")
        words = await operation()
        self.counts[name] = self.counts.get(name, 0) + 1
        self.words.append(f"{len(self.words) + 1:3} {self._now:%d %H:%M} {name}: {words}")
        await self.settle()
        await self.check()

    def _possible(self) -> Iterator[tuple[int, Callable[[], Any]]]:
        yield 30, self._pass_time
        yield 8, self._pass_time_without_an_operator
        yield 3, self._delete_or_make_flag
        yield 4, self._set_by_hand
        yield 12 if self._freezes else 3, self._freeze
        if self._absent:
            yield 30, self._create
        if self._live:
            yield 16, self._edit_values
            yield 10, self._edit_times
            yield 10, self._edit_flags
            yield 10, self._edit_steps
            yield 15 if self._suspended else 5, self._suspend_or_resume
            yield 2, self._cancel
            yield 5, self._delete
            yield 20 if self._over else 4, self._create_again
            yield 8, self._approve
            yield 8, self._request_retry
            yield 2, self._break_the_spec

    @property
    def _live(self) -> list[str]:
        return sorted(name for _, name in self._server.objects)

    @property
    def _absent(self) -> list[str]:
        return [name for name in _NAMES if ("shop", name) not in self._server.objects]

    @property
    def _over(self) -> list[str]:
        return [
            name
            for (_, name), body in sorted(self._server.objects.items())
            if body["status"].get("phase") in {"Finished", "Cancelled"}
        ]

    @property
    def _suspended(self) -> list[str]:
        return [name for name in self._live if self._good[name].get("suspend")]

    def _flip(self, chance: float) -> bool:
        return self._chance.random() < chance

    async def _pass_time(self) -> str:
        length = self._chance.choice([timedelta(minutes=7), _HOUR, 5 * _HOUR, 24 * _HOUR, 24 * _HOUR, 60 * _HOUR])
        steps = self._chance.choice([1, 1, 3])
        for _ in range(steps):
            self._set_clock(self._now + length / steps)
            await self.settle()
        return f"{length} in {steps} steps"

    async def _pass_time_without_an_operator(self) -> str:
        length = self._chance.choice([_HOUR, 8 * _HOUR, 30 * _HOUR, 200 * _HOUR])
        for _ in range(3):
            self._set_clock(self._now + length / 3)
            self._process()
        return str(length)

    def _set_clock(self, now: datetime) -> None:
        self._now = now.replace(microsecond=0)
        self._clock.set(self._now)

    async def _delete_or_make_flag(self) -> str:
        with connected(self._url) as database:
            found = {row["flag_key"] for row in database.query("SELECT flag_key FROM feature_flags")}
            missing = [key for key in _FLAGS if key not in found]
            key = self._chance.choice(missing or _FLAGS)
            if not missing:
                database.run("DELETE FROM feature_flags WHERE flag_key = %s", key)
            if missing or self._flip(0.3):
                database.flag(key)
                return f"{key} made"
        return f"{key} gone"

    async def _set_by_hand(self) -> str:
        key, percentage = self._chance.choice(_FLAGS), self._chance.choice([0, 5, 25, 77])
        with connected(self._url) as database:
            for row in database.query(
                "UPDATE feature_flags SET rollout_percentage = %s WHERE flag_key = %s RETURNING id", percentage, key
            ):
                self._by_hand[row["id"], "rolloutPercentage"] = percentage
        return f"{key} {percentage}"

    async def _freeze(self) -> str:
        if self._freezes and self._flip(0.85):
            name, ref = self._freezes.popitem()
            async with self._operator() as (_, freezes):
                await freezes.forget(ref)
            return f"end of {name}"
        name = self._chance.choice([*_FLAGS, "all"])
        ref = self._freezes.setdefault(name, ObjectRef(uid=Uid(uuid4()), namespace="", name=f"freeze-{name}"))
        scope = Scope(reason="INC-1", flag_keys=None if name == "all" else (name,))
        async with self._operator() as (_, freezes):
            await freezes.replace(ref, scope, [Interval(self._now, None)])
        return f"begin of {name}"

    async def _create(self) -> str:
        name = self._chance.choice(self._absent)
        again = self._good.get(name) if self._flip(0.5) else None
        return self._create_as(name, again)

    def _create_as(self, name: str, spec: dict[str, Any] | None) -> str:
        spec = deepcopy(spec) if spec is not None else self._spec(name)
        metadata = {"namespace": "shop", "name": name, "finalizers": [FINALIZER]}
        body = {"metadata": {**metadata, "creationTimestamp": rfc3339(self._now)}, "spec": spec}
        self._server.create(body)
        self._good[name] = spec
        return f"{name} {spec}"

    async def _create_again(self) -> str:
        over = self._over
        name = self._chance.choice(over or self._live)
        self._server.delete("shop", name)
        await self.settle()
        return self._create_as(name, None if over else self._good[name])

    async def _edit_values(self) -> str:
        def edit(spec: dict[str, Any]) -> None:
            change = self._chance.choice(self._chance.choice(spec["steps"])["changes"])
            change["then" if "then" in change and self._flip(0.5) else "updates"] = self._values()
            if self._flip(0.2):
                spec["maxRetries"] = self._chance.choice([0, 1])
            if self._flip(0.2):
                change.pop("expect", None)

        return self._edit(edit)

    async def _edit_times(self) -> str:
        def edit(spec: dict[str, Any]) -> None:
            step = self._chance.choice(spec["steps"])
            if "cron" in step:
                step |= (
                    self._cron() if "until" in step else {"cron": self._chance.choice(["0 */8 * * *", "30 1 * * *"])}
                )
                self._vary_calendar(spec)
            elif "at" in step:
                step["at"] = self._time()
            else:
                step["after"] = self._chance.choice(["1h", "24h", "48h"])
            if self._flip(0.2):
                spec["startingDeadlineSeconds"] = self._chance.choice([3600, 90_000])

        return self._edit(edit)

    def _vary_calendar(self, spec: dict[str, Any]) -> None:
        if self._flip(0.3):
            spec["exceptDates"] = [f"{self._now + timedelta(days=self._chance.choice([1, 2])):%Y-%m-%d}"]
        if self._flip(0.2):
            spec["endsAt"] = rfc3339(self._now + timedelta(days=self._chance.choice([1, 9])))
        elif self._flip(0.5):
            spec.pop("endsAt", None)

    async def _edit_flags(self) -> str:
        def edit(spec: dict[str, Any]) -> None:
            changes = self._chance.choice(spec["steps"])["changes"]
            free = [key for key in _FLAGS if key not in {change["flagKey"] for change in changes}]
            if len(changes) > 1 and self._flip(0.4):
                changes.pop()
            elif free and self._flip(0.5):
                changes[0]["flagKey"] = self._chance.choice(free)
            elif free:
                changes.append({**deepcopy(changes[0]), "flagKey": self._chance.choice(free)})

        return self._edit(edit)

    async def _edit_steps(self) -> str:
        def edit(spec: dict[str, Any]) -> None:
            steps = spec["steps"]
            number = self._chance.randrange(len(steps))
            kind = self._chance.choice(["rename", "drop", "add"])
            if kind == "rename":
                steps[number]["name"] = self._new_name(spec)
            elif kind == "drop" and len(steps) > 1:
                del steps[number]
            elif kind == "add":
                made = self._steps("cron" in steps[0])[-1]
                steps.insert(number + 1, {**made, "name": self._new_name(spec)})

        return self._edit(edit)

    def _new_name(self, spec: dict[str, Any]) -> str:
        used = {step["name"] for step in spec["steps"]}
        return self._chance.choice([name for name in "abcdefg" if name not in used])

    def _edit(self, edit: Callable[[dict[str, Any]], None]) -> str:
        name = self._chance.choice(self._live)
        for _ in range(20):
            spec = deepcopy(self._good[name])
            edit(spec)
            if self._is_good(spec):
                break
        else:
            return f"{name} found none"
        self._store_spec(name, spec)
        self._good[name] = spec
        return f"{name} {spec}"

    def _store_spec(self, name: str, spec: dict[str, Any]) -> None:
        body = self._server.objects["shop", name]
        generation = body["metadata"]["generation"] + (body["spec"] != spec)
        self._server.store({**body, "spec": spec, "metadata": {**body["metadata"], "generation": generation}})

    def _is_good(self, spec: dict[str, Any]) -> bool:
        meta = {"uid": str(uuid4()), "namespace": "shop", "name": "x", "generation": 1, "resourceVersion": "1"}
        body = {"metadata": {**meta, "creationTimestamp": rfc3339(self._now)}, "spec": spec}
        return FlagPlan.from_body(body).fault is None

    async def _suspend_or_resume(self) -> str:
        suspended = self._suspended
        name = self._chance.choice(suspended or self._live)
        spec = {**self._good[name], "suspend": name not in suspended}
        self._store_spec(name, spec)
        self._good[name] = spec
        return f"{name} {spec['suspend']}"

    async def _cancel(self) -> str:
        name = self._chance.choice(self._live)
        self._store_spec(name, {**self._good[name], "cancel": True})
        return name

    async def _delete(self) -> str:
        name = self._chance.choice(self._live)
        self._server.delete("shop", name)
        return name

    async def _approve(self) -> str:
        name = self._chance.choice(self._live)
        steps = self._good[name]["steps"]
        waiting = [step["name"] for step in steps if step.get("approval")]
        shown = (self._server.objects["shop", name].get("status", {}).get("waitingFor") or {}).get("approval")
        step = shown if shown and self._flip(0.7) else self._chance.choice(waiting or ["none"])
        self._server.annotate("shop", name, **{"flagschedule.io/approved": step})
        return f"{name} {step}"

    async def _request_retry(self) -> str:
        stalled = [
            name for name in self._live if self._server.objects["shop", name].get("status", {}).get("phase") == "Failed"
        ]
        name = self._chance.choice(stalled or self._live)
        self._server.annotate("shop", name, **{"flagschedule.io/retry-requested-at": str(len(self.words))})
        return name

    async def _break_the_spec(self) -> str:
        name = self._chance.choice(self._live)
        self._store_spec(name, {**self._good[name], "timeZone": "Nowhere"})
        return name

    # Specs.

    def _spec(self, name: str) -> dict[str, Any]:
        while True:
            recurring = name in _RECURRING
            spec: dict[str, Any] = {"steps": self._steps(recurring), "maxRetries": self._chance.choice([0, 1])}
            if recurring:
                spec["timeZone"] = self._chance.choice(["Europe/Oslo", "UTC"])
                self._vary_calendar(spec)
            if self._is_good(spec):
                return spec

    def _steps(self, recurring: bool) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = []
        for name in "abcd"[: self._chance.choice([1, 2] if recurring else [2, 3, 4])]:
            step: dict[str, Any] = {"name": name}
            if recurring:
                step |= self._cron()
            elif not steps or self._flip(0.15):
                step["at"] = self._time()
                if self._flip(0.4):
                    step["until"] = rfc3339(self._now + self._chance.choice([60, 90, 120]) * _HOUR)
            else:
                step["after"] = self._chance.choice(["1h", "24h", "48h"])
            if not recurring and steps and self._flip(0.25):
                step["approval"] = True
            keys = self._chance.sample(_FLAGS, self._chance.choice([1, 1, 2]))
            step["changes"] = [self._change(key, has_end="until" in step) for key in keys]
            steps.append(step)
        return steps

    def _change(self, key: str, *, has_end: bool) -> dict[str, Any]:
        change: dict[str, Any] = {"flagKey": key, "updates": self._values()}
        if has_end:
            change["then"] = self._values()
        if self._flip(0.12):
            change["expect"] = {"rolloutPercentage": self._chance.choice([0, 5, 25])}
            if self._flip(0.5):
                change["onMismatch"] = "Skip"
        return change

    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        if self._flip(0.6):
            values["enabled"] = self._flip(0.5)
        if not values or self._flip(0.5):
            values["rolloutPercentage"] = _REFUSED if self._flip(0.08) else self._chance.choice([0, 5, 25, 50, 100])
        return values

    def _cron(self) -> dict[str, Any]:
        cron, until = self._chance.choice(_CRONS)
        return {"cron": cron, "until": until} if until else {"cron": cron}

    def _time(self) -> str:
        return rfc3339(self._now + timedelta(minutes=self._chance.choice([-5, 10, 60, 60, 300, 1500, 3000])))

    # The operator and the processor.

    @asynccontextmanager
    async def _operator(self) -> Any:
        async with PostgresMirrorStore(roles.url(self._url, "operator"), "default", ()) as sessions:
            breaker = CircuitBreaker(sessions.ping, 5, 2)
            writer = PlanStatusWriter(self._client, EventRecorder(self._client), self._telemetry)
            store = PostgresPlanStore(sessions, "default", ())
            yield (
                (store, PlanMirror(store, breaker, RULES, writer, self._telemetry)),
                PostgresFreezeStore(sessions, "default", ()),
            )

    async def settle(self) -> None:
        """Let processor and operator work until both find nothing to do."""
        for _ in range(_MOST_LOOKS):
            handled = self._process()
            if not await self._look() and not handled:
                return
        raise AssertionError("it does not settle")

    async def _look(self) -> int:
        """Compare all objects, and reconcile those that differ. Returns how many did."""
        changed = 0
        async with self._operator() as ((store, mirror), _):
            objects = [obj async for obj in self._client.list()]
            for obj in objects:
                if obj.deleting:
                    await mirror.release(obj)
                    await self._client.write_finalizers(obj.ref, obj.resource_version, [])
                elif await mirror.is_stale(obj):
                    await mirror.reconcile(obj)
                else:
                    continue
                changed += 1
            await store.delete_status_entries([entry.id for entry in await store.status_entries(1000)])
        return changed

    def _process(self) -> int:
        """Run the processor once, and remember what it did. Returns how many rows it handled."""
        with connected(self._url) as database:
            planned = {row["schedule_id"]: row for row in database.query(_PLANNED)}
        with PostgresProcessStore(roles.url(self._url, "process")) as store:
            summary = processing.run(store, concurrency=1, linger=0)
        with connected(self._url) as database:
            for row in database.query(_ATTEMPTS):
                number = row["schedule_id"], row["arming"], row["attempt"]
                if number not in self._seen:
                    self._seen.add(number)
                    self._remember(row, planned[row["schedule_id"]])
        self.attempts = len(self._seen)
        return summary.processed

    def _remember(self, attempt: Mapping[str, Any], planned: Mapping[str, Any]) -> None:
        key = Key(
            planned["occurrence"], planned["step"], Part(planned["part"]), planned["flag_key"], planned["environment"]
        )
        sets = {
            name: planned["row_updates"][name]
            for name, is_set in (
                ("enabled", attempt["set_enabled"]),
                ("rolloutPercentage", attempt["set_rollout_percentage"]),
            )
            if is_set
        }
        handled = Outcome(
            identity=(planned["lineage"], key),
            plan=Uid(planned["plan"]),
            schedule=attempt["schedule_id"],
            scheduled_at=planned["scheduled_at"],
            at=attempt["attempted_at"],
            state=attempt["outcome"],
            reason=attempt["reason"],
            sets=sets if attempt["reason"] != Reason.ALREADY_SET else {},
        )
        self._check_attempt(handled)
        self._history.append(handled)
        for name in sets:
            self._by_hand.pop((planned["flag_id"], name), None)

    # What must hold.

    def _made(self, lineage: int, occurrence: str, step: str) -> list[Outcome]:
        return [
            each
            for each in self._history
            if each.identity[0] == lineage
            and each.reason in _MADE
            and (each.identity[1].occurrence, each.identity[1].step, each.identity[1].part)
            == (occurrence, step, Part.START)
        ]

    def _check_attempt(self, handled: Outcome) -> None:
        """Nothing is made twice, held, before its start or before its soak is over."""
        lineage, key = handled.identity
        if handled.state != State.APPLIED:
            return
        assert not {"all", key.flag_key} & self._freezes.keys(), f"made while frozen: {handled}"
        assert handled.scheduled_at <= handled.at, f"made early: {handled}"
        before = [each for each in self._history if each.identity == handled.identity and each.reason in _MADE]
        assert not before, f"made twice: {handled}, {before}"
        if key.part is Part.END:
            start = [each for each in self._history if each.identity == (lineage, key.start)]
            assert any(each.state == State.APPLIED for each in start), f"ended without a start: {handled}"
            return
        self._check_soak(handled)

    def _check_soak(self, handled: Outcome) -> None:
        lineage, key = handled.identity
        body = next(body for body in self._server.objects.values() if body["metadata"]["uid"] == str(handled.plan))
        obj = FlagPlan.from_body(body)
        assert obj.spec, f"made without a spec: {handled}"
        assert not obj.spec.suspend, f"made while suspended: {handled}"
        for chain in () if obj.spec.is_recurring else obj.spec.chains:
            names = [step.name for step in chain]
            if key.step in names[1:]:
                number = names.index(key.step)
                former = self._made(lineage, key.occurrence, names[number - 1])
                soak = chain[number].after
                assert soak is not None
                assert former, f"made before its former step: {handled}"
                since = max(each.at for each in former)
                assert handled.at >= since + soak, f"soak shortened: {handled}, former step {since}"

    async def check(self) -> None:
        """Compare rows, links, statuses and flags with what the objects and the history say."""
        with connected(self._url) as database:
            self._check_rows(database)
            self._check_flags(database)
        async with self._operator() as ((store, mirror), _):
            for body in self._server.objects.values():
                obj = FlagPlan.from_body(body)
                facts = await store.facts(obj)
                decision = plan(obj, facts, RULES)
                assert not decision.changes, f"planned again: {decision.changes}"
                assert decision.record == facts.record
                assert not await mirror.is_stale(obj)
                if obj.spec is not None and not decision.record.cancelled:
                    _check_as_if_created_so(obj, facts)

    def _check_rows(self, database: Database) -> None:
        live = {
            body["metadata"]["uid"]: bool(body["spec"].get("suspend"))
            for body in self._server.objects.values()
            if not body["spec"].get("cancel")
        }
        seen: set[tuple[Any, ...]] = set()
        for row in database.query(_UNFINISHED):
            identity = tuple(row[name] for name in ("lineage", "occurrence", "step", "part", "flag_key", "environment"))
            assert row["lineage"] is not None, f"a row of no plan: {row}"
            assert str(row["plan"]) in live, f"a row of a plan that ended: {row}"
            assert row["state"] is None, f"an unfinished row with an outcome: {row}"
            assert (row["flag_key"], row["environment"]) == (row["flag"], row["of"]), f"another flag: {row}"
            assert identity not in seen, f"an identity twice: {identity}"
            seen.add(identity)
        for row in database.query(_REPLACED_ENDS):
            key = Key(row["occurrence"], row["step"], Part.START, row["flag_key"], row["environment"])
            made = [each for each in self._history if each.identity == (row["lineage"], key) and each.reason in _MADE]
            assert not made, f"an open window lost its end: {row}"

    def _check_flags(self, database: Database) -> None:
        """Each value is that of the latest row that set it, by time and id, or what a person set after it."""
        rows = database.query("SELECT id, flag_key, enabled, rollout_percentage FROM feature_flags")
        ids = {row["schedule_id"]: row["flag_id"] for row in database.query(_FLAGS_OF_ROWS)}
        for row in rows:
            for name, value in (("enabled", row["enabled"]), ("rolloutPercentage", row["rollout_percentage"])):
                if (row["id"], name) in self._by_hand:
                    assert value == self._by_hand[row["id"], name]
                    continue
                sets = [each for each in self._history if name in each.sets and ids.get(each.schedule) == row["id"]]
                if sets:
                    latest = max(sets, key=lambda each: (each.scheduled_at, each.schedule))
                    assert value == latest.sets[name], f"{row} but {latest}"


def _check_as_if_created_so(obj: FlagPlan, facts: PlanFacts) -> None:
    """What is to come is what the spec alone gives, with what has begun and is therefore a fact."""
    assert obj.spec
    begun = {key: link for key, link in facts.links.items() if link.ended or _due(link) <= facts.now}
    # While it is suspended nothing recurring is planned, and what was planned before stays.
    going_on = replace(obj, spec=obj.spec.model_copy(update={"suspend": False}))
    fresh = plan(going_on, replace(facts, links=begun), RULES)

    def is_compared(key: Key, at: datetime, *, is_moved: bool) -> bool:
        """Whether it is to come; ends of windows that have begun, or should have, keep what they began with."""
        start = facts.links.get(key.start)
        has_begun = start is not None and (start.ended or _due(start) <= facts.now)
        return at > facts.now and not is_moved and not (key.part is Part.END and has_begun)

    wanted: dict[Key, Content | None] = {
        insert.key: insert.content
        for insert in fresh.changes.inserts
        if is_compared(insert.key, insert.content.scheduled_at, is_moved=insert.is_moved)
    }
    wanted |= {
        note.key: None for note in fresh.changes.notes if note.state is State.WAITING and note.due_at > facts.now
    }
    found: dict[Key, Content | None] = {
        key: link.content if link.unfinished else None
        for key, link in facts.links.items()
        if (link.unfinished or link.waiting) and is_compared(key, _due(link), is_moved=link.is_moved)
    }
    extra = {key: found[key] for key in found.keys() - wanted.keys()}
    missing = {key: wanted[key] for key in wanted.keys() - found.keys()}
    assert not extra, f"planned, though the spec says nothing of it: {extra}"
    assert obj.spec.suspend or not missing, f"not planned: {missing}"
    other = {key: (found[key], wanted[key]) for key in found.keys() & wanted.keys() if found[key] != wanted[key]}
    assert not other, f"planned otherwise: {other}"


def _due(link: Link) -> datetime:
    return link.content.scheduled_at if link.content else link.due_at


_PLANNED: Final = """
SELECT r.*, s.scheduled_at, s.updates AS row_updates, s.flag_id
FROM flag_plan_rows AS r JOIN feature_flag_schedules AS s ON s.id = r.schedule_id
"""
_ATTEMPTS: Final = "SELECT * FROM flag_schedule_attempts ORDER BY attempted_at, schedule_id, arming, attempt"
_UNFINISHED: Final = """
SELECT s.id, s.suspended, r.*, f.flag_key AS flag, f.environment AS of
FROM feature_flag_schedules AS s
JOIN feature_flags AS f ON f.id = s.flag_id
LEFT JOIN flag_plan_rows AS r ON r.schedule_id = s.id
WHERE s.status = 'pending' OR s.next_retry_at IS NOT NULL
"""
_REPLACED_ENDS: Final = (
    "SELECT * FROM flag_plan_rows WHERE part = 'end' AND state = 'cancelled' AND reason = 'Replaced'"
)
_FLAGS_OF_ROWS: Final = "SELECT id AS schedule_id, flag_id FROM feature_flag_schedules"
