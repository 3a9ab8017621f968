"""What every PlanStore promises: each test runs on the store in memory and on Postgres.

What needs more than a store's own behaviour is in tests/integration: races, the processor, restores and renames.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from flagschedule.domain.errors import ConflictError, DependencyUnavailableError
from flagschedule.domain.outcome import Reason, State
from flagschedule.domain.plan import FlagPlan
from flagschedule.domain.plan_rows import Link, Part
from flagschedule.domain.planning import PlanDecision, plan
from flagschedule.domain.schedule import RETRY_ANNOTATION
from flagschedule.ports.planning import PlanStore
from tests.conformance.databases import World
from tests.support.mirroring import RULES
from tests.support.plans import change, plan_body
from tests.unit.builders import rfc3339

HOUR = timedelta(hours=1)


def window(world: World, *keys: str, name: str = "one", **fields: Any) -> dict[str, Any]:
    """A step that is due in an hour and ends an hour later."""
    changes = [change(key, then={"enabled": False}, **fields) for key in keys or ("chat",)]
    return {"name": name, "at": rfc3339(world.now + HOUR), "until": rfc3339(world.now + 2 * HOUR), "changes": changes}


def obj(
    world: World,
    *steps: Mapping[str, Any],
    name: str = "plan",
    namespace: str = "shop",
    uid: UUID | None = None,
    age: float = 1,
    **fields: Any,
) -> FlagPlan:
    """A plan that was created `age` minutes ago, by default of one window."""
    raw = plan_body(*(steps or (window(world),)), created_at=world.now - timedelta(minutes=age), **fields)
    raw["metadata"] |= {"uid": str(uid or uuid4()), "name": name, "namespace": namespace}
    return FlagPlan.from_body(raw)


async def reconcile(store: PlanStore, wanted: FlagPlan, meanwhile: Callable[[], object] = lambda: None) -> PlanDecision:
    """Plan and store until nothing changes, as the service does; `meanwhile` is called before each storing."""
    async with store.transaction(wanted) as transaction:
        for _ in range(3):
            decision = plan(wanted, await transaction.facts(), RULES)
            meanwhile()
            await transaction.save(decision)
            if not decision.changes:
                return decision
    raise AssertionError("planning does not come to an end")


async def link(store: PlanStore, of: FlagPlan, part: Part = Part.START, flag: str = "chat") -> Link:
    """The link of the start or the end of a flag's change."""
    (found,) = [it for key, it in (await store.facts(of)).links.items() if (key.part, key.flag_key) == (part, flag)]
    return found


async def row_id(store: PlanStore, of: FlagPlan, part: Part = Part.START, flag: str = "chat") -> UUID:
    """The id of its row."""
    found = (await link(store, of, part, flag)).schedule_id
    assert found
    return found


async def test_a_new_plan_gets_record_links_and_rows(world: World) -> None:
    """What is stored is what was decided, and to plan it again changes nothing."""
    flag = world.flag("chat")
    async with world.plan_store() as store:
        new = obj(world, window(world, rolloutPercentage=7), maxRetries=5)

        decision = await reconcile(store, new)

        facts = await store.facts(new)
        assert (facts.record, facts.flags, facts.replaced) == (decision.record, {("chat", "production"): flag}, False)
        start, end = await link(store, new), await link(store, new, Part.END)
        assert (start.state, start.updates, start.plan) == (State.PENDING, {"rolloutPercentage": 7}, new.ref.uid)
        assert start.content
        assert (start.content.max_retries, end.due_at - start.due_at, start.is_chain) == (5, HOUR, True)
        assert not plan(new, facts, RULES).changes
        (known,) = await store.known()
        assert (known.ref, known.created_at, known.generation) == (new.ref, new.created_at, 1)


async def test_an_edit_changes_the_row_that_is_there(world: World) -> None:
    """Other values keep the row, with another arming; another time as well."""
    world.flag("chat")
    async with world.plan_store() as store:
        new = obj(world)
        await reconcile(store, new)
        before = await link(store, new)

        edited = obj(world, window(world, rolloutPercentage=7), uid=new.ref.uid, generation=2)
        await reconcile(store, edited)

        after = await link(store, new)
        assert (after.schedule_id, after.arming) == (before.schedule_id, before.arming + 1)
        assert after.content
        assert (after.updates, after.content.updates) == ({"rolloutPercentage": 7}, {"rolloutPercentage": 7})


