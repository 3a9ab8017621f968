"""The only place that chooses adapters. Imports inside of the functions: each program loads what it needs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from flagschedule.services.process import Pace, Processor
from flagschedule.settings import Settings

_log = structlog.get_logger()


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


def migrate(settings: Settings) -> int:
    """Bring the schema up to date; the number of migrations applied.

    Raises:
        ConfigurationError: the URL cannot be parsed.
        DependencyUnavailableError: the database does not answer or refuses.
    """
    from flagschedule.adapters.postgres.migrate import migrate as run  # noqa: PLC0415 -- see the module

    return run(settings.database_url.get_secret_value(), lambda name: _log.info("Applying migration", migration=name))
