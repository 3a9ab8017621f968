"""The processor on a real Postgres: what is due is applied, in order, once."""

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from threading import Event
from typing import Any, Self
from uuid import UUID

import pytest
import redis

from flagschedule.adapters.postgres import statements
from flagschedule.adapters.postgres.process_store import PostgresProcessStore
from flagschedule.domain.errors import DependencyUnavailableError
from flagschedule.ports.processing import Batch, Due
from tests import roles
from tests.integration.conftest import Run
from tests.integration.database import Database
from tests.support import processing
from tests.waiting import eventually

INVALID = [
    {}, [], 1, "x", None, True,
    {"enabled": 1}, {"enabled": "true"}, {"enabled": None},
    {"rolloutPercentage": 101}, {"rolloutPercentage": -1}, {"rolloutPercentage": 50.5}, {"rolloutPercentage": "50"},
    {"rolloutPercentage": None}, {"rolloutPercentage": 10**30}, {"rolloutPercentage": 100.01},
    {"rolloutPercentage": 5.05}, {"rolloutPercentage": 1e-7}, {"rolloutPercentage": -0.5},
    {"enabled": True, "colour": "red"}, {"colour": "red"},
]  # fmt: skip


def summary(run: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the summary that `--output json` prints, without counts that are 0 as a rule."""
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    del found["duration"]
    return {name: count for name, count in found.items() if count or name not in {"skipped", "refused_cache_keys"}}


def logged(run: subprocess.CompletedProcess[str], event: str) -> list[dict[str, Any]]:
    """Return the log lines with this message."""
    return [line for line in map(json.loads, run.stderr.splitlines()) if line["event"] == event]


def test_a_due_schedule_changes_its_flag(database: Database, flagschedule: Run) -> None:
    """The flag has the new values, the row says applied, and the attempt shows before and after."""
    flag = database.flag("checkout-v2")
    schedule = database.schedule(flag, {"enabled": True, "rolloutPercentage": 25})

    run = flagschedule("process", "--output", "json")

    row = database.row(schedule)
    assert summary(run) == {"processed": 1, "failed": 0, "retried": 0, "superseded": 0, "set_aside": 0}
    assert database.state(flag) == (True, 25)
    assert (row["status"], row["reason"], row["last_error"]) == ("applied", "Applied", None)
    assert row["applied_at"] >= row["scheduled_at"]
    (attempt,) = database.attempts(schedule)
    assert (attempt["attempt"], attempt["outcome"]) == (1, "applied")
    assert (attempt["before_enabled"], attempt["after_enabled"]) == (False, True)
    assert (attempt["before_rollout_percentage"], attempt["after_rollout_percentage"]) == (0, 25)
    assert logged(run, "Schedule applied")[0]["scheduleId"] == str(schedule)


def test_only_the_two_columns_and_the_time_of_a_flag_change(database: Database, flagschedule: Run) -> None:
    """Nothing else of the flag is touched, and no other flag at all."""
    flag, other = database.flag("checkout-v2"), database.flag("other")
    before = database.query("SELECT * FROM feature_flags ORDER BY flag_key")
    database.schedule(flag, {"enabled": True})

    flagschedule("process")

    after = database.query("SELECT * FROM feature_flags ORDER BY flag_key")
    changed = {key for key in before[0] if before[0][key] != after[0][key]}
    assert changed == {"enabled", "updated_at"}
    assert after[1] == before[1]
    assert other == after[1]["id"]


@pytest.mark.parametrize(
    "columns", [{"suspended": True}, {"status": "cancelled"}, {"status": "failed"}, {"status": "applied"}]
)
def test_what_is_held_or_finished_is_left_alone(database: Database, flagschedule: Run, columns: dict[str, Any]) -> None:
    """A suspended, cancelled, exhausted or applied row is not applied."""
    flag = database.flag("checkout-v2")
    schedule = database.schedule(flag, {"enabled": True}, **columns)
    before = database.row(schedule)

    flagschedule("process")

    assert database.row(schedule) == before
    assert database.state(flag) == (False, 0)


def test_nothing_is_early(database: Database, flagschedule: Run) -> None:
    """A schedule is not applied before its time by the database's clock."""
    flag = database.flag("checkout-v2")
    database.schedule(flag, {"enabled": True}, due=timedelta(seconds=30))

    assert summary(flagschedule("process", "--output", "json"))["processed"] == 0
    assert database.state(flag) == (False, 0)


def test_bad_updates_fail_permanently_and_block_no_other(database: Database, flagschedule: Run) -> None:
    """Every kind of bad updates fails permanently with a sentence, while the good rows of the batch are applied."""
    flag, good = database.flag("bad"), database.flag("good")
    bad = [database.schedule(flag, updates) for updates in INVALID]
    database.schedule(good, {"rolloutPercentage": 50.0})

    run = flagschedule("process", "--output", "json")

    assert summary(run) == {
        "processed": len(bad) + 1, "failed": len(bad), "retried": 0, "superseded": 0, "set_aside": 0,
    }  # fmt: skip
    for schedule in bad:
        row = database.row(schedule)
        assert (row["status"], row["reason"], row["next_retry_at"]) == ("failed", "InvalidUpdates", None)
        assert row["last_error"] == row["error_message"]
        assert "rolloutPercentage" in row["last_error"]
    assert database.state(flag) == (False, 0)
    assert database.state(good) == (False, 50)


def test_a_first_attempt_past_its_deadline_is_not_made(database: Database, flagschedule: Run) -> None:
    """A pending row past not_after fails for good; a retry of one that started in time goes on."""
    flag = database.flag("checkout-v2")
    past = database.value("SELECT now() - interval '1 second'")
    late = database.schedule(flag, {"enabled": True}, not_after=past)
    retry = database.schedule(
        flag, {"rolloutPercentage": 5}, not_after=past, status="failed", retry_count=1, next_retry_at=past
    )

    flagschedule("process")

    assert database.row(late)["reason"] == "DeadlineExceeded"
    assert (database.row(retry)["status"], database.row(retry)["next_retry_at"]) == ("applied", None)
    assert database.state(flag) == (False, 5)


def test_a_batch_is_no_limit(database: Database, flagschedule: Run) -> None:
    """A run drains more than one batch."""
    flags = [database.flag(f"flag-{number}") for number in range(7)]
    for flag in flags:
        database.schedule(flag, {"enabled": True})

    run = flagschedule("process", "--output", "json", FLAG_SCHEDULE_BATCH_SIZE="2")

    assert summary(run)["processed"] == len(flags)
    assert {database.state(flag) for flag in flags} == {(True, 0)}


def due_flags(database: Database, number: int) -> list[UUID]:
    """Make so many flags, each with a schedule that is due and turns it on."""
    flags = [database.flag(f"flag-{each}") for each in range(number)]
    for flag in flags:
        database.schedule(flag, {"enabled": True})
    return flags


def all_are_applied(database: Database, flags: Sequence[UUID], store: PostgresProcessStore) -> None:
    """Check that one run in batches of two turns every one of these flags on."""
    with store:
        done = processing.run(store, batch_size=2)
    assert done.processed == len(flags)
    assert {database.state(flag) for flag in flags} == {(True, 0)}


class Faulty(PostgresProcessStore):
    """Its second connection is spoilt before its first batch; after a batch of its own the first one waits for it."""

    def __init__(self, url: str, run_id: int = 0) -> None:
        super().__init__(url, run_id)
        self.connected = Event()
        self._called = False

    def spoil(self, other: PostgresProcessStore) -> None:
        """Spoil the second connection."""
        raise NotImplementedError

    def connect_another(self) -> Self:
        """Connect another store, which is spoilt as soon as it does its share."""
        other = super().connect_another()
        other.apply = partial(self._spoilt, other)  # type: ignore[method-assign]  # for one of two
        self.connected.set()
        return other

    def _spoilt(self, other: Self, **how: Any) -> Batch:
        self.spoil(other)
        return PostgresProcessStore.apply(other, **how)

    def apply(self, **how: Any) -> Batch:
        """Apply as usual, but wait for the second connection before the second batch."""
        if self._called:
            self.connected.wait(60)
        found = super().apply(**how)
        self._called = self._called or bool(found.handled)
        return found


# Each change of a flag records its connection.
WHO = """
CREATE TABLE connections (pid integer);
GRANT INSERT ON connections TO PUBLIC;
CREATE FUNCTION who() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(0.05);  -- connecting takes its time, too
    INSERT INTO connections VALUES (pg_backend_pid());
    RETURN NULL;
END $$;
CREATE TRIGGER who AFTER UPDATE ON feature_flags FOR EACH STATEMENT EXECUTE FUNCTION who();
"""
CONNECTIONS = "SELECT count(DISTINCT pid) FROM connections"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"FLAG_SCHEDULE_BATCH_SIZE": "10"}, 2),
        ({"FLAG_SCHEDULE_BATCH_SIZE": "10", "FLAG_SCHEDULE_CONCURRENCY": "1"}, 1),
        ({"FLAG_SCHEDULE_BATCH_SIZE": "2000"}, 1),
    ],
    ids=["default", "one", "no batch is full"],
)
def test_a_full_batch_calls_for_another_connection(
    database: Database, flagschedule: Run, settings: dict[str, str], expected: int
) -> None:
    """Where there is more than one batch a run applies two at the same time, each row once; else one is enough."""
    database.connection.execute(WHO)
    database.run("INSERT INTO feature_flags (flag_key) SELECT 'flag-' || n FROM generate_series(1, 300) AS n")
    database.run(
        "INSERT INTO feature_flag_schedules (flag_id, scheduled_at, updates) "
        "SELECT id, now(), '{\"enabled\": true}' FROM feature_flags"
    )

    run = flagschedule("process", "--output", "json", **settings)

    assert summary(run)["processed"] == 300 == database.value("SELECT count(*) FROM flag_schedule_attempts")
    assert len(logged(run, "Schedule applied")) == 300
    assert database.value("SELECT count(*) FROM feature_flags WHERE enabled") == 300
    assert database.value("SELECT count(DISTINCT run_id) FROM flag_schedule_attempts") == 1
    assert database.value(CONNECTIONS) == expected


