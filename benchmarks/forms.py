"""What expectations and freezes cost: forms of the statement that applies, batch by batch in turn within one drain.

Two processes on two cores differ by more than 3 % from run to run, so a smaller price shows only between batches that
share one connection, one drain and one moment.
"""

import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg

from benchmarks.results import Result
from benchmarks.scene import Scene, scene
from flagschedule.adapters.postgres import statements
from flagschedule.adapters.postgres.process_store import PostgresProcessStore
from flagschedule.ports.processing import Due

_BATCH: Final = 100
_WARM: Final = 5  # batches that are not counted: their plans are made and their pages read
_BEFORE: Final = "0913807"  # the last commit before the rules for other people's surroundings
_OLD: Final = "operator/flagschedule/adapters/postgres/"
_DEFAULTS: Final[Mapping[str, Any]] = {
    "run_id": 0,
    "suspects": [],  # of the older statement
    "left_out": [],
    "set_aside": [],
    "since_id": "00000000-0000-0000-0000-000000000000",
}


@dataclass(frozen=True)
class Size:
    """How much each benchmark does: schedules that are due, schedules that a freeze holds, looks, and rounds."""

    due: int = 30_000
    held: int = 20_000
    looks: int = 200
    rounds: int = 10


QUICK = Size(due=6_000, held=5_000, looks=20, rounds=3)
FULL = Size()


def run(size: Size, say: Callable[[str], None]) -> Iterator[Result]:
    """Measure each on one server, one after the other."""
    plain = statements.plain_claim("process/apply", "process/claim_due")
    full = statements.full_claim("process/apply", "process/claim_due")
    with scene() as on:
        if (old := before()) is not None:
            say(f"before: the shipped statement against the one of commit {_BEFORE}")
            yield Result(f"batch, time against commit {_BEFORE}", "ratio", _in_turns(on, size, old, plain))
        say("gate: the shipped statement against itself without the gate")
        yield Result("batch, time against one without the gate", "ratio", _in_turns(on, size, _without_gate(), plain))
        say("full: the full text against the plain one, while nothing is guarded or frozen")
        yield Result("batch in the full text, time against the plain one", "ratio", _in_turns(on, size, plain, full))
        say("held: looks of a lingering run while a freeze holds many schedules that are due")
        yield Result(f"idle look with {size.held:,} schedules held", "ms", _held(on, size))


def before() -> LiteralString | None:
    """Return the statement of the commit before, where the repository's history is there."""
    found = [
        subprocess.run(
            ["git", "show", f"{_BEFORE}:{_OLD}{name}.sql"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
        for name in ("apply", "claim_due")
    ]
    if any(each.returncode for each in found):
        return None
    apply, claim = (each.stdout for each in found)
    return apply.replace("/* claim */ SELECT", claim)


def _without_gate() -> LiteralString:
    text = statements.plain_claim("process/apply", "process/claim_due")
    for gate, instead in (
        (statements.read("process/gate"), "SELECT false AS closed"),
        (" AND NOT (SELECT g.closed FROM gate AS g)", ""),
        ("CASE WHEN s.requires <= 0 THEN true END IS NOT NULL", "true"),
    ):
        if gate not in text:
            raise AssertionError("the statement has no such gate")
        text = text.replace(gate, instead)
    return text


def _in_turns(on: Scene, size: Size, one: LiteralString, other: LiteralString) -> list[float]:
    """Return for each round the median time of a batch of `other` against that of `one`."""
    texts = [statements.numbered(statements.limited(text, _BATCH)) for text in (one, other)]
    ratios = []
    for _ in range(size.rounds):
        on.fill(size.due)
        times: tuple[list[float], list[float]] = ([], [])
        with psycopg.connect(on.url, autocommit=True) as session:
            session.execute(
                "SET plan_cache_mode = force_generic_plan; SET enable_memoize = off; SET enable_bitmapscan = off"
            )
            since, number = "-infinity", 0
            while True:
                side = (0, 1, 1, 0)[number % 4]
                number += 1
                text, names = texts[side]
                values = {**_DEFAULTS, "since": since}
                started = time.perf_counter()
                row = psycopg.RawCursor(session).execute(text, [values[name] for name in names]).fetchone()
                taken = time.perf_counter() - started
                latest = row and (row[2][0] if isinstance(row[2], list) else row[2])
                if not latest:
                    break
                since = latest
                times[side].append(taken)
        before, after = (statistics.median(each[_WARM:]) for each in times)
        ratios.append(after / before)
    return ratios


def _held(on: Scene, size: Size) -> list[float]:
    """Return the milliseconds of a look, once many held schedules are known to be held; the median for each round."""
    on.fill(size.held)
    on.session.execute(
        "INSERT INTO flag_schedule_freezes (cluster, uid, name, reason, starts_at) "
        "VALUES ('default', gen_random_uuid(), 'incident', 'all', now())"
    )
    found = []
    with PostgresProcessStore(on.url) as store:
        store.start_run()
        assert not store.apply(retries=False, limit=_BATCH, left_out=[]).handled
        for _ in range(size.rounds):
            assert store.what_is_due([]) is Due.WAITING
            looks = []
            for _ in range(size.looks):
                started = time.perf_counter()
                store.what_is_due([])
                looks.append(1000 * (time.perf_counter() - started))
            found.append(statistics.median(looks))
    on.session.execute("DELETE FROM flag_schedule_freezes")
    return found
