"""Puts a cleaner together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flagschedule.adapters.postgres.cleanup_store import PostgresCleanupStore
from flagschedule.domain.retention import Retention
from flagschedule.services.cleanup import Cleaner
from flagschedule.settings import Settings


@contextmanager
def cleaner(settings: Settings, stopping: Callable[[], bool], *, dry_run: bool) -> Iterator[Cleaner]:
    """A cleaner on its own database connection.

    Raises:
        ConfigurationError: the URL cannot be parsed.
        DependencyUnavailableError: the database does not answer.
    """
    retention = Retention(applied_days=settings.keep_applied_days, cancelled_days=settings.keep_cancelled_days)
    with PostgresCleanupStore(settings.database, retention) as store:
        yield Cleaner(store, dry_run=dry_run, stopping=stopping)