def test_a_run_goes_on_where_the_database_takes_no_further_connection(database: Database, database_url: str) -> None:
    """One connection is enough to apply everything."""
    flags = due_flags(database, 6)

    class Alone(PostgresProcessStore):
        """As if the server's last connection were taken."""

        def connect_another(self) -> Self:
            return type(self)("postgresql://127.0.0.1:1/none").__enter__()

    all_are_applied(database, flags, Alone(roles.url(database_url, "process")))


def test_a_run_goes_on_where_a_further_connection_breaks(database: Database, database_url: str) -> None:
    """What the broken connection had claimed is applied on the other one."""
    flags = due_flags(database, 40)
    broken = Event()

    class Breaking(Faulty):
        """Its second connection is cut before its first batch."""

        def spoil(self, other: PostgresProcessStore) -> None:
            other.close()
            broken.set()

    all_are_applied(database, flags, Breaking(roles.url(database_url, "process")))
    assert broken.is_set()


def test_what_a_lost_connection_held_is_applied_by_the_same_run(database: Database, database_url: str) -> None:
    """Rows that a further connection had claimed when it broke do not wait for the next run."""
    flags = due_flags(database, 40)
    held, given_up = Event(), Event()

    class Holding(Faulty):
        """Its second connection holds all that is left until the first one has stopped looking, and breaks."""

        def spoil(self, other: PostgresProcessStore) -> None:
            other._connection.execute("BEGIN")
            other._connection.execute("SELECT FROM feature_flag_schedules WHERE status = 'pending' FOR UPDATE")
            held.set()
            given_up.wait(60)
            time.sleep(0.2)  # until the first one waits for us
            other.close()

        def apply(self, **how: Any) -> Batch:
            if self.connected.is_set():
                held.wait(0.2)  # some batches pass until it is called
            return super().apply(**how)

        def what_is_due(self, left_out: Sequence[UUID]) -> Due:
            self._looks += 1
            if self._looks == 49:
                given_up.set()
            return super().what_is_due(left_out)

        _looks = 0

    all_are_applied(database, flags, Holding(roles.url(database_url, "process")))
    assert given_up.is_set()


