"""Changes that expect a value, windows and freezes end as if all schedules had been judged one by one, by time."""

import json
import random
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest

from flagschedule.adapters.postgres.process_store import PostgresProcessStore
from flagschedule.ports.processing import Due
from tests import roles
from tests.integration.conftest import Run
from tests.integration.database import Database
from tests.integration.test_storm import Herd
from tests.waiting import eventually

FLAGS: Final = 120
SCHEDULES: Final = 1500
PROPERTIES: Final = ("enabled", "rolloutPercentage")
ATTEMPTS: Final = "SELECT count(*) FROM flag_schedule_attempts"
PLAIN: Final = {"Applied", "Superseded", "PartlySuperseded"}


@dataclass(kw_only=True)
class Planned:
    """One row: what it holds, and what the replay says will become of it."""

    id: UUID
    flag: int
    at: datetime
    updates: dict[str, Any]
    expect: dict[str, Any] | None = None
    on_mismatch: str | None = None
    follows: UUID | None = None
    retried: bool = False
    refused: bool = False
    namespace: str | None = None
    outcome: tuple[str, str | None] = ("", None)


@dataclass(kw_only=True)
class Flag:
    """A flag's values, and which row set each last."""

    values: dict[str, Any]
    frozen: bool
    marks: dict[str, tuple[datetime, UUID]] = field(default_factory=dict)


@dataclass(kw_only=True)
class Scene:
    """Flags with their values at the beginning, rows with their outcomes, and the flags' values at the end."""

    before: list[dict[str, Any]]
    flags: list[Flag]
    rows: list[Planned]


