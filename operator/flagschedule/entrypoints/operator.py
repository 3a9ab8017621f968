"""The operator's program: every Kopf trigger and setting on one screen, and the root tasks that run with Kopf.

Kopf is used as an informer only: it shows every object and every change. Finalizers, statuses, retries and what is
remembered of an object are ours (ADR 0015), so that nothing that a tenant may write on an object is believed.
"""

import asyncio
import gc
import logging
import random
import signal
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar, cast

import kopf
import structlog

from flagschedule.adapters.kubernetes import login, storage
from flagschedule.bootstrap import operating
from flagschedule.domain import freeze, plan
from flagschedule.domain.errors import FlagScheduleError
from flagschedule.domain.freeze import FlagFreeze
from flagschedule.domain.plan import FlagPlan
from flagschedule.domain.schedule import GROUP, PLURAL, VERSION, FlagSchedule
from flagschedule.domain.watched import Watched
from flagschedule.entrypoints import health, leadership, probes, tasks
from flagschedule.ports.mirroring import MirrorStore
from flagschedule.services.circuit_breaker import CircuitBreaker
from flagschedule.services.reconcile import Reconciler
from flagschedule.settings import Settings

_log = structlog.get_logger()
_O = TypeVar("_O", bound=Watched)
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_LOG_LEVELS: Final = {
    "kopf": logging.WARNING,  # below that, its lines grow with the number of objects
    "kubernetes": logging.ERROR,  # our own message reports a missing kubeconfig
    "psycopg": logging.CRITICAL,  # its lines hold the database's address; the circuit breaker logs failures
}
_DATABASE_LOOK: Final = 5.0
# Python looks for reference cycles when there are so many new objects. Kopf makes thousands for each FlagSchedule, and
# they live for seconds; with the default of 700 the search took a fifth of an adoption (ADR 0010).
_COLLECT_AFTER: Final = 10_000


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: another live cluster uses our name, there is no cluster to work for, or the database's URL
            cannot be right.
        CredentialsRefusedError: the database has refused the login for a minute.
        FlagScheduleError: a part of the operator ended by itself.

    Ends the process at once, with exit code 3, if the lease is lost.
    """
    gc.set_threshold(_COLLECT_AFTER)
    for library, level in _LOG_LEVELS.items():
        logging.getLogger(library).setLevel(level)
    asyncio.run(_serve(settings))


def build_registry(
    reconciler: Reconciler[FlagSchedule],
    freezes: Reconciler[FlagFreeze] | None = None,
    plans: Reconciler[FlagPlan] | None = None,
    parse_plan: Callable[[Mapping[str, Any]], FlagPlan] = FlagPlan.from_body,
) -> kopf.OperatorRegistry:
    """Return everything that Kopf calls; a kind without a reconciler is not watched."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(login.login)
    _watch(registry, PLURAL, FlagSchedule.from_body, reconciler)
    if freezes is not None:
        _watch(registry, freeze.PLURAL, FlagFreeze.from_body, freezes)
    if plans is not None:
        _watch(registry, plan.PLURAL, parse_plan, plans)
    return registry


def _watch(
    registry: kopf.OperatorRegistry,
    plural: str,
    parse: Callable[[Mapping[str, Any]], _O],
    reconciler: Reconciler[_O],
) -> None:
    @kopf.on.event(GROUP, VERSION, plural, registry=registry)
    async def notice(event: kopf.RawEvent, **_: Any) -> None:
        """Handle an object that was there at the start, is new, has changed, or is gone."""
        body = event["object"]
        try:
            reconciler.notice(parse(body), gone=event["type"] == "DELETED")
        except Exception:  # noqa: BLE001 -- an error in one object must not stop the others
            _log.exception("Object not understood", uid=body["metadata"].get("uid"))
        storage.drop_what_others_write(body)


def kopf_settings() -> kopf.OperatorSettings:
    """Return Kopf's settings that differ from its defaults, each with its reason."""
    settings = kopf.OperatorSettings()
    settings.persistence.finalizer = f"{GROUP}/unused"  # Kopf would take away one that none of its handlers needs
    settings.persistence.diffbase_storage = storage.NoDiffBase()
    settings.persistence.progress_storage = storage.NoProgress()
    settings.posting.enabled = False  # it would post an Event for each log line of Kopf; ours come from the recorder
    settings.watching.chunk_size = 50  # a page of 500 objects of the greatest size takes gigabytes
    settings.watching.server_timeout = 600  # a second net under inactivity_timeout; the client's must be longer
    settings.watching.client_timeout = 660
    settings.watching.connect_timeout = 10
    settings.networking.connect_timeout = 10
    settings.networking.request_timeout = 30  # with the default an object waits 5 minutes for a broken connection
    settings.networking.error_backoffs = _Backoffs()
    # How long a task lingers that has nothing to do; the default has those of 10,000 objects alive at once at a start.
    settings.queueing.idle_timeout = 1
    settings.queueing.exit_timeout = 2  # for the transactions at hand; Kopf may wait this long for none at all
    settings.scanning.disabled = True  # no need to list namespaces and CRDs, nor the rights
    settings.execution.max_workers = 1  # there are no synchronous handlers
    return settings


