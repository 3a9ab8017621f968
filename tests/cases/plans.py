"""Random operations on plans, and what must hold after each. `python -m tests.cases plans --cases 300`.

Each walk of fifty operations has a database of its own, and the seed after the former's.
"""

import asyncio
import logging
from typing import Final

import structlog

from dev.localkind.servers.postgres import Postgres
from flagschedule.adapters.postgres.migrate import migrate
from tests import roles
from tests.cases.report import Report
from tests.support.plan_operations import PlanOperations

_WALK: Final = 50


def run(server: Postgres, found: Report, number: int) -> None:
    """Do so many operations."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    migrate(roles.url(server.create_database("plans"), "migrate"))
    walks = [*range(found.seed, found.seed + max(1, number // _WALK))]
    for seed in found.progress(walks):
        url = server.create_database(f"plans_{seed}", template="plans")
        operations = PlanOperations(url, seed)
        failure = asyncio.run(_walk(operations, min(number, _WALK)))
        server.drop_database(f"plans_{seed}")
        for kind, count in operations.counts.items():
            found.many(kind, count, None)
        found.skipped["attempts of the processor"] += operations.attempts
        if failure is not None:
            found.many(f"seed {seed}", 0, failure)


async def _walk(operations: PlanOperations, number: int) -> str | None:
    try:
        for _ in range(number):
            await operations.step()
    except Exception as error:  # noqa: BLE001 -- any error: the operations that led to it are wanted
        return "\n".join([*operations.words, f"{type(error).__name__}: {error}"])
    return None
