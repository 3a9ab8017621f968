"""The peer Procrastinate: ten jobs at once, with a lock for each flag. The argument is the database's URL."""

import json
import sys
import time
from importlib.metadata import version

import uvloop
from procrastinate import App, PsycopgConnector
from procrastinate.jobs import Job

CONCURRENCY = 10
UPDATE = (
    "UPDATE feature_flags SET enabled = %(enabled)s, rollout_percentage = %(rollout)s, updated_at = now() "
    "WHERE id = %(flag)s"
)


async def main(url: str) -> None:
    """Enqueue a job for each row of `due`, work them off and say how long that took."""
    connector = PsycopgConnector(conninfo=url, min_size=CONCURRENCY, max_size=2 * CONCURRENCY)
    app = App(connector=connector)
    starts: list[float] = []

    async def apply(**job: object) -> None:
        starts.append(time.monotonic())
        await connector.execute_query_async(UPDATE, **job)

    app.task(name="apply")(apply)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        due = await connector.execute_query_all_async("SELECT flag::text, enabled, rollout FROM due")
        await app.job_manager.batch_defer_jobs_async(
            [
                Job(id=None, queue="default", lock=row["flag"], queueing_lock=None, task_name="apply", task_kwargs=row)
                for row in due
            ]
        )
        await connector.execute_query_async("CHECKPOINT")
        await app.run_worker_async(concurrency=CONCURRENCY, wait=False, delete_jobs="successful")
        seconds = time.monotonic() - starts[0]
        left = await connector.execute_query_one_async("SELECT count(*) FROM procrastinate_jobs")
    assert (len(starts), left["count"]) == (len(due), 0)
    sys.stdout.write(json.dumps({"jobs": len(starts), "seconds": seconds, "version": version("procrastinate")}) + "\n")


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
