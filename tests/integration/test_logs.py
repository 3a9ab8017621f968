"""The log lines of a run, with the messages and fields of the original; and the exit codes."""

import json
from datetime import datetime
from typing import Any

import pytest

from tests.integration.conftest import Run
from tests.integration.database import Database
from tests.integration.test_failures import guard, make_due

HOSTILE = 'x\n{"event": "Schedule applied", "flagKey": "forged"}\r\x1b[2J"\u2028'


def outcomes(stderr: str) -> list[dict[str, Any]]:
    """Return the lines about schedules, without what every line has; each line must be one JSON object."""
    found = [json.loads(line) for line in stderr.splitlines()]
    assert all(datetime.fromisoformat(line.pop("time")).tzinfo for line in found)
    return [line for line in found if "flagKey" in line]


def test_the_messages_and_fields_of_the_original(database: Database, flagschedule: Run) -> None:
    """First success, failure, success on a retry and exhaustion are logged in the original's words."""
    guard(database, "P0001")
    good = database.schedule(database.flag("good", "staging"), {"enabled": True})
    bad = database.schedule(database.flag("bad"), {"rolloutPercentage": 95}, max_retries=1)
    worse = database.schedule(database.flag("worse"), {"rolloutPercentage": 96}, max_retries=0)

    first = sorted(outcomes(flagschedule("process").stderr), key=lambda line: line["event"])
    planned = database.row(bad)["next_retry_at"].isoformat()
    database.run("DROP TRIGGER guard ON feature_flags")
    make_due(database)
    second = outcomes(flagschedule("process").stderr)

    error = "the database refused the change (raise_exception)"
    exhausted = {
        "scheduleId": str(worse), "flagKey": "worse", "environment": "production", "error": error,
        "reason": "RetriesExhausted", "retryCount": 0,
    }  # fmt: skip
    failures, [end, applied] = first[:2], first[2:]
    assert sorted(failures, key=lambda line: line["flagKey"]) == [
        {
            "event": "Failed to apply schedule", "level": "warning", "scheduleId": str(bad), "flagKey": "bad",
            "environment": "production", "error": error, "reason": "AttemptFailed", "retryCount": 1,
            "nextRetryAt": planned,
        },
        {"event": "Failed to apply schedule", "level": "warning", **exhausted},
    ]  # fmt: skip
    assert end == {"event": "Retry limit exceeded", "level": "error", **exhausted}
    assert applied == {
        "event": "Schedule applied", "level": "info", "scheduleId": str(good), "flagKey": "good",
        "environment": "staging", "reason": "Applied",
    }  # fmt: skip
    assert second == [
        {
            "event": "Schedule applied on retry", "level": "info", "scheduleId": str(bad), "flagKey": "bad",
            "environment": "production", "reason": "Applied", "retryCount": 1,
        }
    ]  # fmt: skip


def test_a_hosts_odd_key_forges_no_line(database: Database, flagschedule: Run) -> None:
    """A flag whose key holds line breaks, quotes and escape sequences leaves one line, with the key as it is."""
    database.schedule(database.flag(HOSTILE), {"enabled": True})

    run = flagschedule("process", "--output", "json")

    assert [(line["event"], line["flagKey"]) for line in outcomes(run.stderr)] == [("Schedule applied", HOSTILE)]
    assert json.loads(run.stdout)["processed"] == 1


def test_logs_for_people(database: Database, flagschedule: Run) -> None:
    """FLAG_SCHEDULE_LOG_FORMAT=console gives readable lines, also off a terminal."""
    database.schedule(database.flag("checkout-v2"), {"enabled": True})

    run = flagschedule("process", FLAG_SCHEDULE_LOG_FORMAT="console")

    assert not any(line.startswith("{") for line in run.stderr.splitlines())
    assert "Schedule applied" in run.stderr
    assert "checkout-v2" in run.stderr


@pytest.mark.parametrize("value", ["11", "-1", "many"])
def test_a_bad_maximum_warns_and_the_run_goes_on(database: Database, flagschedule: Run, value: str) -> None:
    """A bad FLAG_SCHEDULE_MAX_RETRIES is a line of warning, and no more; without a cache that is said once."""
    schedule = database.schedule(database.flag("checkout-v2"), {"enabled": True})

    run = flagschedule("process", FLAG_SCHEDULE_MAX_RETRIES=value, REDIS_URL="")

    warning, note, *_ = [json.loads(line) for line in run.stderr.splitlines()]
    assert (warning["level"], "FLAG_SCHEDULE_MAX_RETRIES" in warning["event"]) == ("warning", True)
    assert note["event"] == "REDIS_URL is not set: there is no cache to invalidate"
    assert run.stderr.count("REDIS_URL") == 1
    assert run.returncode == 0
    assert database.row(schedule)["status"] == "applied"