def test_a_run_waits_for_no_further_connection(database: Database, database_url: str) -> None:
    """Behind a pooler that has none to give, everything is applied on the one that is there, and the run ends."""
    flags = due_flags(database, 6)
    over = Event()

    class Queueing(PostgresProcessStore):
        """Let the second connection wait without an end, as a pooler may."""

        def connect_another(self) -> Self:
            over.wait()
            raise DependencyUnavailableError

    all_are_applied(database, flags, Queueing(roles.url(database_url, "process")))
    over.set()


def test_a_spent_time_budget_leaves_the_rest_to_the_next_run(database: Database, flagschedule: Run) -> None:
    """A run that is out of time ends orderly, and the next one goes on."""
    flag = database.flag("checkout-v2")
    schedule = database.schedule(flag, {"enabled": True})

    assert summary(flagschedule("process", "--output", "json", FLAG_SCHEDULE_TIME_BUDGET_SECONDS="0.000001")) == {
        "processed": 0, "failed": 0, "retried": 0, "superseded": 0, "set_aside": 0, "skipped": 1,
    }  # fmt: skip
    flagschedule("process")

    assert database.row(schedule)["status"] == "applied"


def test_five_processors_apply_five_rows_once(database: Database, flagschedule: Run) -> None:
    """Five runs at once over five due rows: each row is applied once, by one of them."""
    schedules = [database.schedule(database.flag(f"flag-{number}"), {"enabled": True}) for number in range(5)]

    with ThreadPoolExecutor(5) as pool:
        runs = list(pool.map(lambda _: flagschedule("process", "--output", "json"), range(5)))

    assert sum(summary(run)["processed"] for run in runs) == len(schedules)
    assert all(len(database.attempts(schedule)) == 1 for schedule in schedules)
    assert {database.row(schedule)["status"] for schedule in schedules} == {"applied"}


