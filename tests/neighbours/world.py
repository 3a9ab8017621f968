"""The world of a matrix: API server, Postgres, Redis, operator and lingering processors, each a process of its own.

Two namespaces: `noisy` is A's, who has the trouble, and `quiet` is B's, who must not notice.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

import redis as redis_client

from dev.localkind.control_plane import ControlPlane
from dev.localkind.servers.postgres import Postgres
from dev.localkind.servers.redis import Redis
from flagschedule.adapters.postgres.migrate import migrate
from tests import roles
from tests.cluster.api import Api, flagschedule
from tests.cluster.conftest import in_namespace, install
from tests.cluster.operator_fixtures import Operator, operators
from tests.cluster.spec_corpus import spec
from tests.integration.database import Database, connected
from tests.neighbours.watching import ApiWatch, DatabaseWatch

FAR: Final = "2036-01-01T09:00:00Z"
NOISY: Final = "noisy"  # A's namespace, environment, and the beginning of A's keys
_POLL: Final = 0.01
_MINUTE: Final = 60.0
_LINGER: Final = 65.0  # as the chart has it


class Processors:
    """What the CronJob does: a lingering run begins each minute, also while the one before still runs."""

    def __init__(self, database_url: str, redis_url: str, log: Path) -> None:
        self._environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": roles.url(database_url, "process"),
            "REDIS_URL": redis_url,
            "FLAG_SCHEDULE_LINGER_SECONDS": str(_LINGER),
        }
        self.log = log
        self._runs: list[subprocess.Popen[bytes]] = []
        self._stop = Event()
        self._thread = Thread(target=self._each_minute, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all runs."""
        self._stop.set()
        self._thread.join()
        for run in self._runs:
            run.kill()
            run.wait()

    @property
    def failed(self) -> list[int]:
        """The exit codes of runs that failed."""
        return [code for run in self._runs if (code := run.poll())]

    def _each_minute(self) -> None:
        while True:
            with self.log.open("ab") as log:
                command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "flagschedule", "process"]
                self._runs.append(subprocess.Popen(command, env=self._environment, stderr=log))
            if self._stop.wait(_MINUTE):
                return


class World:
    """All of it, for one trouble."""

    def __init__(
        self, control_plane: ControlPlane, database: Database, database_url: str, cache: Redis, operator: Operator
    ) -> None:
        self.control_plane = control_plane
        self.database = database
        self.database_url = database_url
        self.cache = cache
        self.operator = operator
        self.quiet = in_namespace(control_plane, "quiet")
        self.noisy = in_namespace(control_plane, NOISY)
        self.pool = ThreadPoolExecutor(64)
        self.rows = DatabaseWatch(database_url, "quiet")
        self.shown = ApiWatch(control_plane.server, control_plane.ca_file, control_plane.token("admin"), "quiet")

    def close(self) -> None:
        """Stop looking."""
        self.rows.close()
        self.pool.shutdown(wait=False, cancel_futures=True)

    def flags(self, keys: Iterable[str], environment: str = "production") -> None:
        """New flags, off."""
        with self.database.connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO feature_flags (flag_key, environment) VALUES (%s, %s)",
                [(key, environment) for key in keys],
            )

    def create(self, api: Api, names: Iterable[str], *, keys: dict[str, str] | None = None, **fields: Any) -> None:
        """Create objects, several at a time; their keys are their names if none are given."""

        def create(name: str) -> None:
            plan = spec(**{"flagKey": (keys or {}).get(name, name), "scheduledAt": FAR, **fields})
            answer = api.create(flagschedule(name, plan))
            assert answer.ok, answer.message

        list(self.pool.map(create, names))

    def due_rows(self, keys: Iterable[str], *, ago: float = 0.0, environment: str = NOISY) -> None:
        """Insert due rows of A's flags, as another program does."""
        self.database.run(
            "INSERT INTO feature_flag_schedules (flag_id, scheduled_at, updates) "
            "SELECT id, now() - make_interval(secs => %s), '{\"enabled\": true}' FROM feature_flags "
            "WHERE flag_key = ANY (%s) AND environment = %s",
            ago,
            list(keys),
            environment,
        )


def in_seconds(seconds: float) -> str:
    """Return a time of a whole second, at least so far ahead, as people write it."""
    at = datetime.now(UTC) + timedelta(seconds=seconds + 1)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def until(condition: Any, seconds: float) -> bool:
    """Wait for a condition. Returns: whether it came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(_POLL)
    return True


@contextmanager
def world(*, cache_rules: tuple[str, ...] = ()) -> Iterator[World]:
    """Start a new world; `cache_rules` are the rights of the processor's user in Redis, all if there are none."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(Postgres())
        cache = stack.enter_context(Redis())
        control_plane = stack.enter_context(ControlPlane())
        roles.create(server)
        url = server.create_database("neighbours")
        migrate(roles.url(url, "migrate"))
        install(control_plane)
        make = stack.enter_context(operators(control_plane, "", folder))
        operator = make(url, FLAG_SCHEDULE_SWEEP_SECONDS="30")
        operator.start()
        processors = Processors(url, _cache_url(cache, cache_rules), folder / "processor.log")
        stack.callback(processors.close)
        database = stack.enter_context(connected(url))
        found = World(control_plane, database, url, cache, operator)
        stack.callback(found.close)
        yield found


def _cache_url(cache: Redis, rules: tuple[str, ...]) -> str:
    if not rules:
        return cache.url
    with redis_client.Redis.from_url(cache.url) as admin:
        admin.execute_command("ACL", "SETUSER", "flags", "on", f">{cache.password}", *rules)
    return cache.url.replace("//:", "//flags:")
