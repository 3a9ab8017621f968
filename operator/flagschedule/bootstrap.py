"""The only place that chooses adapters. Imports inside of the functions: each program loads what it needs."""

import platform
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from flagschedule.domain.decision import Rules
from flagschedule.domain.retention import Retention
from flagschedule.services.cleanup import Cleaner
from flagschedule.services.election import Elector
from flagschedule.services.events import EventRecorder
from flagschedule.services.gate import Gate
from flagschedule.services.mirror import Mirror
from flagschedule.services.process import Pace, Processor
from flagschedule.services.scrape import Scraper
from flagschedule.services.status import StatusWriter
from flagschedule.services.sweep import Sweep
from flagschedule.settings import Settings

_log = structlog.get_logger()
_OPERATIONS: Final = 6  # at a time, of the operator on its pool of 8 connections: the rest is for its ping


@dataclass(frozen=True, kw_only=True)
class Operator:
    """The operator's services; without an elector it always works."""

    elector: Elector | None
    gate: Gate
    mirror: Mirror
    writer: StatusWriter
    recorder: EventRecorder
    sweep: Sweep
    scraper: Scraper


@asynccontextmanager
async def operator(settings: Settings) -> AsyncIterator[Operator]:
    """The operator's services on pools of connections; neither database nor API server need be there yet.

    Raises:
        ConfigurationError: a URL cannot be parsed, or no API server is configured.
    """
    from flagschedule.adapters.kubernetes.client import KubernetesObjectClient  # noqa: PLC0415 -- see the module
    from flagschedule.adapters.kubernetes.lease import KubernetesLeaseBook, own_namespace  # noqa: PLC0415 -- the same
    from flagschedule.adapters.postgres.mirror import PostgresMirrorStore  # noqa: PLC0415 -- see the module
    from flagschedule.adapters.prometheus import PrometheusTelemetry  # noqa: PLC0415 -- see the module

    url = settings.database_url.get_secret_value()
    rules = Rules(max_retries=settings.max_retries, max_lateness=timedelta(seconds=settings.max_lateness_seconds))
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(PostgresMirrorStore(url, settings.cluster, settings.namespaces))
        client = await stack.enter_async_context(KubernetesObjectClient(settings.namespaces))
        elector = None
        if namespace := settings.lease_namespace or own_namespace():
            book = await stack.enter_async_context(KubernetesLeaseBook(namespace, settings.lease_name))
            # A name of its own for each process: a restarted container must not take over from itself.
            elector = Elector(book, f"{platform.node()}_{secrets.token_hex(4)}")
        gate = Gate(store.ping, _OPERATIONS)
        recorder = EventRecorder(client)
        telemetry = PrometheusTelemetry()
        writer = StatusWriter(store, client, gate, recorder, telemetry)
        mirror = Mirror(store, client, gate, rules, writer, telemetry)
        sweep = Sweep(
            store, client, gate, mirror, writer, telemetry, cluster=settings.cluster, interval=settings.sweep_seconds
        )
        try:
            yield Operator(
                elector=elector,
                gate=gate,
                mirror=mirror,
                writer=writer,
                recorder=recorder,
                sweep=sweep,
                scraper=Scraper(store, telemetry),
            )
        finally:
            gate.close()  # before the pool: nobody may wait for a database that nobody will ask any more


@contextmanager
def processor(settings: Settings, stopping: Callable[[], bool]) -> Iterator[Processor]:
    """A processor on its own database connection.

    Raises:
        ConfigurationError: a URL cannot be parsed.
        DependencyUnavailableError: the database does not answer.
    """
    from flagschedule.adapters.postgres.process import PostgresProcessStore  # noqa: PLC0415 -- see the module

    cache = None
    if settings.redis_url is None:
        _log.info("REDIS_URL is not set: there is no cache to invalidate")
    else:
        from flagschedule.adapters.redis import RedisCache  # noqa: PLC0415 -- see the module

        cache = RedisCache(settings.redis_url.get_secret_value())
    pace = Pace(
        batch_size=settings.batch_size,
        time_budget=settings.time_budget_seconds,
        linger=settings.linger_seconds,
    )
    with PostgresProcessStore(settings.database_url.get_secret_value()) as store:
        yield Processor(store, cache, pace, stopping)


@contextmanager
def cleaner(settings: Settings, stopping: Callable[[], bool], *, dry_run: bool) -> Iterator[Cleaner]:
    """A cleaner on its own database connection.

    Raises:
        ConfigurationError: the URL cannot be parsed.
        DependencyUnavailableError: the database does not answer.
    """
    from flagschedule.adapters.postgres.cleanup import PostgresCleanupStore  # noqa: PLC0415 -- see the module

    retention = Retention(applied_days=settings.keep_applied_days, cancelled_days=settings.keep_cancelled_days)
    with PostgresCleanupStore(settings.database_url.get_secret_value(), retention) as store:
        yield Cleaner(store, dry_run=dry_run, stopping=stopping)


def migrate(settings: Settings) -> int:
    """Bring the schema up to date; the number of migrations applied.

    Raises:
        ConfigurationError: the URL cannot be parsed.
        DependencyUnavailableError: the database does not answer or refuses.
    """
    from flagschedule.adapters.postgres.migrate import migrate as run  # noqa: PLC0415 -- see the module

    return run(settings.database_url.get_secret_value(), lambda name: _log.info("Applying migration", migration=name))
