"""After work in any order a flag ends as if its schedules had been applied one by one, by time."""

import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.conftest import Run
from tests.integration.database import Database

FLAGS = 50
SCHEDULES = 2000


def replay(rows: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """Compute the expected result: apply every schedule in order of time and id."""
    flags: dict[Any, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (row["scheduled_at"], row["id"])):
        flags.setdefault(row["flag_id"], {}).update(row["updates"])
    return flags


def wrong_flags(database: Database, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the flags that differ from the replay of these schedules; an unset property keeps its first value."""
    expected = replay(rows)
    unchanged = {"enabled": False, "rolloutPercentage": 0}
    return [
        flag
        for flag in database.query("SELECT id, flag_key, enabled, rollout_percentage FROM feature_flags")
        if {"enabled": flag["enabled"], "rolloutPercentage": flag["rollout_percentage"]}
        != unchanged | expected.get(flag["id"], {})
    ]


def plan(database: Database, seed: int) -> None:
    """2,000 schedules over 50 flags, many at the same instant, a fifth of them waiting for a retry that is due."""
    chance = random.Random(seed)  # noqa: S311 -- a scene, not a secret
    flags = [database.flag(f"flag-{number}") for number in range(FLAGS)]
    with database.connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO feature_flag_schedules
                (flag_id, scheduled_at, updates, status, retry_count, next_retry_at)
            SELECT %s, date_trunc('second', now()) - %s * interval '1 second', %s, s,
                   CASE s WHEN 'failed' THEN 1 ELSE 0 END,
                   CASE s WHEN 'failed' THEN now() - %s * interval '1 second' END
            FROM (VALUES (%s)) AS t (s)
            """,
            [
                (
                    chance.choice(flags),
                    chance.randrange(1, 60),
                    json.dumps(
                        chance.choice(
                            [
                                {"enabled": chance.random() < 0.5},
                                {"rolloutPercentage": chance.randrange(101)},
                                {"enabled": chance.random() < 0.5, "rolloutPercentage": chance.randrange(101)},
                            ]
                        )
                    ),
                    chance.randrange(60),
                    "failed" if chance.random() < 0.2 else "pending",
                )
                for _ in range(SCHEDULES)
            ],
        )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_four_processors_end_like_a_chronological_replay(database: Database, flagschedule: Run, seed: int) -> None:
    """With 4 processors at once and retries among the rows, every flag equals the replay and nothing is done twice."""
    plan(database, seed)
    rows = database.query("SELECT id, flag_id, scheduled_at, updates FROM feature_flag_schedules")

    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: flagschedule("process", FLAG_SCHEDULE_BATCH_SIZE="20"), range(4)))

    assert [run.returncode for run in runs] == [0, 0, 0, 0]
    assert database.value("SELECT count(*) FROM feature_flag_schedules WHERE status <> 'applied'") == 0
    assert database.value("SELECT count(*) FROM flag_schedule_attempts") == SCHEDULES
    assert wrong_flags(database, rows) == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_reason_shows_which_schedule_holds_the_flag(database: Database, flagschedule: Run, seed: int) -> None:
    """Per flag and property exactly one schedule holds it at the end, and it is one that says it set something."""
    plan(database, seed)
    flagschedule("process", FLAG_SCHEDULE_BATCH_SIZE="50")

    holders = database.value(
        """
        SELECT count(*) FROM flag_schedule_watermarks AS w
        JOIN feature_flag_schedules AS s ON s.id IN (w.enabled_by, w.rollout_percentage_by)
        WHERE s.reason = 'Superseded'
        """
    )
    assert holders == 0
