"""What is compared: each side brings everything that is due to its end and says how long that took."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from threading import Event
from typing import Any
from uuid import UUID

import orjson
import psycopg
from psycopg.types.json import set_json_loads

from benchmarks.scene import Scene
from flagschedule.adapters.postgres import statements
from tests import roles

BATCH = 100
_THE_FIRST = "-infinity"
_LEAST = (Path(__file__).parent / "programs" / "least.sql").read_bytes()

# Does one operation after the other with these flags.
Client = Callable[[psycopg.Connection[Any], list[UUID]], Iterator[None]]


@dataclass(frozen=True)
class Drained:
    """How a side brought schedules to their end.

    Args:
        schedules: how many.
        seconds: from its first look until nothing was left.
        cpu: seconds of its own, where it is a process of its own from its start.
        peak: its memory at most, in MB, where it is such a process.
    """

    schedules: int
    seconds: float
    cpu: float = math.nan
    peak: float = math.nan


def product(scene: Scene, **settings: str) -> Drained:
    """Run the program as it is shipped: `flagschedule process` with its defaults, its log discarded."""
    with subprocess.Popen(
        [sys.executable, "-m", "flagschedule", "process", "--output=json"],
        env={"DATABASE_URL": roles.url(scene.url, "process"), "PATH": os.environ["PATH"], **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as run:
        assert run.stdout
        peak = 0.0
        while found := high_water(run.pid):
            peak = found
            time.sleep(0.02)
        output = run.stdout.read()
        _, status, used = os.wait4(run.pid, 0)
        run.returncode = os.waitstatus_to_exitcode(status)
    assert run.returncode == 0, f"exit code {run.returncode}"
    summary = json.loads(output)
    return Drained(summary["processed"], summary["duration"], used.ru_utime + used.ru_stime, peak)


def high_water(pid: int) -> float | None:
    """Return the most memory that a process had so far, in MB; None once it has ended.

    What its parent learns at its end, ru_maxrss, is never less than what the parent had when it started it.
    """
    lines = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) / 1024 if lines else None


def two_products(scene: Scene) -> Drained:
    """Run two processors at once, as when one minute's run takes longer than a minute."""
    return _at_once(product, [scene, scene])


def known_ids(scene: Scene) -> Drained:
    """Measure a ceiling: the ids of the rows are given; two updates and a commit for each batch, pipelined."""
    return _update(scene, _due(scene))


def known_ids_by_two(scene: Scene) -> Drained:
    """Measure the same ceiling with two clients, each with its half of the flags."""
    ids = _due(scene)
    return _at_once(partial(_update, scene), [ids[::2], ids[1::2]])


def four_products(scene: Scene) -> Drained:
    """Run four processors with batches of 20, from the moment at which all of them begin until the last batch."""
    return _four(scene, [])


def four_products_with_an_application(scene: Scene) -> Drained:
    """Run the same with an application that locks a flag before its schedules, with two clients, without a pause.

    One deletes every other flag with its schedules, one edits flags together with their next schedules.
    """
    return _four(scene, [_deletes, _edits])


def _four(scene: Scene, clients: Sequence[Client]) -> Drained:
    flags = [row[0] for row in scene.session.execute("SELECT id FROM feature_flags ORDER BY id").fetchall()]
    done = Event()
    with psycopg.connect(scene.url) as gate, ThreadPoolExecutor(4 + len(clients)) as pool:
        gate.execute("LOCK TABLE feature_flag_schedules IN EXCLUSIVE MODE")
        runs = [pool.submit(product, scene, FLAG_SCHEDULE_BATCH_SIZE="20") for _ in range(4)]
        others = [pool.submit(_work, scene.url, client, flags, done) for client in clients]
        try:
            while scene.waiting() < len(runs + others) and not any(each.done() for each in runs + others):
                time.sleep(0.01)
            began = scene.session.execute("SELECT clock_timestamp()").fetchall()
            gate.commit()
            schedules = sum(run.result().schedules for run in runs)
        finally:
            done.set()
    for other in others:
        other.result()
    ended = scene.session.execute("SELECT max(attempted_at) FROM flag_schedule_attempts").fetchall()
    return Drained(schedules, (ended[0][0] - began[0][0]).total_seconds())


def _work(url: str, client: Client, flags: list[UUID], done: Event) -> None:
    with psycopg.connect(url, autocommit=True) as session:
        for _ in client(session, flags):
            if done.is_set():
                return


def _deletes(session: psycopg.Connection[Any], flags: list[UUID]) -> Iterator[None]:
    for flag in flags[::2]:
        session.execute("DELETE FROM feature_flags WHERE id = %s", [flag])
        yield


def _edits(session: psycopg.Connection[Any], flags: list[UUID]) -> Iterator[None]:
    chance = Random(1)  # noqa: S311 -- which flags are edited is no secret
    while True:
        flag = chance.choice(flags[1::2])
        with session.transaction():
            session.execute("UPDATE feature_flags SET updated_at = now() WHERE id = %s", [flag])
            session.execute(
                "UPDATE feature_flag_schedules SET updated_at = now() WHERE id = ANY (ARRAY("
                "SELECT id FROM feature_flag_schedules WHERE flag_id = %s AND status = 'pending' "
                "ORDER BY scheduled_at LIMIT 3))",
                [flag],
            )
        yield