def replay(seed: int) -> Scene:
    """Make flags and rows, and bring each row to its outcome, one by one, in the order of time."""
    chance = random.Random(seed)  # noqa: S311 -- a scene, not a secret
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    flags = [
        Flag(
            values={"enabled": chance.random() < 0.5, "rolloutPercentage": chance.choice([0, 5, 25])},
            frozen=number % 10 == 0,
        )
        for number in range(FLAGS)
    ]
    found = Scene(before=[dict(flag.values) for flag in flags], flags=flags, rows=[])
    made: dict[UUID, bool] = {}
    ends: list[Planned] = []
    for number in range(SCHEDULES):
        at = begin + timedelta(seconds=number * 3600 // SCHEDULES)
        while ends and ends[0].at < at:
            found.rows.append(_judge(flags, ends.pop(0), made))
        row = _judge(flags, _row(chance, number, at, flags), made)
        found.rows.append(row)
        if row.expect is None and not row.retried and chance.random() < 0.1:
            ends.append(_end(chance, number, row))
            ends.sort(key=lambda each: (each.at, each.id))
    found.rows.extend(_judge(flags, end, made) for end in ends)
    return found


def _end(chance: random.Random, number: int, start: Planned) -> Planned:
    """The end of a window that a row begins."""
    return Planned(
        id=UUID(int=start.id.int | 1),
        flag=start.flag,
        at=start.at + timedelta(seconds=chance.randrange(1, 900), microseconds=1 + number),
        updates={"enabled": False},
        follows=start.id,
        namespace=start.namespace,
    )


def _row(chance: random.Random, number: int, at: datetime, flags: list[Flag]) -> Planned:
    flag = chance.randrange(FLAGS)
    updates: dict[str, Any] = {}
    if chance.random() < 0.6:
        updates["enabled"] = chance.random() < 0.5
    if chance.random() < 0.6 or not updates:
        updates["rolloutPercentage"] = chance.choice([0, 5, 25, 50, 100])
    if chance.random() < 0.02:
        updates = {"rolloutPercentage": 700}
    expect = None
    if chance.random() < 0.3:
        now = flags[flag].values
        expect = {
            name: now[name] if chance.random() < 0.85 else {True: False, False: True}.get(now[name], 1)
            for name in chance.sample(PROPERTIES, chance.choice([1, 2]))
        }
    return Planned(
        id=UUID(int=((number + 1) << 80) | (chance.getrandbits(60) << 8)),
        flag=flag,
        at=at,
        updates=updates,
        expect=expect,
        on_mismatch=chance.choice([None, "Fail", "Skip"]) if expect is not None else None,
        retried=chance.random() < 0.08,
        refused=chance.random() < 0.03,
        namespace="frozen-a" if chance.random() < 0.04 else "shop",
    )


def _judge(flags: list[Flag], row: Planned, made: dict[UUID, bool]) -> Planned:
    """Bring one row to its outcome, and its flag to its values."""
    flag = flags[row.flag]
    made[row.id] = False
    row.outcome = _fault(flag, row, made)
    if row.outcome[0]:
        return row
    names = [name for name in PROPERTIES if name in row.updates]
    lost = [name for name in names if name in flag.marks and flag.marks[name] > (row.at, row.id)]
    already = row.expect is not None and len(lost) < len(names) and all(flag.values[n] == row.updates[n] for n in names)
    mismatch = row.expect is not None and any(flag.values[name] != value for name, value in row.expect.items())
    if mismatch and not already and len(lost) < len(names):
        row.outcome = ("cancelled", "Skipped") if row.on_mismatch == "Skip" else ("failed", "ExpectationNotMet")
        return row
    if row.refused:
        row.outcome = ("failed", "RetriesExhausted")
        return row
    made[row.id] = True
    for name in names:
        if name not in lost:
            flag.values[name], flag.marks[name] = row.updates[name], (row.at, row.id)
    row.outcome = ("applied", "AlreadySet" if already else "Applied")
    return row


def _fault(flag: Flag, row: Planned, made: Mapping[UUID, bool]) -> tuple[str, str | None]:
    if flag.frozen or row.namespace == "frozen-a":
        return "held", None
    if row.follows is not None and not made[row.follows]:
        return "cancelled", "NotStarted"
    if row.updates.get("rolloutPercentage") == 700:
        return "failed", "InvalidUpdates"
    return "", None


def store(database: Database, scene: Scene) -> None:
    """Write the scene as it is at the beginning."""
    ids = [UUID(int=1000 + number) for number in range(FLAGS)]
    with database.connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO feature_flags (id, flag_key, environment, enabled, rollout_percentage) "
            "VALUES (%s, %s, %s, %s, %s)",
            [
                (flag_id, f"flag-{number}", "frozen" if flag.frozen else "production", *before.values())
                for number, (flag_id, flag, before) in enumerate(zip(ids, scene.flags, scene.before, strict=True))
            ],
        )
        cursor.executemany(
            "INSERT INTO feature_flag_schedules (id, flag_id, scheduled_at, updates, status, retry_count, max_retries, "
            "next_retry_at, expect, on_mismatch, follows, requires, cluster, namespace, error_message) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'c', %s, %s)",
            [
                (
                    row.id,
                    ids[row.flag],
                    row.at,
                    json.dumps(row.updates),
                    "failed" if row.retried else "pending",
                    int(row.retried),
                    int(row.retried),
                    datetime.now(UTC) - timedelta(seconds=5) if row.retried else None,
                    json.dumps(row.expect) if row.expect is not None else None,
                    row.on_mismatch,
                    row.follows,
                    int(row.expect is not None or row.follows is not None),
                    row.namespace,
                    "refuse me" if row.refused else None,
                )
                for row in scene.rows
            ],
        )
    freeze = (
        "INSERT INTO flag_schedule_freezes (cluster, uid, name, reason, starts_at, ends_at, environments, namespaces, "
        "flag_keys) VALUES ('c', gen_random_uuid(), %s, '', now() + %s::interval, now() + %s::interval, %s, %s, %s)"
    )
    database.run(freeze, "environment", "-1 hour", "1 hour", ["frozen"], None, None)
    database.run(freeze, "namespace", "-1 hour", "1 hour", None, ["frozen-%"], ["flag-%"])
    database.run(freeze, "another environment", "-1 hour", "1 hour", ["x"], None, None)
    database.run(freeze, "over", "-2 hours", "-1 hour", None, None, None)
    database.run(freeze, "to come", "2 hours", "3 hours", None, None, None)
    database.run("""
        CREATE FUNCTION refuse_some() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.status = 'applied' AND OLD.error_message = 'refuse me' THEN RAISE EXCEPTION 'refused'; END IF;
            RETURN NEW;
        END $$
    """)
    database.run(
        "CREATE TRIGGER refuse_some BEFORE UPDATE ON feature_flag_schedules FOR EACH ROW EXECUTE FUNCTION refuse_some()"
    )


