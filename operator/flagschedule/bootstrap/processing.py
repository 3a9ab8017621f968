"""Puts a processor together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from flagschedule.adapters.postgres.process_store import PostgresProcessStore
from flagschedule.services.processing.run import Pace, Processor
from flagschedule.settings import Settings

_log = structlog.get_logger()


@contextmanager
def processor(settings: Settings, stopping: Callable[[], bool]) -> Iterator[Processor]:
    """A processor, connected to the database.

    Raises:
        ConfigurationError: a URL cannot be parsed.
        DependencyUnavailableError: the database does not answer.
    """
    cache = None
    if settings.redis_url is None:
        _log.info("REDIS_URL is not set: there is no cache to invalidate")
    else:
        from flagschedule.adapters.redis import RedisCache  # noqa: PLC0415 -- takes as long as Postgres' driver

        password = settings.redis_password
        cache = RedisCache(settings.redis_url.get_secret_value(), password.get_secret_value() if password else None)
    pace = Pace(
        batch_size=settings.batch_size,
        concurrency=settings.concurrency,
        time_budget=settings.time_budget_seconds,
        linger=settings.linger_seconds,
    )
    with PostgresProcessStore(settings.database) as store:
        yield Processor(store, cache, pace, stopping, show_host_texts=settings.show_database_messages)