def test_a_lingering_run_applies_what_comes_due_meanwhile(
    database: Database, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """A lingering run finds what comes due after it began, and continues."""
    flag = database.flag("checkout-v2")
    run = start(FLAG_SCHEDULE_LINGER_SECONDS="600")
    eventually(lambda: database.query("SELECT * FROM flag_schedule_runs"))

    first = database.schedule(flag, {"enabled": True}, due=timedelta(seconds=1))
    eventually(lambda: database.row(first)["status"] == "applied")
    second = database.schedule(flag, {"enabled": False}, due=timedelta(seconds=1))
    eventually(lambda: database.row(second)["status"] == "applied")

    assert run.poll() is None


def test_a_batch_begins_where_the_last_full_one_ended_and_forgets_nothing(
    database: Database, database_url: str
) -> None:
    """A schedule that another transaction held when a batch passed it is found as soon as none comes after it."""
    flag = database.flag("held")
    held = database.schedule(flag, {"enabled": True}, due=timedelta(minutes=-3))
    others = [
        database.schedule(database.flag(f"flag-{minutes}"), {"enabled": True}, due=timedelta(minutes=-minutes))
        for minutes in (2, 1)
    ]

    def batch() -> list[UUID]:
        return [UUID(handled.schedule_id) for handled in store.apply(retries=False, limit=1, left_out=[]).handled]

    with PostgresProcessStore(roles.url(database_url, "process")) as store:
        with database.connection.transaction():
            database.run("SELECT FROM feature_flags WHERE id = %s FOR UPDATE", flag)
            assert batch() == others[:1]
        assert batch() == others[1:]
        assert batch() == [held]
        assert batch() == []


def test_what_another_program_sets_back_to_pending_is_applied_again(database: Database, flagschedule: Run) -> None:
    """A row whose attempt is recorded already is applied like any other, and blocks none of its batch."""
    flag = database.flag("checkout-v2")
    again = database.schedule(flag, {"enabled": True})
    flagschedule("process")
    (attempt,) = database.attempts(again)
    database.run("UPDATE feature_flag_schedules SET status = 'pending', applied_at = NULL WHERE id = %s", again)
    database.run("UPDATE feature_flags SET enabled = false")
    others = [database.schedule(database.flag(f"flag-{number}"), {"enabled": True}) for number in range(9)]

    run = flagschedule("process", "--output", "json")

    assert summary(run) == {"processed": 10, "failed": 0, "retried": 0, "superseded": 0, "set_aside": 0}
    assert {database.row(each)["status"] for each in [again, *others]} == {"applied"}
    assert database.value("SELECT bool_and(enabled) FROM feature_flags")
    assert database.attempts(again) == [attempt]


@pytest.mark.parametrize("time", ["-infinity", "0044-03-15 00:00:00+00 BC", "2026-11-01 09:00:00.123456+00"])
def test_any_time_can_be_the_end_of_a_batch(database: Database, database_url: str, time: str) -> None:
    """The next batch can begin at any time that Postgres can hold: of two schedules of that time none is left out."""
    for number in range(2):
        schedule = database.schedule(database.flag(f"flag-{number}"), {"enabled": True})
        database.run("UPDATE feature_flag_schedules SET scheduled_at = %s WHERE id = %s", time, schedule)

    with PostgresProcessStore(roles.url(database_url, "process")) as store:
        sizes = [len(store.apply(retries=False, limit=1, left_out=[]).handled) for _ in range(3)]

    assert sizes == [1, 1, 0]


def test_how_soon_the_next_one_comes_due(database: Database) -> None:
    """A run learns of the next schedule or retry within a second, and of none that is later, held or due already."""
    flag, second = database.flag("checkout-v2"), timedelta(seconds=1)
    look = statements.plain("process/seconds_until_due")
    with database.connection.transaction():  # in which it is the same moment throughout
        database.schedule(flag, {"enabled": True})
        database.schedule(flag, {"enabled": True}, due=second)
        database.schedule(flag, {"enabled": True}, due=0.1 * second, suspended=True)
        assert database.value(look) is None

        retry = database.schedule(flag, {"enabled": True}, status="failed")
        database.run("UPDATE feature_flag_schedules SET next_retry_at = now() + interval '0.9 s' WHERE id = %s", retry)
        assert database.value(look) == pytest.approx(0.9)

        database.schedule(flag, {"enabled": True}, due=0.5 * second)
        assert database.value(look) == pytest.approx(0.5)


def test_a_lingering_run_wakes_when_the_next_one_comes_due(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sleeps until the next time that the database returns, and for a second where it returns none."""
    answers: list[float | None] = [0.25, None]
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)

    class Answering(PostgresProcessStore):
        """As if something came due soon."""

        def seconds_until_due(self) -> float | None:
            return answers.pop(0)

    with Answering(roles.url(database_url, "process")) as store:
        processing.run(store, linger=60, stopping=lambda: not answers)

    assert slept == [0.25, 1.0]
    assert database.query("SELECT finished_at FROM flag_schedule_runs WHERE finished_at IS NOT NULL")


def test_what_comes_due_between_two_questions_is_not_passed(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes due right after a lingering run queried how long to sleep is applied before it sleeps."""
    flag = database.flag("checkout-v2")
    made: list[UUID] = []
    states: list[str] = []
    monkeypatch.setattr(time, "sleep", lambda _: states.append(database.row(made[0])["status"]))

    class Between(PostgresProcessStore):
        """As if a schedule came due right after the answer."""

        def seconds_until_due(self) -> float | None:
            soon = super().seconds_until_due()
            if not made:
                made.append(database.schedule(flag, {"enabled": True}))
            return soon

    with Between(roles.url(database_url, "process")) as store:
        processing.run(store, linger=60, stopping=lambda: bool(states))

    assert states == ["applied"]


@pytest.mark.parametrize("number", ["0", "100", "1e2", "5.0", "100.000", "-0", "0.5e1"])
def test_a_whole_number_may_be_written_in_any_way(database: Database, flagschedule: Run, number: str) -> None:
    """JSON has one kind of number: what is whole and from 0 to 100 is a percentage, however it is written."""
    flag = database.flag("checkout-v2")
    row = database.schedule(flag, {"enabled": True})
    database.run(
        "UPDATE feature_flag_schedules SET updates = %s::jsonb WHERE id = %s", f'{{"rolloutPercentage": {number}}}', row
    )

    flagschedule("process")

    assert database.state(flag) == (False, int(float(number)))


def test_an_older_schedule_applied_later_changes_nothing(database: Database, flagschedule: Run) -> None:
    """A late older schedule ends Superseded, or PartlySuperseded with what it alone sets."""
    flag = database.flag("checkout-v2")
    older = database.schedule(flag, {"enabled": False}, due=timedelta(minutes=-9), suspended=True)
    part = database.schedule(
        flag, {"enabled": False, "rolloutPercentage": 9}, due=timedelta(minutes=-8), suspended=True
    )
    newer = database.schedule(flag, {"enabled": True}, due=timedelta(minutes=-5))
    flagschedule("process")
    database.run("UPDATE feature_flag_schedules SET suspended = false")

    run = flagschedule("process", "--output", "json")

    assert database.state(flag) == (True, 9)
    assert [database.row(each)["reason"] for each in (older, part, newer)] == [
        "Superseded", "PartlySuperseded", "Applied",
    ]  # fmt: skip
    assert summary(run)["superseded"] == 1
    (attempt,) = database.attempts(part)
    assert (attempt["set_enabled"], attempt["set_rollout_percentage"]) == (False, True)


def test_the_cache_key_of_a_changed_environment_goes(database: Database, flagschedule: Run, redis_url: str) -> None:
    """After the commit the key of the flag's environment is deleted, and no other key."""
    client = redis.Redis.from_url(redis_url)
    for key in ("feature_flags:production", "feature_flags:staging", "session:1"):
        client.set(key, "cached")
    database.schedule(database.flag("checkout-v2"), {"enabled": True})

    flagschedule("process")

    assert sorted(client.keys()) == [b"feature_flags:staging", b"session:1"]
    assert database.query("SELECT * FROM flag_schedule_cache_outbox") == []


def test_a_cache_that_is_away_delays_nothing_and_loses_nothing(
    database: Database, flagschedule: Run, redis_url: str
) -> None:
    """Without Redis the change is made, the run says so and ends well; the next run deletes the key."""
    client = redis.Redis.from_url(redis_url)
    client.set("feature_flags:production", "cached")
    schedule = database.schedule(database.flag("checkout-v2"), {"enabled": True})

    away = flagschedule("process", REDIS_URL="redis://127.0.0.1:1/0")
    assert away.returncode == 0
    assert database.row(schedule)["status"] == "applied"
    assert logged(away, "Cache keys left to the next run")
    flagschedule("process")

    assert client.keys() == []
    assert database.query("SELECT * FROM flag_schedule_cache_outbox") == []


def test_every_run_is_recorded(database: Database, flagschedule: Run) -> None:
    """A run leaves its start, its end and its counts."""
    database.schedule(database.flag("checkout-v2"), {"enabled": True})

    flagschedule("process")

    (run,) = database.query("SELECT * FROM flag_schedule_runs")
    assert run["processed"] == 1
    assert run["finished_at"] > run["started_at"]


def test_status_entries_that_no_operator_serves_are_pruned(database: Database, flagschedule: Run) -> None:
    """Rows that other programs made have no object: their status entries go after a minute, not before."""
    database.schedule(database.flag("checkout-v2"), {"enabled": True})
    flagschedule("process")
    count = "SELECT count(*) FROM flag_schedule_status_outbox"
    flagschedule("process")
    assert database.value(count) == 1

    database.run("UPDATE flag_schedule_status_outbox SET created_at = now() - interval '61 seconds'")
    flagschedule("process")

    assert database.value(count) == 0