def _disturb(url: str, done: Event, seed: int) -> None:
    """Lock flags and schedules for moments, as applications do."""
    chance = random.Random(seed)  # noqa: S311 -- a scene, not a secret
    with psycopg.connect(url) as connection:
        while not done.wait(0.002):
            if chance.random() < 0.5:
                ids = sorted(UUID(int=1000 + n) for n in chance.sample(range(FLAGS), 5))
                connection.execute("SELECT FROM feature_flags WHERE id = ANY (%s) ORDER BY id FOR UPDATE", [ids])
            else:
                connection.execute(
                    "SELECT FROM feature_flag_schedules WHERE status = 'pending' ORDER BY random() LIMIT 15 "
                    "FOR UPDATE SKIP LOCKED"
                )
            done.wait(0.01)
            connection.rollback()


@contextmanager
def disturbed(url: str, seed: int) -> Iterator[None]:
    """Let a client lock rows meanwhile."""
    done = Event()
    with ThreadPoolExecutor(1) as pool:
        disturbing = pool.submit(_disturb, url, done, seed)
        yield
        done.set()
        disturbing.result()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_four_processors_judge_like_a_chronological_replay(
    database: Database, database_url: str, flagschedule: Run, seed: int
) -> None:
    """With retries, refusals, freezes, windows and locks every row and every flag is as if judged one by one."""
    scene = replay(seed)
    store(database, scene)
    sizes = ["100", "20", "7", "50"]

    with disturbed(database_url, seed), ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda size: flagschedule("process", FLAG_SCHEDULE_BATCH_SIZE=size), sizes))
    last = flagschedule("process")

    assert [run.returncode for run in [*runs, last]] == [0] * 5
    assert differences(database, scene) == []


