"""The cleaner's program: one run, started by the CronJob each day."""

import json
from dataclasses import asdict
from typing import Literal

from flagschedule.bootstrap import cleaning
from flagschedule.entrypoints import stopping
from flagschedule.settings import Settings


def run(settings: Settings, output: Literal["none", "json"], *, dry_run: bool) -> None:
    """Run once; on SIGTERM finish the batch at hand and end orderly.

    Raises:
        DependencyUnavailableError: the database cannot serve.
        ConfigurationError: the URL cannot be parsed.
    """
    with cleaning.cleaner(settings, stopping.on_signals(), dry_run=dry_run) as cleaner:
        summary = cleaner.run()
    if output == "json":
        print(json.dumps(asdict(summary)))  # noqa: T201 -- the requested result
