"""The peer pgqueuer: asyncpg, a hundred jobs a batch. The argument is the database's URL."""

import json
import sys
import time
from importlib.metadata import version

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.types import QueueExecutionMode

BATCH = 100
UPDATE = "UPDATE feature_flags SET enabled = $2, rollout_percentage = $3, updated_at = now() WHERE id = $1"


async def main(url: str) -> None:
    """Enqueue a job for each row of `due`, work them off and say how long that took."""
    starts: list[float] = []
    # Its documentation recommends a connection of the manager's own, and a pool for the rest.
    async with asyncpg.create_pool(url, min_size=10, max_size=10) as pool:
        connection = await asyncpg.connect(url)
        queue = PgQueuer(AsyncpgDriver(connection))

        async def apply(job: Job) -> None:
            starts.append(time.monotonic())
            flag, enabled, rollout = json.loads(job.payload)
            await pool.execute(UPDATE, flag, enabled, rollout)

        queue.entrypoint("apply")(apply)
        await queue.qm.queries.install()
        await queue.qm.queries.optimize_autovacuum()
        due = await pool.fetch("SELECT flag::text, enabled, rollout FROM due")
        await queue.qm.queries.enqueue(
            ["apply"] * len(due), [json.dumps(list(row.values())).encode() for row in due], [0] * len(due)
        )
        await pool.execute("CHECKPOINT")
        await queue.run(batch_size=BATCH, mode=QueueExecutionMode.drain)
        seconds = time.monotonic() - starts[0]
        left = await pool.fetchval("SELECT count(*) FROM pgqueuer")
        await connection.close()
    assert (len(starts), left) == (len(due), 0)
    sys.stdout.write(json.dumps({"jobs": len(starts), "seconds": seconds, "version": version("pgqueuer")}) + "\n")


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
