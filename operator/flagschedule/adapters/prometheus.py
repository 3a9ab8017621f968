"""The operator's metrics, as Prometheus scrapes them. Implements ports.measuring.Telemetry; served by the entry point.

Labels are bounded: phases, reasons and the names of three outboxes; never a flag, an object or a namespace.
"""

import math
from collections import Counter as Counted
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from flagschedule.domain.events import EventReason, Transition
from flagschedule.domain.notices import NoticeOutcome
from flagschedule.domain.plan import Phase as PlanPhase
from flagschedule.domain.plan import PlanStatus
from flagschedule.domain.plan_status import EventReason as PlanEventReason
from flagschedule.domain.plan_status import PlanTransition
from flagschedule.domain.schedule import Phase
from flagschedule.ports.measuring import Backlog

_LATENESS: Final = (0.5, 1, 2, 5, 15, 30, 60, 75, 120, 300, 600, 1800, 3600)
_LIVE: Final = {PlanPhase.ACTIVE, PlanPhase.WAITING, PlanPhase.FROZEN}
_CONDITIONS: Final = ("check_violation", "raise_exception", "change_not_made", "other")  # what is seen most
_RECONCILE: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 30)


class PrometheusTelemetry:
    """Metrics of one replica. A standby exports only that it is one, so that nothing is counted twice."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._of_all = CollectorRegistry()
        self._leader = Gauge(
            "flagschedule_leader", "Whether this replica works (1) or waits to take over (0).", registry=self._of_all
        )
        self._database_up = self._gauge("database_up", "Whether the database answered this scrape (1) or not (0).")
        self._objects = Gauge(
            "flagschedule_objects",
            "FlagSchedules in each phase, as of the last comparison of all (every five minutes).",
            ["phase"],
            registry=self._registry,
        )
        self._transitions = Counter(
            "flagschedule_transitions",
            "Steps of FlagSchedules and FlagPlans that people wait for, by the reason of their Event.",
            ["reason"],
            registry=self._registry,
        )
        for reason in (*EventReason, *PlanEventReason):
            self._transitions.labels(reason)  # a series that appears with its first count shows no increase
        self._plans = Gauge(
            "flagschedule_plans",
            "FlagPlans in each phase, as of the last comparison of all (every five minutes).",
            ["phase"],
            registry=self._registry,
        )
        self._planned_until = self._gauge(
            "planned_until_timestamp_seconds",
            "Until when all starts of the plans that recur have rows, of the plan that has the fewest.",
        )
        self._planned_until.set(math.inf)
        self._open_windows = self._gauge(
            "open_windows_past_end", "FlagPlans with a window whose end is overdue and not made."
        )
        self._lateness = Histogram(
            "flagschedule_lateness_seconds",
            "From scheduledAt until the change was made, of changes that were made now.",
            buckets=_LATENESS,
            registry=self._registry,
        )
        self._reconcile = Histogram(
            "flagschedule_reconcile_duration_seconds",
            "From the sight of an object until its row was committed.",
            buckets=_RECONCILE,
            registry=self._registry,
        )
        self._due = self._gauge(
            "due_schedules", "Schedules whose time has come, that were not tried yet, and that no FlagFreeze holds."
        )
        self._oldest = self._gauge("oldest_due_seconds", "For how long the oldest of them has been due.")
        self._retrying = self._gauge("retrying_schedules", "Schedules that wait for a retry.")
        self._held = self._gauge("held_schedules", "Schedules that are due and that a FlagFreeze holds.")
        self._freezes = self._gauge("active_freezes", "Times of FlagFreezes that are active now, of all clusters.")
        self._orphans = self._gauge(
            "orphan_freezes", "Those of clusters whose operator has shown no sign of life for 10 minutes."
        )
        self._outbox = Gauge(
            "flagschedule_outbox_entries",
            "What must follow a commit and has not yet: statuses to write, cache keys to delete, notices to deliver.",
            ["outbox"],
            registry=self._registry,
        )
        self._run_age = self._gauge("last_run_age_seconds", "How long ago a run of the processor finished last.")
        self._run_duration = self._gauge("last_run_duration_seconds", "How long that run took.")
        self._processed = Counter(
            "flagschedule_processed_schedules",
            "Schedules that finished runs brought to an outcome or to their next retry.",
            ["outcome"],
            registry=self._registry,
        )
        for outcome in ("applied", "superseded", "failed"):
            self._processed.labels(outcome)
        self._attempts = Counter(
            "flagschedule_attempts",
            "Attempts of finished runs by their number, where 2 is the first retry, and their outcome.",
            ["attempt", "outcome"],
            registry=self._registry,
        )
        for attempt, outcome in product("1234", ("applied", "superseded", "failed")):
            self._attempts.labels(attempt, outcome)
        self._failed_attempts = Counter(
            "flagschedule_failed_attempts",
            "Those of them that failed, by the condition of the database's error, or the reason.",
            ["condition"],
            registry=self._registry,
        )
        for condition in _CONDITIONS:
            self._failed_attempts.labels(condition)
        self._retried = self._counter("retried_schedules", "Those of them that were retries.")
        self._set_aside = self._counter(
            "set_aside_schedules", "How often a schedule stepped aside, because the database refused it for a time."
        )
        self._skipped = self._counter("skipped_schedules", "Due schedules that a run left, counted by each run.")
        self._notices = Counter(
            "flagschedule_notices",
            "Tries to deliver notices to the webhook, and notices that were dropped because none succeeded in time.",
            ["outcome"],
            registry=self._registry,
        )
        for fate in NoticeOutcome:
            self._notices.labels(fate)
        self._refused_keys = self._counter("refused_cache_keys", "Cache keys that the cache refused to delete.")

    def noticed(self, outcome: NoticeOutcome, count: int = 1) -> None:
        """See ports.notifying.NoticeTelemetry."""
        self._notices.labels(outcome).inc(count)

    def reconciled(self, seconds: float) -> None:
        """See ports.measuring.Telemetry."""
        self._reconcile.observe(seconds)

    def status_written(self, transition: Transition) -> None:
        """See ports.measuring.Telemetry."""
        for event in transition.events:
            self._transitions.labels(event.reason).inc()
        if transition.lateness is not None:
            self._lateness.observe(max(transition.lateness.total_seconds(), 0))

    def compared(self, phases: Mapping[Phase | None, int]) -> None:
        """See ports.measuring.Telemetry."""
        for phase in Phase:
            self._objects.labels(phase).set(phases.get(phase, 0))

    def plan_status_written(self, transition: PlanTransition) -> None:
        """See ports.measuring.Telemetry."""
        for event in transition.events:
            self._transitions.labels(event.reason).inc()

    def plans_compared(self, statuses: Sequence[PlanStatus]) -> None:
        """See ports.measuring.Telemetry. A plan that is held or ended needs no more rows."""
        phases = Counted(status.phase for status in statuses)
        for phase in PlanPhase:
            self._plans.labels(phase).set(phases[phase])
        live = (status.planned_until for status in statuses if status.phase in _LIVE)
        self._planned_until.set(min((until.timestamp() for until in live if until), default=math.inf))
        self._open_windows.set(sum(bool(status.window_open_past_end) for status in statuses))

    def text(self, backlog: Backlog | None, *, leads: bool) -> bytes:
        """See ports.measuring.MetricsText. While the database is away its figures stay as they were last."""
        self._leader.set(leads)
        if not leads:
            return generate_latest(self._of_all)
        self._database_up.set(backlog is not None)
        if backlog is not None:
            self._take(backlog)
        return generate_latest(self._of_all) + generate_latest(self._registry)

    def _take(self, backlog: Backlog) -> None:
        self._due.set(backlog.due)
        self._oldest.set(backlog.oldest_due)
        self._retrying.set(backlog.retrying)
        self._held.set(backlog.held)
        self._freezes.set(backlog.active_freezes)
        self._orphans.set(backlog.orphan_freezes)
        self._outbox.labels("status").set(backlog.status_entries)
        self._outbox.labels("cache").set(backlog.cache_entries)
        self._outbox.labels("notices").set(backlog.notices)
        # No run at all is as bad as none for long.
        self._run_age.set(float("inf") if backlog.run_age is None else backlog.run_age)
        self._run_duration.set(backlog.run_duration or 0)
        runs = backlog.runs
        self._processed.labels("failed").inc(runs["failed"])
        self._processed.labels("superseded").inc(runs["superseded"])
        self._processed.labels("applied").inc(runs["processed"] - runs["failed"] - runs["superseded"])
        for kind, number in backlog.attempts.items():
            attempt, outcome, *conditions = kind.split()
            self._attempts.labels(attempt, outcome).inc(number)
            for condition in conditions:
                self._failed_attempts.labels(condition).inc(number)
        self._retried.inc(runs["retried"])
        self._set_aside.inc(runs["set_aside"])
        self._skipped.inc(runs["skipped"])
        self._refused_keys.inc(runs["refused_cache_keys"])

    def _gauge(self, name: str, help_text: str) -> Gauge:
        return Gauge(f"flagschedule_{name}", help_text, registry=self._registry)

    def _counter(self, name: str, help_text: str) -> Counter:
        return Counter(f"flagschedule_{name}", help_text, registry=self._registry)
