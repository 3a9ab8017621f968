"""What the operator needs from the database for FlagPlans."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flagschedule.domain.plan import FlagPlan
from flagschedule.domain.plan_rows import PlanFacts
from flagschedule.domain.planning import PlanDecision
from flagschedule.domain.schedule import ObjectRef
from flagschedule.ports.mirroring import OutcomeStore


@dataclass(frozen=True, kw_only=True)
class KnownPlan:
    """A plan that was mirrored and is not marked deleted."""

    ref: ObjectRef
    created_at: datetime
    generation: int


class PlanTransaction(Protocol):
    """Decisions on one plan; waits for no other transaction for long."""

    async def facts(self) -> PlanFacts:
        """Lock and read what the decision depends on; also after a decision was stored."""

    async def save(self, decision: PlanDecision) -> None:
        """Store the decision.

        Rows of a flag that another transaction has locked are left out, and `facts` says so from then on.

        Raises:
            ConflictError: a row was changed since it was read.
        """


class PlanStore(OutcomeStore, Protocol):
    """Records, links and rows of the plans of this operator's own cluster name.

    Every method raises DependencyUnavailableError where the database cannot serve it.
    """

    def transaction(self, obj: FlagPlan) -> AbstractAsyncContextManager[PlanTransaction]:
        """Lock everything of the plan's name for a decision; committed at the end of the block.

        Raises:
            ConflictError: another transaction holds a lock; nothing was changed.
            StatementRefusedError: the database refuses this plan's rows, and would again.
        """

    async def hold(self, obj: FlagPlan) -> None:
        """Suspend everything that the object has planned, without a decision: a person waits for it.

        Raises:
            ConflictError: another transaction holds a lock; nothing was changed.
        """

    async def facts(self, obj: FlagPlan) -> PlanFacts:
        """Read what a decision would depend on, without a lock.

        Raises:
            StatementRefusedError: this plan's values cannot be read.
        """

    async def known(self) -> Sequence[KnownPlan]:
        """Every plan that is not marked deleted, in the operator's namespaces."""

    async def waiting(self) -> Sequence[ObjectRef]:
        """Plans that wait for a flag that exists by now."""
