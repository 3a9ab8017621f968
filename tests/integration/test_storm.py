"""Everything at once: processors that are killed, an application that edits, adds and deletes, and hot flags."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

import pytest
import redis as redis_client

from tests import roles
from tests.integration.conftest import Run
from tests.integration.database import Database, connected
from tests.integration.test_order import wrong_flags
from tests.waiting import PATIENCE, eventually

PROCESSORS: Final = 4
ENVIRONMENTS: Final = ("production", "staging", "development")
BACKENDS_ENDED: Final = 3
BACKLOG: Final = 10_000
BETWEEN_KILLS: Final = 300  # schedules
DOOMED: Final = 5  # flags that the application deletes and makes again
UNAVAILABLE: Final = 3


class Application:
    """What the host's own API does meanwhile, in transactions that lock the flag before its schedules."""

    def __init__(self, url: str, flags: list[UUID], chance: random.Random) -> None:
        self._url = url
        self._flags = flags
        self._chance = chance
        self._doomed: list[UUID] = []
        self._made = 0
        self._done = threading.Event()
        self.failures: list[Exception] = []

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Work in a thread until the block ends; every error of the database is a failure, also a deadlock."""
        thread = threading.Thread(target=self._work)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()

    def _work(self) -> None:
        actions: list[Callable[[Database, UUID], None]] = [self._plan, self._cancel, self._edit, self._delete]
        try:
            with connected(self._url) as database:
                while not self._done.is_set():
                    (action,) = self._chance.choices(actions, weights=[6, 3, 6, 1])
                    with database.connection.transaction():
                        action(database, self._chance.choice(self._flags))
        except Exception as error:  # noqa: BLE001 -- the test fails below
            self.failures.append(error)

    def _plan(self, database: Database, flag: UUID) -> None:
        """Add schedules that are due, some before others that were applied long since, some as retries."""
        database.run("SELECT FROM feature_flags WHERE id = %s FOR UPDATE", flag)
        plan(database, [flag], self._chance, 6)

    def _cancel(self, database: Database, flag: UUID) -> None:
        """Cancel the next schedules, which a processor may hold."""
        database.run("SELECT FROM feature_flags WHERE id = %s FOR UPDATE", flag)
        database.run(
            "UPDATE feature_flag_schedules SET status = 'cancelled' WHERE status = 'pending' AND id = ANY (ARRAY("
            "SELECT id FROM feature_flag_schedules WHERE flag_id = %s AND status = 'pending' "
            "ORDER BY scheduled_at LIMIT 3))",
            flag,
        )

    def _edit(self, database: Database, flag: UUID) -> None:
        database.run("UPDATE feature_flags SET updated_at = now() WHERE id = %s", flag)

    def _delete(self, database: Database, _: UUID) -> None:
        """Delete a flag that has schedules, and make another one."""
        if len(self._doomed) == DOOMED:
            database.run("DELETE FROM feature_flags WHERE id = %s", self._doomed.pop(0))
        self._made += 1
        self._doomed.append(database.flag(f"doomed-{self._made}", self._chance.choice(ENVIRONMENTS)))
        plan(database, [self._doomed[-1]], self._chance, 6)


def plan(database: Database, flags: list[UUID], chance: random.Random, number: int) -> None:
    """Insert due schedules, many at the same instant; a fifth of them are due retries."""
    database.run("SELECT setseed(%s)", chance.random())
    database.run(
        """
        INSERT INTO feature_flag_schedules (flag_id, scheduled_at, updates, status, retry_count, next_retry_at)
        SELECT t.flags[ceil(random() * cardinality(t.flags))],
               date_trunc('second', now()) - t.ago * interval '1 second',
               CASE WHEN t.kind < 2 THEN jsonb_build_object('enabled', random() < 0.5) ELSE '{}' END
               || CASE WHEN t.kind = 0 THEN '{}'
                       ELSE jsonb_build_object('rolloutPercentage', floor(random() * 101)) END,
               CASE WHEN t.again THEN 'failed' ELSE 'pending' END, t.again::integer, CASE WHEN t.again THEN now() END
        FROM (
            SELECT %s::uuid[] AS flags, ceil(random() * 60) AS ago, floor(random() * 3) AS kind, random() < 0.2 AS again
            FROM generate_series(1, %s)
        ) AS t
        """,
        flags,
        number,
    )


class Herd:
    """Processors as they are shipped, always four; a killed one is replaced at once."""

    def __init__(self, database_url: str, redis_url: str, chance: random.Random) -> None:
        self._environment = {
            "DATABASE_URL": roles.url(database_url, "process"),
            "REDIS_URL": redis_url,
            "FLAG_SCHEDULE_BATCH_SIZE": "20",
            "FLAG_SCHEDULE_LINGER_SECONDS": "60",
            "PATH": os.environ["PATH"],
        }
        self._chance = chance
        self._alive = [self._start() for _ in range(PROCESSORS)]
        self.codes: list[int] = []

    def kill_one(self) -> None:
        """Kill one of them with SIGKILL, at any point of its work."""
        victim = self._alive.pop(self._chance.randrange(PROCESSORS))
        victim.kill()
        self._bury(victim)
        self._alive.append(self._start())

    def replace_the_dead(self) -> None:
        """Replace the processes that ended because their connection was cut."""
        for ended in [process for process in self._alive if process.poll() is not None]:
            self._alive.remove(ended)
            self._bury(ended)
            self._alive.append(self._start())

    def kill_all(self) -> None:
        """Kill all of them with SIGKILL."""
        for process in self._alive:
            process.kill()
        for process in self._alive:
            self._bury(process)

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "flagschedule", "process"]
        return subprocess.Popen(command, env=self._environment, stderr=subprocess.DEVNULL)

    def _bury(self, process: subprocess.Popen[bytes]) -> None:
        self.codes.append(process.wait(PATIENCE))


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("flags", "kills"), [(20, 5), (200, 40)])
def test_a_storm_ends_like_a_chronological_replay(
    database: Database, database_url: str, redis_url: str, flagschedule: Run, flags: int, kills: int
) -> None:
    """With kills and other changes of the tables: no wrong flag, no deadlock, no schedule lost or applied twice."""
    seed = random.randrange(10**6)  # noqa: S311 -- a scene, not a secret
    print(f"seed {seed}")  # noqa: T201 -- pytest shows it when the test fails
    chance = random.Random(seed)  # noqa: S311 -- the same
    made = [database.flag(f"flag-{number}", ENVIRONMENTS[number % 3]) for number in range(flags)]
    plan(database, made, chance, BACKLOG)
    application = Application(database_url, made, random.Random(seed))  # noqa: S311 -- the same
    herd = Herd(database_url, redis_url, chance)
    with redis_client.Redis.from_url(redis_url) as cache, application.at_work():
        for environment in ENVIRONMENTS:
            cache.set(f"feature_flags:{environment}", "old")
        for number in range(kills):
            _wait_for_progress(database)
            if number in range(0, kills, kills // BACKENDS_ENDED):
                database.run(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'flagschedule-processor' AND datname = current_database() LIMIT 1"
                )
            herd.replace_the_dead()
            herd.kill_one()
    herd.kill_all()

    assert application.failures == []
    assert flagschedule("process").returncode == 0
    assert set(herd.codes) <= {0, UNAVAILABLE, -signal.SIGKILL}
    assert herd.codes.count(-signal.SIGKILL) >= kills
    assert database.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0
    applied = database.query(
        "SELECT id, flag_id, scheduled_at, updates FROM feature_flag_schedules WHERE status = 'applied'"
    )
    assert wrong_flags(database, applied) == []
    assert database.value("SELECT count(*) FROM feature_flag_schedules WHERE status IN ('pending', 'failed')") == 0
    assert _applied_not_once(database) == 0
    assert database.value("SELECT count(*) FROM flag_schedule_cache_outbox") == 0
    with redis_client.Redis.from_url(redis_url) as cache:
        assert cache.keys("feature_flags:*") == []


def _wait_for_progress(database: Database) -> None:
    """Wait until much was applied since now, so that those who are killed are at work."""
    applied = "SELECT count(*) FROM feature_flag_schedules WHERE status = 'applied'"
    wanted = database.value(applied) + BETWEEN_KILLS
    eventually(lambda: database.value(applied) >= wanted)


def _applied_not_once(database: Database) -> int:
    """Return how many schedules were applied without exactly one successful attempt, or the reverse."""
    found: int = database.value(
        """
        SELECT count(*) FROM feature_flag_schedules AS s
        WHERE (SELECT count(*) FROM flag_schedule_attempts AS a WHERE a.schedule_id = s.id AND a.outcome = 'applied')
              <> CASE s.status WHEN 'applied' THEN 1 ELSE 0 END
        """
    )
    return found
