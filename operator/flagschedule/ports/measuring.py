"""What the operator counts, and what a scrape shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from flagschedule.domain.events import Transition
from flagschedule.domain.plan import PlanStatus
from flagschedule.domain.plan_status import PlanTransition
from flagschedule.domain.schedule import Phase


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What waits in the database, and what the processor did lately. Ages and durations in seconds.

    Attributes:
        due: schedules whose time has come and that were not tried yet, without those that a freeze holds; counted up
            to 100,000, like all of these.
        oldest_due: since when the oldest of them is due; 0 if there is none.
        retrying: schedules that wait for a retry, without those that a freeze holds.
        held: schedules, retries included, that are due and that a freeze holds.
        active_freezes: intervals of freezes that are active, of all clusters.
        orphan_freezes: those of clusters that have not shown themselves for ten minutes.
        status_entries: outcomes that wait to be written to an object.
        cache_entries: cache keys that wait to be deleted.
        notices: what the webhook waits to deliver.
        run_age: how long ago a run finished last; None if none ever did.
        run_duration: how long that run took.
        attempts: how many attempts those runs made, by "number outcome" and, of those that failed, the condition.
        runs: what the runs that finished since the last look did, by column of flag_schedule_runs.
    """

    due: int
    oldest_due: float
    retrying: int
    held: int
    active_freezes: int
    orphan_freezes: int
    status_entries: int
    cache_entries: int
    notices: int
    run_age: float | None
    run_duration: float | None
    attempts: Mapping[str, int]
    runs: Mapping[str, int]


class Telemetry(Protocol):
    """Counts what the operator does; must not fail, nor wait."""

    def reconciled(self, seconds: float) -> None:
        """An object was mirrored or released, in so much time."""

    def status_written(self, transition: Transition) -> None:
        """Count a transition that was written to an object's status."""

    def compared(self, phases: Mapping[Phase | None, int]) -> None:
        """How many objects stand in each phase."""

    def plan_status_written(self, transition: PlanTransition) -> None:
        """Count a transition that was written to a plan's status."""

    def plans_compared(self, statuses: Sequence[PlanStatus]) -> None:
        """Take the statuses of all plans."""


class MetricsText(Protocol):
    """Everything that was counted, for a scrape."""

    def text(self, backlog: Backlog | None, *, leads: bool) -> bytes:
        """Everything in the format of the scraper; `backlog` is None where the database was not queried or is away."""