def _at_once(side: Callable[[Any], Drained], parts: list[Any]) -> Drained:
    with ThreadPoolExecutor(len(parts)) as pool:
        done = list(pool.map(side, parts))
    return Drained(sum(each.schedules for each in done), max(each.seconds for each in done))


def _due(scene: Scene) -> list[UUID]:
    found = scene.session.execute(
        "SELECT id FROM feature_flag_schedules WHERE status = 'pending' AND scheduled_at <= now() "
        "ORDER BY scheduled_at, id"
    ).fetchall()
    return [row[0] for row in found]


def _update(scene: Scene, ids: list[UUID]) -> Drained:
    flags = (
        "UPDATE feature_flags AS f SET enabled = (s.updates ->> 'enabled')::boolean, "
        "rollout_percentage = (s.updates ->> 'rolloutPercentage')::integer, updated_at = now() "
        "FROM feature_flag_schedules AS s WHERE s.id = ANY (%s) AND f.id = s.flag_id"
    )
    schedules = (
        "UPDATE feature_flag_schedules SET status = 'applied', applied_at = now(), updated_at = now() "
        "WHERE id = ANY (%s)"
    )
    with psycopg.connect(scene.url) as session:
        started = time.monotonic()
        for at in range(0, len(ids), BATCH):
            batch = ids[at : at + BATCH]
            with session.pipeline():
                session.execute(flags, [batch], prepare=True)
                session.execute(schedules, [batch], prepare=True)
                session.commit()
        return Drained(len(ids), time.monotonic() - started)


def least_by_two(scene: Scene) -> Drained:
    """Run two clients of the least statement that finds, changes and records, without any judgement or log."""
    return _at_once(_least, [scene, scene])


def _least(scene: Scene) -> Drained:
    done, since = 0, _THE_FIRST
    with psycopg.connect(scene.url, autocommit=True) as session:
        session.execute("SET plan_cache_mode = force_generic_plan; SET enable_memoize = off")
        started = time.monotonic()
        while True:
            ((ids, latest),) = session.execute(_LEAST, {"since": since}, prepare=True).fetchall()
            if not ids and since == _THE_FIRST:
                return Drained(done, time.monotonic() - started)
            done += len(ids)
            since = latest if len(ids) == BATCH else _THE_FIRST


def bare_loop(scene: Scene) -> Drained:
    """Run the product's statement in the barest loop around the driver, which only counts."""
    statement = statements.plain_claim("process/apply", "process/claim_due")
    text, names = statements.numbered(statements.limited(statement, BATCH))
    done, since, claimed = 0, _THE_FIRST, BATCH
    zero = "00000000-0000-0000-0000-000000000000"
    with psycopg.connect(scene.url, autocommit=True) as session:
        set_json_loads(orjson.loads, session)
        started, used = time.monotonic(), time.thread_time()
        while claimed:
            values: dict[str, Any] = {"run_id": 0, "left_out": [], "since": since, "since_id": zero}
            cursor = psycopg.RawCursor(session).execute(text, [values[name] for name in names])
            ((handled, _, (since,), claimed, _),) = cursor.fetchall()
            done += len(handled[0] or [])
        return Drained(done, time.monotonic() - started, time.thread_time() - used)


def driver_alone(scene: Scene) -> float:
    """Return the seconds from start to end of a process that imports the driver, connects and sends one query."""
    program = "import sys, psycopg; psycopg.connect(sys.argv[1]).execute('SELECT 1')"
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", program, scene.url], check=True)
    return time.monotonic() - started


def row_by_row(scene: Scene) -> Drained:
    """Apply as the scheduler before did: claim a batch, then a savepoint and two updates for each row."""
    claim = (
        "SELECT id, flag_id, updates FROM feature_flag_schedules WHERE status = 'pending' AND scheduled_at <= now() "
        "ORDER BY scheduled_at LIMIT 100 FOR UPDATE SKIP LOCKED"
    )
    done = 0
    with psycopg.connect(scene.url) as session:
        started = time.monotonic()
        while True:
            rows = session.execute(claim).fetchall()
            if not rows:
                return Drained(done, time.monotonic() - started)
            for schedule, flag, updates in rows:
                with session.transaction():
                    session.execute(
                        "UPDATE feature_flags SET enabled = %s, rollout_percentage = %s, updated_at = now() "
                        "WHERE id = %s",
                        [updates["enabled"], updates["rolloutPercentage"], flag],
                    )
                    session.execute(
                        "UPDATE feature_flag_schedules SET status = 'applied', applied_at = now(), updated_at = now() "
                        "WHERE id = %s",
                        [schedule],
                    )
            session.commit()
            done += len(rows)
