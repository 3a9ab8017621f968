"""Puts the operator together."""

import platform
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, Final

from flagschedule.adapters.kubernetes.lease_store import KubernetesLeaseStore, own_namespace
from flagschedule.adapters.kubernetes.object_client import (
    FLAG_FREEZES,
    FLAG_PLANS,
    FLAG_SCHEDULES,
    KubernetesObjectClient,
)
from flagschedule.adapters.postgres.freeze_store import PostgresFreezeStore
from flagschedule.adapters.postgres.mirror_store import PostgresMirrorStore
from flagschedule.adapters.postgres.notice_store import PostgresNoticeStore
from flagschedule.adapters.postgres.plan_store import PostgresPlanStore
from flagschedule.adapters.prometheus import PrometheusTelemetry
from flagschedule.adapters.webhook import HttpReceiver
from flagschedule.domain import freeze, plan, schedule
from flagschedule.domain.decision import Rules
from flagschedule.domain.freeze import FlagFreeze
from flagschedule.domain.notices import NoticeEvent
from flagschedule.domain.plan import FlagPlan
from flagschedule.domain.schedule import FlagSchedule
from flagschedule.ports.mirroring import MirrorStore
from flagschedule.services.circuit_breaker import CircuitBreaker
from flagschedule.services.election import LeaderElector
from flagschedule.services.event_recorder import EventRecorder
from flagschedule.services.freezing import FreezeMonitor, Freezing
from flagschedule.services.mirror import Mirror
from flagschedule.services.notifier import Notifier
from flagschedule.services.optional_kind import OptionalKind
from flagschedule.services.plan_mirror import PlanMirror
from flagschedule.services.plan_resync import PlanResync
from flagschedule.services.plan_status import PlanStatusWriter
from flagschedule.services.reconcile import Reconciler
from flagschedule.services.resync import Resync
from flagschedule.services.scrape import Scraper
from flagschedule.services.startup import Startup
from flagschedule.services.status_writer import StatusWriter
from flagschedule.settings import Settings

# Operations at a time on the pool of 8 connections: those for all work, those that only a person's stop may use, and
# one connection is left for the ping.
_OPERATIONS: Final = 5
_RESERVED: Final = 2


@dataclass(frozen=True, kw_only=True)
class Operator:
    """The operator's services; without an elector it always works, without a notifier there is no webhook."""

    elector: LeaderElector | None
    store: MirrorStore
    breaker: CircuitBreaker
    mirror: Mirror
    reconciler: Reconciler[FlagSchedule]
    writer: StatusWriter
    recorder: EventRecorder
    startup: Startup
    resync: Resync
    freezes: Reconciler[FlagFreeze]
    kind_of_freezes: OptionalKind[FlagFreeze]
    monitor: FreezeMonitor
    plans: Reconciler[FlagPlan]
    plan_recorder: EventRecorder
    kind_of_plans: OptionalKind[FlagPlan]
    plan_resync: PlanResync
    parse_plan: Callable[[Mapping[str, Any]], FlagPlan]
    scraper: Scraper
    notifier: Notifier | None


@asynccontextmanager
async def operator(settings: Settings) -> AsyncIterator[Operator]:
    """The operator's services on pools of connections; neither database nor API server need be there yet.

    Raises:
        ConfigurationError: a URL cannot be parsed, or no API server is configured.
    """
    rules = Rules(
        max_retries=settings.max_retries,
        max_lateness=timedelta(seconds=settings.max_lateness_seconds),
        allow_overrides=settings.allow_overrides,
        record_actors=settings.record_actors,
    )
    shortest_interval = timedelta(seconds=settings.shortest_interval_seconds)
    parse_plan = partial(FlagPlan.from_body, shortest_interval=shortest_interval)
    events = settings.webhook_events if settings.has_webhook else ()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            PostgresMirrorStore(settings.database, settings.cluster, settings.namespaces, events)
        )
        client = await stack.enter_async_context(
            KubernetesObjectClient(FLAG_SCHEDULES, settings.namespaces, settings.identity_namespace)
        )
        freeze_client = await stack.enter_async_context(
            KubernetesObjectClient(FLAG_FREEZES, (), settings.identity_namespace)
        )
        plan_client = await stack.enter_async_context(
            KubernetesObjectClient(
                replace(FLAG_PLANS, parse=parse_plan), settings.namespaces, settings.identity_namespace
            )
        )
        elector = None
        if namespace := settings.lease_namespace or own_namespace():
            leases = await stack.enter_async_context(KubernetesLeaseStore(namespace, settings.lease_name))
            # A name of its own for each process: a restarted container must not take over from itself.
            elector = LeaderElector(leases, f"{platform.node()}_{secrets.token_hex(4)}")
        breaker = CircuitBreaker(store.ping, _OPERATIONS, _RESERVED)
        recorder = EventRecorder(client)
        telemetry = PrometheusTelemetry()
        writer = StatusWriter(store, client, breaker, recorder, telemetry)
        mirror = Mirror(store, breaker, rules, writer, telemetry)
        reconciler = Reconciler(client, mirror)
        startup = Startup(settings.cluster, (schedule.KIND, freeze.KIND, plan.KIND))
        resync = Resync(
            store,
            client,
            breaker,
            mirror,
            reconciler,
            writer,
            telemetry,
            startup,
            cluster=settings.cluster,
            interval=settings.sweep_seconds,
        )
        freeze_store = PostgresFreezeStore(store, settings.cluster, settings.namespaces)
        kind_of_freezes = OptionalKind(
            freeze_client,
            freeze.KIND,
            meanwhile="what is frozen in the database stays so",
            interval="read every 5 seconds",
        )
        freezing = Freezing(freeze_store, freeze_client, breaker)
        freezes = Reconciler(freeze_client, freezing)
        plan_store = PostgresPlanStore(store, settings.cluster, settings.namespaces)
        kind_of_plans = OptionalKind(
            plan_client,
            plan.KIND,
            meanwhile="what is planned in the database is made",
            interval="compared every few minutes",
        )
        plan_recorder = EventRecorder(plan_client)
        plan_writer = PlanStatusWriter(plan_client, plan_recorder, telemetry)
        plan_mirror = PlanMirror(plan_store, breaker, rules, plan_writer, telemetry)
        plans = Reconciler(plan_client, plan_mirror)
        plan_resync = PlanResync(
            *(plan_store, kind_of_plans, breaker, plan_mirror, plans, telemetry, startup),
            interval=settings.sweep_seconds,
        )
        monitor = FreezeMonitor(
            freeze_store, kind_of_freezes, breaker, freezing, freezes, writer, plan_resync.refresh, startup
        )
        notifier = None
        if events:
            notifier = Notifier(
                PostgresNoticeStore(store, settings.cluster, settings.namespaces),
                await stack.enter_async_context(HttpReceiver()),
                breaker,
                telemetry,
                settings.webhook,
                cluster=settings.cluster,
                frozen=NoticeEvent.FROZEN in events,
            )
        try:
            yield Operator(
                elector=elector,
                store=store,
                breaker=breaker,
                mirror=mirror,
                reconciler=reconciler,
                writer=writer,
                recorder=recorder,
                startup=startup,
                resync=resync,
                freezes=freezes,
                kind_of_freezes=kind_of_freezes,
                monitor=monitor,
                plans=plans,
                plan_recorder=plan_recorder,
                kind_of_plans=kind_of_plans,
                plan_resync=plan_resync,
                parse_plan=parse_plan,
                scraper=Scraper(store, telemetry),
                notifier=notifier,
            )
        finally:
            breaker.close()  # before the pool: no operation may wait for a pool that is closed
