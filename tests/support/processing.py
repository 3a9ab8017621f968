"""Runs of the processor in this process. Used by tests that put something between the processor and its database."""

from collections.abc import Callable
from typing import Any

from flagschedule.ports.processing import ProcessStore
from flagschedule.services.processing.report import Summary
from flagschedule.services.processing.run import Pace, Processor
from flagschedule.settings import Settings


def run(store: ProcessStore, *, stopping: Callable[[], bool] = lambda: False, **pace: float) -> Summary:
    """Run the processor once, without a cache; what a test does not name of its pace is the settings' default."""
    values: dict[str, Any] = {
        "batch_size": _default("batch_size"),
        "concurrency": _default("concurrency"),
        "time_budget": _default("time_budget_seconds"),
        "linger": _default("linger_seconds"),
        **pace,
    }
    return Processor(store, None, Pace(**values), stopping, show_host_texts=False).run()


def _default(name: str) -> Any:
    return Settings.model_fields[name].default