def test_kills_and_cut_connections_change_no_verdict(
    database: Database, database_url: str, redis_url: str, flagschedule: Run
) -> None:
    """With processors that are killed and connections that are cut the outcome is that of the replay, too."""
    scene = replay(11)
    store(database, scene)
    herd = Herd(database_url, redis_url, random.Random(11))  # noqa: S311 -- a scene, not a secret
    with disturbed(database_url, 11):
        for _ in range(6):
            _wait_for_attempts(database, min(database.value(ATTEMPTS) + 100, SCHEDULES * 3 // 4))
            database.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'flagschedule-processor' AND datname = current_database() LIMIT 1"
            )
            herd.replace_the_dead()
            herd.kill_one()
    herd.kill_all()

    assert flagschedule("process").returncode == 0
    assert differences(database, scene) == []


def _wait_for_attempts(database: Database, wanted: int) -> None:
    eventually(lambda: database.value(ATTEMPTS) >= wanted)


def differences(database: Database, scene: Scene) -> list[object]:
    """Return what differs from the replay: rows, flags, and schedules that were processed twice."""
    found = {
        row["id"]: (row["status"], row["reason"])
        for row in database.query("SELECT id, status, reason FROM feature_flag_schedules")
    }
    flags = database.query("SELECT flag_key, enabled, rollout_percentage FROM feature_flags ORDER BY id")
    return [
        *((row, found[row.id]) for row in scene.rows if not _is_as_expected(row, *found[row.id])),
        *(
            (flag, wanted.values)
            for flag, wanted in zip(flags, scene.flags, strict=True)
            if (flag["enabled"], flag["rollout_percentage"]) != tuple(wanted.values.values())
        ),
        *database.query("SELECT schedule_id FROM flag_schedule_attempts GROUP BY schedule_id HAVING count(*) > 1"),
    ]


def _is_as_expected(row: Planned, status: str, reason: str | None) -> bool:
    state, why = row.outcome
    if state == "held":
        return (status, reason) == (("failed" if row.retried else "pending"), None)
    if state == "applied" and row.expect is None:
        return status == "applied" and reason in PLAIN  # which of them may depend on batches
    return (status, reason) == (state, why)


@pytest.fixture
def flag(database: Database) -> UUID:
    """A flag, on at 5 %."""
    made = database.flag("checkout-v2")
    database.run("UPDATE feature_flags SET enabled = true, rollout_percentage = 5")
    return made


def guarded(database: Database, flag: UUID, updates: object, expect: object, **columns: Any) -> UUID:
    """Insert a row that expects values; it was due a minute ago."""
    return database.schedule(flag, updates, requires=1, expect=json.dumps(expect), **columns)


def test_a_mismatch_fails_with_both_values_and_no_retry(database: Database, flag: UUID, flagschedule: Run) -> None:
    """Edited by hand from 5 to 10 while 5 was expected: the flag and the cache stay as they are."""
    database.run("UPDATE feature_flags SET rollout_percentage = 10")
    row = guarded(database, flag, {"rolloutPercentage": 25}, {"enabled": True, "rolloutPercentage": 5})

    flagschedule("process")

    found = database.row(row)
    assert (found["status"], found["reason"], found["next_retry_at"]) == ("failed", "ExpectationNotMet", None)
    assert found["last_error"] == (
        "expected enabled=true, rolloutPercentage=5, but the flag has enabled=true, rolloutPercentage=10"
    )
    assert database.state(flag) == (True, 10)
    assert database.value("SELECT count(*) FROM flag_schedule_cache_outbox") == 0
    assert database.value("SELECT count(*) FROM flag_schedule_watermarks") == 0
    assert [each["outcome"] for each in database.attempts(row)] == ["failed"]


def test_a_mismatch_can_be_skipped(database: Database, flag: UUID, flagschedule: Run) -> None:
    """With onMismatch Skip the row is cancelled and its run counts no failure."""
    row = guarded(database, flag, {"rolloutPercentage": 50}, {"rolloutPercentage": 25}, on_mismatch="Skip")

    run = flagschedule("process", "--output=json")

    found = database.row(row)
    assert (found["status"], found["reason"]) == ("cancelled", "Skipped")
    assert database.state(flag) == (True, 5)
    assert json.loads(run.stdout)["failed"] == 0


def test_what_is_set_already_writes_no_flag(database: Database, flag: UUID, flagschedule: Run) -> None:
    """All new values are there, met or not: applied as AlreadySet, and only the watermark is written."""
    before = database.value("SELECT updated_at FROM feature_flags")
    row = guarded(database, flag, {"rolloutPercentage": 5}, {"rolloutPercentage": 1})

    flagschedule("process")

    found = database.row(row)
    assert (found["status"], found["reason"]) == ("applied", "AlreadySet")
    assert database.value("SELECT updated_at FROM feature_flags") == before
    assert database.value("SELECT rollout_percentage_by FROM flag_schedule_watermarks") == row
    (attempt,) = database.attempts(row)
    assert (attempt["before_rollout_percentage"], attempt["after_rollout_percentage"]) == (5, 5)


@pytest.mark.parametrize("expect", ["null", "5", '"x"', "[]", '{"other": 1}', '{"enabled": 1}', '{"enabled": null}'])
def test_an_expectation_of_another_program_that_is_none_is_not_met(
    database: Database, flag: UUID, flagschedule: Run, expect: str
) -> None:
    """What cannot be compared is a mismatch, and stops no other row."""
    row = database.schedule(flag, {"rolloutPercentage": 25}, requires=1, expect=expect)
    other = database.schedule(database.flag("other"), {"enabled": True})

    assert flagschedule("process").returncode == 0

    assert (database.row(row)["reason"], database.row(other)["status"]) == ("ExpectationNotMet", "applied")


def test_a_guarded_row_waits_for_an_earlier_retry(database: Database, flag: UUID, flagschedule: Run) -> None:
    """It is judged by what the flag is when everything before it is done; so is what comes behind it."""
    earlier = database.schedule(
        flag, {"rolloutPercentage": 10}, due=timedelta(minutes=-3), status="failed", retry_count=1
    )
    database.run("UPDATE feature_flag_schedules SET next_retry_at = now() + interval '1 hour'")
    row = guarded(database, flag, {"rolloutPercentage": 25}, {"rolloutPercentage": 10})
    later = database.schedule(flag, {"enabled": False}, due=timedelta(seconds=-1))

    first = json.loads(flagschedule("process", "--output=json").stdout)
    waiting = database.row(row)["status"], database.row(later)["status"]
    database.run("UPDATE feature_flag_schedules SET next_retry_at = now() WHERE id = %s", earlier)
    flagschedule("process")

    assert waiting == ("pending", "pending")
    assert (first["processed"], first["skipped"]) == (0, 0)
    assert [database.row(each)["reason"] for each in (earlier, row, later)] == ["Applied"] * 3
    assert database.state(flag) == (False, 25)


def test_a_start_that_is_tried_again_after_its_end_switches_nothing_on(
    database: Database, flag: UUID, flagschedule: Run
) -> None:
    """The retry of a window's start and its end are due together: the flag is not on for a moment."""
    start = database.schedule(
        flag,
        {"enabled": True},
        due=timedelta(hours=-2),
        status="failed",
        retry_count=1,
        next_retry_at=datetime.now(UTC),
    )
    end = database.schedule(flag, {"enabled": False}, due=timedelta(hours=-1), requires=1, follows=start)
    database.run("UPDATE feature_flags SET enabled = false")
    database.run(
        "CREATE TABLE seen (enabled boolean); GRANT INSERT ON seen TO PUBLIC; "
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO seen VALUES (NEW.enabled); RETURN NULL; END $$; "
        "CREATE TRIGGER note AFTER UPDATE ON feature_flags FOR EACH ROW EXECUTE FUNCTION note()"
    )

    flagschedule("process")

    assert [database.row(row)["reason"] for row in (start, end)] == ["Superseded", "Applied"]
    assert {row["enabled"] for row in database.query("SELECT enabled FROM seen")} == {False}


def test_a_row_without_the_gate_cannot_be_stored(database: Database, flag: UUID) -> None:
    """Another program cannot forget that an older processor must not take a guarded row."""
    with pytest.raises(psycopg.errors.CheckViolation):
        database.schedule(flag, {"enabled": True}, expect="{}")


def test_a_processor_that_is_too_old_ends_and_says_so(database: Database, flag: UUID, flagschedule: Run) -> None:
    """Where the database needs a newer protocol a run applies nothing and ends with exit 3."""
    database.run("UPDATE flag_schedule_protocol SET minimum = 2")
    row = database.schedule(flag, {"enabled": False})

    run = flagschedule("process")

    assert (run.returncode, database.row(row)["status"]) == (3, "pending")
    assert "needs a newer version of the processor" in run.stderr
    assert database.value("SELECT count(*) FROM flag_schedule_runs") == 0


def test_a_row_for_a_newer_processor_is_left_and_named(database: Database, flag: UUID, flagschedule: Run) -> None:
    """A row whose protocol this processor does not know is not applied, and the run says why it was left."""
    row = database.schedule(flag, {"enabled": False}, requires=2)
    plain = database.schedule(database.flag("other"), {"enabled": True})

    run = flagschedule("process", "--output=json")

    assert (database.row(row)["status"], database.row(plain)["status"]) == ("pending", "applied")
    assert json.loads(run.stdout)["skipped"] == 1
    assert "needs a newer version of the processor" in run.stderr


FREEZE = (
    "INSERT INTO flag_schedule_freezes (cluster, uid, name, reason, starts_at, ends_at, flag_keys, allow_switch_off) "
    "VALUES ('c', gen_random_uuid(), 'incident', 'INC-1', now(), now() + %s, %s, %s)"
)


def test_a_frozen_row_uses_no_retry_and_goes_on_in_order(database: Database, flag: UUID, flagschedule: Run) -> None:
    """Held rows stay as they are; when the freeze is gone all of them are applied in order."""
    rows = [database.schedule(flag, {"rolloutPercentage": n}, due=timedelta(seconds=n - 60)) for n in range(1, 50)]
    database.run(FREEZE, None, ["checkout%"], False)

    held = json.loads(flagschedule("process", "--output=json").stdout)
    while_frozen = database.query("SELECT DISTINCT status, retry_count FROM feature_flag_schedules")
    database.run("DELETE FROM flag_schedule_freezes")
    flagschedule("process")

    assert (held["processed"], held["skipped"]) == (0, 0)
    assert [tuple(each.values()) for each in while_frozen] == [("pending", 0)]
    assert database.state(flag) == (True, 49)
    assert {database.row(row)["status"] for row in rows} == {"applied"}


def test_a_freeze_may_let_pass_what_only_switches_off(database: Database, flag: UUID, flagschedule: Run) -> None:
    """With allowSwitchOff a row that sets enabled to false and nothing else passes; one with a percentage is held."""
    database.run(FREEZE, None, None, True)
    off = database.schedule(flag, {"enabled": False})
    both = database.schedule(database.flag("other"), {"enabled": False, "rolloutPercentage": 0})

    flagschedule("process")

    assert (database.row(off)["status"], database.row(both)["status"]) == ("applied", "pending")


def test_a_deadline_ends_a_frozen_row(database: Database, flag: UUID, flagschedule: Run) -> None:
    """startingDeadlineSeconds is over within the freeze: failed as DeadlineExceeded."""
    database.run(FREEZE, None, None, False)
    row = database.schedule(flag, {"enabled": False}, not_after=datetime.now(UTC) - timedelta(seconds=5))

    flagschedule("process")

    assert database.row(row)["reason"] == "DeadlineExceeded"


def test_an_override_is_for_one_freeze_of_its_cluster(database: Database, flag: UUID, flagschedule: Run) -> None:
    """A row that overrides a freeze is applied; one that names another freeze, or is of another cluster, is held."""
    database.run(FREEZE, None, None, False)
    passes = database.schedule(flag, {"enabled": False}, overrides=["incident"], cluster="c")
    held = [
        database.schedule(database.flag("a"), {"enabled": True}, overrides=["other"], cluster="c"),
        database.schedule(database.flag("b"), {"enabled": True}, overrides=["incident"], cluster="d"),
        database.schedule(database.flag("c"), {"enabled": True}, overrides=["incident"]),
    ]

    flagschedule("process")

    assert database.row(passes)["status"] == "applied"
    assert {database.row(row)["status"] for row in held} == {"pending"}


def test_a_lingering_run_goes_on_when_a_freeze_ends(database: Database, flag: UUID, flagschedule: Run) -> None:
    """A freeze that ends within the run holds until its end and not longer; due one second before it, applied at it."""
    database.run(FREEZE, timedelta(seconds=3), None, False)
    ends = database.value("SELECT ends_at FROM flag_schedule_freezes")
    row = database.schedule(flag, {"enabled": False}, due=timedelta(seconds=2))

    flagschedule("process", FLAG_SCHEDULE_LINGER_SECONDS="6")

    applied = database.row(row)["applied_at"]
    assert ends <= applied < ends + timedelta(seconds=1)


def test_rows_that_wait_hide_no_row_of_another_flag(database: Database, database_url: str, flag: UUID) -> None:
    """More rows than a look reads wait for an earlier change: what comes due behind them is found by the next look."""
    database.schedule(flag, {"rolloutPercentage": 10}, due=timedelta(minutes=-3), status="failed", retry_count=1)
    database.run("UPDATE feature_flag_schedules SET next_retry_at = now() + interval '1 hour'")
    row = guarded(database, flag, {"rolloutPercentage": 25}, {"rolloutPercentage": 10})
    database.run(
        "INSERT INTO feature_flag_schedules (flag_id, scheduled_at, updates, expect, requires) "
        "SELECT flag_id, scheduled_at, updates, expect, requires FROM feature_flag_schedules, generate_series(1, 1200) "
        "WHERE id = %s",
        row,
    )
    with PostgresProcessStore(roles.url(database_url, "process")) as processor:
        processor.start_run()
        assert not processor.apply(retries=False, limit=100, left_out=[]).handled
        processor.what_is_due([])
        neighbour = database.schedule(database.flag("neighbour"), {"enabled": True}, due=timedelta(seconds=-1))

        assert processor.what_is_due([]) is Due.NOW
        processor.apply(retries=False, limit=100, left_out=[])

    assert database.row(neighbour)["status"] == "applied"