async def test_an_outcome_outlives_its_row(world: World) -> None:
    """The link keeps what became of a row that retention deleted."""
    world.flag("chat")
    async with world.plan_store() as store:
        new = obj(world)
        await reconcile(store, new)
        row = await row_id(store, new)
        world.apply(row)
        await reconcile(store, new)

        world.delete_row(row)

        kept = await link(store, new)
        assert (kept.state, kept.reason, kept.applied_at) == (State.APPLIED, Reason.APPLIED, world.now)
        assert (kept.schedule_id, kept.content) == (row, None)


async def test_a_row_that_went_with_its_flag_is_reported(world: World) -> None:
    """An unfinished change whose flag was deleted has failed, and its plan gets an entry of the outbox."""
    flag = world.flag("chat")
    async with world.plan_store() as store:
        new = obj(world)
        await reconcile(store, new)

        world.delete_flag(flag)

        kept = await link(store, new)
        assert (kept.state, kept.reason, kept.content) == (State.FAILED, Reason.FLAG_DELETED, None)
        assert {entry.ref for entry in await store.status_entries(10)} == {new.ref}


async def test_entries_come_by_namespaces_in_turns(world: World) -> None:
    """Of each namespace the oldest first; those that are known are left out, and those that are deleted are gone."""
    world.flag("chat")
    async with world.plan_store() as store:
        plans = [obj(world, name=name, namespace=name[0]) for name in ("a1", "a2", "a3", "b1")]
        for each in plans:
            await reconcile(store, each)
            world.apply(await row_id(store, each))

        entries = await store.status_entries(10)
        assert [entry.ref.name for entry in entries] == ["a1", "b1", "a2", "a3"]
        assert [entry.ref.name for entry in await store.status_entries(2)] == ["a1", "b1"]
        known = [entries[0].id]
        assert [entry.ref.name for entry in await store.status_entries(2, known)] == ["a2", "b1"]
        await store.delete_status_entries([entry.id for entry in entries[:3]])
        assert [entry.ref.name for entry in await store.status_entries(10)] == ["a3"]


async def test_each_store_sees_its_own(world: World) -> None:
    """Plans of its namespaces and of its cluster only."""
    world.flag("chat")
    async with (
        world.plan_store() as store,
        world.plan_store("default", "shop") as some,
        world.plan_store("other") as other,
    ):
        for namespace in ("shop", "desk"):
            each = obj(world, namespace=namespace)
            await reconcile(store, each)
            world.apply(await row_id(store, each))

        seen = [{known.ref.namespace for known in await each.known()} for each in (store, some, other)]
        assert seen == [{"shop", "desk"}, {"shop"}, set()]
        entries = [{entry.ref.namespace for entry in await each.status_entries(9)} for each in (store, some, other)]
        assert entries == seen


async def test_a_plan_waits_for_its_flag(world: World) -> None:
    """It is found once the flag exists, and not before."""
    async with world.plan_store() as store:
        new = obj(world)
        assert (await reconcile(store, new)).view.missing
        assert (await link(store, new)).state is State.WAITING
        assert await store.waiting() == []

        world.flag("chat")

        assert await store.waiting() == [new.ref]
        await reconcile(store, new)
        assert ((await link(store, new)).state, await store.waiting()) == (State.PENDING, [])


async def test_a_flag_that_is_there_twice_is_used_for_nothing(world: World) -> None:
    """It is not known which one is meant."""
    world.flag("chat")
    world.flag("chat")
    async with world.plan_store() as store:
        decision = await reconcile(store, obj(world))

        assert decision.view.missing == {("chat", "production"): Reason.FLAG_AMBIGUOUS}


async def test_a_locked_flag_keeps_no_other_one(world: World) -> None:
    """The rows of the other flag are stored, and a request to retry is not taken for handled."""
    world.flag("chat")
    locked = world.flag("cart")
    async with world.plan_store() as store:
        both = (window(world, "chat", "cart"),)
        new = obj(world, *both, annotations={RETRY_ANNOTATION: "now"})
        with world.held(locked):
            decision = await reconcile(store, new)

            assert decision.view.missing == {("cart", "production"): Reason.FLAG_LOCKED}
            assert (await link(store, new)).unfinished
            facts = await store.facts(new)
            assert facts.record
            assert facts.record.retry_request is None

        await reconcile(store, new)
        facts = await store.facts(new)
        assert facts.record
        assert (facts.record.retry_request, (await link(store, new, flag="cart")).state) == ("now", State.PENDING)


