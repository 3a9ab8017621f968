"""The processor's program: one run, started by the CronJob each minute."""

import json
from dataclasses import asdict
from typing import Literal

from flagschedule.bootstrap import processing
from flagschedule.entrypoints import stopping
from flagschedule.settings import Settings


def run(settings: Settings, output: Literal["none", "json"]) -> None:
    """Run once; on SIGTERM finish the batch at hand and end orderly.

    Raises:
        DependencyUnavailableError: the database cannot serve.
        ConfigurationError: a URL cannot be parsed.
    """
    with processing.processor(settings, stopping.on_signals()) as processor:
        summary = processor.run()
    if output == "json":
        print(json.dumps(asdict(summary)))  # noqa: T201 -- the requested result
