"""Brings the schema up to date."""

from collections.abc import Callable

import structlog

from flagschedule.adapters.postgres.migrate import migrate as run
from flagschedule.settings import Settings

_log = structlog.get_logger()


def migrate(settings: Settings, on_work: Callable[[Callable[[], None]], None]) -> int:
    """Bring the schema up to date; the number of migrations applied.

    Args:
        settings: the settings.
        on_work: called when the work begins, with a function that ends the statement at hand.

    Raises:
        ConfigurationError: the URL cannot be parsed.
        DependencyUnavailableError: the database does not answer or refuses.
    """
    return run(
        settings.database,
        lambda name: _log.info("Applying migration", migration=name),
        lambda: _log.warning("Another migration is running; waiting for its end"),
        on_work=on_work,
    )
