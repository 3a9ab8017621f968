"""The processor's program: one run, started by the CronJob each minute."""

import json
import signal
from dataclasses import asdict
from typing import Literal

from flagschedule import bootstrap
from flagschedule.settings import Settings


def run(settings: Settings, output: Literal["none", "json"]) -> None:
    """Run once; on SIGTERM finish the batch at hand and end orderly.

    Raises:
        DependencyUnavailableError: the database cannot serve.
        ConfigurationError: a URL cannot be parsed.
    """
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: signals.append(received))
    with bootstrap.processor(settings, stopping=lambda: bool(signals)) as processor:
        summary = processor.run()
    if output == "json":
        print(json.dumps(asdict(summary)))  # noqa: T201 -- the result that was asked for
