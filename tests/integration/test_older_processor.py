"""A processor of an older version, at work on the newest schema together with the newest processor.

The older version is that of a commit of this repository, with the gate and nothing else added: it claims no row that
requires a protocol, and reads the database's minimum at its start.
"""

import io
import os
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import roles
from tests.integration.database import Database
from tests.integration.test_guards import guarded
from tests.waiting import PATIENCE

OLDER = "0913807"
ROOT = Path(__file__).parents[2]
START = "INSERT INTO flag_schedule_runs DEFAULT VALUES RETURNING id"
GATED_START = """INSERT INTO flag_schedule_runs (protocol)
SELECT 0 WHERE NOT EXISTS (SELECT FROM flag_schedule_protocol WHERE minimum > 0) RETURNING id"""


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the older version with the gate. Skipped where the repository's history is not there."""
    archive = subprocess.run(["git", "archive", OLDER, "operator"], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"the history has no commit {OLDER}")
    folder = tmp_path_factory.mktemp("older")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    postgres = folder / "operator" / "flagschedule" / "adapters" / "postgres"
    for name in ("claim_due", "claim_retries", "claim_only", "is_first_attempt_due", "is_retry_due", "record_failure"):
        _replace(postgres / f"{name}.sql", "NOT s.suspended", "NOT s.suspended AND s.requires <= 0")
    _replace(postgres / "process.py", f'"{START}"', f'"""{GATED_START}"""')
    _replace(
        postgres / "process.py",
        "        ((run_id,),) = self._fetch(_START_RUN)",
        "        found = self._fetch(_START_RUN)\n"
        "        if not found:\n"
        "            from flagschedule.domain.errors import DependencyUnavailableError\n"
        "            raise DependencyUnavailableError('the database needs a newer version of the processor')\n"
        "        ((run_id,),) = found",
    )
    return folder / "operator"


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, (path.name, old)
    path.write_text(text.replace(old, new))


def run(package: Path, url: str) -> subprocess.CompletedProcess[str]:
    """Run the processor of a package once."""
    return subprocess.run(
        [sys.executable, "-m", "flagschedule", "process"],
        env={
            "DATABASE_URL": roles.url(url, "process"),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(package),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_it_leaves_guarded_rows_to_the_newest_one(database: Database, database_url: str, older: Path) -> None:
    """It applies plain rows and no guarded one; then, both at once, each row is applied once and judged."""
    flags = [database.flag(f"flag-{number}") for number in range(40)]
    plain = [database.schedule(flag, {"enabled": True}) for flag in flags]
    met = [guarded(database, flag, {"rolloutPercentage": 25}, {"rolloutPercentage": 0}) for flag in flags[:20]]
    not_met = [guarded(database, flag, {"rolloutPercentage": 25}, {"rolloutPercentage": 5}) for flag in flags[20:]]

    alone = run(older, database_url)

    assert alone.returncode == 0, alone.stderr
    assert {database.row(row)["status"] for row in plain} == {"applied"}
    assert {database.row(row)["status"] for row in met + not_met} == {"pending"}
    more = [database.schedule(flag, {"enabled": False}) for flag in flags]
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda package: run(package, database_url), [older, ROOT / "operator"] * 2))
    assert [each.returncode for each in runs] == [0] * 4
    assert {database.row(row)["status"] for row in more + met} == {"applied"}
    assert {database.row(row)["reason"] for row in not_met} == {"ExpectationNotMet"}


def test_it_ends_once_there_is_a_freeze(database: Database, database_url: str, older: Path) -> None:
    """The first freeze raises the database's minimum: the older one applies nothing and ends with exit 3."""
    row = database.schedule(database.flag("checkout-v2"), {"enabled": True})
    database.run("UPDATE flag_schedule_protocol SET minimum = 1, raised_at = now()")

    ended = run(older, database_url)

    assert (ended.returncode, database.row(row)["status"]) == (3, "pending")
    assert "needs a newer version" in ended.stderr
