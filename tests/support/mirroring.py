"""Mirrors objects by hand, as the operator does: lock, decide, store. Used by tests of stores and of what follows."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Final

from flagschedule.domain.decision import Rules, decide
from flagschedule.domain.errors import ConflictError
from flagschedule.domain.outcome import Row, Snapshot
from flagschedule.domain.schedule import FlagSchedule
from flagschedule.ports.mirroring import MirrorStore

RULES: Final = Rules(max_retries=3, max_lateness=timedelta(minutes=10))
RECORDING: Final = replace(RULES, record_actors=True)


async def mirror(store: MirrorStore, obj: FlagSchedule, rules: Rules = RULES) -> Snapshot:
    """Mirror an object with the rules of the product, again where others are at work on the same object."""
    while True:
        with suppress(ConflictError):
            return await try_to_mirror(store, obj, rules=rules)


async def try_to_mirror(
    store: MirrorStore,
    obj: FlagSchedule,
    *,
    flag_locked: bool = False,
    meanwhile: Callable[[], object] = lambda: None,
    rules: Rules = RULES,
) -> Snapshot:
    """Mirror an object once; `meanwhile` is called between the look and the decision."""
    async with store.transaction(obj, flag_locked=flag_locked) as transaction:
        facts = await transaction.facts()
        meanwhile()
        return await transaction.save(decide(obj, facts, rules))


def row_of(snapshot: Snapshot | None) -> Row:
    """The row, which must be there."""
    assert snapshot
    assert snapshot.row
    return snapshot.row