class _Backoffs(Iterable[float]):
    """Eleven minutes of retries, uneven between replicas; then the process ends, and its successor logs in again."""

    def __iter__(self) -> Any:
        return (pause * random.uniform(0.75, 1.25) for pause in (1, 1, 2, 3, 5, 8, 13, 21, *[30] * 20))  # noqa: S311 -- spreads load, guards nothing


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    _stop_on_signals(stop)
    async with operating.operator(settings) as services:
        refused = asyncio.create_task(_stop_when_refused(services.store, stop), name="login watcher")
        condition = health.Health(services, settings.sweep_seconds)
        async with probes.serving(
            settings.probe_port, liveness=condition.liveness, readiness=condition.readiness, metrics=condition.metrics
        ):
            # A standby must know whether it could work; a working operator finds out by its work.
            watching = asyncio.create_task(services.breaker.monitor(_DATABASE_LOOK), name="database watcher")
            async with leadership.held(services.elector, stop) as ours:
                watching.cancel()
                if ours:
                    condition.leads_since = asyncio.get_running_loop().time()
                    await _work(services, settings, stop)
        if refused.done() and not refused.cancelled():
            raise refused.result()
    _log.info("Operator stopped")


async def _work(services: operating.Operator, settings: Settings, stop: asyncio.Event) -> None:
    if await leadership.unless_stopped(_prepare(services), stop):
        await _run_kopf(services, settings, stop)


async def _prepare(services: operating.Operator) -> None:
    await services.resync.prepare()
    await services.monitor.prepare()
    await services.kind_of_plans.prepare()


async def _run_kopf(services: operating.Operator, settings: Settings, stop: asyncio.Event) -> None:
    """Run Kopf and our root tasks until `stop`, or until one of them ends, which ends all."""
    others = asyncio.all_tasks()
    kopf_tasks = await kopf.spawn_tasks(
        registry=build_registry(
            services.reconciler,
            services.freezes if services.kind_of_freezes.served else None,
            services.plans if services.kind_of_plans.served else None,
            services.parse_plan,
        ),
        settings=kopf_settings(),
        # For peering, which is off. By default Kopf looks up the user's name, and a container's uid has none.
        identity=cast("Any", "flagschedule"),
        standalone=True,  # an object named "default" of Kopf's peering kind could pause us otherwise
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
        stop_flag=stop,
    )
    _stop_on_signals(stop)  # Kopf has taken them over, and does not distinguish a signal from a failure
    own = [
        asyncio.create_task(services.reconciler.run_forever(), name="reconciler"),
        asyncio.create_task(services.writer.serve_forever(), name="status writer"),
        asyncio.create_task(services.recorder.run_forever(), name="event recorder"),
        asyncio.create_task(services.resync.run_forever(), name="resync"),
        asyncio.create_task(services.freezes.run_forever(), name="reconciler of freezes"),
        asyncio.create_task(services.monitor.run_forever(), name="freeze monitor"),
        asyncio.create_task(services.plans.run_forever(), name="reconciler of plans"),
        asyncio.create_task(services.plan_recorder.run_forever(), name="event recorder of plans"),
        asyncio.create_task(services.plan_resync.run_forever(), name="resync of plans"),
        asyncio.create_task(_close_at(stop, services.breaker), name="breaker keeper"),
    ]
    if services.notifier is not None:
        own.append(asyncio.create_task(services.notifier.run_forever(), name="notifier"))
    _log.info("Operator started", namespaces=list(settings.namespaces) or "all", cluster=settings.cluster)
    await tasks.run_until_one_ends([*kopf_tasks, *own], stop, others)
    if not stop.is_set():
        raise FlagScheduleError("a part of the operator ended unexpectedly; see its log")


async def _stop_when_refused(store: MirrorStore, stop: asyncio.Event) -> FlagScheduleError:
    """End the program, so that its successor reads the Secret again: a process keeps the environment of its start."""
    reason = await store.wait_until_refused()
    stop.set()
    return reason


async def _close_at(stop: asyncio.Event, breaker: CircuitBreaker) -> None:
    """End all waits for the database, so that the program ends in time."""
    await stop.wait()
    breaker.close()


def _stop_on_signals(stop: asyncio.Event) -> None:
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