async def test_a_row_that_was_changed_since_it_was_read_is_left_alone(world: World) -> None:
    """The caller starts again, and nothing of the decision is stored."""
    world.flag("chat")
    async with world.plan_store() as store:
        new = obj(world)
        await reconcile(store, new)
        row = await row_id(store, new)

        edited = obj(world, window(world, rolloutPercentage=7), uid=new.ref.uid, generation=2)
        with pytest.raises(ConflictError):
            await reconcile(store, edited, lambda: world.apply(row))

        facts = await store.facts(new)
        assert facts.record
        assert (facts.record.generation, (await link(store, new, Part.END)).arming) == (1, 0)
        assert (await link(store, new)).state is State.APPLIED


async def test_what_fails_leaves_nothing(world: World) -> None:
    """An error at the end of the block takes everything back."""
    world.flag("chat")
    async with world.plan_store() as store:
        new = obj(world)
        with suppress(ZeroDivisionError):
            async with store.transaction(new) as transaction:
                await transaction.save(plan(new, await transaction.facts(), RULES))
                raise ZeroDivisionError

        facts = await store.facts(new)
        assert (facts.record, facts.links, await store.known()) == (None, {}, [])


async def test_only_one_transaction_decides_on_a_name(world: World) -> None:
    """Also of another object with that name; plans of other names do not wait."""
    world.flag("chat")
    async with world.plan_store() as store, store.transaction(obj(world)) as transaction:
        await transaction.facts()

        with pytest.raises(ConflictError):
            await reconcile(store, obj(world))
        await reconcile(store, obj(world, name="other"))


async def test_to_hold_suspends_what_is_not_finished(world: World) -> None:
    """Without a decision; an older view of the object holds nothing."""
    world.flag("chat")
    async with world.plan_store() as store:
        new = obj(world, generation=2)
        await reconcile(store, new)

        await store.hold(obj(world, uid=new.ref.uid, generation=1, suspend=True))
        assert not (await link(store, new)).suspended
        await store.hold(obj(world, uid=new.ref.uid, generation=3, suspend=True))

        assert ((await link(store, new)).suspended, (await link(store, new, Part.END)).suspended) == (True, True)


async def test_suspend_holds_all_rows_and_releases_them(world: World) -> None:
    """Also what comes new while the plan is suspended."""
    world.flag("chat")
    async with world.plan_store() as store:
        new = obj(world, suspend=True)
        await reconcile(store, new)
        assert (await link(store, new)).suspended

        await reconcile(store, obj(world, uid=new.ref.uid, generation=2))

        assert not (await link(store, new)).suspended


async def test_a_newer_object_of_the_name_goes_on(world: World) -> None:
    """It takes over what is not finished; the older one is closed, and does nothing any more."""
    world.flag("chat")
    async with world.plan_store() as store:
        older, newer = obj(world, age=5), obj(world, age=1)
        await reconcile(store, older)
        row = await row_id(store, older)

        await reconcile(store, newer)

        taken = await link(store, newer)
        assert (taken.plan, taken.schedule_id) == (newer.ref.uid, row)
        assert [known.ref for known in await store.known()] == [newer.ref]
        assert (await store.facts(older)).replaced
        assert not (await store.facts(newer)).replaced


async def test_a_deleted_plan_gives_up_its_rows(world: World) -> None:
    """They are cancelled, it is not known any more, and its outcomes are shown by nothing."""
    world.flag("chat")
    async with world.plan_store() as store:
        new = obj(world)
        await reconcile(store, new)
        row = await row_id(store, new)

        await reconcile(store, new.as_deleted())
        world.notify(row)

        assert ((await link(store, new)).state, (await link(store, new)).reason) == (State.CANCELLED, Reason.DELETED)
        assert (await store.known(), await store.status_entries(10)) == ([], [])


async def test_without_a_database_every_method_says_so(world: World) -> None:
    """The circuit breaker relies on one type of error."""
    async with world.others_without_database() as (store, _):
        new = obj(world)
        works: list[Callable[[], Any]] = [
            lambda: reconcile(store, new),
            lambda: store.hold(new),
            lambda: store.facts(new),
            store.known,
            store.waiting,
            lambda: store.status_entries(1),
            lambda: store.delete_status_entries([1]),
        ]
        for work in works:
            with pytest.raises(DependencyUnavailableError):
                await work()
